"""Readers of batches: ours and one of a plugin give the same, and a config names them."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from ppclas_core import hookimpl
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.contracts.readers import BatchReader, OpenReader
from ppclas_core.errors import ConfigError, ImageError
from ppclas_core.plugins import get_registries
from ppclas_core.testing import use_plugin
from ppclas_data.decoding.decode import plain_jpeg_size
from ppclas_data.loading.workers import Workers
from ppclas_data.testing import check_reader


class _Changes(OpenReader):
    def __init__(self, plain, change):
        self._plain, self._change = plain, change

    def read(self, requests) -> Iterator:
        samples = [self._plain.read(*request) for request in requests]
        yield from self._change(samples)


class Changes(BatchReader):
    """Read all and change it."""

    how: str = "nothing"
    """What is changed."""

    def open(self, plain, workers, note):
        changes = {
            "nothing": lambda samples: samples,
            "order": lambda samples: samples[::-1],
            "pixels": lambda samples: [type(s)(255 - s.images, s.indices, s.bad) for s in samples],
            "a batch less": lambda samples: samples[:-1],
            "no bad images": lambda samples: [type(s)(s.images, s.indices, ()) for s in samples],
        }
        return _Changes(plain, changes[self.how])


@pytest.mark.parametrize("reader", [Workers(), Changes()], ids=lambda reader: type(reader).__name__)
def test_readers_keep_the_contract(reader, tmp_path):
    check_reader(reader, tmp_path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("order", r"Changes gives the images \[.*\] in batch 0, expected \["),
        ("pixels", "Changes shows an image that differs by"),
        ("a batch less", "Changes gives 5 batches, not 6"),
        ("no bad images", r"Changes tells of bad images \[\], expected \[BadImage"),
    ],
)
def test_the_contract_notices(how, said, tmp_path):
    with pytest.raises(AssertionError, match=said):
        check_reader(Changes(how=how), tmp_path)


class ChangesPlugin:
    @hookimpl
    def register_readers(self, registry):
        registry.register("Changes", Changes)


def test_a_config_names_the_reader():
    flags = {"--reader": ("data.reader.name", "Changes")}
    with use_plugin(ChangesPlugin()):
        assert load_config(None, (), flags).config.data.reader.name == "Changes"
        assert "Changes" in get_registries().readers
    with pytest.raises(ConfigError, match=r"--reader: data.reader.name: Unknown reader 'Changes'"):
        load_config(None, (), flags)
    with pytest.raises(ConfigError, match=r"data.reader.threads: workers: unknown key 'threads'"):
        load_config(None, ["data.reader.threads=2"])


def test_the_size_of_a_plain_jpeg(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    assert plain_jpeg_size(path.read_bytes(), "here") == (40, 30)
    Image.new("CMYK", (40, 30)).save(path)
    assert plain_jpeg_size(path.read_bytes(), "here") is None
    Image.new("RGB", (40, 30)).save(path, "png")
    assert plain_jpeg_size(path.read_bytes(), "here") is None
    with pytest.raises(ImageError, match="here: the file is empty"):
        plain_jpeg_size(b"", "here")


def test_pixels_on_the_device_are_normalised_there():
    paddle = pytest.importorskip("paddle")
    from ppclas_core.normalize import normalize_batch
    from ppclas_data.loading.device import normalize_on_device

    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    config = NormalizeConfig()
    result = normalize_on_device(paddle.to_tensor(pixels), config)
    np.testing.assert_allclose(result.numpy(), normalize_batch(pixels, config), atol=1e-6)

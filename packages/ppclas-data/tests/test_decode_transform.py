"""``Decode``: files of other channels or ranges than a photo's, beside tifffile's and OpenCV's own
reading and the formula round(255 · sample / max_sample).
"""

from __future__ import annotations

import io
import sys

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import ComponentConfig, DataSection, NormalizeConfig
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import ConfigError, ImageError, MissingDependencyError, ShapeError
from ppclas_core.testing import check_transform
from ppclas_data.decoding.arrays import rgb_pixels
from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.samples import Decode
from ppclas_data.inspection.thumbnails import thumbnail
from ppclas_data.loading.channels import fit_channels, model_params
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.transforms.basic import RandomFlip, Resize

tifffile = pytest.importorskip("tifffile")
BANDS = np.random.default_rng(0).integers(0, 10000, (31, 40, 5)).astype(np.uint16)


def tiff(samples, **how):
    stored = io.BytesIO()
    tifffile.imwrite(stored, samples, **{"photometric": "minisblack", **how})
    return stored.getvalue()


FORMS = {
    "together": tiff(BANDS, planarconfig="contig"),
    "apart": tiff(BANDS.transpose(2, 0, 1), planarconfig="separate"),
    "packed": tiff(BANDS, planarconfig="contig", compression="zlib"),
    "big-endian": tiff(BANDS, planarconfig="contig", byteorder=">"),
    "pages": tiff(BANDS.transpose(2, 0, 1)),
    "big": tiff(BANDS, planarconfig="contig", bigtiff=True),
}


def scaled(samples, most):
    return np.floor(255 * np.minimum(samples, most).astype(np.float64) / most + 0.5)


@pytest.mark.parametrize("form", FORMS)
def test_all_bands_of_a_tiff_are_read(form):
    read = Decode(channels=5, max_sample=10000).read(FORMS[form], "x.tif")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, scaled(BANDS, 10000))
    declared = Decode(channels=5).read(FORMS[form], "x.tif")
    np.testing.assert_array_equal(declared, scaled(BANDS, 65535))


def test_eight_bits_stay_and_floats_need_their_range():
    eight = (BANDS // 64).astype(np.uint8)
    stored = tiff(eight, planarconfig="contig")
    np.testing.assert_array_equal(Decode(channels=5, max_sample=99).read(stored, "x"), eight)
    floats = tiff((BANDS / 10000).astype(np.float32), planarconfig="contig")
    with pytest.raises(ImageError, match=r"samples are float32, .* data.max_sample"):
        Decode(channels=5).read(floats, "x")
    read = Decode(channels=5, max_sample=1).read(floats, "x").astype(int)
    assert np.abs(read - scaled(BANDS, 10000)).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
@pytest.mark.parametrize("most", [4095, 1000, 65535])
def test_twelve_bits_in_a_file_of_sixteen_fill_the_range(suffix, most):
    grey = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    stored = cv2.imencode(suffix, grey, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    read = Decode(max_sample=most).read(stored, "x")
    np.testing.assert_array_equal(read, np.repeat(scaled(grey, most)[..., None], 3, axis=2))
    if most == 65535 and suffix in (".tif", ".pgm"):
        np.testing.assert_array_equal(read, decode(stored, "x"))


def test_colours_of_sixteen_bits_keep_their_order():
    colour = np.zeros((8, 8, 3), np.uint16)
    colour[..., 0], colour[..., 1] = 4000, 2000  # red and green
    for suffix in (".png", ".tif"):
        stored = cv2.imencode(suffix, colour[..., ::-1])[1].tobytes()
        read = Decode(max_sample=4000).read(stored, "x")
        assert read[0, 0].tolist() == [255, 128, 0]


def test_white_at_zero_is_turned_before_it_is_scaled():
    grey = np.full((8, 8), 65535 - 4095, np.uint16)
    stored = tiff(grey, photometric="miniswhite")
    assert Decode(max_sample=4095).read(stored, "x").max() == 255
    assert Decode(max_sample=4095).read(tiff(np.full((8, 8), 65535, np.uint16),
                                             photometric="miniswhite"), "x").max() == 0  # fmt: skip


def test_usual_photos_are_what_they_are():
    photo = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    for suffix in (".jpg", ".png"):
        stored = cv2.imencode(suffix, photo)[1].tobytes()
        np.testing.assert_array_equal(
            Decode(max_sample=4095).read(stored, "x"), decode(stored, "x")
        )


@pytest.mark.parametrize(
    ("data", "channels", "said"),
    [
        (FORMS["together"], 4, "expected 4 channels, as data.channels says; it has 5"),
        (FORMS["pages"], 7, "expected 7 channels, as data.channels says; it has 5"),
        (
            cv2.imencode(".png", np.zeros((8, 8, 3)))[1].tobytes(),
            5,
            "expected a TIFF of 5 channels",
        ),
        (FORMS["together"][:2000], 5, "cannot be decoded|expected 5 channels"),
    ],
)
def test_other_files_are_refused(data, channels, said):
    with pytest.raises(ImageError, match=said):
        Decode(channels=channels).read(data, "x.tif")


def test_without_a_setting_a_tiff_of_five_bands_is_told_what_it_needs():
    with pytest.raises(ImageError, match=r"a TIFF of 5 channels, .* -o data.channels=5"):
        decode(FORMS["together"], "x.tif")


def test_without_tifffile_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ppclas-data\[tiff\]'"):
        Decode(channels=5).read(FORMS["together"], "x.tif")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area", "nearest"])
def test_every_band_goes_the_same_way_through_the_pipeline(interpolation):
    resize = Resize(size=(16, 16), interpolation=interpolation)
    pipeline = Pipeline((Decode(channels=5, max_sample=10000), resize, RandomFlip(probability=1.0)))
    whole = pipeline(FORMS["together"], sample_draw(0, 0, 0), "x.tif")
    assert pipeline.output_shape() == (16, 16, 5) == whole.shape
    pixels = scaled(BANDS, 10000).astype(np.uint8)
    way = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA,
           "nearest": cv2.INTER_NEAREST}[interpolation]  # fmt: skip
    for band in range(5):
        alone = cv2.resize(pixels[..., band], (16, 16), interpolation=way)[:, ::-1]
        # OpenCV rounds bicubic sums of several channels in another order.
        assert np.abs(whole[..., band].astype(int) - alone).max() <= (interpolation == "bicubic")


def test_the_contract_of_transforms_holds():
    check_transform(Decode())


def test_pixels_in_memory_are_taken_with_as_many_channels():
    pixels = np.zeros((4, 6, 5), np.uint8)
    assert rgb_pixels(pixels, channels=5) is pixels
    assert Decode(channels=5)(pixels, sample_draw(0, 0, 0)) is pixels
    with pytest.raises(ShapeError, match=r"an image of 5 channels, .* got 3"):
        Decode(channels=5)(pixels[..., :3], sample_draw(0, 0, 0))


def test_a_thumbnail_shows_three_of_the_bands():
    shown = thumbnail(lambda: FORMS["together"], "x.tif")
    assert shown.shape == (220, 220, 3)
    assert shown[60:160].std() > 20


def test_settings_put_it_at_the_head_of_both_lists():
    lists = {"train_transforms": (RESIZE,), "eval_transforms": (RESIZE,)}
    notes = []
    data = fit_channels(DataSection(**lists, max_sample=4095), DataSection(), None, notes)
    decoding = ComponentConfig(name="Decode", channels=3, max_sample=4095)
    assert data.train_transforms == data.eval_transforms == (decoding, RESIZE)
    assert notes == ["of files of more than 8 bits, the sample 4095 becomes white"]
    assert fit_channels(data, data, None, []) == data
    data = fit_channels(DataSection(**lists), DataSection(), 5, notes)
    assert data.eval_transforms[0].params == {"channels": 5, "max_sample": None}
    mean, std = NormalizeConfig().mean, NormalizeConfig().std
    assert data.normalize == NormalizeConfig(mean=(*mean, *mean[:2]), std=(*std, *std[:2]))


RESIZE = ComponentConfig(name="Resize", size=(8, 8))


def test_one_of_the_two_names_for_the_number_of_channels_is_enough():
    assert model_params(DataSection(channels=5), {"width": 2}) == {"width": 2, "in_channels": 5}
    assert model_params(DataSection(), {"in_channels": 1}) == {"in_channels": 1}
    assert model_params(DataSection(), {}) == {}
    with pytest.raises(ConfigError, match=r"data\.channels is 5 and model.params.in_channels 3"):
        model_params(DataSection(channels=5), {"in_channels": 3})

"""Pictures of more than 8 bits per sample, judged by the ramp they were made of and by Pillow."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import ImageError
from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.depth import used_range
from ppclas_data.inspection.check import check_data
from ppclas_data.inspection.dark import look_for_dark
from ppclas_data.sources.splits import open_splits

HEIGHT, WIDTH = 12, 40
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
RIGHT = RAMP * 255


def _packed(samples, bits, order):
    """Samples of ``bits`` bits, rows padded to whole bytes, as TIFF 6.0 has them."""
    if bits == 16:
        return samples.astype(f"{order}u2").tobytes()
    rows = []
    for row in samples.astype(np.uint32):
        text = "".join(f"{value:0{bits}b}" for value in row.reshape(-1))
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def _tiff(bits, ramp=RAMP, photometric=1, order="<", orientation=1):
    samples = np.round((ramp if photometric else 1 - ramp) * (2**bits - 1))
    data = _packed(samples, bits, order)
    data += b"\0" * (len(data) % 2)
    short, long = 3, 4
    tags = [
        (256, short, ramp.shape[1]), (257, short, ramp.shape[0]), (258, short, bits),
        (259, short, 1), (262, short, photometric), (273, long, 8), (274, short, orientation),
        (277, short, 1), (278, short, ramp.shape[0]), (279, long, len(data)), (339, short, 1),
    ]  # fmt: skip
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack(f"{order}HHI", tag, kind, 1)
        directory += struct.pack(f"{order}HH" if kind == short else f"{order}I", *(
            (value, 0) if kind == short else (value,)
        ))  # fmt: skip
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}I", 8 + len(data)) + data + directory + bytes(4)


def _saved(image, **how):
    file = io.BytesIO()
    image.save(file, **how)
    return file.getvalue()


def _error(data):
    pixels = decode(data, "deep").astype(float)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    return np.abs(pixels - RIGHT[..., None]).max()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14, 15, 16])
def test_grey_tiffs_of_every_depth(bits, photometric, order):
    if bits in (9, 11, 13, 15):  # OpenCV's TIFFs are 10, 12, 14 and 16; no other is made anywhere
        with pytest.raises(ImageError):
            decode(_tiff(bits, photometric=photometric, order=order), "odd")
        return
    assert _error(_tiff(bits, photometric=photometric, order=order)) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [12, 16])
def test_deep_tiffs_are_turned_as_shallow_ones(bits, orientation):
    ramp = np.linspace(0, 1, 6 * 8).reshape(6, 8)
    shallow = Image.fromarray(np.round(ramp * 255).astype(np.uint8))
    tiff = _saved(shallow, format="TIFF", tiffinfo={274: orientation})
    right = ImageOps.exif_transpose(Image.open(io.BytesIO(tiff)))
    found = decode(_tiff(bits, ramp, orientation=orientation), "turned")[..., 0]
    assert found.shape == np.asarray(right).shape
    assert np.abs(found.astype(int) - np.asarray(right)).max() <= 1


@pytest.mark.parametrize("full", [100, 255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["P5", "P6", "P2"])
def test_the_maximum_of_a_pgm_is_its_range(full, kind):
    samples = np.round(RAMP * full).astype(int)
    if kind == "P6":
        samples = np.repeat(samples[..., None], 3, axis=2)
    body = (
        " ".join(map(str, samples.ravel())).encode()
        if kind == "P2"
        else samples.astype(">u2" if full > 255 else "u1").tobytes()
    )
    data = b"%s\n# made here\n%d %d\n%d\n" % (kind.encode(), WIDTH, HEIGHT, full) + body
    assert _error(data) < (2.6 if full == 100 else 1.01)


@pytest.mark.parametrize("form", ["PNG", "JPEG2000", "TIFF"])
def test_16_bits(form):
    deep = Image.fromarray(np.round(RAMP * 65535).astype(np.uint16))
    how = {"irreversible": False} if form == "JPEG2000" else {}
    assert _error(_saved(deep, format=form, **how)) < 1.01


def test_a_transparent_grey_of_16_bits_is_white():
    samples = np.full((4, 4), 30000, np.uint16)
    samples[0, 0] = 1000
    png = _saved(Image.fromarray(samples), format="PNG", transparency=1000)
    pixels = decode(png, "clear")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert abs(int(pixels[1, 1, 0]) - 30000 / 257) <= 1


def test_a_deep_tiff_that_is_cut_is_refused():
    data = _tiff(12)
    offset = struct.pack("<HHI", 273, 4, 1)
    beyond = data.replace(offset + struct.pack("<I", 8), offset + struct.pack("<I", len(data) - 50))
    assert beyond != data
    with pytest.raises(ImageError):
        decode(beyond, "cut")
    whole = _saved(Image.fromarray(np.round(RAMP * 65535).astype(np.uint16)), format="TIFF")
    with pytest.raises(ImageError):
        decode(whole[: len(whole) // 2], "cut")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_every_format_and_xmp_none(form, mode, orientation):
    if (form, mode) in {("PNG", "CMYK"), ("WEBP", "CMYK"), ("JPEG", "RGBA")}:
        pytest.skip(f"{form} has no {mode}")
    image = Image.fromarray(np.uint8([[[255, 0, 0]] * 16, [[0, 0, 255]] * 16] * 4)).convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    turned = decode(_saved(image, format=form, exif=exif), "exif")
    assert turned.shape[:2] == ((16, 8) if orientation == 6 else (8, 16))
    if form != "TIFF":
        packet = f'<x tiff:Orientation="{orientation}"/>'.encode()
        told = _saved(image, format=form, xmp=packet)
        assert decode(told, "xmp").shape[:2] == (8, 16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (cv2.imencode(".png", np.full((4, 4), 4095, np.uint16))[1].tobytes(), (4095, 65535)),
        (cv2.imencode(".tif", np.full((4, 4), 900, np.uint16))[1].tobytes(), (900, 65535)),
        (b"P5 2 1 4095\n\x0f\xff\x00\x00", (4095, 4095)),
        (cv2.imencode(".png", np.full((4, 4), 200, np.uint8))[1].tobytes(), None),
        (b"P5 2 1 255\n\x0f\xff", None),
        (b"II*\0cut", None),
    ],
)
def test_the_range_that_a_picture_uses(data, expected):
    assert used_range(data) == expected


@pytest.mark.parametrize(
    ("brightest", "said"),
    [
        (4095, "0..4095 of 0..65535 (12 bits; first: "),
        (1023, "nothing in them is brighter than 4 of 255"),
        (16383, "To scale them: -o data.max_sample=16383"),
        (60000, None),
    ],
)
def test_pictures_that_use_little_of_their_range_are_named(tmp_path, brightest, said):
    for place in ("train/a/0.tif", "train/b/1.png", "val/a/2.tif", "val/b/3.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / place), np.round(RAMP * brightest).astype(np.uint16))
    section = DataSection(train=str(tmp_path))
    for told in (check_data(section).warnings, look_for_dark(open_splits(section).train)):
        found = [words for words in told if "bits per sample" in words]
        assert len(found) == (said is not None)
        assert all(str(said) in words for words in found)


def test_shallow_pictures_may_be_dark(tmp_path, folders):
    folders(tmp_path, a=2, b=2)
    assert look_for_dark(open_splits(DataSection(train=str(tmp_path))).train) == []

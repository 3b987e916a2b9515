"""Odd images, with Pillow (or arithmetic) as the judge of what a person sees."""

import io
import struct
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin
from ppclas_core.errors import ImageError
from ppclas_data.decoding import decode as decode_module
from ppclas_data.decoding import formats
from ppclas_data.decoding.decode import count_frames, decode, size_in_header


def gradient(height=60, width=90):
    """A smooth picture in which every turn and mirror image shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1
    ).astype(np.uint8)


def noise(height=64, width=96):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(array, kind, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_seen(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    return np.asarray(
        Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    ).astype(int)


def assert_like_pillow(data, tolerance=1):
    image = decode(data, "photo")
    assert image.dtype == np.uint8
    expected = as_seen(data)
    assert image.shape == expected.shape
    assert np.abs(image - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_exif_orientation(kind, options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_like_pillow(encode(gradient(), kind, exif=exif, **options))


def test_rotated_photo_stands_upright():
    # Orientation 6: the camera was turned; rows of the stored picture are columns of the seen one.
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = gradient()
    image = decode(encode(stored, "PNG", exif=exif), "photo")
    np.testing.assert_array_equal(image, np.rot90(stored, -1))


def rgba():
    alpha = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (60, 1))
    return Image.fromarray(np.dstack([gradient(), alpha]))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(gradient()[..., 0], "JPEG"), id="grey JPEG"),
        pytest.param(encode(gradient(), "JPEG", progressive=True), id="progressive JPEG"),
        pytest.param(
            encode(Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=95), id="CMYK JPEG"
        ),
        pytest.param(encode(gradient()[..., 0], "PNG"), id="grey PNG"),
        pytest.param(encode(Image.fromarray(gradient()).convert("1"), "PNG"), id="1-bit PNG"),
        pytest.param(encode(rgba(), "PNG"), id="PNG with alpha"),
        pytest.param(encode(rgba().convert("LA"), "PNG"), id="grey PNG with alpha"),
        pytest.param(encode(Image.fromarray(gradient()).quantize(16), "PNG"), id="palette PNG"),
        pytest.param(
            encode(Image.fromarray(gradient()).quantize(16), "PNG", transparency=3),
            id="palette PNG, transparent",
        ),
        pytest.param(encode(rgba(), "WEBP", lossless=True), id="WebP with alpha"),
        pytest.param(encode(gradient(), "WEBP"), id="WebP"),
        pytest.param(encode(gradient(), "GIF"), id="GIF"),
        pytest.param(encode(gradient(), "BMP"), id="BMP"),
        pytest.param(encode(gradient(), "TIFF"), id="TIFF"),
        pytest.param(
            encode(noise(), "JPEG") + b"appended by a phone" * 50,
            id="JPEG with bytes after its end",
        ),
    ],
)
def test_read_as_pillow_shows_it(data):
    assert_like_pillow(data)


def test_transparent_pixels_are_white():
    hidden_red = np.zeros((4, 4, 4), np.uint8)
    hidden_red[..., 0] = 255
    assert (decode(encode(hidden_red, "PNG"), "photo") == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png(channels):
    deep = np.random.default_rng(1).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    if channels == 4:
        deep[..., 3] = 65535
    image = decode(cv2.imencode(".png", deep)[1].tobytes(), "photo")
    expected = np.repeat(deep, 3, axis=2) if channels == 1 else deep[..., 2::-1]
    # OpenCV and Pillow drop the low byte; rounding may differ from that by one.
    assert np.abs(image - expected / 257).max() <= 1


def test_16_bit_grey_tiff():
    deep = (np.arange(20 * 30).reshape(20, 30) * 100).astype(np.uint16)
    image = decode(encode(Image.fromarray(deep), "TIFF"), "photo")
    np.testing.assert_array_equal(
        image, np.repeat(np.round(deep / 257).astype(np.uint8)[..., None], 3, axis=2)
    )


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
)
def test_first_frame_of_an_animation(kind, options):
    second = Image.fromarray(255 - gradient())
    data = encode(gradient(), kind, save_all=True, append_images=[second], **options)
    assert_like_pillow(data)
    assert count_frames(data) == 2
    assert count_frames(encode(gradient(), kind, **options)) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.66, 0.97])
def test_a_cut_file_is_a_bad_image(kind, kept, capfd):
    whole = encode(noise(), kind)
    with pytest.raises(ImageError, match=r"^list.txt:3: ") as caught:
        decode(whole[: int(len(whole) * kept)], "list.txt:3")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_cut_jpeg_with_a_thumbnail_is_a_bad_image():
    # The thumbnail in the EXIF block has an end marker of its own.
    exif = b"Exif\0\0" + encode(noise(16, 16), "JPEG")
    whole = encode(noise(), "JPEG", exif=exif)
    assert decode(whole, "photo").shape == (64, 96, 3)
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode(whole[: len(whole) * 2 // 3], "photo")


def test_a_flipped_bit_in_a_png_is_a_bad_image(capfd):
    data = bytearray(encode(noise(), "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged PNG, the checksum of its IDAT chunk is wrong"):
        decode(bytes(data), "photo")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"hello, world\n", "not an image: it looks like text"),
        ("花 petunia".encode(), "not an image: it looks like text"),
        (
            b"<!DOCTYPE html><html>404</html>",
            "it looks like an HTML or XML page, perhaps of a failed download",
        ),
        (b"PK\x03\x04rest", "it looks like an archive"),
        (b"\0" * 5000, "it begins with zero bytes only"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run 'git lfs pull'"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF of a kind that is not read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL photo, which is not read"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL photo, which is not read"),
        (b"FUJIFILMCCD-RAW 0201FF389501", "a camera raw photo, which is not read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a camera raw photo, which is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it looks like text"),
        (b"\xff\xd8\xff", "truncated JPEG"),
        (b"\xff\xd8\xff\xe0", "truncated JPEG"),
        (b"\xff\xd8\xff\xe0\x00\x00garbage that is no marker", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
    ],
)
def test_what_is_no_image_is_named(data, said):
    with pytest.raises(ImageError, match=r"^flower.jpg: ") as caught:
        decode(data, "flower.jpg")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_give_an_image_or_an_image_error():
    rng = np.random.default_rng(0)
    seeds = [encode(noise(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")]
    seeds.append(encode(rgba(), "PNG"))
    said = []
    for _ in range(400):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 8)):
            # Half of the damage goes to the headers, where it matters most.
            data[rng.integers(len(data) if rng.random() < 0.5 else 64)] = rng.integers(256)
        try:
            image = decode(bytes(data), "photo")
        except ImageError as error:
            said.append(str(error))
        else:
            assert image.dtype == np.uint8
            assert image.shape[2] == 3
    assert len(said) > 100
    assert not any("\n" in message for message in said)


def test_a_very_long_image():
    # OpenCV refuses sides above 2**20.
    tall = np.zeros((2**20 + 8, 1, 3), np.uint8)
    tall[:, :, 0] = 200
    np.testing.assert_array_equal(decode(encode(tall, "PNG"), "photo"), tall)


def bomb_png(height, width):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def bomb_gif(height, width):
    return b"GIF89a" + struct.pack("<HH", width, height) + encode(gradient(), "GIF")[10:]


@pytest.mark.parametrize(
    "data",
    [
        bomb_png(30_000, 30_000),
        bomb_gif(60_000, 60_000),
    ],
    ids=["png", "gif"],
)
def test_a_decompression_bomb_is_refused(data):
    with pytest.raises(
        ImageError,
        match=r"more than the 178,956,970 pixels that ppclas reads; shrink the image first",
    ):
        decode(data, "photo")


def wide_frame_gif(height, width):
    """A GIF of 60x90 whose first frame is larger than its canvas."""
    data = encode(gradient(), "GIF")
    frame = b"," + struct.pack("<HHHH", 0, 0, 90, 60)
    assert frame in data
    return data.replace(frame, b"," + struct.pack("<HHHH", 0, 0, width, height))


@pytest.mark.parametrize(
    "data",
    [
        bomb_png(13_000, 13_000),
        bomb_gif(13_000, 13_000),
        bomb_gif(10_000, 10_000),
        wide_frame_gif(13_000, 13_000),
    ],
    ids=["png", "gif", "small gif", "frame beyond its canvas"],
)
def test_a_few_bytes_do_not_claim_a_gigabyte(data):
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"pixels in [0-9,]+ bytes; a file so small"):
        decode(data, "photo")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_large_blank_page_is_read():
    page = np.full((6000, 6000), 255, np.uint8)
    assert decode(encode(page, "PNG"), "photo").shape == (6000, 6000, 3)


@pytest.mark.parametrize("junk", [b"\0", b"\0\1\2\3\4", b"\xff\0\xff\0", b"\xff" * 9, bytes(5000)])
@pytest.mark.parametrize("kind", [b"\xe0", b"\xdb", b"\xc0", b"\xc4"])
def test_stray_bytes_between_segments_are_skipped_as_viewers_do(junk, kind):
    plain = encode(gradient(), "JPEG")
    at = plain.index(b"\xff" + kind)
    at += 2 + int.from_bytes(plain[at + 2 : at + 4], "big")  # behind that segment
    odd = plain[:at] + junk + plain[at:]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(odd)).convert("RGB")), decode(plain, "a")
    )
    np.testing.assert_array_equal(decode(odd, "odd"), decode(plain, "plain"))


def test_large_images_below_the_limit_are_read_without_a_word(monkeypatch, recwarn):
    # Pillow warns from MAX_IMAGE_PIXELS on and refuses from twice that.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert decode(encode(gradient(), "GIF"), "photo").shape == (60, 90, 3)
    assert not recwarn.list
    monkeypatch.setattr(decode_module, "MAX_PIXELS", 5000)
    with pytest.raises(ImageError, match=r"60x90 is more than"):
        decode(encode(gradient(), "JPEG"), "photo")


def heif(image, tmp_path, **options):
    """The bytes of a HEIC photo, by libheif."""
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = pillow_heif.from_pillow(Image.fromarray(image))
    picture.save(tmp_path / "x.heic", quality=90, **options)
    return (tmp_path / "x.heic").read_bytes()


def test_a_heic_photo_is_what_libheif_shows(tmp_path):
    data = heif(gradient(), tmp_path)
    assert data[4:12] == b"ftypheic"
    pixels = decode(data, "photo")
    assert np.abs(pixels.astype(int) - gradient()).mean() < 3
    import pillow_heif

    assert np.array_equal(pixels, np.asarray(pillow_heif.open_heif(data).to_pillow()))
    assert count_frames(data) == 1
    assert size_in_header(data, "photo") == (60, 90)
    with pytest.raises(ImageError, match=r"^photo: "):
        decode(data[: len(data) // 2], "photo")


def test_a_heic_photo_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # a quarter to the right
    data = heif(gradient(), tmp_path, exif=exif.tobytes())
    upright = np.rot90(gradient(), -1)
    assert np.abs(decode(data, "photo").astype(int) - upright).mean() < 3


def test_without_its_reader_a_heic_photo_names_the_extra(tmp_path, monkeypatch):
    data = heif(gradient(), tmp_path)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats.reads_heic.cache_clear()
    try:
        with pytest.raises(ImageError, match=r"a HEIC photo; .* pip install 'ppclas-data\[heic\]'"):
            decode(data, "photo")
    finally:
        formats.reads_heic.cache_clear()


@pytest.mark.parametrize("signature", ["0000000c6a502020", "ff4fff51"])
def test_a_pillow_without_jpeg_2000(signature):
    named = formats.format_not_read(bytes.fromhex(signature), ("JPEG", "PNG"))
    assert named.startswith("a JPEG 2000 photo, which this Pillow does not read")


def test_an_avif_is_read():
    assert np.abs(decode(encode(gradient(), "AVIF"), "photo").astype(int) - gradient()).mean() < 3


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}])
def test_the_thumbnail_in_a_raw_file_is_no_photo(tags):
    raw = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        raw.tagtype[tag] = 1 if isinstance(value, bytes) else 4
        raw[tag] = value
    data = encode(gradient(), "TIFF", tiffinfo=raw)
    with pytest.raises(ImageError, match="a camera raw photo, which is not read; export it"):
        decode(data, "photo.nef")

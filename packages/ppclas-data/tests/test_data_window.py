"""Decoding no more than is used: the same pixels at the same scale, better ones when shrunk."""

import cv2
import numpy as np
import pytest
from PIL import Image
from ppclas_core.contracts.data import ImageSet, Record, sample_draw
from ppclas_data.builtin import builtin_photos
from ppclas_data.decoding import jpeg
from ppclas_data.decoding.decode import decode, decode_window
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.worker import PipelineReader
from ppclas_data.transforms.basic import (
    CenterCrop,
    Normalize,
    RandomFlip,
    RandomResizedCrop,
    Resize,
)
from ppclas_data.transforms.window import Window

SAMPLINGS = {
    "4:4:4": 0x111111,
    "4:2:2": 0x211111,
    "4:2:0": 0x221111,
    "4:1:1": 0x411111,
    "4:4:0": 0x121111,
}


@pytest.fixture(params=["simplejpeg", "OpenCV"])
def decoder(request, monkeypatch):
    """Both decoders, whichever is installed."""
    if request.param == "OpenCV":
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    elif jpeg.simplejpeg is None:
        pytest.skip("needs the extra ppclas-data[turbo]")
    return request.param


def photo(height, width):
    """Real photos side by side, [height, width, 3] RGB."""
    tiles = [
        decode(path.read_bytes(), "photo")[:128, :128]
        for path in sorted(builtin_photos().rglob("*.jpg"))[::9]
    ]
    rows, columns = -(-height // 128), -(-width // 128)
    picked = [
        np.hstack([tiles[(row * columns + i) % len(tiles)] for i in range(columns)])
        for row in range(rows)
    ]
    return np.vstack(picked)[:height, :width]


def as_jpeg(pixels, sampling="4:2:0", progressive=False):
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling]]
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), options)[1].tobytes()


def turned(data, orientation):
    """The same JPEG with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"Exif\0\0" + exif.tobytes()
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def peak_signal_to_noise(image, reference):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - reference) ** 2))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_window_at_full_scale_has_the_pixels_of_the_whole_photo(
    decoder, sampling, progressive, capfd
):
    data = as_jpeg(photo(93, 121), sampling, progressive)
    whole = decode(data, "photo")
    for bottom in range(3, 94, 2):  # the decoder ends below the window
        got, _ = decode_window(
            data, "photo", lambda h, w, bottom=bottom: Window(1, 7, bottom - 1, 90, (200, 200))
        )
        np.testing.assert_array_equal(got, whole[1:bottom, 7:97])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(200, 200), (40, 40)], ids=["full", "half"])
def test_a_window_of_a_turned_photo(decoder, orientation, size):
    data = turned(as_jpeg(photo(192, 240)), orientation)
    whole = decode(data, "photo")
    height, width = whole.shape[:2]
    assert (height, width) == ((192, 240) if orientation < 5 else (240, 192))
    window = Window(16, 48, height - 64, width - 96, size)
    got, _ = decode_window(data, "photo", lambda h, w: window)
    expected = whole[16 : height - 48, 48 : width - 48]
    if size == (40, 40):
        assert got.shape[:2] == ((height - 64) // 2, (width - 96) // 2)
        expected = cv2.resize(expected, got.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert peak_signal_to_noise(got, expected) > 35
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((225, 100), (448, 640)),
        ((224, 320), (224, 320)),
        ((112, 161), (224, 320)),
        ((56, 80), (56, 80)),
        (16, (56, 80)),
    ],
)
def test_never_fewer_pixels_than_the_resize_wants(decoder, size, shape):
    data = as_jpeg(photo(448, 640))
    size = (size, size) if isinstance(size, int) else size
    got, window = decode_window(data, "photo", lambda h, w: Window(0, 0, h, w, size))
    assert got.shape[:2] == shape
    assert window.resize(got).shape == (*size, 3)
    exact, _ = decode_window(data, "photo", lambda h, w: Window(0, 0, h, w, size, "nearest"))
    assert exact.shape[:2] == (448, 640)


@pytest.mark.parametrize("side", [224, 150, 100, 60])
def test_a_reduced_decode_is_nearer_to_an_area_resize_than_a_full_one(decoder, side):
    pixels = photo(512, 640)
    data = as_jpeg(pixels)
    reference = cv2.resize(decode(data, "photo"), (side, side), interpolation=cv2.INTER_AREA)
    plain = cv2.resize(decode(data, "photo"), (side, side))
    got = Pipeline([Resize(size=side)])(data, sample_draw(0, 0, 0), "photo")
    assert peak_signal_to_noise(got, reference) > max(27, peak_signal_to_noise(plain, reference))


def test_both_decoders_give_the_same_pixels(monkeypatch):
    if jpeg.simplejpeg is None:
        pytest.skip("needs the extra ppclas-data[turbo]")
    data = [
        as_jpeg(photo(400 + 13 * i, 300 + 40 * i), sampling) for i, sampling in enumerate(SAMPLINGS)
    ]
    pipeline = Pipeline([RandomResizedCrop(size=96)])
    fast = [
        pipeline(one, sample_draw(0, epoch, i), "photo")
        for epoch in range(8)
        for i, one in enumerate(data)
    ]
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    plain = [
        pipeline(one, sample_draw(0, epoch, i), "photo")
        for epoch in range(8)
        for i, one in enumerate(data)
    ]
    np.testing.assert_array_equal(np.stack(fast), np.stack(plain))


def test_what_is_drawn_does_not_depend_on_the_format():
    pixels = photo(150, 200)
    png = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
    pipeline = Pipeline([RandomResizedCrop(size=160), CenterCrop(size=150)])
    for index in range(5):
        from_jpeg, from_png = (
            pipeline(data, sample_draw(0, 0, index), "photo")
            for data in (as_jpeg(pixels, "4:4:4"), png)
        )
        assert peak_signal_to_noise(from_jpeg, from_png) > 27  # only what JPEG loses


def test_a_subclass_with_a_call_of_its_own_is_called():
    class Twice(Resize):
        def __call__(self, image, draw):
            return super().__call__(image, draw)[:, ::-1]

    data = as_jpeg(photo(64, 64))
    plain, mirrored = (
        Pipeline([kind(size=64)])(data, sample_draw(0, 0, 0), "photo") for kind in (Resize, Twice)
    )
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


class Mirror(RandomFlip):
    """A stranger's transform, which hands out a view with strides that are negative."""

    def __call__(self, image, draw):
        return super().__call__(image, draw)[::-1]


@pytest.mark.parametrize(
    "transforms",
    [
        (RandomResizedCrop(size=48), RandomFlip()),
        (RandomResizedCrop(size=48, sampling="ten_tries"), Mirror(), RandomFlip(axis="both")),
        (
            Resize(size=64),
            RandomFlip(axis="vertical", probability=1.0),
        ),  # as large as the photos: nothing to resize
        (Resize(short=72), CenterCrop(size=64), RandomFlip()),
        (RandomResizedCrop(size=64), RandomFlip(), Normalize()),
    ],
    ids=str,
)
def test_a_row_of_a_batch_is_what_its_photo_becomes_alone(tmp_path, transforms):
    # A batch is written row by row into the memory that the resize already fills.
    pixels = photo(64, 64 * 6)
    paths = [tmp_path / f"{i}.jpg" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(as_jpeg(pixels[:, 64 * i :][:, :64]))
    paths[2].write_bytes(b"no photo")
    records = tuple(Record(str(path), 0, path.name) for path in paths)
    pipeline = Pipeline(transforms)
    read = PipelineReader(ImageSet((), ("one",), "test"), pipeline, seed=4, epochs=1).read(
        0, range(6), records
    )
    assert read.indices.tolist() == [0, 1, 3, 4, 5]
    for image, index in zip(read.images, read.indices.tolist(), strict=True):
        np.testing.assert_array_equal(
            image, pipeline(paths[index].read_bytes(), sample_draw(4, 0, index), "photo")
        )


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_antialiased_as_pillow_does(kernel):
    image = np.random.default_rng(0).integers(0, 256, (301, 203, 3), np.uint8)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    resize = Resize(short=64, interpolation=kernel, antialias=True)
    found = Pipeline((resize,))(data, sample_draw(0, 0, 0), "photo")
    expected = Image.fromarray(image).resize((64, 95), Image.Resampling[kernel.upper()])
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_antialiasing_starts_from_every_pixel_of_a_jpeg():
    image = np.full((256, 256, 3), 128, np.uint8)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    window = Window(0, 0, 256, 256, (32, 32), "bicubic", antialias=True)
    pixels, _ = decode_window(data, "photo", lambda height, width: window)
    assert pixels.shape == (256, 256, 3)

"""DALI against the worker processes on real photos; what is said and done where it cannot read."""

import re
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from ppclas_augment.automatic import RandAugment
from ppclas_augment.dali import Dali
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import ImageSet, Record, sample_draw
from ppclas_core.contracts.readers import Request
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.worker import PipelineReader
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.splits import open_splits
from ppclas_data.testing import check_reader
from ppclas_data.transforms.basic import (
    CenterCrop,
    Normalize,
    RandomFlip,
    RandomResizedCrop,
    Resize,
)
from ppclas_data.transforms.framing import Letterbox, RandomCrop

SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "imagenet-sample"
TRAIN = (RandomResizedCrop(size=64), RandomFlip())
ON_CPU = Dali(device="cpu")


@pytest.fixture
def dali():
    return pytest.importorskip(
        "nvidia.dali", reason="NVIDIA DALI is not installed: pip install ppclas-augment[dali]"
    )


@pytest.fixture(scope="module")
def photos():
    return open_splits(DataSection()).train.subset(range(24))


@pytest.fixture(scope="module")
def sample():
    """Photos of ImageNet, about 340 x 256."""
    if not SAMPLE.is_dir():
        pytest.skip(f"{SAMPLE} is not here")
    return open_image_set(str(SAMPLE / "val_list.txt")).subset(range(24))


def read(images, transforms, reader=None, *, batch=10, epoch=0, start=0, workers=2, **options):
    said = []
    with Loader(
        images,
        Pipeline(transforms),
        batch,
        workers=workers if reader else 0,
        reader=reader,
        on_note=said.append,
        **options,
    ) as loader:
        batches = list(loader.epoch(epoch, start))
    return batches, said


def assert_dali_read(said):
    assert len(said) == 1
    assert re.fullmatch(r"the photos are read by NVIDIA DALI [\d.]+ on the CPU, 2 threads", said[0])


def places(batches):
    return [(b.position, b.labels.tolist(), b.indices.tolist()) for b in batches]


def differences(ours, theirs):
    """[N] mean absolute difference of the pixels of each picture, of 255."""
    pairs = [
        np.abs(a.images.astype(float) - b.images).mean(axis=(1, 2, 3))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return np.concatenate(pairs)


# The same pictures


def test_it_keeps_the_contract_of_readers(dali, tmp_path):
    check_reader(ON_CPU, tmp_path)


def test_batches_become_tensors_without_a_copy(dali, photos):
    """The way of a GPU's batches into Paddle, gone with DALI's memory on the CPU."""
    paddle = pytest.importorskip("paddle")
    plain = PipelineReader(photos, Pipeline(TRAIN), seed=0, epochs=1)
    requests = [
        Request(0, list(range(i, i + 4)), photos.records[i : i + 4], None) for i in range(0, 24, 4)
    ]
    with closing(ON_CPU.open(plain, 2, print)) as reader:
        arrays = [samples.images for samples in reader.read(requests)]
        reader._decoder._gpu = 0  # the pipeline is there already, and has no GPU
        tensors = [samples.images for samples in reader.read(requests)]
    assert all(isinstance(tensor, paddle.Tensor) for tensor in tensors)
    # Each has kept its memory while DALI went on.
    assert [
        (tensor.numpy() == array).all() for tensor, array in zip(tensors, arrays, strict=True)
    ] == [True] * 6


@pytest.mark.parametrize(
    ("transforms", "mean", "worst"),
    [
        # Boxes below twice the size: two decoders and two resizers that do the same arithmetic.
        ((RandomResizedCrop(size=224), RandomFlip()), 0.3, 1.0),
        (
            (RandomResizedCrop(size=(192, 256), interpolation="bicubic"), RandomFlip(axis="both")),
            1.0,
            4.0,
        ),
        (
            (RandomResizedCrop(size=224, interpolation="lanczos"), RandomFlip(axis="vertical")),
            1.0,
            4.0,
        ),
        ((Resize(short=256), CenterCrop(size=224)), 0.3, 1.0),
        ((Resize(short=200), CenterCrop(size=(233, 224), fill=(9, 99, 199))), 0.3, 1.0),
        ((Resize(size=(200, 224)),), 0.3, 1.0),
        ((Letterbox(size=223),), 0.3, 1.0),
    ],
    ids=lambda value: "+".join(type(t).__name__ for t in value) if isinstance(value, tuple) else "",
)
def test_the_pictures_of_the_workers(dali, sample, transforms, mean, worst):
    options = {"shuffle": True, "seed": 3, "epochs": 4, "epoch": 2}
    ours, _ = read(sample, transforms, **options)
    theirs, said = read(sample, transforms, ON_CPU, **options)
    assert_dali_read(said)
    assert places(theirs) == places(ours)
    found = differences(ours, theirs)
    assert found.mean() < mean
    assert found.max() < worst
    # As a measure: other boxes of the same photos are far from that.
    if isinstance(transforms[0], RandomResizedCrop):
        others, _ = read(sample, transforms, repeat_draws_after=1, **options)
        assert differences(ours, others).mean() > 10 * found.mean()


def test_boxes_that_are_made_much_smaller(dali, sample):
    """DALI's reduced pictures are no further from the mean of all pixels than ours."""
    crop = RandomResizedCrop(size=48)
    (ours,), _ = read(sample, (crop,), batch=24)
    (theirs,), _ = read(sample, (crop,), ON_CPU, batch=24)
    averaged = []
    for index, record in enumerate(sample.records):
        image = cv2.imread(record.path)[:, :, ::-1]
        top, left, height, width, *_ = crop.window(*image.shape[:2], sample_draw(0, 0, index))
        box = image[top : top + height, left : left + width]
        averaged.append(cv2.resize(box, (48, 48), interpolation=cv2.INTER_AREA))
    reference = replace(ours, images=np.stack(averaged))
    assert differences([theirs], [reference]).mean() < differences([ours], [reference]).mean() < 6
    assert differences([theirs], [ours]).mean() < 6


def test_the_same_bytes_with_any_number_of_threads_and_after_a_resume(dali, photos):
    options = {"shuffle": True, "seed": 1, "batch": 3}
    whole, _ = read(photos, TRAIN, ON_CPU, workers=1, **options)
    threads, _ = read(photos, TRAIN, ON_CPU, workers=3, **options)
    resumed, _ = read(photos, TRAIN, ON_CPU, start=5, **options)
    contents = [[b.images.tobytes() for b in batches] for batches in (whole, threads, resumed)]
    assert contents[0] == contents[1]
    assert contents[0][5:] == contents[2]
    assert places(resumed) == places(whole)[5:]


def test_an_epoch_left_in_the_middle(dali, photos):
    with Loader(photos, Pipeline(TRAIN), 3, workers=2, reader=ON_CPU) as loader:
        first = next(loader.epoch(0)).images
        assert [b.position for b in loader.epoch(0)] == list(range(8))
        assert (next(loader.epoch(0)).images == first).all()


@pytest.fixture
def unusual(tmp_path):
    """One picture in many files: every EXIF turn, with transparency, CMYK, grey, GIF, WebP."""
    y, x = np.mgrid[0:90, 0:130]
    upright = np.stack([x * 255 // 129, y * 255 // 89, (x + y) * 255 // 218], axis=2).astype(
        np.uint8
    )
    picture = Image.fromarray(upright)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / f"turned{orientation}.jpg", quality=95, exif=exif)
    clear = picture.convert("RGBA")
    clear.putalpha(Image.fromarray((x * 255 // 129).astype(np.uint8)))
    clear.save(tmp_path / "clear.png")
    picture.save(tmp_path / "plain.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    picture.convert("L").save(tmp_path / "grey.jpg", quality=95)
    picture.save(tmp_path / "palette.gif")
    picture.save(tmp_path / "web.webp", lossless=True)
    paths = sorted(tmp_path.iterdir())
    return ImageSet(tuple(Record(str(path), 0, path.name) for path in paths), ("a",), "unusual")


def test_unusual_files_look_the_same(dali, unusual):
    transforms = (RandomResizedCrop(size=48, scale=(0.1, 0.3)), RandomFlip())
    (ours,), _ = read(unusual, transforms, batch=20)
    (theirs,), said = read(unusual, transforms, ON_CPU, batch=20)
    assert_dali_read(said)
    found = differences([ours], [theirs])
    assert len(found) == 14
    assert found.max() < 1.5, dict(
        zip([r.where for r in unusual.records], found.round(2).tolist(), strict=True)
    )


@pytest.mark.gpu
def test_on_a_gpu_the_batch_stays_there(dali, sample):
    paddle = pytest.importorskip("paddle")
    if not paddle.device.is_compiled_with_cuda() or not paddle.device.cuda.device_count():
        pytest.skip("Paddle has no GPU here")
    paddle.set_device("gpu")
    transforms = (RandomResizedCrop(size=224), RandomFlip())
    ours, _ = read(sample, transforms)
    theirs, said = read(sample, transforms, Dali())
    assert "on GPU 0" in said[0]
    assert all(batch.images.place.is_gpu_place() for batch in theirs)
    assert places(theirs) == places(ours)
    found = differences(ours, [replace(batch, images=batch.images.numpy()) for batch in theirs])
    assert (
        found.mean() < 2
    )  # nvJPEG and libjpeg-turbo round differently and interpolate colours differently


# Bad images


@pytest.fixture
def spoilt(photos, tmp_path):
    """The photos; 5 is text, 11 is missing, 17 has damaged Huffman tables after its header."""
    records = list(photos.records)
    text, damaged = tmp_path / "text.jpg", tmp_path / "damaged.jpg"
    text.write_text("no image")
    data = bytearray(Path(records[17].path).read_bytes())
    table = data.index(b"\xff\xc4")
    data[table + 5 : table + 21] = b"\xff" * 16
    damaged.write_bytes(data)
    for index, path in ((5, text), (11, tmp_path / "missing.jpg"), (17, damaged)):
        records[index] = replace(records[index], path=str(path), where=f"list.txt:{index + 1}")
    return replace(photos, records=tuple(records))


def test_bad_images_are_left_out_and_reported_as_by_the_workers(dali, spoilt):
    reports = []
    for reader in (None, ON_CPU):
        bad = []
        batches, said = read(
            spoilt, TRAIN, reader, batch=6, max_bad_fraction=0.2, on_bad=bad.append
        )
        reports.append((places(batches), bad))
    assert reports[0] == reports[1]
    assert [b.index for b in reports[1][1]] == [5, 11, 17]
    assert_dali_read(said[:1])
    assert len(said) == 2
    assert said[1].startswith("DALI could not read a batch (")
    assert said[1].endswith("); it is read without DALI, as are others like it")
    assert "\n" not in said[1]


# Where it cannot read


class Stranger(RandomResizedCrop):
    """It may do more than its base class."""


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        (
            (RandomResizedCrop(size=32), RandAugment()),
            "RandAugment is more than it can do, which is RandomRes",
        ),
        (
            (RandomResizedCrop(size=32), RandomFlip(), Normalize()),
            "Normalize is more than it can do, which is",
        ),
        ((Stranger(size=32),), "Stranger is not what it can begin with; it can do"),
        ((RandomCrop(size=32),), "RandomCrop is not what it can begin with; it can do"),
        (
            (Resize(size=32, interpolation="area"),),
            "it has no interpolation 'area' as OpenCV has it, only bilinear, ",
        ),
    ],
)
def test_transforms_that_it_cannot_do(photos, transforms, reason):
    ours, _ = read(photos, transforms)
    theirs, said = read(photos, transforms, ON_CPU, workers=0)
    assert len(said) == 1
    assert said[0].startswith(f"the photos are read by the training process, not by dali: {reason}")
    assert (differences(ours, theirs) == 0).all()


def test_it_is_not_installed(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    ours, _ = read(photos, TRAIN)
    theirs, said = read(photos, TRAIN, ON_CPU, workers=1)
    assert len(said) == 1
    assert said[0].startswith(
        "the photos are read by 1 worker process, not by dali: it cannot be imported ("
    )
    assert said[0].endswith("pip install 'ppclas-augment[dali]'")
    assert (differences(ours, theirs) == 0).all()


def test_there_is_no_gpu(photos):
    paddle = pytest.importorskip("paddle")
    before = paddle.get_device()
    paddle.set_device("cpu")
    try:
        _, said = read(photos, TRAIN, Dali(), workers=0)
    finally:
        paddle.set_device(before)
    assert said == [
        "the photos are read by the training process, not by dali: Paddle has no GPU here "
        "(data.reader.device: cpu decodes with DALI on the CPU)"
    ]


def test_a_resize_that_leaves_several_sizes(photos):
    with Loader(
        photos, Pipeline((Resize(short=32),)), 2, reader=ON_CPU, on_note=(said := []).append
    ):
        assert "not by dali: Resize (short) alone leaves photos of several sizes" in said[0]

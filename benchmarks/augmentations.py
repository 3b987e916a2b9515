"""The augmentations against plain NumPy and Pillow, and against albumentations where it has the
operation.

``python benchmarks/augmentations.py [PHOTOS]``: PHOTOS is a folder of JPEGs (default:
../shared/data/flowers14/jpg). Needs ppclas-augment and PaddlePaddle; ``pip install albumentations``
into the same environment adds its columns. One thread. Methods take turns; the best CPU time of
several rounds with the same draws counts: what else the machine does matters little.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.metadata
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plain_augmentations as plain
from PIL import Image, ImageEnhance, ImageOps
from ppclas_augment import (
    AutoAugment,
    ColorJitter,
    CutMix,
    Cutout,
    GridMask,
    HideAndSeek,
    Mixup,
    RandAugment,
    RandomErasing,
)
from ppclas_augment import functional as ours
from ppclas_augment.policies import IMAGENET_POLICY, RANDAUGMENT_OPS
from ppclas_core.contracts.data import Draw

try:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
except ImportError:
    albumentations = None

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "flowers14" / "jpg"
SIZES = ((224, 224), (375, 500))
ROUNDS = 6
DRAWS = 16
"""Times that each photo is taken in a round: with few, how often a policy draws Equalize would
decide."""
BATCHES = 10
"""Batches a round: a single one would time one draw of boxes."""
DRAW = Draw(np.random.default_rng(0), epoch=99, epochs=100)
START = DRAW.rng.bit_generator.state
POLICY = [
    [(step.op, step.probability, step.magnitude) for step in steps] for steps in IMAGENET_POLICY
]

Method = Callable[[Any], object]


def single(length: int) -> dict[str, tuple[Method, Method | None, Any]]:
    """Name → ours, the plain one, and albumentations' transform (or None)."""

    def with_draw(transform: Callable[..., object]) -> Method:
        return lambda image: transform(image, DRAW)

    def peer(name: str, **params: object) -> Any:
        return getattr(albumentations, name)(p=1.0, **params) if albumentations else None

    erasing = {"scale": (0.02, 0.4), "ratio": (0.3, 1 / 0.3)}
    rows: dict[str, tuple[Method, Method | None, Any]] = {
        "AutoAugment": (
            with_draw(AutoAugment()),
            lambda image: plain.auto_augment(image, POLICY),
            None,
        ),
        "RandAugment": (
            with_draw(RandAugment()),
            lambda image: plain.rand_augment(image, RANDAUGMENT_OPS),
            None,
        ),
        "Cutout": (
            with_draw(Cutout(length=length)),
            lambda image: plain.cutout(image, length),
            peer(
                "CoarseDropout",
                num_holes_range=(1, 1),
                hole_height_range=(length, length),
                hole_width_range=(length, length),
                fill=plain.MEAN,
            ),
        ),
        "RandomErasing, noise": (
            with_draw(RandomErasing(probability=1.0, fill="pixels")),
            lambda image: plain.random_erasing(image, noise=True),
            peer("Erasing", **erasing, fill="random"),
        ),
        "RandomErasing, colour": (
            with_draw(RandomErasing(probability=1.0)),
            plain.random_erasing,
            peer("Erasing", **erasing, fill=plain.MEAN),
        ),
        "HideAndSeek": (with_draw(HideAndSeek()), plain.hide_and_seek, None),
        "GridMask": (with_draw(GridMask(probability=1.0)), plain.grid_mask, None),
        # albumentations' grid cannot be turned.
        "GridMask, straight": (
            with_draw(GridMask(probability=1.0, rotate=0, period=(96, 224))),
            None,
            peer("GridDropout", ratio=0.4, unit_size_range=(96, 224), fill=plain.MEAN),
        ),
    }
    return rows


def operations() -> dict[str, tuple[Method, Method | None, Any]]:
    """The same for the operations that policies are made of, where a peer has them."""

    def pillow(operation: Callable[[Image.Image], Image.Image]) -> Method:
        return lambda image: np.asarray(operation(Image.fromarray(image)))

    def peer(name: str, **params: object) -> Any:
        return getattr(albumentations, name)(p=1.0, **params) if albumentations else None

    nearest = {"interpolation": cv2.INTER_NEAREST, "fill": plain.GREY}
    jitter = ColorJitter(hue=0.1)
    return {
        "Equalize": (ours.equalize, pillow(ImageOps.equalize), peer("Equalize", mode="pil")),
        "AutoContrast": (
            ours.autocontrast,
            pillow(ImageOps.autocontrast),
            peer("AutoContrast", method="pil"),
        ),
        "Posterize": (
            lambda image: ours.posterize(image, 4),
            pillow(lambda picture: ImageOps.posterize(picture, 4)),
            peer("Posterize", num_bits=4),
        ),
        "Solarize": (
            lambda image: ours.solarize(image, 128),
            pillow(lambda picture: ImageOps.solarize(picture, 128)),
            peer("Solarize", threshold_range=(0.5, 0.5)),
        ),
        "Sharpness": (
            lambda image: ours.sharpness(image, 1.5),
            pillow(lambda picture: ImageEnhance.Sharpness(picture).enhance(1.5)),
            peer("Sharpen"),
        ),
        "Rotate": (
            lambda image: ours.rotate(image, 20, plain.GREY),
            pillow(lambda picture: picture.rotate(20, fillcolor=plain.GREY)),
            peer("Rotate", limit=(20, 20), border_mode=cv2.BORDER_CONSTANT, **nearest),
        ),
        "ShearX": (
            lambda image: ours.shear_x(image, 0.2, plain.GREY),
            pillow(
                lambda picture: picture.transform(
                    picture.size, Image.Transform.AFFINE, (1, 0.2, 0, 0, 1, 0), fillcolor=plain.GREY
                )
            ),
            peer("Affine", shear={"x": (11, 11), "y": (0, 0)}, **nearest),
        ),
        "ColorJitter": (
            lambda image: jitter(image, DRAW),
            None,
            peer("ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        ),
    }


def best(
    methods: Sequence[Method | None], images: Sequence[Any], peer: Any = None
) -> list[float | None]:
    """Microseconds of CPU time an image: each method in turn over all ``images``, the best round of
    each.
    """
    times: list[list[float]] = [[] for _ in methods]
    for _ in range(ROUNDS):
        for method, found in zip(methods, times, strict=True):
            if method is None:
                continue
            DRAW.rng.bit_generator.state = START
            random.seed(0)
            np.random.seed(0)
            if peer is not None:
                peer.set_random_seed(0)
            started = time.process_time()
            for image in images:
                method(image)
            found.append((time.process_time() - started) / len(images) * 1e6)
    return [min(found) if found else None for found in times]


def print_row(name: str, size: str, times: Sequence[float | None]) -> None:
    """Print one line: ours, and how many times as long the peers take."""
    mine, *others = times
    assert mine is not None
    cells = "".join(
        f"{'–':>14}{'':>7}" if other is None else f"{other:>14.0f}{other / mine:>6.1f}x"
        for other in others
    )
    print(f"{name:<24}{size:>14}{mine:>10.0f}{cells}".rstrip(), flush=True)


def load(folder: Path, height: int, width: int, count: int = 24) -> list[Any]:
    """RGB photos of one size."""
    files = sorted(folder.glob("*.jpg"))[:: max(1, len(list(folder.glob("*.jpg"))) // count)][
        :count
    ]
    if not files:
        sys.exit(f"no JPEGs in {folder}: give a folder of photos")
    pictures = [cv2.imread(str(file))[:, :, ::-1] for file in files]
    return [
        cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in pictures
    ]


def batches() -> None:
    """Mixup and CutMix of 32 normalised photos on the CPU."""
    import paddle
    from ppclas_core.contracts.training import Targets

    paddle.set_device("cpu")
    images = np.random.default_rng(0).standard_normal((32, 3, 224, 224)).astype(np.float32)
    labels = np.arange(32)
    tensors, targets = paddle.to_tensor(images), Targets(paddle.to_tensor(labels))
    for name, mix, peer in (("Mixup", Mixup(), plain.mixup), ("CutMix", CutMix(), plain.cutmix)):
        methods = [
            lambda _, mix=mix: mix(tensors, targets, DRAW),
            lambda _, peer=peer: peer(images, labels),
            None,
        ]
        print_row(name, "32x3x224x224", best(methods, [None] * BATCHES))


def main() -> None:
    """Print one table."""
    cv2.setNumThreads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS
    versions = {
        name: importlib.metadata.version(name)
        for name in ("numpy", "pillow", "opencv-python-headless")
    }
    if albumentations:
        versions["albumentations"] = albumentations.__version__
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(
        f"{'microseconds':<24}{'size':>14}{'ppclas':>10}{'plain':>14}{'':>7}{'albumentations':>14}"
    )
    for height, width in SIZES:
        images = load(folder, height, width)
        for table in (single(min(height, width) // 2), operations()):
            for name, (mine, other, peer) in table.items():
                apply = (lambda image, peer=peer: peer(image=image)["image"]) if peer else None
                print_row(
                    name, f"{height}x{width}", best([mine, other, apply], images * DRAWS, peer)
                )
    batches()


if __name__ == "__main__":
    main()

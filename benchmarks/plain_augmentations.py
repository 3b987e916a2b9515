"""The eight augmentations as one writes them down from their papers, with NumPy and Pillow: the
peers of ours.

Each takes what ours takes, uint8 [H, W, 3] or a float32 batch [N, C, H, W], leaves it as it is,
draws from the same distributions and fills with the same colours.
"""

from __future__ import annotations

import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Photo = NDArray[np.uint8]
Batch = NDArray[np.float32]
Labels = NDArray[np.int64]

MEAN = (124, 116, 104)
GREY = (128, 128, 128)


def cutout(image: Photo, length: int = 112) -> Photo:
    """Fill a square around a random pixel."""
    height, width = image.shape[:2]
    y, x = random.randrange(height), random.randrange(width)
    out = image.copy()
    out[max(0, y - length // 2) : y + length // 2, max(0, x - length // 2) : x + length // 2] = MEAN
    return out


def random_erasing(image: Photo, noise: bool = False) -> Photo:
    """Fill a rectangle of random area and aspect."""
    height, width = image.shape[:2]
    for _ in range(100):
        area = random.uniform(0.02, 0.4) * height * width
        aspect = random.uniform(0.3, 1 / 0.3)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            out = image.copy()
            out[top : top + h, left : left + w] = (
                np.random.randint(0, 256, (h, w, 3)) if noise else MEAN
            )
            return out
    return image


def hide_and_seek(image: Photo) -> Photo:
    """Hide the cells of a random grid by chance."""
    height, width = image.shape[:2]
    cell = random.choice((0, 16, 32, 44, 56))
    if cell == 0:
        return image
    out = image.copy()
    for y in range(0, height, cell):
        for x in range(0, width, cell):
            if random.random() < 0.5:
                out[y : y + cell, x : x + cell] = MEAN
    return out


def grid_mask(image: Photo, ratio: float = 0.6) -> Photo:
    """Remove the squares of a turned grid."""
    height, width = image.shape[:2]
    side = math.ceil(math.hypot(height, width))
    shorter = min(height, width)
    period = random.randint(round(shorter * 3 / 7), shorter)
    bar = int(period * ratio + 0.5)
    down, right = random.randrange(period), random.randrange(period)
    mask = np.ones((side, side), np.uint8)
    for i in range(-1, side // period + 1):
        top, left = max(0, i * period + down), max(0, i * period + right)
        mask[top : max(0, i * period + down + bar)] = 0
        mask[:, left : max(0, i * period + right + bar)] = 0
    mask = np.asarray(Image.fromarray(mask).rotate(random.randrange(360)))
    top, left = (side - height) // 2, (side - width) // 2
    mask = 1 - mask[top : top + height, left : left + width]
    return np.where(mask[:, :, None] == 1, image, np.array(MEAN, np.uint8))


def _signed(value: float) -> float:
    return value if random.random() < 0.5 else -value


def _affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, fillcolor=GREY)


def _operation(
    picture: Image.Image, name: str, level: float, bits: int, threshold: float
) -> Image.Image:
    """One operation; ``level`` in 0..1."""
    if name == "ShearX":
        return _affine(picture, (1, _signed(0.3 * level), 0, 0, 1, 0))
    if name == "ShearY":
        return _affine(picture, (1, 0, 0, _signed(0.3 * level), 1, 0))
    if name == "TranslateX":
        return _affine(picture, (1, 0, _signed(150 / 331 * level) * picture.width, 0, 1, 0))
    if name == "TranslateY":
        return _affine(picture, (1, 0, 0, 0, 1, _signed(150 / 331 * level) * picture.height))
    if name == "Rotate":
        return picture.rotate(_signed(30 * level), fillcolor=GREY)
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return getattr(ImageEnhance, name)(picture).enhance(1 + _signed(0.9 * level))
    if name == "Posterize":
        return ImageOps.posterize(picture, bits)
    if name == "Solarize":
        return ImageOps.solarize(picture, threshold)
    if name == "AutoContrast":
        return ImageOps.autocontrast(picture)
    if name == "Equalize":
        return ImageOps.equalize(picture)
    if name == "Invert":
        return ImageOps.invert(picture)
    return picture


POSTERIZE = (8, 8, 7, 7, 6, 6, 5, 5, 4, 4)


def auto_augment(image: Photo, policy: list[list[tuple[str, float, float]]]) -> Photo:
    """Apply a random row of ``policy``: rows of (operation, probability, magnitude)."""
    picture = Image.fromarray(image)
    for name, probability, magnitude in random.choice(policy):
        if random.random() < probability:
            level = magnitude / 9
            picture = _operation(picture, name, level, POSTERIZE[int(magnitude)], 256 * (1 - level))
    return np.asarray(picture)


def rand_augment(
    image: Photo, names: tuple[str, ...], layers: int = 2, magnitude: float = 9
) -> Photo:
    """Apply random operations of one strength."""
    picture = Image.fromarray(image)
    level = magnitude / 10
    for name in random.choices(names, k=layers):
        picture = _operation(picture, name, level, 8 - int(4 * level), 255 * (1 - level))
    return np.asarray(picture)


def _partners(count: int) -> Labels:
    order = np.random.permutation(count)
    partners = np.empty(count, int)
    partners[order] = np.roll(order, 1)
    return partners


def mixup(images: Batch, labels: Labels, alpha: float = 0.2) -> tuple[Batch, Labels, Batch]:
    """Blend each image with another one."""
    partners = _partners(len(images))
    weight = np.random.beta(alpha, alpha, len(images)).astype(np.float32)
    share = weight[:, None, None, None]
    return share * images + (1 - share) * images[partners], labels[partners], weight


def cutmix(images: Batch, labels: Labels, alpha: float = 1.0) -> tuple[Batch, Labels, Batch]:
    """Paste a box of another image into each."""
    count, _, height, width = images.shape
    partners = _partners(count)
    mixed, weight = images.copy(), np.empty(count, np.float32)
    for i, share in enumerate(np.random.beta(alpha, alpha, count)):
        h, w = int(height * math.sqrt(1 - share)), int(width * math.sqrt(1 - share))
        y, x = random.randrange(height), random.randrange(width)
        top, left = max(0, y - h // 2), max(0, x - w // 2)
        bottom, right = min(height, y - h // 2 + h), min(width, x - w // 2 + w)
        mixed[i, :, top:bottom, left:right] = images[partners[i], :, top:bottom, left:right]
        weight[i] = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, labels[partners], weight

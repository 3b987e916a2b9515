"""The operations of the automatic augmentations, their ranges, and AutoAugment's sub-policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from ppclas_core.config.schema import Fraction
from ppclas_core.contracts.data import Image
from ppclas_core.params import Params
from pydantic import Field, model_validator

from ppclas_augment import functional
from ppclas_augment.functional import Resampling

Op = Literal[
    "Identity",
    "AutoContrast",
    "Equalize",
    "Rotate",
    "Solarize",
    "Color",
    "Posterize",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Invert",
    "SolarizeAdd",
]
"""The operations under the papers' names: RandAugment's 14, Invert, which only AutoAugment has, and
SolarizeAdd, which came with AutoAugment for detection."""

RANDAUGMENT_OPS: tuple[Op, ...] = get_args(Op)[:14]
AUGMIX_OPS: tuple[Op, ...] = (
    "AutoContrast",
    "Equalize",
    "Posterize",
    "Rotate",
    "Solarize",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
"""Without what the corruptions of ImageNet-C resemble: brightness, contrast, colour, sharpness."""


@dataclass(frozen=True)
class Range:
    """The values of an operation, from the weakest to the strongest, in even steps."""

    weakest: float
    strongest: float
    signed: bool = False
    """The negative value is as likely as the positive one."""
    whole: Literal["no", "nearest", "up", "down"] = "no"
    """How the value is rounded to a whole number."""

    def at(self, strength: float) -> float:
        """The value at ``strength`` in 0..1."""
        value = self.weakest + (self.strongest - self.weakest) * strength
        if self.whole == "up":
            return math.ceil(round(value, 9))
        if self.whole == "down":
            return math.floor(round(value, 9))
        return round(value) if self.whole == "nearest" else value


# Units: shear: pixels a pixel; translate: share of the side; rotate: degrees; colours: factor minus
# 1; posterize: bits kept; solarize: threshold. Operations that are not listed have no strength.

IMAGENET_RANGES: Mapping[str, Range] = {
    "ShearX": Range(0, 0.3, signed=True),
    "ShearY": Range(0, 0.3, signed=True),
    "TranslateX": Range(0, 150 / 331, signed=True),  # 150 pixels of the paper's 331
    "TranslateY": Range(0, 150 / 331, signed=True),
    "Rotate": Range(0, 30, signed=True),
    "Color": Range(0, 0.9, signed=True),
    "Contrast": Range(0, 0.9, signed=True),
    "Brightness": Range(0, 0.9, signed=True),
    "Sharpness": Range(0, 0.9, signed=True),
    "Posterize": Range(8, 4, whole="nearest"),
    "Solarize": Range(256, 0),
    "SolarizeAdd": Range(0, 110, whole="down"),
}
"""AutoAugment, table 6 of the paper: ten magnitudes, 0 to 9."""

ORIGINAL_RANGES: Mapping[str, Range] = {
    **IMAGENET_RANGES,
    # The factor is 0.1 + 1.8 · magnitude / 10: from nearly none to more, never signed.
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), Range(-0.9, 0.72)),
}
"""AutoAugment with the colour factors of its authors' code, in which magnitude 0 is the
strongest."""

RANDAUGMENT_RANGES: Mapping[str, Range] = {
    **IMAGENET_RANGES,
    "Posterize": Range(8, 4, whole="up"),
}
"""RandAugment: magnitudes 0 to 10. Every operation gets stronger with the magnitude."""

TRIVIAL_RANGES: Mapping[str, Range] = {
    "ShearX": Range(0, 0.99, signed=True),
    "ShearY": Range(0, 0.99, signed=True),
    "TranslateX": Range(0, 32 / 224, signed=True),  # 32 pixels of the paper's 224
    "TranslateY": Range(0, 32 / 224, signed=True),
    "Rotate": Range(0, 135, signed=True),
    "Color": Range(0, 0.99, signed=True),
    "Contrast": Range(0, 0.99, signed=True),
    "Brightness": Range(0, 0.99, signed=True),
    "Sharpness": Range(0, 0.99, signed=True),
    "Posterize": Range(8, 2, whole="nearest"),
    "Solarize": Range(256, 0),
    "SolarizeAdd": Range(0, 110, whole="down"),
}
"""TrivialAugment, the wide space: 31 strengths."""

TIMM_RANGES: Mapping[str, Range] = {
    "ShearX": Range(0, 0.3, signed=True),
    "ShearY": Range(0, 0.3, signed=True),
    "TranslateX": Range(0, 0.45, signed=True),
    "TranslateY": Range(0, 0.45, signed=True),
    "Rotate": Range(0, 30, signed=True),
    "Color": Range(0, 0.9, signed=True),
    "Contrast": Range(0, 0.9, signed=True),
    "Brightness": Range(0, 0.9, signed=True),
    "Sharpness": Range(0, 0.9, signed=True),
    "Posterize": Range(4, 0, whole="up"),
    "Solarize": Range(256, 0),
    "SolarizeAdd": Range(0, 110, whole="down"),
}
"""timm's RandAugment with ``inc1``: magnitudes 0 to 10, all stronger with the magnitude."""

TIMM_PLAIN_RANGES: Mapping[str, Range] = {
    **TIMM_RANGES,
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), Range(-0.9, 0.9)),
    "Posterize": Range(0, 4, whole="down"),
    "Solarize": Range(0, 256, whole="down"),
}
"""timm's RandAugment without ``inc1``: some operations get weaker with the magnitude."""

TIMM_OPS: tuple[Op, ...] = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
"""What timm's RandAugment draws from."""

AUGMIX_RANGES: Mapping[str, Range] = {
    "ShearX": Range(0, 0.3, signed=True),
    "ShearY": Range(0, 0.3, signed=True),
    "TranslateX": Range(0, 1 / 3, signed=True),
    "TranslateY": Range(0, 1 / 3, signed=True),
    "Rotate": Range(0, 30, signed=True),
    "Posterize": Range(4, 0, whole="up"),
    "Solarize": Range(256, 0),
}
"""AugMix, the authors' code: severities up to 10."""


class Step(Params):
    """One operation of a sub-policy."""

    op: Op
    """The operation."""
    probability: Fraction = 1.0
    """Share of the images that it is applied to."""
    magnitude: Annotated[float, Field(ge=0, le=9)] | None = None
    """Strength, 0 to 9. AutoContrast, Equalize, Invert and Identity have none, and ignore it."""

    @model_validator(mode="after")
    def _has_its_magnitude(self) -> Step:
        if self.op in IMAGENET_RANGES and self.magnitude is None:
            raise ValueError(f"{self.op} needs a magnitude, 0 (weakest) to 9 (strongest)")
        return self


Policy = tuple[tuple[Step, ...], ...]
"""Sub-policies, one of which is drawn for each image; its steps are applied in order."""

_IMAGENET: tuple[tuple[tuple[Op, float, int], tuple[Op, float, int]], ...] = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)
"""(operation, probability, magnitude) twice a row; the last five repeat rows 4, 1, 13, 14 and 2, as
in the paper."""

IMAGENET_POLICY: Policy = tuple(
    tuple(
        Step(op=op, probability=probability, magnitude=magnitude)
        for op, probability, magnitude in row
    )
    for row in _IMAGENET
)
"""The policy that AutoAugment found on ImageNet, table 9 of the paper."""


@dataclass(frozen=True)
class Look:
    """What operations need beside their value."""

    fill: tuple[int, int, int]
    """Colour of what an image does not reach after a shift or a turn, RGB in 0..255."""
    resampling: Resampling


_OPERATIONS: Mapping[str, Callable[[Image, float, Look], Image]] = {
    "Identity": lambda image, _, __: image,
    "AutoContrast": lambda image, _, __: functional.autocontrast(image),
    "Equalize": lambda image, _, __: functional.equalize(image),
    "Invert": lambda image, _, __: functional.invert(image),
    # With no bit left the image would be black.
    "Posterize": lambda image, bits, _: functional.posterize(image, max(1, int(bits))),
    "Solarize": lambda image, threshold, _: functional.solarize(image, threshold),
    "SolarizeAdd": lambda image, added, _: functional.solarize_add(image, int(added)),
    "Color": lambda image, more, _: functional.saturation(image, 1 + more),
    "Contrast": lambda image, more, _: functional.contrast(image, 1 + more),
    "Brightness": lambda image, more, _: functional.brightness(image, 1 + more),
    "Sharpness": lambda image, more, _: functional.sharpness(image, 1 + more),
    "ShearX": lambda image, slope, look: functional.shear_x(
        image, slope, look.fill, look.resampling
    ),
    "ShearY": lambda image, slope, look: functional.shear_y(
        image, slope, look.fill, look.resampling
    ),
    "TranslateX": lambda image, share, look: functional.translate(
        image, round(share * image.shape[1]), 0, look.fill
    ),
    "TranslateY": lambda image, share, look: functional.translate(
        image, 0, round(share * image.shape[0]), look.fill
    ),
    "Rotate": lambda image, degrees, look: functional.rotate(
        image, degrees, look.fill, look.resampling
    ),
}


def apply_operations(image: Image, operations: Sequence[tuple[Op, float]], look: Look) -> Image:
    """``image`` [H, W, 3] uint8 after operations with their values (0: it has none), in order."""
    for op, value in operations:
        # A value that changes nothing costs nothing.
        if value or op not in _NEUTRAL_AT_ZERO:
            image = _OPERATIONS[op](image, value, look)
    return image


_NEUTRAL_AT_ZERO = frozenset(
    name for name, values in IMAGENET_RANGES.items() if values.weakest == 0
)

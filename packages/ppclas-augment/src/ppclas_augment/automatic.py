"""AutoAugment and its successors for uint8 [H, W, 3]: operations of random kind and strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import cv2
import numpy as np
from ppclas_core.config.schema import Fraction
from ppclas_core.contracts.data import Draw, Image, Transform
from ppclas_core.errors import ShapeError
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ppclas_augment import functional
from ppclas_augment.functional import Resampling
from ppclas_augment.policies import (
    AUGMIX_OPS,
    AUGMIX_RANGES,
    IMAGENET_POLICY,
    IMAGENET_RANGES,
    ORIGINAL_RANGES,
    RANDAUGMENT_OPS,
    RANDAUGMENT_RANGES,
    TRIVIAL_RANGES,
    Look,
    Op,
    Policy,
    Range,
    apply_operations,
)

Channel = Annotated[int, Field(ge=0, le=255)]
Operation = tuple[Op, float]


class Automatic(Transform):
    """What the automatic augmentations share."""

    fill: tuple[Channel, Channel, Channel] = (128, 128, 128)
    """Colour where a shift or a turn leaves nothing, RGB in 0..255."""
    resampling: Resampling = "nearest"
    """Of shears and rotations; the papers' code takes the nearest pixel, but for AugMix."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        check_pixels(image, type(self).__name__)
        return apply_operations(image, self.draw_operations(draw.rng), self._look)

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        """Operations and their values, for one image."""
        raise NotImplementedError

    @property
    def _look(self) -> Look:
        return Look(self.fill, self.resampling)


class AutoAugment(Automatic):
    """One of 25 pairs of operations found by search on ImageNet.

    Each step of the pair is done with its own probability and at its own magnitude. A policy of
    one's own is a list of lists of steps.

    Example:
        Pixels 200 inverted are 55:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> steps = [{"op": "Invert", "probability": 1.0}]
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> changed = AutoAugment(policy=[steps])(image, Draw(np.random.default_rng(0)))
        >>> changed.shape, changed[0, 0].tolist()
        ((8, 8, 3), [55, 55, 55])

    Paper: "AutoAugment: Learning Augmentation Policies from Data", Cubuk et al. 2018,
    https://arxiv.org/abs/1805.09501
    """

    policy: Literal["imagenet"] | Annotated[Policy, Field(min_length=1)] = "imagenet"
    """``imagenet``, or sub-policies of steps ``{op: Rotate, probability: 0.6, magnitude: 9}``."""
    variant: Literal["reference", "original"] = "reference"
    """Colour factors. reference: 1 ± 0.1 · magnitude, stronger with the magnitude. original: the
    authors' code,
    0.1 + 0.18 · magnitude, in which Color at magnitude 0 is nearly grey."""

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        policy = IMAGENET_POLICY if self.policy == "imagenet" else self.policy
        ranges = IMAGENET_RANGES if self.variant == "reference" else ORIGINAL_RANGES
        steps = policy[int(rng.random() * len(policy))]
        return tuple(
            (step.op, value_of(step.op, ranges, (step.magnitude or 0) / 9, sign))
            for step, (chance, sign) in zip(
                steps, rng.random((len(steps), 2)).tolist(), strict=True
            )
            if chance < step.probability
        )


class RandAugment(Automatic):
    """``num_layers`` operations at random, all of the strength ``magnitude / 10``.

    Example:
        One solarisation at full strength inverts every pixel, threshold ``256 · (1 - 10 / 10)``:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> solarize = RandAugment(ops=("Solarize",), num_layers=1, magnitude=10)
        >>> solarize(image, Draw(np.random.default_rng(0)))[0, 0].tolist()
        [55, 55, 55]

    Paper: "RandAugment: Practical automated data augmentation with a reduced search space", Cubuk
    et al. 2019, https://arxiv.org/abs/1909.13719
    """

    num_layers: PositiveInt = 2
    """Operations an image, drawn with replacement. N in the paper: 2 for ResNet-50."""
    magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0
    """Strength, 0 to 10. M in the paper: 9 for ResNet-50."""
    magnitude_std: NonNegativeFloat = 0.0
    """Standard deviation of the strength from operation to operation; stays within 0 to 10."""
    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = RANDAUGMENT_OPS
    """What is drawn from: the paper's 14."""

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        drawn = []
        for pick, sign in rng.random((self.num_layers, 2)).tolist():
            magnitude = self.magnitude
            if self.magnitude_std:
                magnitude = min(10.0, max(0.0, rng.normal(magnitude, self.magnitude_std)))
            op = self.ops[int(pick * len(self.ops))]
            drawn.append((op, value_of(op, RANDAUGMENT_RANGES, magnitude / 10, sign)))
        return tuple(drawn)


class TrivialAugment(Automatic):
    """One operation at the strength ``k / (num_strengths - 1)``, k uniform: nothing to tune.

    The wide ranges: shears to 0.99, rotations to 135 degrees.

    Example:
        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> invert = TrivialAugment(ops=("Invert",))
        >>> invert(image, Draw(np.random.default_rng(0)))[0, 0].tolist()
        [55, 55, 55]

    Paper: "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", Müller & Hutter
    2021, https://arxiv.org/abs/2103.10158
    """

    num_strengths: Annotated[int, Field(ge=2)] = 31
    """Strengths that are equally likely, from no effect to the strongest."""
    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = RANDAUGMENT_OPS
    """What is drawn from: the paper's 14."""

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        pick, level, sign = rng.random(3).tolist()
        op = self.ops[int(pick * len(self.ops))]
        strength = int(level * self.num_strengths) / (self.num_strengths - 1)
        return ((op, value_of(op, TRIVIAL_RANGES, strength, sign)),)


class AugMix(Automatic):
    """Several chains of operations, blended with the image: ``(1 - m) · x + m · Σ wᵢ · chainᵢ(x)``.

    The weights w are drawn from Dirichlet(alpha, …), m from Beta(alpha, alpha). The images only:
    the paper's consistency loss between three views is not part of it.

    Example:
        Whatever is drawn, a grey image is a blend of 200 and its inversion, 55:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> mixed = AugMix(ops=("Invert",), depth=1)(image, Draw(np.random.default_rng(0)))
        >>> mixed.shape, bool((55 <= mixed).all() and (mixed <= 200).all())
        ((8, 8, 3), True)

    Paper: "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
    Hendrycks et al. 2019, https://arxiv.org/abs/1912.02781
    """

    fill: tuple[Channel, Channel, Channel] = (0, 0, 0)
    """Colour where a shift or a turn leaves nothing, RGB in 0..255; black in the authors' code."""
    resampling: Resampling = "bilinear"
    """Of shears and rotations; bilinear in the authors' code."""
    severity: Annotated[float, Field(gt=0, le=10)] = 3.0
    """Largest strength, of 10."""
    width: PositiveInt = 3
    """Chains."""
    depth: PositiveInt | None = None
    """Operations a chain. Nothing: 1 to 3, equally likely."""
    alpha: PositiveFloat = 1.0
    """Of the Dirichlet distribution of the chains' weights, and of the Beta distribution of the
    image's."""
    ops: Annotated[tuple[Op, ...], Field(min_length=1)] = AUGMIX_OPS
    """What is drawn from."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        check_pixels(image, "AugMix")
        rng = draw.rng
        weights = rng.dirichlet([self.alpha] * self.width)
        share = rng.beta(self.alpha, self.alpha)
        chains = [self.draw_operations(rng) for _ in range(self.width)]
        mixed = image.astype(np.float32, order="C")  # OpenCV writes to it
        mixed *= 1.0 - share
        for chain, weight in zip(chains, weights.tolist(), strict=True):
            # In place: mixed += share · weight · what the chain makes of the image.
            cv2.scaleAdd(
                apply_operations(image, chain, self._look).astype(np.float32),
                share * weight,
                mixed,
                dst=mixed,
            )
        return cv2.convertScaleAbs(mixed).reshape(image.shape)  # rounds; nothing is negative

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        depth = self.depth or 1 + int(rng.random() * 3)
        drawn = []
        for pick, level, sign in rng.random((depth, 3)).tolist():
            op = self.ops[int(pick * len(self.ops))]
            strength = 0.1 + (max(0.1, self.severity) - 0.1) * level
            drawn.append((op, value_of(op, _AUGMIX, strength / 10, sign)))
        return tuple(drawn)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, each by a random amount, in random order.

    Brightness is ``f · x``, contrast ``f · x + (1 - f) · mean grey of x`` and saturation ``f · x +
    (1 - f) · grey of each pixel``, f uniform in 1 ± the parameter. The hue turns on the circle of
    HSV.

    Example:
        A grey image has neither contrast nor colour, so only the brightness shows: 200 · (1 ± 0.4).

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> jittered = ColorJitter(brightness=0.4)(image, Draw(np.random.default_rng(0)))
        >>> jittered.shape, bool(120 <= jittered.min() == jittered.max() <= 255)
        ((8, 8, 3), True)

    Paper: "Some Improvements on Deep Convolutional Neural Network Based Image Classification",
    Howard 2013, https://arxiv.org/abs/1312.5402
    """

    brightness: NonNegativeFloat = 0.4
    """The factor is uniform in 1 ± this, not below 0."""
    contrast: NonNegativeFloat = 0.4
    """The factor is uniform in 1 ± this, not below 0."""
    saturation: NonNegativeFloat = 0.4
    """The factor is uniform in 1 ± this, not below 0."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The turn is uniform in ± this share of the colour circle, in 0 to 0.5."""
    probability: Fraction = 1.0
    """Share of the images that are changed."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        check_pixels(image, "ColorJitter")
        rng = draw.rng
        if rng.random() >= self.probability:
            return image
        amounts = {
            name: rng.uniform(max(0.0, 1.0 - spread), 1.0 + spread)
            for name, spread in (
                ("brightness", self.brightness),
                ("contrast", self.contrast),
                ("saturation", self.saturation),
            )
            if spread
        }
        if self.hue:
            amounts["hue"] = rng.uniform(-self.hue, self.hue)
        names = list(amounts)
        for index in rng.permutation(len(names)):
            image = _JITTERS[names[index]](image, amounts[names[index]])
        return image


_JITTERS = {
    "brightness": functional.brightness,
    "contrast": functional.contrast,
    "saturation": functional.saturation,
    "hue": functional.hue,
}


def check_pixels(image: Image, name: str) -> None:
    """Refuse what is not uint8 [H, W, 3].

    Raises:
        ShapeError: another layout or dtype; the message says where the transform belongs.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(
            f"{name} takes RGB pixels [H, W, 3] uint8; got {image.dtype} {list(image.shape)}. "
            f"Place it before Normalize and before the layout changes to [C, H, W]."
        )


def value_of(op: Op, ranges: Mapping[str, Range], strength: float, sign: float) -> float:
    """The value of an operation at ``strength``; signed ones are negative for ``sign`` < 0.5."""
    values = ranges.get(op)
    if values is None:
        return 0.0
    value = values.at(strength)
    return -value if values.signed and sign < 0.5 else value


_AUGMIX = {**RANDAUGMENT_RANGES, **AUGMIX_RANGES}
"""The operations that AugMix leaves out, for lists of one's own, have RandAugment's ranges."""

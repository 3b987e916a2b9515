"""RandAugment as timm defines it: the ``rand-m9-mstd0.5-inc1`` of many recipes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from ppclas_core.config.schema import Fraction
from ppclas_core.contracts.data import Draw, Image
from pydantic import Field, NonNegativeFloat, PositiveInt

from ppclas_augment.automatic import Automatic, Channel, Operation, value_of
from ppclas_augment.functional import Resampling
from ppclas_augment.policies import TIMM_OPS, TIMM_PLAIN_RANGES, TIMM_RANGES


class TimmRandAugment(Automatic):
    """``num_layers`` operations at random, each done with its own chance and at its own strength.

    The name ``rand-m9-mstd0.5-inc1`` says magnitude 9, magnitude_std 0.5, increasing. Unlike in
    the paper's RandAugment an operation that was drawn is done by chance, and the strength varies
    from operation to operation.

    Example:
        Inversion at any strength inverts:

        >>> import numpy as np
        >>> from ppclas_augment import TimmRandAugment
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> change = TimmRandAugment(num_layers=1, operation_probability=1.0)
        >>> change(image, Draw(np.random.default_rng(0))).shape
        (8, 8, 3)

    Paper: "RandAugment: Practical automated data augmentation with a reduced search space", Cubuk
    et al. 2019, https://arxiv.org/abs/1909.13719; the ranges are timm's, see "ResNet strikes back",
    Wightman et al. 2021, https://arxiv.org/abs/2110.00476
    """

    fill: tuple[Channel, Channel, Channel] = (124, 116, 104)
    """Colour where a shift or a turn leaves nothing, RGB in 0..255: ImageNet's mean."""
    resampling: Resampling = "bicubic"
    """Of shears and rotations."""
    random_resampling: bool = False
    """Bilinear or bicubic, drawn for each image, instead of ``resampling``."""
    num_layers: PositiveInt = 2
    """Operations drawn for an image, with replacement (``n``)."""
    magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0
    """Strength, 0 to 10 (``m``)."""
    magnitude_std: NonNegativeFloat = 0.5
    """Standard deviation of the strength from operation to operation (``mstd``); it stays within 0
    to 10. 100 or more: uniform between 0 and ``magnitude``."""
    increasing: bool = True
    """Every operation gets stronger with the magnitude (``inc1``)."""
    operation_probability: Fraction = 0.5
    """The chance of each drawn operation to be done (``p``)."""
    probability: Fraction = 1.0
    """Share of the images that anything is done to."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        if not self.random_resampling:
            return super().__call__(image, draw)
        either: Resampling = "bilinear" if draw.rng.random() < 0.5 else "bicubic"
        drawn = self.model_copy(update={"random_resampling": False, "resampling": either})
        return drawn(image, draw)

    def draw_operations(self, rng: np.random.Generator) -> tuple[Operation, ...]:
        if self.probability < 1 and rng.random() >= self.probability:
            return ()
        ranges = TIMM_RANGES if self.increasing else TIMM_PLAIN_RANGES
        drawn = []
        for pick, chance, level, sign in rng.random((self.num_layers, 4)).tolist():
            op = TIMM_OPS[int(pick * len(TIMM_OPS))]
            if chance >= self.operation_probability:
                continue
            strength = self.magnitude
            if self.magnitude_std >= 100:
                strength *= level
            elif self.magnitude_std:
                strength = min(10.0, max(0.0, rng.normal(strength, self.magnitude_std)))
            drawn.append((op, value_of(op, ranges, strength / 10, sign)))
        return tuple(drawn)

"""The learning-rate schedules of PaddleClas 2.x in full, for what the built-in ones leave out."""

from __future__ import annotations

import bisect
import math
from typing import Literal

from ppclas_core.contracts.training import Scheduler
from pydantic import NonNegativeFloat, PositiveFloat, model_validator


class WarmupThen(Scheduler):
    """A straight line from ``warmup_lr`` to ``lr``, then one of four shapes to ``end_lr``.

    t is the step, or with ``by_epoch`` the 0-based epoch; W and E are the warmup and the run in the
    same unit, and u = t - W. For t < W the rate is ``warmup_lr + (lr - warmup_lr) · t / W``, then

    - constant: ``lr``;
    - cosine: ``end_lr + (lr - end_lr) · ½ · (1 + cos(π · u / (E - W)))``;
    - polynomial: ``end_lr + (lr - end_lr) · (1 - u / (E - W))^power``;
    - steps: ``lr · factors[k]``, where k of the ``decay_epochs``, counted from the end of the
      warmup, are over; ``lr`` before the first.

    In the middle of a warmup from 0.02, and at the end of a cosine to 0.01:

    >>> schedule = WarmupThen(shape="cosine", lr=0.1, warmup_epochs=2, warmup_lr=0.02, end_lr=0.01)
    >>> [round(schedule.value(step, steps_per_epoch=10, epochs=10), 4) for step in (10, 100)]
    [0.06, 0.01]

    The defaults are those of ``ppcls.optimizer.learning_rate`` of PaddleClas 2.5.
    """

    shape: Literal["constant", "cosine", "polynomial", "steps"] = "cosine"
    """What follows the warmup."""
    warmup_epochs: NonNegativeFloat = 0.0
    """W, in epochs; fractions are allowed."""
    warmup_lr: NonNegativeFloat = 0.0
    """The rate of the first step."""
    end_lr: NonNegativeFloat = 0.0
    """The rate at the end of the run, for cosine and polynomial."""
    power: PositiveFloat = 1.0
    """Of the polynomial; 1 is a straight line."""
    decay_epochs: tuple[PositiveFloat, ...] = ()
    """Rising epochs at which the rate changes, for steps; fractions are allowed."""
    factors: tuple[NonNegativeFloat, ...] = ()
    """The rate from each of ``decay_epochs`` on, as a part of ``lr``."""
    by_epoch: bool = False
    """The rate stays the same inside an epoch."""

    @model_validator(mode="after")
    def _fits(self) -> WarmupThen:
        if len(self.factors) != len(self.decay_epochs):
            raise ValueError(
                f"expected a factor for each of {len(self.decay_epochs)} decay_epochs, got "
                f"{len(self.factors)}"
            )
        if list(self.decay_epochs) != sorted(set(self.decay_epochs)):
            raise ValueError(f"decay_epochs must rise; got {list(self.decay_epochs)}")
        return self

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        unit = 1 if self.by_epoch else steps_per_epoch
        now = step // steps_per_epoch if self.by_epoch else step
        warmup, end = self.warmup_epochs * unit, epochs * unit
        # PaddleClas rounds the warmup to whole steps.
        warmup = min(round(warmup), end)
        if now < warmup:
            return self.warmup_lr + (self.peak - self.warmup_lr) * now / warmup
        since, length = now - warmup, end - warmup
        if self.shape == "steps":
            # Whole steps, as PaddleClas counts them; to 9 digits, as 2.4 · 1000 is not quite 2400.
            ends = [int(round(epoch * unit, 9)) for epoch in self.decay_epochs]
            passed = bisect.bisect_right(ends, since)
            return self.peak * self.factors[passed - 1] if passed else self.peak
        if self.shape == "constant" or not length:
            return self.peak
        done = min(since / length, 1.0)
        left = (
            0.5 * (1.0 + math.cos(math.pi * done))
            if self.shape == "cosine"
            else (1.0 - done) ** self.power
        )
        return self.end_lr + (self.peak - self.end_lr) * left

"""Learning-rate schedules: pure functions of the step.

``S`` is ``steps_per_epoch``, ``e = ⌊step / S⌋`` the 0-based epoch, ``E`` the number of epochs and
``W`` the warmup in epochs. Warmup is linear from 0, so the first step of a run with warmup has the
rate 0.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated

from ppclas_core.contracts.training import Scheduler
from ppclas_core.errors import ConfigError
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

Factor = Annotated[float, Field(gt=0.0, le=1.0)]


class Constant(Scheduler):
    """``lr`` at every step.

    >>> Constant(lr=0.1).value(step=50, steps_per_epoch=10, epochs=10)
    0.1
    """

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return self.peak


class Cosine(Scheduler):
    """``lr · ½ · (1 + cos(π · e / E))``: half a cosine, constant inside an epoch.

    Loshchilov & Hutter 2017, equation 5 without restarts, https://arxiv.org/abs/1608.03983. At the
    sixth of ten epochs the cosine is 0:

    >>> round(Cosine(lr=0.1).value(step=50, steps_per_epoch=10, epochs=10), 4)
    0.05
    """

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return self.peak * _half_cosine((step // steps_per_epoch) / epochs)


class CosineWarmup(Scheduler):
    """Warmup, then half a cosine over the steps that are left, a new value for each step.

    ``lr · s / (W · S)`` for ``s < W · S``, then
    ``lr · ½ · (1 + cos(π · (s - W · S) / (E · S - W · S)))`` at step s. Warmup: Goyal et al. 2017,
    section 2.2, https://arxiv.org/abs/1706.02677; cosine: Loshchilov & Hutter 2017,
    https://arxiv.org/abs/1608.03983. In the middle of the warmup, and in the middle of what
    follows:

    >>> schedule = CosineWarmup(lr=0.1, warmup_epochs=2)
    >>> [round(schedule.value(step, steps_per_epoch=10, epochs=10), 4) for step in (10, 60)]
    [0.05, 0.05]
    """

    warmup_epochs: NonNegativeFloat = 5.0
    """W, in epochs; fractions are allowed. 0 leaves the warmup out."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        warmup = _warmup_steps(self, self.warmup_epochs, steps_per_epoch, epochs)
        if step < warmup:
            return self.peak * step / warmup
        # max: where the whole run is warmup only the steps behind its end come here.
        return self.peak * _half_cosine(
            (step - warmup) / max(steps_per_epoch * epochs - warmup, 1.0)
        )


class CosineRestarts(Scheduler):
    """Half a cosine again and again, each ``cycle_growth`` times as long as the one before.

    ``end_lr + (lr - end_lr) · ½ · (1 + cos(π · t / T_i))`` at step t of a cycle of ``T_i`` steps:
    Loshchilov & Hutter 2017 ("SGDR"), equation 5, https://arxiv.org/abs/1608.03983. Set
    ``train.epochs`` to the end of a cycle (10, 30, 70 … with the defaults): in between the rate is
    high. After half of the first ten epochs, and as the second cycle begins:

    >>> schedule = CosineRestarts(lr=0.1)
    >>> [round(schedule.value(step, steps_per_epoch=4, epochs=30), 4) for step in (20, 40)]
    [0.05, 0.1]
    """

    cycle_epochs: PositiveFloat = 10.0
    """Length of the first cycle."""
    cycle_growth: Annotated[float, Field(ge=1.0)] = 2.0
    """Length of a cycle over that of the one before."""
    end_lr: NonNegativeFloat = 0.0
    """The rate at the end of each cycle."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        length, place = self.cycle_epochs * steps_per_epoch, float(step)
        while place >= length:
            place -= length
            length *= self.cycle_growth
        return self.end_lr + (self.peak - self.end_lr) * _half_cosine(place / length)


class ExponentialWarmup(Scheduler):
    """Warmup, then ``lr · rate^⌊(step - W · S) / (D · S)⌋``.

    As EfficientNet was trained (Tan & Le 2019, section 5.2, https://arxiv.org/abs/1905.11946). Here
    the first decay comes 2.4 epochs of 10 steps after the warmup of 20 steps:

    >>> schedule = ExponentialWarmup(lr=0.1, warmup_epochs=2, decay_epochs=2.4, decay_rate=0.97)
    >>> [round(schedule.value(step, steps_per_epoch=10, epochs=10), 4) for step in (43, 44)]
    [0.1, 0.097]
    """

    warmup_epochs: NonNegativeFloat = 5.0
    """W, in epochs; fractions are allowed. 0 leaves the warmup out."""
    decay_epochs: PositiveFloat = 2.4
    """D, epochs between two decays."""
    decay_rate: Factor = 0.97
    """Factor of one decay, in (0, 1]."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        warmup = _warmup_steps(self, self.warmup_epochs, steps_per_epoch, epochs)
        if step < warmup:
            return self.peak * step / warmup
        # The small addend keeps a decay on its step where D · S is a hair off a whole number (2.4 ·
        # 5 is not 12).
        decays = math.floor((step - warmup) / (self.decay_epochs * steps_per_epoch) + 1e-9)
        return float(self.peak * self.decay_rate**decays)


class Linear(Scheduler):
    """``(lr - end) · (1 - min(step, T) / T) + end``: a straight line down to ``end_lr``.

    As ShuffleNet was trained (Zhang et al. 2018, section 4, https://arxiv.org/abs/1707.01083).
    After a quarter of 100 steps:

    >>> round(Linear(lr=0.1).value(step=25, steps_per_epoch=10, epochs=10), 4)
    0.075
    """

    steps: PositiveInt | None = None
    """T, steps until ``end_lr`` is reached. Nothing: the whole run."""
    end_lr: NonNegativeFloat = 0.0
    """The rate from step T on."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        steps = self.steps or steps_per_epoch * epochs
        return (self.peak - self.end_lr) * (1.0 - min(step, steps) / steps) + self.end_lr


class Piecewise(Scheduler):
    """``lr · γ^k``, where k of the ``decay_epochs`` have begun; after a warmup, if there is one.

    As ResNet was trained (He et al. 2016, section 3.4, https://arxiv.org/abs/1512.03385). Before
    and after the first decay:

    >>> schedule = Piecewise(lr=0.1, decay_epochs=(3, 6))
    >>> [round(schedule.value(step, steps_per_epoch=10, epochs=10), 4) for step in (29, 30)]
    [0.1, 0.01]
    """

    decay_epochs: tuple[PositiveInt, ...] = (30, 60, 90)
    """Epochs (0-based, rising) whose first step multiplies the rate by ``gamma``."""
    gamma: Factor = 0.1
    """γ, the factor of one decay, in (0, 1]."""
    warmup_epochs: NonNegativeFloat = 0.0
    """W, in epochs; fractions are allowed. ``decay_epochs`` count from the start of the run."""

    @field_validator("decay_epochs")
    @classmethod
    def _rising(cls, epochs: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(epochs)):
            raise ValueError(
                f"decay_epochs must rise, for example [30, 60, 90]; got {list(epochs)}"
            )
        return epochs

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        warmup = _warmup_steps(self, self.warmup_epochs, steps_per_epoch, epochs)
        if step < warmup:
            return self.peak * step / warmup
        decays = sum(epoch * steps_per_epoch <= step for epoch in self.decay_epochs)
        return float(self.peak * self.gamma**decays)


def _half_cosine(progress: float) -> float:
    """1 at the start of the run, 0 from its end on; ``progress`` is the share that is over."""
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _warmup_steps(
    schedule: Scheduler, warmup_epochs: float, steps_per_epoch: int, epochs: int
) -> float:
    if warmup_epochs > epochs:
        raise ConfigError(
            f"schedule {type(schedule).__name__}: warmup_epochs={warmup_epochs:g} is longer than "
            f"the run of {epochs} epoch{'' if epochs == 1 else 's'}, so the rate would never reach "
            f"lr. Set schedule.warmup_epochs to {0.1 * epochs:g} or another part of the run, or "
            "train for more epochs."
        )
    return warmup_epochs * steps_per_epoch

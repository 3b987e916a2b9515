"""A learning-rate schedule: a pure function of the step, so that a resumed run needs no state."""

from __future__ import annotations

from typing import Annotated

from ppclas_core.contracts.training import Scheduler
from pydantic import Field, PositiveFloat


class Sawtooth(Scheduler):
    """Fall in a straight line from ``lr`` to ``low · lr``, start again, and so on."""

    period_epochs: PositiveFloat = 2.0
    """Length of one tooth, in epochs."""
    low: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """Where a tooth ends, as a share of ``lr``."""

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of ``step``."""
        period = self.period_epochs * steps_per_epoch
        return self.peak * (1.0 - (1.0 - self.low) * (step % period) / period)

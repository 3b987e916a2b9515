"""Sums over the images of a step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass
class StepSums:
    """Sums over the images of a step, on all ranks."""

    images: int = 0
    loss: float = 0.0
    counted: int = 0
    """Images with one label, for which right and wrong mean something."""
    correct: int = 0
    stop: bool = False
    """Whether any rank was asked to stop."""
    time_over: bool = False
    """Whether the run's time is over, by the clock of rank 0."""
    wait: float = 0.0
    """Seconds that this rank waited for its batches."""
    parts: dict[str, float] = field(default_factory=dict)
    taken: bool = True
    """Whether the weights were moved; not where something was not finite."""
    bad: bool = False
    """Whether it was left out for another reason than an fp16 scale that is too large."""

    def numbers(self) -> list[float]:
        """What is added up over the ranks; the weight first."""
        parts = [self.parts[name] for name in sorted(self.parts)]
        return [
            self.images,
            self.loss,
            self.counted,
            self.correct,
            self.stop,
            self.time_over,
            *parts,
        ]

    def with_numbers(self, numbers: list[float]) -> StepSums:
        """The same with other ``numbers``."""
        images, loss, counted, correct, stop, time_over, *parts = numbers
        named = dict(zip(sorted(self.parts), parts, strict=True))
        return replace(
            self,
            images=round(images),
            loss=loss,
            counted=round(counted),
            correct=round(correct),
            stop=stop > 0,
            time_over=time_over > 0,
            parts=named,
        )

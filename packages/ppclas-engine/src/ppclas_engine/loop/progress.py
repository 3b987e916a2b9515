"""Where a run stands: what a checkpoint holds beside arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_engine.loop.sums import StepSums


@dataclass
class Totals:
    """Sums over the training images of an epoch so far."""

    images: int = 0
    loss: float = 0.0
    counted: int = 0
    """Images with one label, for which right and wrong mean something."""
    correct: int = 0
    skipped: int = 0
    """Steps left out because something was not finite."""
    seconds: float = 0.0
    wait: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    """Sums of the loss's named parts."""

    def row(self) -> dict[str, Any]:
        """The epoch's training columns of ``metrics.jsonl``."""
        return {
            "train_loss": self.loss / self.images if self.images else None,
            "train_top1": self.correct / self.counted if self.counted else None,
            "images_per_second": round(self.images / self.seconds, 2) if self.seconds else None,
            "wait_share": round(self.wait / self.seconds, 4) if self.seconds else None,
            **({"skipped_steps": self.skipped} if self.skipped else {}),
            **{f"train_{name}": total / self.images for name, total in self.parts.items()},
        }


@dataclass
class Progress:
    """Epochs, steps, sums, history and the best result of a run so far."""

    epoch: int = 0
    """Epochs done."""
    step_in_epoch: int = 0
    """Steps done in the epoch after those."""
    totals: Totals = field(default_factory=Totals)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """Epoch, metrics and kind (``weights``: raw or ema) of the best weights."""
    bad_in_a_row: int = 0
    """Steps left out since the last good one."""
    risen: tuple[int, float] | None = None
    """Epoch and value of the last rise that counts for ``train.patience``."""
    seconds: float = 0.0
    """Time that the run has taken so far, in all its processes."""
    ended: bool = False
    """Whether the last epoch done is the last one, though others were planned."""

    def epochs_without_rise(self, epoch: int, value: float, min_delta: float) -> int:
        """Take in the value to be raised after ``epoch``; epochs since it last rose by more."""
        if self.risen is None or value > self.risen[1] + min_delta:
            self.risen = (epoch, value)
        return epoch - self.risen[0]

    def add(self, sums: StepSums, seconds: float) -> None:
        """Take in a step that took ``seconds``."""
        totals = self.totals
        totals.seconds += seconds
        totals.wait += sums.wait
        if not sums.taken:
            totals.skipped += sums.images > 0
            if sums.bad:  # its numbers would make those of the epoch not finite either
                return
        totals.images += sums.images
        totals.loss += sums.loss
        totals.counted += sums.counted
        totals.correct += sums.correct
        for name, part in sums.parts.items():
            totals.parts[name] = totals.parts.get(name, 0.0) + part

    def to_json(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        return {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "totals": asdict(self.totals),
            "history": self.history,
            "best": self.best,
            "bad_in_a_row": self.bad_in_a_row,
            "risen": self.risen,
            "seconds": self.seconds,
            "ended": self.ended,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Progress:
        """The inverse of ``to_json``."""
        return cls(
            int(state["epoch"]),
            int(state["step_in_epoch"]),
            Totals(**state["totals"]),
            list(state["history"]),
            state["best"],
            int(state["bad_in_a_row"]),
            (int(state["risen"][0]), float(state["risen"][1]))
            if state["risen"] is not None
            else None,
            float(state["seconds"]),
            bool(state["ended"]),
        )

"""What quantisation may cost: answers of a network on photos, against those of the float one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.normalize import normalize_batch

from ppclas_deploy.engines.onnxruntime import make_session

_BATCH = 8

Measure = Literal["top-1", "exact match", "same answer"]
"""Share of photos with the right class; with all of the right labels and no other; with the float
network's answer."""


@dataclass(frozen=True)
class Verdict:
    """A network's answers on the photos it is judged by."""

    accuracy: float
    """Share of right answers, 0..1; where there are no labels, of answers equal to the float
    model's."""
    agreement: float
    """Share of photos with the float model's class, 0..1."""
    lost: int
    """Photos that the float model has right and this one wrong."""
    won: int
    """The other way round."""


class Judge:
    """Runs networks on photos [N, H, W, 3] and compares their answers with the float network's.

    An answer is a class, or all labels that reach their limit where a photo may have several.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[Any] | None,
        normalize: NormalizeConfig,
        float_model: Any,
        threads: int | None,
        limits: NDArray[np.float64] | None = None,
    ) -> None:
        """Ask the float network.

        Args:
            pixels: the photos.
            labels: [N] classes; [N, C], 1 where a label holds, with ``limits``. Nothing: the float
                network's answers.
            normalize: mean and standard deviation.
            float_model: the network to compare with, in ONNX.
            threads: CPU threads.
            limits: [C] logits from which a label counts. Nothing: a photo has one class.
        """
        self._pixels, self._normalize, self._threads, self._limits = (
            pixels,
            normalize,
            threads,
            limits,
        )
        self.reference = self.logits(float_model)
        self._right = self._answers(self.reference) if labels is None else labels
        self.float_accuracy = float(np.mean(_same(self._answers(self.reference), self._right)))
        self.labelled = labels is not None
        """Whether answers are judged by labels."""

    @property
    def measure(self) -> Measure:
        """What accuracies are."""
        if not self.labelled:
            return "same answer"
        return "top-1" if self._limits is None else "exact match"

    def is_guessing(self) -> bool:
        """Whether the float network is right no more often than chance: an accuracy that has
        nothing to lose.
        """
        if self._limits is not None:
            return False
        chance, count = 1 / self.reference.shape[1], len(self._right)
        return self.float_accuracy <= chance + 2 * (chance * (1 - chance) / count) ** 0.5

    def without_labels(self) -> None:
        """From now on the float network's answers are the right ones."""
        self._right, self.float_accuracy, self.labelled = self._answers(self.reference), 1.0, False

    def logits(self, model: Any, count: int | None = None) -> NDArray[np.float32]:
        """Logits [N, C] of an ONNX model on all photos, or on ``count`` of them, evenly spaced."""
        session = make_session(model.SerializeToString(), self._threads)
        pixels = self._pixels if count is None else self._pixels[self.places(count)]
        parts = [
            session.run(
                None, {"images": normalize_batch(pixels[start : start + _BATCH], self._normalize)}
            )[0]
            for start in range(0, len(pixels), _BATCH)
        ]
        return np.concatenate(parts)

    def places(self, count: int) -> NDArray[np.int64]:
        """Which photos ``logits`` takes when asked for ``count``."""
        count = min(count, len(self._pixels))
        return np.arange(count) * len(self._pixels) // count

    def judge(self, model: Any) -> Verdict:
        """The answers of an ONNX model on all photos."""
        return self.verdict(self.logits(model))

    def verdict(self, logits: NDArray[np.float32]) -> Verdict:
        """The same of logits [N, C] that are there."""
        answers, before = self._answers(logits), self._answers(self.reference)
        right, was_right = _same(answers, self._right), _same(before, self._right)
        return Verdict(
            accuracy=float(right.mean()),
            agreement=float(np.mean(_same(answers, before))),
            lost=int(np.sum(was_right & ~right)),
            won=int(np.sum(right & ~was_right)),
        )

    def agreement(self, logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        """Share of photos, 0..1, for which two sets of logits [N, C] are the same answer."""
        return float(np.mean(_same(self._answers(logits), self._answers(reference))))

    def _answers(self, logits: NDArray[np.float32]) -> NDArray[Any]:
        """Classes [N], or which labels hold [N, C]."""
        return logits.argmax(axis=1) if self._limits is None else logits >= self._limits


def _same(answers: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """[N]"""
    equal = answers == others
    return equal if equal.ndim == 1 else equal.all(axis=1)


def relative_error(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Root mean square of the difference, as a share of the reference's own."""
    wide = reference.astype(np.float64)
    return float(np.sqrt(np.mean((logits - wide) ** 2) / max(np.mean(wide**2), 1e-30)))

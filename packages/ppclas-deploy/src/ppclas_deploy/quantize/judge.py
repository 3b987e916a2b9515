"""What quantisation may cost: answers of a network on photos, against those of the float one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.normalize import normalize_batch

from ppclas_deploy.engines.onnxruntime import make_session

_BATCH = 8


@dataclass(frozen=True)
class Verdict:
    """A network's answers on the photos it is judged by."""

    accuracy: float
    """Share of right answers, 0..1; where there are no labels, of answers equal to the float model's."""
    agreement: float
    """Share of photos with the float model's class, 0..1."""
    lost: int
    """Photos that the float model has right and this one wrong."""
    won: int
    """The other way round."""


class Judge:
    """Runs networks on photos [N, H, W, 3] and compares their answers with the float network's."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64] | None,
        normalize: NormalizeConfig,
        float_model: Any,
        threads: int | None,
    ) -> None:
        self._pixels, self._normalize, self._threads = pixels, normalize, threads
        self.reference = self.logits(float_model)
        self._labels = self.reference.argmax(axis=1) if labels is None else labels
        self.float_accuracy = float(np.mean(self.reference.argmax(axis=1) == self._labels))
        self.labelled = labels is not None
        """Whether answers are judged by labels."""

    def is_guessing(self) -> bool:
        """Whether the float network is right no more often than chance: an accuracy that has nothing to lose."""
        chance, count = 1 / self.reference.shape[1], len(self._labels)
        return self.float_accuracy <= chance + 2 * (chance * (1 - chance) / count) ** 0.5

    def without_labels(self) -> None:
        """From now on the float network's answers are the right ones."""
        self._labels, self.float_accuracy, self.labelled = self.reference.argmax(axis=1), 1.0, False

    def logits(self, model: Any, count: int | None = None) -> NDArray[np.float32]:
        """Logits [N, C] of an ONNX model on all photos, or on ``count`` of them, evenly spaced."""
        session = make_session(model.SerializeToString(), self._threads)
        pixels = self._pixels if count is None else self._pixels[self.places(count)]
        parts = [
            session.run(None, {"images": normalize_batch(pixels[start : start + _BATCH], self._normalize)})[0]
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
        answers, before = logits.argmax(axis=1), self.reference.argmax(axis=1)
        right, was_right = answers == self._labels, before == self._labels
        return Verdict(
            accuracy=float(right.mean()),
            agreement=float(np.mean(answers == before)),
            lost=int(np.sum(was_right & ~right)),
            won=int(np.sum(right & ~was_right)),
        )


def relative_error(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Root mean square of the difference, as a share of the reference's own."""
    wide = reference.astype(np.float64)
    return float(np.sqrt(np.mean((logits - wide) ** 2) / max(np.mean(wide**2), 1e-30)))

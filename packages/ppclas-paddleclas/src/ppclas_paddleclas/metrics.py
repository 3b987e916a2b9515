"""Metrics of PaddleClas' two-class recipes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.training import Metric
from pydantic import Field


class TprAtFpr(Metric):
    """How many images of class 1 are found where hardly any other is taken for one.

    The largest true positive rate of all thresholds whose false positive rate is below
    ``max_fpr``, in 0..1. Of two with and two without, one of which scores above one with:

    >>> import numpy as np
    >>> scores = np.float32([0.9, 0.4, 0.6, 0.1])
    >>> TprAtFpr()(np.stack([1 - scores, scores], axis=1), np.array([1, 1, 0, 0]))
    {'tpr_at_fpr': 0.5}
    """

    max_fpr: Annotated[float, Field(gt=0.0, le=1.0)] = 0.001
    """Above the largest false positive rate that is allowed."""

    def __call__(
        self, probabilities: NDArray[np.float32], labels: NDArray[Any]
    ) -> dict[str, float]:
        scores, there = probabilities[:, min(1, probabilities.shape[1] - 1)], labels == 1
        if not there.any():
            return {"tpr_at_fpr": 0.0}
        others = np.sort(scores[~there])[::-1]
        # Fewer of the others than max_fpr of them may reach the threshold.
        allowed = max(0, int(np.ceil(self.max_fpr * len(others))) - 1)
        limit = others[allowed] if allowed < len(others) else -np.inf
        return {"tpr_at_fpr": float((scores[there] > limit).mean())}

"""The mean of a metric over folds, how far folds are apart, and how sure the mean is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
"""97.5 % quantiles of Student's t for 1 to 9 degrees of freedom."""


@dataclass(frozen=True)
class Spread:
    """A metric over K folds."""

    mean: float
    deviation: float
    """Standard deviation over folds (K - 1 in the divisor)."""
    low: float
    high: float
    """Ends of the 95 % interval of the mean."""

    @classmethod
    def of(cls, values: Sequence[float], *, is_share: bool = False) -> Spread:
        """Of the folds' values, two or more; the interval of a share stays within 0..1.

        The folds' models share most of their photos, so that s² / K would be too sure of the mean.
        The interval is the corrected one of Nadeau and Bengio 2003, "Inference for the
        Generalization Error", section 3: variance (1 / K + n_val / n_train) s², and for K folds
        n_val / n_train is 1 / (K - 1).
        """
        folds, mean, deviation = len(values), fmean(values), stdev(values)
        half = student(folds - 1) * deviation * math.sqrt(1 / folds + 1 / (folds - 1))
        low, high = mean - half, mean + half
        if is_share:
            low, high = max(low, 0.0), min(high, 1.0)
        return cls(mean, deviation, low, high)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t.

    >>> round(student(4), 3), round(student(20), 3)
    (2.776, 2.086)
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    # Abramowitz and Stegun 26.7.5: the normal quantile, corrected in powers of 1 / freedom.
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))

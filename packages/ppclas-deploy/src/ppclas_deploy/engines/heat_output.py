"""The second output of an export that was made with ``--heatmap``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUT = "heatmap"
"""Its name; in ``bundle.json`` under ``export`` it says whether there is one."""


def in_fixed_batches(
    run: Callable[[NDArray[Any]], NDArray[np.float32]], images: NDArray[Any], batch: int | None
) -> NDArray[np.float32]:
    """What ``run`` gives for ``images`` in batches of its size, the last one filled up with
    zeros.
    """
    if batch is None:
        return run(np.ascontiguousarray(images))
    missing = -len(images) % batch
    padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    parts = [run(padded[start : start + batch]) for start in range(0, len(padded), batch)]
    return np.concatenate(parts)[: len(images)]

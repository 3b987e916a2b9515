"""``ppclas.train``: the engine's, with the augmentations that ``--augment`` knows."""

from __future__ import annotations

import os
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from ppclas_engine import api

from ppclas_cli.augmenting import augmented

if TYPE_CHECKING:
    from ppclas_engine.loop.train import RunResult


@wraps(api.train)
def train(*data: Any, augment: Any = None, **settings: Any) -> RunResult:
    """As ``ppclas_engine.train``, which knows no preset by its name."""
    if isinstance(augment, str | os.PathLike):
        augment = partial(augmented, what=os.fspath(augment))
    return api.train(*data, augment=augment, **settings)

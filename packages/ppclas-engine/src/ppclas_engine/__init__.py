"""Train, evaluate and predict: plans, the loop, ranks, what a run leaves behind.

Importing this package imports neither Paddle nor NumPy; what is taken from it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_engine.api import create_model, evaluate, load, predict, train
    from ppclas_engine.classifier import Classifier
    from ppclas_engine.results.predict import Prediction

__all__ = ["Classifier", "Prediction", "create_model", "evaluate", "load", "predict", "train"]

_HOMES = {
    "Classifier": "ppclas_engine.classifier",
    "Prediction": "ppclas_engine.results.predict",
    **dict.fromkeys(("create_model", "evaluate", "load", "predict", "train"), "ppclas_engine.api"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

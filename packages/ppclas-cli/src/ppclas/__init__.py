"""ppclas from Python: ``ppclas.load().predict("cat.jpg")``, ``ppclas.train("photos/")``.

Everything here lives in the packages it is taken from; this module gives it one short name.
Importing it imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_cli.from_python import train
    from ppclas_core.config.schema import Config
    from ppclas_core.errors import PpclasError
    from ppclas_core.models import list_models
    from ppclas_deploy.api import export
    from ppclas_engine.api import create_model, evaluate, load, predict
    from ppclas_engine.classifier import Classifier
    from ppclas_engine.results.predict import Prediction

__all__ = [
    "Classifier",
    "Config",
    "PpclasError",
    "Prediction",
    "create_model",
    "evaluate",
    "export",
    "list_models",
    "load",
    "predict",
    "train",
]

_HOMES = {
    "Classifier": "ppclas_engine.classifier",
    "Config": "ppclas_core.config.schema",
    "PpclasError": "ppclas_core.errors",
    "export": "ppclas_deploy.api",
    "Prediction": "ppclas_engine.results.predict",
    "list_models": "ppclas_core.models",
    "train": "ppclas_cli.from_python",
    **dict.fromkeys(("create_model", "evaluate", "load", "predict"), "ppclas_engine.api"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        return version("ppclas-cli")
    # With the name and the module Python itself adds what was meant.
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
    )


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})

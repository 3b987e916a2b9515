"""The one place that knows whether Paddle is there, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import warnings
from typing import Any

from ppclas_core.errors import MissingDependencyError

INSTALL_HINT = (
    "Install it with 'ppclas setup' (picks the build for this machine), "
    "or 'pip install \"ppclas-core[cpu]\"' for the CPU build."
)


def has_paddle() -> bool:
    """Whether a ``paddle`` package can be found, without importing it."""
    return importlib.util.find_spec("paddle") is not None


def require_paddle(purpose: str) -> Any:
    """Import and return ``paddle``.

    Raises:
        MissingDependencyError: it is not installed or does not import.
    """
    if not has_paddle():
        raise MissingDependencyError(
            f"PaddlePaddle is needed for {purpose} and is not installed. {INSTALL_HINT}"
        )
    # Its C++ side logs how programs are run ("New Executor is Running ...") in the midst of ours;
    # errors still come.
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        with warnings.catch_warnings():
            # Paddle warns of a missing ccache and of deprecations in its own modules on import.
            warnings.simplefilter("ignore")
            import paddle
    except ImportError as error:
        raise MissingDependencyError(
            f"PaddlePaddle is needed for {purpose} and fails to import ({error}). Run 'ppclas "
            f"doctor'. {INSTALL_HINT}"
        ) from error
    # Said at the first training step of every batch norm, and true of every framework.
    warnings.filterwarnings(
        "ignore", message="When training, we now always track global mean and variance"
    )
    return paddle

"""Optional packages, and how to get them."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ppclas_core.errors import MissingDependencyError


def need(*modules: str, purpose: str, extra: str, package: str = "ppclas-deploy") -> None:
    """Check that ``modules`` can be found, without importing them.

    Raises:
        MissingDependencyError: some are not installed; the message names the extra of ``package``
            that brings them.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"{purpose} needs {' and '.join(missing)}, not installed here. "
            f'Run: pip install "{package}[{extra}]"'
        )


def load(module: str, purpose: str, extra: str) -> Any:
    """Import and return ``module``.

    Raises:
        MissingDependencyError: it is not installed, or fails to import.
    """
    need(module, purpose=purpose, extra=extra)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs {module}, which is installed and fails to import ({error}). "
            f'Run: pip install --force-reinstall "ppclas-deploy[{extra}]"'
        ) from error

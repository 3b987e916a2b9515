"""What an exporter and an engine are; they live in plugins (ppclas-deploy has the first ones)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.component import Params

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class Exporter(Params):
    """Write a bundle in a form that another engine runs. The fields are the target's options."""

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Write the engine's files into the empty ``folder``.

        Returns what ``bundle.json`` should say of them: at least ``{"engine": <registered engine>, "model": <file>}``.

        Raises:
            ExportError: the converter failed; the message ends with its cause.
        """
        raise NotImplementedError


class Engine(Params):
    """Run an export. Built from the export's folder, then called with batches; owns its session."""

    def load(self, bundle: Bundle) -> None:
        """Open the export's model.

        Raises:
            MissingDependencyError: the engine's package is not installed.
            BundleError: the files do not load.
        """
        raise NotImplementedError

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [N, C] of normalised images [N, 3, H, W]."""
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Name and version of what ran, for receipts."""
        raise NotImplementedError

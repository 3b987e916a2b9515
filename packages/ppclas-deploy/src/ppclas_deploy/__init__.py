"""Exporters and engines for ppclas, each export proven against the trained model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppclas_engine.classifier import Classifier

__all__ = ["load"]


def load(
    path: str | os.PathLike[str], *, engine: str | None = None, threads: int | None = None
) -> Classifier:
    """A run folder, bundle or export, ready to answer: ``load("exports/onnx").predict("cat.jpg")``.

    As ``ppclas_engine.load``, in any engine.

    Args:
        path: a run folder, a bundle, an export, or a name of the catalogue.
        engine: a registered engine, or ``auto`` for the fastest here that gives the right answers.
            Nothing: an export's own; Paddle for a run or bundle.
        threads: CPU threads for one batch. Nothing: all of this process.

    Raises:
        PpclasError: there is nothing at ``path``, it is damaged, or the engine is not installed.
    """
    # Deferred: plugins are listed without NumPy.
    from ppclas_engine.bundles import open_model
    from ppclas_engine.classifier import Classifier

    from ppclas_deploy.engine_choice import load_engine, readers

    bundle, chosen = load_engine(open_model(path), engine, threads=threads)
    return Classifier(bundle, chosen, readers=readers(threads))

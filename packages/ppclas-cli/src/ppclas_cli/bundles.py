"""What a command works on: a run, bundle or export by its path, or published weights by model and
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


def open_bundle(
    path: str | None, model: str | None, weights: str | None, labels: str | None = None
) -> Bundle:
    """The bundle at ``path``, or one around the published ``weights`` of ``model`` with the class
    names in ``labels``.

    Raises:
        click.UsageError: neither or both are given, or one half of the second.
        PpclasError: what is named cannot be read.
    """
    from ppclas_core.bundle import Bundle
    from ppclas_data.sources.labels import read_class_names
    from ppclas_engine.bundles import bundle_from_weights

    if path is not None:
        if model is not None or weights is not None or labels is not None:
            raise click.UsageError(
                "--model, --weights and their --labels are for published weights; a run, bundle "
                "or export has its own."
            )
        return Bundle.load(path)
    if model is None or weights is None:
        raise click.UsageError(
            "Give a run, bundle or export, or else --model NAME with --weights FILE."
        )
    return bundle_from_weights(
        model, Path(weights), labels=None if labels is None else tuple(read_class_names(labels))
    )

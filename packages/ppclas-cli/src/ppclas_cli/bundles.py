"""What a command works on: a run, bundle or export by its path, or a model by its name.

Every command takes it as its first argument or after ``-m``, and ``--weights`` with a name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

WHAT = "RUN|BUNDLE|EXPORT|NAME"


class Opened(NamedTuple):
    """What was found."""

    bundle: Bundle
    path: str | None
    """The run, bundle or export as it was said; None for a model."""
    name: str | None
    """The registered name of a model; None for a run, bundle or export."""

    @property
    def title(self) -> str:
        """The path or the name."""
        return str(self.path or self.name)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-m/--model`` and ``--weights`` to a command that has the argument ``bundle_path``."""
    weights = click.option(
        "--weights",
        metavar="FILE",
        help="A .pdparams or .safetensors file for a model by name. Without it: the published "
        "weights.",
    )
    model = click.option(
        "-m",
        "--model",
        metavar=WHAT,
        help="The same as the first argument: a run, bundle or export, or a name of 'ppclas models "
        "list' with its published weights.",
    )
    return model(weights(command))


def open_source(
    path: str | None, model: str | None, weights: str | None = None, labels: str | None = None
) -> Opened:
    """What ``path``, the first argument, or ``model``, the option, names.

    Raises:
        click.UsageError: neither or both are given.
        PpclasError: what is named cannot be read.
    """
    from ppclas_core.plugins import get_registries
    from ppclas_data.sources.labels import read_class_names
    from ppclas_engine.bundles import open_model

    if path is not None and model is not None:
        raise click.UsageError(
            f"{path} and --model {model} both name what to work on: give one of them."
        )
    said = model if path is None else path
    if said is None:
        raise click.UsageError(
            "Expected a run, a bundle, an export or the name of a model: give it first, or after "
            "-m. 'ppclas models list' prints the names."
        )
    names = None if labels is None else tuple(read_class_names(labels))
    bundle = open_model(said, weights=weights, labels=names)
    if Path(said).exists():
        return Opened(bundle, said, None)
    return Opened(bundle, None, get_registries().models.entry(said).name)

"""Where published weights are: carried in this package, or in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from ppclas_core.errors import WeightsError

from ppclas_models.catalog import load_catalog

CARRIED = Path(__file__).with_name("pretrained")


def cache_folder() -> Path:
    """``$PPCLAS_HOME/weights``; ``PPCLAS_HOME`` is ``~/.cache/ppclas`` where it is not set."""
    home = os.environ.get("PPCLAS_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "ppclas") / "weights"


def locate(name: str) -> Path:
    """The weight file of a catalogue name on this machine.

    Raises:
        WeightsError: it is not here; the message says where it is published and where to put it.
    """
    row = load_catalog()[name]
    carried = CARRIED / f"{name}.safetensors"
    if carried.is_file():
        return carried
    if row.weights_url is None:
        reason = f" ({row.notes})" if row.notes else ""
        raise WeightsError(f"no .pdparams weights of {name} are published{reason}. Give a weight file of your own.")
    cached = cache_folder() / row.weights_url.rsplit("/", 1)[1]
    if cached.is_file():
        return cached
    raise WeightsError(
        f"the weights of {name} are not on this machine. Download {row.weights_url} to {cached}, "
        f"or give the path of a weight file instead of the name."
    )

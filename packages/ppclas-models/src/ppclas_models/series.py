"""What each series of the catalogue is, in a sentence or two, and what to cite."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ppclas_models.catalog import load_catalog


def about(name: str) -> dict[str, Any]:
    """``series_description`` and ``citations`` (a list) of a catalogue name's series."""
    series = _load()[load_catalog()[name].series]
    return {"series_description": series["description"], "citations": series["citations"]}


@functools.lru_cache(maxsize=1)
def _load() -> dict[str, dict[str, Any]]:
    series: dict[str, dict[str, Any]] = json.loads(
        Path(__file__).with_name("series.json").read_text(encoding="utf-8")
    )
    return series

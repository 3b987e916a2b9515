"""What a notebook calls to export: ``export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppclas_core.plugins import get_registries
from ppclas_engine.bundles import open_model

from ppclas_deploy.export import Receipt, default_output, export_bundle
from ppclas_deploy.photos import DEFAULT_COUNT

_Path = str | os.PathLike[str]


def export(
    path: _Path,
    target: str = "onnx",
    output: _Path | None = None,
    *,
    photos: _Path | None = None,
    num_photos: int = DEFAULT_COUNT,
    overwrite: bool = False,
    **options: Any,
) -> Receipt:
    """Write a model for another engine, as ``ppclas export`` does: proven on real photos.

    Args:
        path: a run folder, a bundle, or a name of the catalogue for its published weights.
        target: ``onnx``, ``openvino``, ``paddle``, ``lite`` or what else is registered.
        output: the new folder. Nothing: ``export-<target>`` in the run, ``<path>-<target>`` else.
        photos: file, folder, list or pattern to prove it on. Nothing: those of the validation.
        num_photos: how many of them, 1 or more.
        overwrite: replace an export that is there.
        options: the target's own, as ``image_size=128``.

    Returns:
        What was proven and written; ``receipt.folder`` is what ``load`` takes.

    Raises:
        ExportError: the conversion failed, or ``output`` cannot be written.
        ParityError: the export's answers differ from the model's; nothing is left of it.
        PpclasError: there is no such model or target, or something is not installed.
    """
    said = os.fspath(path)
    bundle = open_model(said)
    # A folder that is called like a model is the folder.
    name = None if Path(said).exists() else get_registries().models.entry(said).name
    folder = default_output(bundle, target, name) if output is None else Path(output)
    return export_bundle(
        bundle,
        target,
        folder,
        options=options,
        photos=None if photos is None else os.fspath(photos),
        num_photos=num_photos,
        overwrite=overwrite,
    )

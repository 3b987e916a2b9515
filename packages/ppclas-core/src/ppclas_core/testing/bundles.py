"""A bundle to try things on."""

from __future__ import annotations

from pathlib import Path

from ppclas_core.bundle import (
    Bundle,
    Manifest,
    Preprocessing,
    architecture_of,
    versions,
    write_bundle,
)
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.models import create_model
from ppclas_core.weights import model_state


def make_tiny_bundle(
    folder: Path,
    model: str = "FakeNet",
    num_classes: int = 3,
    image_size: int = 32,
    transforms: tuple[ComponentConfig, ...] = (),
) -> Bundle:
    """A bundle of an untrained model, for square images of ``image_size`` pixels.

    ``transforms`` bring photos to that size in evaluation; without any they have it already.
    ``FakeNet`` is there inside ``use_plugin(FakeNetPlugin())``. An exporter that works in a process
    of its own needs a model of an installed package.
    """
    size = (image_size, image_size)
    manifest = Manifest(
        architecture=architecture_of(model, num_classes, {}),
        preprocessing=Preprocessing(image_size=size, transforms=transforms),
        labels=tuple(f"class_{index:02d}" for index in range(num_classes)),
        versions=versions(),
    )
    return write_bundle(folder, manifest, model_state(create_model(model, num_classes)))

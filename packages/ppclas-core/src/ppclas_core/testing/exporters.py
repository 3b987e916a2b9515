"""Check of an exporter and the engine that runs what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppclas_core.bundle import (
    Bundle,
    Manifest,
    Preprocessing,
    architecture_of,
    versions,
    write_bundle,
    write_manifest,
)
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.contracts.export import Engine, Exporter
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.testing.components import check_params, expect
from ppclas_core.weights import model_state

Array = NDArray[np.float32]


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


def check_exporter(exporter: Exporter, bundle: Bundle, folder: Path) -> None:
    """An exporter keeps the contract of ``ppclas_core.contracts.export.Exporter``, and its engine
    that of ``Engine``.

    ``bundle`` is exported into the new ``folder``; the engine must then give the model's logits,
    within the exporter's own tolerance, for batches of 1 and 3. Where that engine cannot run here
    it is the one that ``verified_with`` names.
    """
    name = type(exporter).__name__
    check_params(exporter)
    exporter.check()
    weights = bundle.weights_file.read_bytes()
    folder.mkdir(parents=True)
    facts = exporter.export(bundle, folder)
    expect(
        bundle.weights_file.read_bytes() == weights, f"{name} changes the bundle that it exports"
    )
    for key in ("engine", "model"):
        expect(
            isinstance(facts.get(key), str), f"{name}: export() must return {key!r}; got {facts}"
        )
    expect(
        (folder / facts["model"]).is_file(),
        f"{name}: export() names {facts['model']!r} and did not write it",
    )
    engines = get_registries().engines
    used = facts.get("verified_with", facts["engine"])
    for engine_name in (facts["engine"], used):
        expect(engine_name in engines, f"{name}: nobody registers its engine {engine_name!r}")
    if used != facts["engine"]:
        expect(
            bool(facts.get("verified")),
            f"{name}: another engine stands in, and no sentence says what it proves",
        )

    write_manifest(folder, bundle.manifest.replace(kind="export", export=facts, files={}))
    engine = engines.build(used)
    expect(
        isinstance(engine, Engine),
        f"the engine {used} is not a ppclas_core.contracts.export.Engine",
    )
    check_params(engine)
    engine.load(Bundle.load(folder))
    expect(bool(engine.versions()), f"the engine {used} names no versions")
    # Logits that were probabilities have lost a constant an image.
    centred = facts.get("output") == "probabilities"
    _expect_same_logits(name, bundle, exporter.accepted(facts), engine.logits, centred)


def _expect_same_logits(
    name: str, bundle: Bundle, tolerance: float, logits_of: Callable[[Array], Array], centred: bool
) -> None:
    import paddle

    model = bundle.build_model()
    rng = np.random.default_rng(0)
    for count in (1, 3):
        images = rng.standard_normal((count, 3, *bundle.image_size), dtype=np.float32)
        with paddle.no_grad():
            expected = model(paddle.to_tensor(images)).numpy()
        got = logits_of(images)
        expect(
            got.shape == expected.shape and got.dtype == np.float32,
            f"{name}: its engine gives {got.dtype} {list(got.shape)} for {count} images, "
            f"not float32 {list(expected.shape)}",
        )
        scale = float(np.sqrt((expected**2).mean()))
        if centred:
            expected, got = (
                logits - logits.mean(axis=1, keepdims=True) for logits in (expected, got)
            )
        difference = float(np.abs(got - expected).max()) / max(scale, 1e-12)
        expect(
            difference <= tolerance,
            f"{name}: logits differ by {difference:.2g} of their size; {tolerance:g} is allowed",
        )

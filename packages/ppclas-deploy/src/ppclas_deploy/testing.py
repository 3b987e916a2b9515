"""For tests of plugins: the contract check of export targets and their engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.contracts.export import Engine, Exporter
from ppclas_core.plugins import get_registries
from ppclas_core.testing.components import check_params, expect, fail

__all__ = ["check_exporter"]

Array = NDArray[np.float32]


def check_exporter(exporter: Exporter, bundle: Bundle, folder: Path) -> None:
    """An exporter and its engine keep the contracts of ``ppclas_core.contracts.export``.

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
    if bundle.weights_file.read_bytes() != weights:
        fail(f"{name} changes the bundle that it exports")
    for key in ("engine", "model"):
        if not isinstance(facts.get(key), str):
            fail(f"{name}: export() must return {key!r}; got {facts}")
    if not (folder / facts["model"]).is_file():
        fail(f"{name}: export() names {facts['model']!r} and did not write it")
    engines = get_registries().engines
    used = facts.get("verified_with", facts["engine"])
    for engine_name in (facts["engine"], used):
        expect(engine_name in engines, f"{name}: nobody registers its engine {engine_name!r}")
    if used != facts["engine"] and not facts.get("verified"):
        fail(f"{name}: another engine stands in, and no sentence says what it proves")

    write_manifest(folder, bundle.manifest.replace(kind="export", export=facts, files={}))
    engine = engines.build(used)
    if not isinstance(engine, Engine):
        fail(f"the engine {used} is not a ppclas_core.contracts.export.Engine")
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
        found, wanted = f"{got.dtype} {list(got.shape)}", f"float32 {list(expected.shape)}"
        if found != wanted:
            fail(f"{name}: its engine gives {found} for {count} images, not {wanted}")
        scale = float(np.sqrt((expected**2).mean()))
        if centred:
            expected, got = (each - each.mean(axis=1, keepdims=True) for each in (expected, got))
        difference = float(np.abs(got - expected).max()) / max(scale, 1e-12)
        if not (difference <= tolerance):
            found = f"{difference:.2g} of their size; {tolerance:g} is allowed"
            fail(f"{name}: logits differ by {found}")

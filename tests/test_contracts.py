"""The smallest model of each family and every export target keep their contracts.

The other kinds of components are swept in the core's tests, the other models in the models' own.
"""

import pytest
from ppclas_core.errors import MissingDependencyError
from ppclas_core.plugins import get_registries
from ppclas_core.testing import check_exporter, check_model, make_tiny_bundle

REGISTRIES = get_registries()


def smallest_of_each_family():
    rows = [
        (entry.metadata, name)
        for name in REGISTRIES.models
        if (entry := REGISTRIES.models.entry(name))
    ]
    families = {facts.get("family") for facts, _ in rows}
    return {
        min(
            (facts.get("params_m") or float("inf"), name)
            for facts, name in rows
            if facts.get("family") == family
        )[1]
        for family in families
    }


SMALLEST = smallest_of_each_family()
QUICK = {"MobileNetV1_x0_25", "SqueezeNet1_1", "ShuffleNetV2_x0_25"} & SMALLEST
"""A second or less each; the rest belongs to the long tests."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.sweep)
        for name in sorted(SMALLEST)
    ],
)
def test_the_smallest_model_of_each_family(name):
    check_model(name, static=name not in QUICK)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.slow if name in ("onnx", "paddle", "openvino") else pytest.mark.sweep,
        )
        for name in REGISTRIES.exporters
    ],
)
def test_every_export_target(name, tmp_path):
    exporter = REGISTRIES.exporters.build(name)
    try:
        exporter.check()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    bundle = make_tiny_bundle(
        tmp_path / "bundle", "MobileNetV3_small_x0_35", num_classes=5, image_size=64
    )
    check_exporter(exporter, bundle, tmp_path / "export")

"""The zoo as backbones, and what its models cost, against the published columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from ppclas_core.contracts.feature_extractor import FeatureExtractor
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_engine.profile import profile_model
from ppclas_models.catalog import CatalogRow, load_catalog

MODELS = Path(__file__).parents[3] / "../shared/zoo/models.json"
BUILT = [row for row in load_catalog().values() if row.family is not None]
COUNTED = [row for row in BUILT if row.name == row.architecture and row.macs_g is not None]

TABLE_TOLERANCE = {"params_m": 0.02, "flops_g": 0.05}
"""How far a published column may be from the count before the catalogue's notes have to speak of
it."""

IN_WORDS = {
    "params_m": ("params_m", "parameters include", "FLOPS and parameter counts"),
    "flops_g": ("flops_g", "FLOPS and parameter counts"),
}
"""How the notes speak of a column."""

AUXILIARY_MACS = {"GoogLeNet": 9 * (512 + 528) * 128 + 2 * (1152 * 1024 + 1024 * 1000)}
"""Of heads that the published counts have and that run in training only: two of a 1x1 convolution
and two layers."""


def cut_macs(model: paddle.nn.Layer, size: int) -> int:
    """Of the row and the column that the published EfficientNets compute, on maps of even sides,
    and then cut off.
    """
    total = 0
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Conv2D) and layer._stride[0] == 2:
            even, size = size % 2 == 0, (size + 1) // 2
            total += even * (2 * size + 1) * layer.weight.size
    return total


def smallest_of_each_family() -> list[str]:
    rows: dict[str, CatalogRow] = {}
    for row in sorted(BUILT, key=lambda row: row.params or 0):
        if row.params is not None:
            rows.setdefault(str(row.family), row)
    return [row.architecture for row in rows.values()]


def slow_if(slow: bool) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.slow,) if slow else ()


def mark_of_costs(row: CatalogRow) -> tuple[pytest.MarkDecorator, ...]:
    """Of those after 2020 the small ones are slow; what is large is left to the sweep."""
    if row.year is not None and (row.params or 0) > 3e6:
        return (pytest.mark.sweep,)
    first = row.name in smallest_of_each_family() and (row.params or 0) <= 15e6
    return slow_if(row.year is not None or not first)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=slow_if((load_catalog()[name].params or 0) > 20e6))
        for name in smallest_of_each_family()
    ],
)
def test_a_backbone_gives_the_maps_it_says(name):
    size, params = 128, {}
    if "image_size" in get_registries().models.entry(name).params_model().model_fields:
        params["image_size"] = size
    images = paddle.to_tensor(
        np.random.default_rng(0).standard_normal((2, 3, size, size)).astype("float32")
    )
    with paddle.utils.unique_name.guard():
        backbone = create_model(name, features_only=True, **params)
    backbone.eval()
    with paddle.no_grad():
        maps = backbone(images)
        last = backbone.model.forward_features(images)
    tokens = last.ndim == 3  # vision transformers with a token for the image, some with one map
    assert len(maps) >= (1 if tokens else 2)
    for feature, found in zip(backbone.info, maps, strict=True):
        assert list(found.shape[:2]) == [2, feature.channels]
        # A kernel without padding loses a few pixels at the border.
        assert found.shape[2] == pytest.approx(size / feature.stride, abs=4)
        # SVTR shrinks the height of a line of text only.
        assert name.startswith("SVTR") or found.shape[2] == found.shape[3]
    if not tokens:
        assert np.array_equal(maps[-1].numpy(), last.numpy())
    if len(maps) > 1:
        assert FeatureExtractor(backbone.model, [-2, -1]).info == backbone.info[-2:]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=row.name,
            marks=mark_of_costs(row),
        )
        for row in COUNTED
        if (row.params or 0) < 60e6
    ],
)
def test_costs_are_those_that_the_catalogue_has(row):
    with paddle.utils.unique_name.guard():
        model = create_model(row.architecture)
    cost = profile_model(model, row.image_size)
    # Kernels that fuse() makes, and a projection nobody reads.
    frozen = sum(
        parameter.size
        for name, parameter in model.named_parameters()
        if parameter.stop_gradient and not name.endswith(("._mean", "._variance"))
    )
    assert cost.params + frozen == row.params
    counted = cost.macs + AUXILIARY_MACS.get(row.name, 0)
    if row.family == "efficientnet" and row.name != "EfficientNetB0_small":
        counted += cut_macs(model, row.image_size)
    assert counted / 1e9 == pytest.approx(row.macs_g, abs=6e-5)  # kept with four decimals


@pytest.mark.skipif(not MODELS.is_file(), reason=f"no reference data at {MODELS}")
def test_the_catalogue_has_the_reference_counts():
    for fact in json.loads(MODELS.read_text()):
        row = load_catalog()[fact["name"]]
        assert (row.params, row.macs_g) == (fact.get("params_exact"), fact.get("macs_g"))


def disagreements() -> dict[str, list[str]]:
    """Name → the published columns that are further from the count than the tolerance."""
    found: dict[str, list[str]] = {}
    for row in load_catalog().values():
        pairs = {
            "params_m": (row.params_m, row.params and row.params / 1e6),
            "flops_g": (row.flops_g, row.macs_g and 2 * row.macs_g),
        }
        for column, (published, counted) in pairs.items():
            if published and counted and abs(published / counted - 1) > TABLE_TOLERANCE[column]:
                found.setdefault(row.name, []).append(column)
    return found


def test_every_disagreement_with_the_published_columns_has_its_reason():
    catalog = load_catalog()
    found = disagreements()
    silent = {
        name: columns
        for name, columns in found.items()
        if not all(
            any(words in catalog[name].notes for words in IN_WORDS[column]) for column in columns
        )
    }
    assert silent == {}
    # The other way round: a note is about numbers that do differ.
    for name, row in catalog.items():
        for column in TABLE_TOLERANCE:
            if f"{column} " in row.notes and row.macs_g is not None:
                assert column in found.get(name, []), name

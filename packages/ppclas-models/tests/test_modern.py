"""The models after 2020 against the reference data, and their catalogue rows against the published
tables.
"""

from __future__ import annotations

import functools
import json

import pytest
from networks import ZOO, build, build_shapes_only, checker, needs_zoo
from ppclas_models.catalog import load_catalog

MODERN = ZOO / "modern"

ROWS = [row for row in load_catalog().values() if row.year is not None]
FROM_PAPERS = ("convnext_v2", "dinov2", "efficientvit", "fastvit", "mobileone")
"""Families without published Paddle weights; they are compared with the authors' or timm's networks
in test_modern_c.py."""
ARCHITECTURES = [
    row
    for row in ROWS
    if row.name == row.architecture and row.params and row.family not in (None, *FROM_PAPERS)
]
"""Those that are built and have reference data."""
QUICK = 2.5e6
"""Parameters up to which a model's logits are compared whenever tests run."""
GIANT = 10e6
"""Parameters from which a model's logits are left to the sweep."""

NO_IMAGENET = ("AdaFace", "WideResNet")
"""Families of the facts that are no ImageNet classifiers: for faces, and for small photos."""

PARAMS_TOLERANCE = 0.02
PARAMS_REASONS = {
    "RepVGG_": "the tables print the fused network",
    "PPLCNetV2_base": "the tables leave out the kernels that fuse() makes, and round",
    "RegNetX_200MF": "the tables include batch-norm statistics",
    "RegNetX_32GF": "the tables print what no network of the paper's parameters has",
    "DLA46x_c": "rounded to 1.1 M, statistics included",
    "SwinTransformerV2": "the tables leave out the layers of queries, keys and values",
    "CLIP_vit": "the tables print the backbone without its head",
    "BEiTv2_vit": "the tables print the backbone without its head",
    "CAE_vit": "the tables print the backbone without its head",
    "MOCOV3_vit": "the tables print the backbone without its head",
    "MAE_vit": "the tables print the backbone without its head",
}
"""Names, or their beginnings, whose published parameter count is further from ours than the
tolerance, and why."""


def test_pp_lcnet_without_its_last_convolution_reads_the_last_blocks_channels():
    import paddle
    from ppclas_core.models import create_model

    model = create_model("PPLCNet_x1_0", 4, last_conv=False)
    assert model.fc.weight.shape == [512, 4]  # the last row of the paper's table 2
    assert not any(key.startswith("last_conv") for key in model.state_dict())
    assert model.stages()["head"] == ("fc",)
    model.eval()
    features = model.forward_features(paddle.rand([2, 3, 64, 64]))
    expected = features.mean(axis=[2, 3]) @ model.fc.weight + model.fc.bias
    assert paddle.allclose(model.forward_head(features), expected, atol=1e-5)
    removed = 512 * 1280 + (1280 - 512) * 4
    sizes = [
        sum(p.size for p in each.parameters()) for each in (create_model("PPLCNet_x1_0", 4), model)
    ]
    assert sizes[0] - sizes[1] == removed


def by_size(quick: float, giant: float) -> list[object]:
    """The architectures: with fewer than ``quick`` parameters always, then slow, from ``giant`` on
    in the sweep.
    """

    def mark(params: float) -> tuple[pytest.MarkDecorator, ...]:
        if params < quick:
            return ()
        return (pytest.mark.slow if params < giant else pytest.mark.sweep,)

    return [pytest.param(row, id=row.name, marks=mark(row.params)) for row in ARCHITECTURES]


@functools.cache
def golden() -> dict:
    return json.loads((MODERN / "golden.json").read_text())


@needs_zoo
@pytest.mark.parametrize("row", by_size(GIANT, 60e6))
def test_keys_and_shapes_are_the_published_ones(row):
    rows = json.loads((MODERN / "parameters" / f"{row.name}.json").read_text())
    state = {
        key: tuple(value.shape) for key, value in build_shapes_only(row.name).state_dict().items()
    }
    constant = {key for key, _, _, *mark in rows if mark}
    wanted = {key: tuple(shape) for key, shape, *_ in rows if key not in constant}
    assert {key: shape for key, shape in state.items() if key not in constant} == wanted


@needs_zoo
@pytest.mark.parametrize("row", by_size(QUICK, GIANT))
def test_logits_are_the_published_ones(row):
    entry = golden()["models"][row.name]
    # Raises where keys, shapes or logits differ by more than the data's tolerance.
    reference = checker("modern/check_modern.py")
    error = reference.check(row.name, entry, build, golden()["seed"], keys_only=False)
    assert error <= reference.RTOL


@needs_zoo
@pytest.mark.parametrize("row", by_size(GIANT, 60e6))
def test_parameter_counts_are_those_of_the_reference_data(row):
    # With those that do not train here: kernels that fuse() makes, a projection nobody reads.
    count = sum(
        parameter.size
        for name, parameter in build_shapes_only(row.name).named_parameters()
        if not name.endswith(("._mean", "._variance"))
    )
    assert count == golden()["models"][row.name]["params"] == row.params


def test_published_parameter_counts_are_ours_or_their_reason_is_known():
    different = {
        row.name
        for row in ROWS
        if row.params
        and row.params_m
        and abs(row.params_m / (row.params / 1e6) - 1) > PARAMS_TOLERANCE
    }
    explained = {row.name for row in ROWS for begin in PARAMS_REASONS if row.name.startswith(begin)}
    assert different <= explained
    # The other way round: each reason is still of use.
    for begin in PARAMS_REASONS:
        assert any(name.startswith(begin) for name in different), begin


# The catalogue against the facts


@functools.cache
def facts() -> dict[str, dict]:
    every = json.loads((MODERN / "models.json").read_text(encoding="utf-8"))
    return {fact["name"]: fact for fact in every if fact["family"] not in NO_IMAGENET}


@needs_zoo
def test_every_published_name_has_a_row():
    names = [row.name for row in ROWS]
    assert [name for name in names if name in facts()] == list(facts())
    # The others are architectures of which only other names have weights, or none.
    without = [row for row in ROWS if row.name not in facts()]
    assert {row.name for row in without if row.family not in FROM_PAPERS} == {
        fact["architecture"] for fact in facts().values()
    } - set(facts())
    assert all(row.weights_url is None for row in without)


@needs_zoo
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_row_has_the_published_facts(row):
    fact = facts().get(row.name)
    if fact is None:
        assert row.top1 is None
        return
    for key in ("architecture", "paper_title", "paper_url", "year", "top1", "top5",
                "reference_top1", "reference_top5", "params_m", "weights_url"):  # fmt: skip
        assert getattr(row, key) == fact[key], key
    assert row.flops_g == (None if fact["flops_g"] is None else pytest.approx(2 * fact["flops_g"]))
    assert {f"{key}_ms": value for key, value in row.latency_ms.items()} == {
        key: value for key, value in fact.items() if key.endswith("_ms")
    }
    assert (row.weights_origin is None) == (fact["weights_origin"] is None)
    if fact["eval"] is None:
        assert "no evaluation settings are published" in row.notes
        return
    how = fact["eval"]
    assert (row.image_size, row.interpolation) == (how["image_size"], how["interpolation"])
    short = how.get("resize_size") or how["resize_short"] or how["image_size"] / how["crop_ratio"]
    assert row.resize_short == pytest.approx(short, abs=0.5)
    assert row.resize_backend == ("pil" if how["backend"] == "pil" else "cv2")
    assert list(row.mean or (0.485, 0.456, 0.406)) == how["mean"]
    assert list(row.std or (0.229, 0.224, 0.225)) == how["std"]
    assert row.channel_order == ("bgr" if how["to_rgb"] is False else "rgb")

"""The models of 2020 against the reference data and their published sizes, and what is special in
some of them.
"""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from networks import QUICK, ZOO, build, build_shapes_only, checker, images, needs_zoo
from numpy.lib.stride_tricks import sliding_window_view
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.models import create_model
from ppclas_models.catalog import load_catalog

BUILT = [row for row in load_catalog().values() if row.family is not None]
REFERENCED = [
    row.name
    for row in BUILT
    if row.name == row.architecture and row.year is None and row.params is not None
]
"""The architectures of 2020 with reference data; the others were never published as dygraph
checkpoints. For the later ones see test_modern.py."""
GIANT = 60e6
"""Parameters from which a model's logits are left to the sweep; its keys and shapes never are."""


# Against the reference data and the published tables


@needs_zoo
@pytest.mark.parametrize("name", REFERENCED)
def test_keys_and_shapes_are_the_published_ones(name):
    assert checker("check_zoo.py").compare_keys(name, build_shapes_only(name)) == []


@needs_zoo
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=()
            if name in QUICK
            else pytest.mark.slow
            if (load_catalog()[name].params or 0) < GIANT
            else pytest.mark.sweep,
        )
        for name in REFERENCED
    ],
)
def test_logits_are_the_published_ones(name):
    golden = json.loads((ZOO / "golden.json").read_text())
    entry = golden["models"][name]
    model = build(name)
    model.eval()
    checker("check_zoo.py").fill_layer(model, golden["seed"])
    shape = [entry["batch"], 3, entry["image_size"], entry["image_size"]]
    error, problems = checker("check_zoo.py").compare_logits(
        checker("check_zoo.py").forward(model, shape, golden["seed"]), entry, golden["rtol"]
    )
    assert problems == []
    assert error <= golden["rtol"]


@pytest.mark.parametrize("name", REFERENCED)
def test_parameter_counts_are_the_published_ones(name):
    row = load_catalog()[name]
    model = build_shapes_only(name)
    count = sum(parameter.size for _, parameter in model.trainable())
    assert count == row.params


# What is special


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("ResNet50_vd", {"stem": "stem.2.", "res2": "blocks.2.", "res3": "blocks.3.",
            "res4": "blocks.7.",
                         "res5": "blocks.13.", "head": "fc."}),
        ("MobileNetV3_large_x1_0", {"group1": "blocks.2.", "group2": "blocks.3.",
            "group3": "blocks.6.",
                                    "group4": "blocks.9.", "group5": "blocks.12.",
                                    "head": "last_conv."}),
        ("MobileNetV3_small_x1_0", {"group1": "blocks.1.", "group2": "blocks.2.",
            "group3": "blocks.4.",
                                    "group4": "blocks.6.", "group5": "blocks.8.",
                                    "head": "last_conv."}),
    ],
)  # fmt: skip
def test_stages_are_the_five_groups_of_the_published_learning_rates(name, first):
    model = build_shapes_only(name)
    assert list(model.stages()) == list(first)
    for stage, prefix in first.items():
        keys = [key for key, _ in model.named_parameters() if key.startswith(prefix)]
        assert keys
        assert {model.stage_of(key) for key in keys} == {stage}
    if name.startswith("MobileNetV3"):
        assert model.stage_of("conv.conv.weight") == "group1"
        assert model.stage_of("last_second_conv.conv.weight") == "group5"


def test_googlenet_gives_auxiliary_logits_in_train_mode_only():
    paddle.seed(0)
    model = build("GoogLeNet", num_classes=5)
    batch = images(2, 3, 224, 224)
    model.train()
    main, *auxiliary = model(batch)
    assert [list(logits.shape) for logits in (main, *auxiliary)] == [[2, 5]] * 3
    # Each comes from a classifier of its own: its loss reaches that one and the layers before it,
    # no other.
    for logits, classifier, first_after in zip(
        auxiliary, ("_out1", "_out2"), ("_ince4b", "_ince4e"), strict=True
    ):
        model.clear_gradients()
        logits.sum().backward(retain_graph=True)
        reached = {key.split(".")[0] for key,
            parameter in model.trainable() if parameter.grad is not None
                   and np.abs(parameter.grad.numpy()).any()}  # fmt: skip
        assert {"_conv", "_ince4a", classifier} <= reached
        assert not {first_after, "_ince5a", "_fc_out"} & reached
    model.eval()
    logits = model(batch)
    assert isinstance(logits, paddle.Tensor)
    np.testing.assert_array_equal(
        logits.numpy(), model.forward_head(model.forward_features(batch)).numpy()
    )
    backbone = build("GoogLeNet", num_classes=0)
    backbone.train()
    assert list(backbone(batch).shape) == [2, 1024]


def test_googlenets_first_auxiliary_logits_by_hand():
    """Against a network made of the paper's parts: average pool, 1x1, two linear layers (section
    5).
    """
    model = build("GoogLeNet", num_classes=5)
    model.train()
    model.auxiliary_dropout.eval()
    batch = images(1, 3, 224, 224)
    _, first, _ = model(batch)
    state, x = model.state_dict(), batch
    for name in (
        "_conv",
        "max_pool1",
        "_conv_1",
        "_conv_2",
        "max_pool2",
        "_ince3a",
        "_ince3b",
        "max_pool3",
        "_ince4a",
    ):
        x = getattr(model, name)(x)
    windows = sliding_window_view(x.numpy()[0], (5, 5), axis=(1, 2))[:, ::3, ::3].mean(
        axis=(-2, -1)
    )
    mixed = np.einsum("oc,chw->ohw", state["_conv_o1._conv.weight"].numpy()[:, :, 0, 0], windows)
    hidden = np.maximum(
        mixed.reshape(-1) @ state["_fc_o1.weight"].numpy() + state["_fc_o1.bias"].numpy(), 0
    )
    # Dropout of 0.7 that scales in evaluation.
    logits = 0.3 * hidden @ state["_out1.weight"].numpy() + state["_out1.bias"].numpy()
    np.testing.assert_allclose(first.numpy()[0], logits, rtol=0, atol=1e-4 * np.abs(logits).max())


def test_inception_v4_says_that_an_image_is_too_small():
    model = build_shapes_only("InceptionV4")
    with pytest.raises(ShapeError, match=r"at least 75x75 pixels; got 74x200\. Resize them first"):
        model.forward_features(images(1, 3, 74, 200))


def test_freezing_a_stage_takes_it_out_of_training():
    model = build("MobileNetV1_x0_25", num_classes=5)
    model.freeze([stage for stage in model.stages() if stage != "head"])
    assert [key for key, _ in model.trainable()] == ["fc.weight", "fc.bias"]


def test_norms_that_the_published_training_does_not_decay_say_so():
    def undecayed(name: str) -> set[str]:
        return {
            key
            for key, parameter in build_shapes_only(name).trainable()
            if parameter.regularizer is not None
        }

    small = build_shapes_only("MobileNetV3_small_x0_35")
    assert undecayed("MobileNetV3_small_x0_35") == {
        key for key, _ in small.trainable() if ".bn." in key
    }
    ghost = build_shapes_only("GhostNet_x0_5")
    assert undecayed("GhostNet_x0_5") == {
        key for key, _ in ghost.trainable() if "._batch_norm." in key
    }
    assert undecayed("MobileNetV2_x0_25") == set()


def test_a_wrong_parameter_is_named_with_the_ones_there_are():
    with pytest.raises(ConfigError, match=r"model ResNet18: depth: .*It takes: .*depths"):
        create_model("ResNet18", depth=3)

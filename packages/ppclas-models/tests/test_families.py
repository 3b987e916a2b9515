"""Every registered model against the reference data, its published size, and what the base class
promises.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import paddle
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from paddle.static import InputSpec
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.models import create_model
from ppclas_models.catalog import load_catalog

ZOO = Path(__file__).parents[3] / "../shared/zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"no reference data at {ZOO}")

BUILT = [row for row in load_catalog().values() if row.family is not None]
ARCHITECTURES = list(dict.fromkeys(row.architecture for row in BUILT))
REFERENCED = [name for name in ARCHITECTURES if load_catalog()[name].params is not None]
"""Those with reference data; the others were never published as dygraph checkpoints."""
QUICK = [
    "ResNet18",
    "ResNet18_vd",
    "MobileNetV1_x0_25",
    "MobileNetV2_x0_25",
    "MobileNetV3_large_x0_35",
    "MobileNetV3_small_x0_35",
    "ShuffleNetV2_x0_25",
    "ShuffleNetV2_swish",
    "SqueezeNet1_0",
    "SqueezeNet1_1",
    "GhostNet_x0_5",
    "GoogLeNet",
    "SE_ResNet18_vd",
    "EfficientNetB0_small",
]
LARGE = [
    "AlexNet",
    "VGG11",
    "DarkNet53",
    "DenseNet121",
    "DPN68",
    "InceptionV4",
    "Xception41",
    "Xception41_deeplab",
    "ResNeXt50_32x4d",
    "ResNeXt50_vd_32x4d",
    "SE_ResNeXt50_vd_32x4d",
    "Res2Net50_26w_4s",
    "ResNet50_ACNet_deploy",
    "EfficientNetB0",
    "HRNet_W18_C",
]
SAMPLES = [*QUICK, *(pytest.param(name, marks=pytest.mark.sweep) for name in LARGE)]
"""At least one variant a family and a code path."""
GIANT = 60e6
"""Parameters from which a model's logits are left to the sweep; its keys and shapes never are."""

UNPADDED = ("SqueezeNet", "AlexNet", "GoogLeNet", "InceptionV4")
"""Families whose first convolutions or pools do not pad: their maps are up to three pixels
smaller."""


def build(name: str, **params: object):
    with paddle.utils.unique_name.guard():
        return create_model(name, **params)


@functools.cache
def build_shapes_only(name: str):
    """Without memory for the parameters: for names, shapes and stages."""
    with paddle.LazyGuard():
        return build(name)


def smallest(name: str) -> int:
    """A side in pixels, small for speed, that the model takes."""
    return 80 if name == "InceptionV4" else 64


def images(*shape: int, seed: int = 0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


@functools.cache
def checker() -> ModuleType:
    """The reference data's own comparison."""
    spec = importlib.util.spec_from_file_location("check_zoo", ZOO / "check_zoo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Against the reference data and the published tables


@needs_zoo
@pytest.mark.parametrize("name", REFERENCED)
def test_keys_and_shapes_are_the_published_ones(name):
    assert checker().compare_keys(name, build_shapes_only(name)) == []


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
    checker().fill_layer(model, golden["seed"])
    shape = [entry["batch"], 3, entry["image_size"], entry["image_size"]]
    error, problems = checker().compare_logits(
        checker().forward(model, shape, golden["seed"]), entry, golden["rtol"]
    )
    assert problems == []
    assert error <= golden["rtol"]


@pytest.mark.parametrize("name", REFERENCED)
def test_parameter_counts_are_the_published_ones(name):
    row = load_catalog()[name]
    model = build_shapes_only(name)
    count = sum(parameter.size for _, parameter in model.trainable())
    assert count == row.params


# What every model promises


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_is_in_exactly_one_stage(name):
    model = build_shapes_only(name)
    stages = model.stages()
    assert list(stages)[-1] == "head"
    prefixes = [prefix for names in stages.values() for prefix in names]
    assert len(prefixes) == len(set(prefixes))
    held = set()
    for key in model.state_dict():
        matching = [prefix for prefix in prefixes if key == prefix or key.startswith(f"{prefix}.")]
        assert len(matching) == 1, key
        held.add(model.stage_of(key))
        if model.is_head(key):
            assert model.stage_of(key) == "head"
    assert held == set(stages)


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


@pytest.mark.parametrize("name", SAMPLES)
def test_feature_info_is_what_the_layers_give(name):
    model = build(name, num_classes=0)
    model.eval()
    layers, seen = dict(model.named_sublayers()), {}
    features = model.feature_info()
    for feature in features:
        layers[feature.layer].register_forward_post_hook(
            lambda _layer, _inputs, output, path=feature.layer: seen.update({path: output})
        )
    last = model.forward_features(images(1, 3, 160, 160))
    assert [feature.stride for feature in features] == sorted(
        {feature.stride for feature in features}
    )
    slack = 3 if name.startswith(UNPADDED) else 0
    for feature in features:
        _, channels, height, width = seen[feature.layer].shape
        assert channels == feature.channels
        assert height == width
        assert 0 <= 160 / feature.stride - height <= slack
    assert list(last.shape) == list(seen[features[-1].layer].shape)


@pytest.mark.parametrize("name", SAMPLES)
def test_other_sizes_classes_and_channels(name):
    model = build(name, num_classes=7, in_channels=1)
    model.eval()
    batch = images(2, 1, 97, 131)
    logits = model(batch)
    assert list(logits.shape) == [2, 7]
    features = model.forward_features(batch)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.ndim == 2
    np.testing.assert_array_equal(model.forward_head(features).numpy(), logits.numpy())
    # One image gives what it gives in a batch.
    scale = np.abs(logits.numpy()).max()
    np.testing.assert_allclose(
        model(batch[:1]).numpy(), logits[:1].numpy(), rtol=0, atol=1e-4 * scale
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_without_classes_the_model_gives_pooled_features(name):
    model, full = build(name, num_classes=0), build_shapes_only(name)
    model.eval()
    assert not any(model.is_head(key) for key in model.state_dict())
    assert set(model.state_dict()) <= set(full.state_dict())
    assert {full.stage_of(key) for key in set(full.state_dict()) - set(model.state_dict())} == {
        "head"
    }
    batch = images(2, 3, smallest(name), smallest(name))
    pooled = model(batch)
    np.testing.assert_array_equal(
        pooled.numpy(), model.forward_head(model.forward_features(batch), pre_logits=True).numpy()
    )
    weight = full.state_dict()[f"{full.head[0]}.weight"]
    assert pooled.shape[1] == (weight.shape[0] if weight.ndim == 2 else weight.shape[1])


@pytest.mark.parametrize("name", SAMPLES)
def test_training_reaches_every_parameter(name):
    paddle.seed(0)
    model = build(name, num_classes=5)
    model.train()
    outputs = model(images(4, 3, smallest(name), smallest(name)))
    labels = paddle.to_tensor([0, 1, 2, 3])
    # GoogLeNet's auxiliary logits come after the main ones.
    loss = sum(
        paddle.nn.functional.cross_entropy(logits, labels)
        for logits in paddle.utils.flatten(outputs)
    )
    loss.backward()
    assert np.isfinite(loss.item())
    assert [key for key, parameter in model.trainable() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "name",
    [
        "SqueezeNet1_1",
        *(
            pytest.param(name, marks=pytest.mark.sweep)
            for name in QUICK + LARGE
            if name != "SqueezeNet1_1"
        ),
    ],
)
def test_static_graphs_take_any_batch_and_agree(name):
    model = build(name, num_classes=10)
    model.eval()
    batch = images(3, 3, smallest(name), smallest(name))
    with paddle.no_grad():
        eager = model(batch).numpy()
        static = paddle.jit.to_static(
            model, input_spec=[InputSpec([None, 3, None, None], "float32")], full_graph=True
        )
        scale = np.abs(eager).max()
        np.testing.assert_allclose(static(batch).numpy(), eager, rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(static(batch[:1]).numpy(), eager[:1], rtol=0, atol=1e-4 * scale)
        assert list(static(images(2, 3, 96, 80)).shape) == [2, 10]


@pytest.mark.parametrize("name", SAMPLES)
def test_models_can_be_built_in_double_precision(name):
    paddle.set_default_dtype("float64")
    try:
        model = build(name, num_classes=10)
    finally:
        paddle.set_default_dtype("float32")
    model.eval()
    assert {str(tensor.dtype) for tensor in model.state_dict().values()} == {"paddle.float64"}
    logits = model(images(1, 3, smallest(name), smallest(name)).astype("float64"))
    assert logits.dtype == paddle.float64
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_double_precision_agrees_with_single(name):
    model = build(name, num_classes=10)
    model.eval()
    batch = images(1, 3, smallest(name), smallest(name))
    single = model(batch).numpy()
    model.to(dtype="float64")
    double = model(batch.astype("float64"))
    assert double.dtype == paddle.float64
    np.testing.assert_allclose(
        single, double.numpy(), rtol=0, atol=1e-4 * np.abs(double.numpy()).max()
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_bfloat16_in_the_layers_that_mixed_precision_casts(name):
    # Paddle's CPU builds have no bfloat16 convolution and no auto_cast, so O1 is played by rounding
    # what goes into each convolution and linear layer, and their weights, to bfloat16.
    def rounded(tensor):
        return tensor.astype("bfloat16").astype("float32")

    model = build(name, num_classes=10)
    model.eval()
    batch = images(4, 3, smallest(name), smallest(name))
    with paddle.no_grad():
        single = model(batch).numpy()
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.Conv2D | paddle.nn.Linear):
                layer.weight.set_value(rounded(layer.weight))
                layer.register_forward_pre_hook(lambda _layer, inputs: tuple(map(rounded, inputs)))
        half = model(batch).numpy()
    assert np.isfinite(half).all()
    # Each layer errs by up to 0.4 % (8 bits of a mantissa). Over six draws of weights most nets end
    # below 3 %, MobileNetV2 at 4 to 10 %, GhostNet, whose logits grow to tens of thousands, at 11
    # to 26 %; answers that had nothing in common would be at 140 %.
    assert np.linalg.norm(half - single) < 0.5 * np.linalg.norm(single)


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
    with pytest.raises(ConfigError, match=r"model ResNet18: parameter 'depth'.*It takes: .*depths"):
        create_model("ResNet18", depth=3)

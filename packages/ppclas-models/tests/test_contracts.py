"""What every registered model promises: what the base class says, for all families."""

from __future__ import annotations

import networks
import numpy as np
import paddle
import pytest
from networks import QUICK, build_shapes_only, images
from paddle.static import InputSpec
from ppclas_core.errors import ShapeError
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_models.catalog import CatalogRow, load_catalog

BUILT = [row for row in load_catalog().values() if row.family is not None]
ARCHITECTURES = list(dict.fromkeys(row.architecture for row in BUILT))

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
"""With ``QUICK`` at least one variant a family and a code path of the models of 2020."""
MODERN_QUICK = ["PPLCNet_x0_25", "MobileViT_XXS", "PVT_V2_B0", "DeiT_tiny_patch16_224"]
"""A convolutional network, a mixed one, a transformer that takes any size and one that does not."""
MODERN_MORE = [
    "PPLCNetV2_base",
    "MobileNetV4_hybrid_medium",
    "ResNeSt50",
    "DeiT_tiny_distilled_patch16_224",
]
"""Variants with code of their own that are not the smallest of their families."""
UNPADDED = ("SqueezeNet", "AlexNet", "GoogLeNet", "Inception")
"""Families whose first convolutions or pools do not pad: their maps are up to three pixels
smaller."""

MULTIPLES = (
    "SwinTransformer_tiny_patch4_window7_224",
    "SwinTransformerV2_tiny_patch4_window8_256",
    "alt_gvt_small",
)
"""Models that say no to heights and widths that are not multiples of something."""


def smallest_modern() -> list[CatalogRow]:
    """Of each family after 2020."""
    rows: dict[str, CatalogRow] = {}
    for row in sorted(BUILT, key=lambda row: row.params or 1e9):
        if row.year is not None and row.name == row.architecture:
            rows.setdefault(str(row.family), row)
    return list(rows.values())


MODERN = [
    *MODERN_QUICK,
    *(
        pytest.param(
            row.name, marks=pytest.mark.slow if (row.params or 1e9) < 7e6 else pytest.mark.sweep
        )
        for row in (*smallest_modern(), *(load_catalog()[name] for name in MODERN_MORE))
        if row.name not in MODERN_QUICK
    ),
]
SAMPLES = [*QUICK, *(pytest.param(name, marks=pytest.mark.sweep) for name in LARGE), *MODERN]


def is_fixed(name: str) -> bool:
    """Whether it learns something for each place of images of ``image_size``."""
    return "image_size" in get_registries().models.entry(name).params_model().model_fields


def side_of(name: str, about: int = 64) -> int:
    """A side in pixels, small for speed, that the model can be built for."""
    if name.startswith("Inception"):
        return max(about, 80)
    config = get_registries().models.entry(name).builder.variant().config
    return (
        about // config.patch_size * config.patch_size if hasattr(config, "patch_size") else about
    )


def build(name: str, side: int | None = None, **params: object):
    """With ``side``, for images of that size where the model has to know it."""
    if side is not None and is_fixed(name):
        params["image_size"] = side
    return networks.build(name, **params)


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


@pytest.mark.parametrize("name", SAMPLES)
def test_feature_info_is_what_the_layers_give(name):
    side = side_of(name, 160)
    model = build(name, side, num_classes=0)
    model.eval()
    layers, seen = dict(model.named_sublayers()), {}
    features = model.feature_info()
    for feature in features:
        layers[feature.layer].register_forward_post_hook(
            lambda _layer, _inputs, output, path=feature.layer: seen.update({path: output})
        )
    last = model.forward_features(images(1, 3, side, side))
    assert [feature.stride for feature in features] == sorted(
        {feature.stride for feature in features}
    )
    slack = 3 if name.startswith(UNPADDED) else 0
    for feature in features:
        _, channels, height, width = seen[feature.layer].shape
        assert channels == feature.channels
        assert height == width or name.startswith("SVTR")  # it shrinks the height of a line only
        assert 0 <= side / feature.stride - height <= slack
    if last.ndim == 4:  # plain vision transformers give tokens
        assert list(last.shape) == list(seen[features[-1].layer].shape)


@pytest.mark.parametrize("name", SAMPLES)
def test_other_sizes_classes_and_channels(name):
    model = build(name, side_of(name), num_classes=7, in_channels=1)
    model.eval()
    batch = images(2, 1, 97, 131)
    if name in MULTIPLES:
        with pytest.raises(ShapeError, match=r"height and width to be multiples of .*; got 97x131"):
            model(batch)
        batch = images(2, 1, 96, 160)
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
    side = side_of(name)
    model, full = build(name, side, num_classes=0), build_shapes_only(name)
    model.eval()
    assert not any(model.is_head(key) for key in model.state_dict())
    assert set(model.state_dict()) <= set(full.state_dict())
    assert {full.stage_of(key) for key in set(full.state_dict()) - set(model.state_dict())} == {
        "head"
    }
    batch = images(2, 3, side, side)
    pooled = model(batch)
    np.testing.assert_array_equal(
        pooled.numpy(), model.forward_head(model.forward_features(batch), pre_logits=True).numpy()
    )
    shape = next(
        value.shape
        for key, value in full.state_dict().items()
        if full.is_head(key) and value.ndim > 1
    )
    # A linear layer's input comes first, a convolution's second.
    assert pooled.shape[1] == (shape[0] if len(shape) == 2 else shape[1])


@pytest.mark.parametrize("name", SAMPLES)
def test_training_reaches_every_parameter(name):
    paddle.seed(0)
    side = side_of(name)
    model = build(name, side, num_classes=5)
    model.train()
    outputs = model(images(4, 3, side, side))
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
            for name in (*QUICK, *LARGE)
            if name != "SqueezeNet1_1"
        ),
    ],
)
def test_static_graphs_take_any_batch_and_size_and_agree(name):
    side = side_of(name)
    static = check_static_graph(name, [None, 3, None, None], images(3, 3, side, side))
    assert list(static(images(2, 3, 96, 80)).shape) == [2, 10]


@pytest.mark.parametrize("name", MODERN)
def test_static_graphs_of_one_size_take_any_batch_and_agree(name):
    side = side_of(name)
    check_static_graph(name, [None, 3, side, side], images(3, 3, side, side))


def check_static_graph(name: str, shape: list[int | None], batch: paddle.Tensor):
    """The static graph for images of that shape, which gives what the model gives."""
    model = build(name, batch.shape[-1], num_classes=10)
    model.eval()
    with paddle.no_grad():
        eager = model(batch).numpy()
        static = paddle.jit.to_static(
            model, input_spec=[InputSpec(shape, "float32")], full_graph=True
        )
        scale = np.abs(eager).max()
        np.testing.assert_allclose(static(batch).numpy(), eager, rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(static(batch[:1]).numpy(), eager[:1], rtol=0, atol=1e-4 * scale)
    return static


@pytest.mark.parametrize("name", SAMPLES)
def test_models_can_be_built_in_double_precision(name):
    paddle.set_default_dtype("float64")
    try:
        model = build(name, side_of(name), num_classes=10)
    finally:
        paddle.set_default_dtype("float32")
    model.eval()
    assert {str(tensor.dtype) for tensor in model.state_dict().values()} == {"paddle.float64"}
    logits = model(images(1, 3, side_of(name), side_of(name)).astype("float64"))
    assert logits.dtype == paddle.float64
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_double_precision_agrees_with_single(name):
    side = side_of(name)
    model = build(name, side, num_classes=10)
    model.eval()
    batch = images(1, 3, side, side)
    single = model(batch).numpy()
    model.to(dtype="float64")
    double = model(batch.astype("float64"))
    assert double.dtype == paddle.float64
    np.testing.assert_allclose(
        # Deep networks with random weights amplify rounding: EfficientNetV2_S to 1.3e-4.
        single,
        double.numpy(),
        rtol=0,
        atol=3e-4 * np.abs(double.numpy()).max(),
    )


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.sweep) for name in LARGE)]
)
def test_bfloat16_in_the_layers_that_mixed_precision_casts(name):
    # Paddle's CPU builds have no bfloat16 convolution and no auto_cast, so O1 is played by rounding
    # what goes into each convolution and linear layer, and their weights, to bfloat16.
    def rounded(tensor):
        return tensor.astype("bfloat16").astype("float32")

    model = build(name, num_classes=10)
    model.eval()
    batch = images(4, 3, side_of(name), side_of(name))
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


@pytest.mark.parametrize("name", ["RepVGG_A0", "MobileOne_s0", "PPLCNetV2_small", "FastViT_sa12"])
def test_fused_weights_fit_what_is_built_fused(name):
    model = create_model(name, 4)
    trained = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    model.fuse()
    fused = create_model(name, 4, fused=True)
    assert fused.config == model.config
    assert fused.config.fused
    shapes = [
        {key: list(tensor.shape) for key, tensor in each.state_dict().items()}
        for each in (model, fused)
    ]
    assert shapes[0] == shapes[1] != trained
    assert fused.stages().keys() == create_model(name, 4).stages().keys()
    assert all(fused.stage_of(key) for key, _ in fused.named_parameters())
    maps = create_model(name, features_only=True, fused=True)
    images = paddle.zeros([1, 3, 64, 64])
    assert [list(each.shape[1:2]) for each in maps(images)] == [
        [feature.channels] for feature in fused.feature_info()
    ]

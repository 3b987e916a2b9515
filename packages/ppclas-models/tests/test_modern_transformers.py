"""What is special to the vision transformers since 2020: sizes, tokens, windows, errors."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.errors import ShapeError
from ppclas_core.models import create_model
from ppclas_models.layers.attention import SelfAttention, attend, merge_heads, split_heads
from ppclas_models.layers.patches import fold, to_even, unfold
from ppclas_models.layers.window import (
    partition,
    relative_position_index,
    shift_mask,
    unite,
)

REFERENCE = Path(__file__).parents[3] / "../shared/zoo/modern/golden.json"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_file(), reason=f"no reference data at {REFERENCE}"
)

SMALLEST = {
    "vit": "ViT_small_patch16_224",
    "deit": "DeiT_tiny_distilled_patch16_224",
    "swin": "SwinTransformer_tiny_patch4_window7_224",
    "swin_v2": "SwinTransformerV2_tiny_patch4_window8_256",
    "pvt_v2": "PVT_V2_B0",
    "mobilevit": "MobileViT_XXS",
    "mobilevit_v2": "MobileViTV2_x0_5",
    "mobilevit_v3": "MobileViTV3_XXS",
    "cswin": "CSWinTransformer_tiny_224",
    "twins": "pcpvt_small",
    "levit": "LeViT_128S",
    "cvt": "CvT_13_224",
    "foundation_vit": "MOCOV3_vit_small",
    "uniformer": "UniFormer_small",
    "nextvit": "NextViT_small_224",
    "svtr": "SVTR_tiny",
    "tnt": "TNT_small",
}
FIXED_SIZE = {"vit", "deit", "foundation_vit", "levit", "tnt"}
"""Families whose images have the size that the model is built for."""


def build(family: str, name: str | None = None, **params: object):
    variants = importlib.import_module(f"ppclas_models.families.{family}").models
    variant = variants[name or SMALLEST[family]]
    with paddle.utils.unique_name.guard():
        return variant.layer(variant.config.replace(**params))


def small(family: str, **params: object):
    size = {"image_size": 64} if family in FIXED_SIZE else {}
    return build(family, num_classes=5, **size, **params)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def images(*shape: int) -> paddle.Tensor:
    return paddle.to_tensor(normal(*shape))


@needs_reference
@pytest.mark.parametrize("family", SMALLEST)
def test_parameter_counts_are_those_of_the_reference(family):
    golden = json.loads(REFERENCE.read_text())["models"][SMALLEST[family]]
    state = build(family).state_dict()
    # Without the statistics of batch norms, which are parameters in Paddle, too.
    assert sum(value.size for key, value in state.items() if "._" not in key) == golden["params"]


@pytest.mark.parametrize("family", SMALLEST)
def test_stages_go_from_the_input_to_the_head(family):
    model = small(family)
    stages = list(model.stages())
    assert stages[-1] == "head"
    first = next(iter(model.state_dict()))
    assert model.stage_of(first) in stages[:1] or model.stage_of(first) == "embed"
    decay = model.layer_decay(0.5)
    assert decay["head"] == 1.0
    assert decay[stages[0]] == 0.5 ** (len(stages) - 1)


def bicubic(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[..., h, w] → [..., *size]: Keys' kernel with a = -0.75 at the pixels' centres, the border
    repeated. Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 15.
    """

    def kernel(x: np.ndarray) -> np.ndarray:
        x, a = np.abs(x), -0.75
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    def matrix(before: int, after: int) -> np.ndarray:
        at = (np.arange(after) + 0.5) * before / after - 0.5
        found = np.zeros((after, before))
        for row, place in enumerate(at):
            for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
                found[row, np.clip(tap, 0, before - 1)] += kernel(np.array(place - tap))
        return found

    rows, columns = matrix(values.shape[-2], size[0]), matrix(values.shape[-1], size[1])
    return rows @ values.astype(np.float64) @ columns.T


def embedding_for(values: np.ndarray, side: int) -> np.ndarray:
    """[1, leading + n², C] for a grid of ``side``; all but the last square are leading."""
    before = int(np.sqrt(values.shape[1]))
    leading = values.shape[1] - before**2
    places = values[0, leading:].T.reshape(-1, before, before)
    resized = bicubic(places, (side, side)).reshape(len(places), -1).T
    return np.concatenate([values[0, :leading], resized])[None]


def table_for(values: np.ndarray, side: int) -> np.ndarray:
    """[(2n - 1)² + 3, heads] for a grid of ``side``."""
    before = int(np.sqrt(len(values) - 3))
    offsets = values[: before**2].T.reshape(-1, before, before)
    resized = bicubic(offsets, (2 * side - 1, 2 * side - 1)).reshape(len(offsets), -1).T
    return np.concatenate([resized, values[before**2 :]])


def distances_for(values: np.ndarray, side: int) -> np.ndarray:
    """[heads, n²] for a map of ``side``."""
    before = int(np.sqrt(values.shape[1]))
    return bicubic(values.reshape(-1, before, before), (side, side)).reshape(len(values), -1)


RESIZED = {
    "pos_embed": embedding_for,
    "patch_pos": embedding_for,
    "relative_position_bias_table": table_for,
    "attention_biases": distances_for,
}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ViT_small_patch16_224", {"depth": 2}),
        ("DeiT_tiny_distilled_patch16_224", {"depth": 2}),
        ("TNT_small", {"depth": 2}),
        ("CAE_vit_base_patch16_224", {"depth": 2}),
        ("LeViT_128S", {}),
    ],
)
@pytest.mark.parametrize("side", [96, 176])
def test_positions_are_resized_for_other_images(name, params, side):
    small, large = (create_model(name, 5, image_size=n, **params) for n in (128, side))
    rng = np.random.default_rng(3)
    for key, tensor in small.state_dict().items():
        if key.rsplit(".", 1)[-1] in RESIZED:  # zeros at first, some of them
            tensor.set_value(rng.normal(0, 0.5, tensor.shape).astype("float32"))
    for key, tensor in large.state_dict().items():
        value, kind = small.state_dict()[key].numpy(), key.rsplit(".", 1)[-1]
        if value.shape != tuple(tensor.shape):
            grid = side // 16
            if kind == "attention_biases":
                grid = int(np.sqrt(tensor.shape[1]))
            value = RESIZED[kind](value, grid).astype("float32")
        tensor.set_value(value)
    batch = images(2, 3, side, side)
    for model in (small, large):
        model.eval()
    expected = large(batch).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(small(batch).numpy(), expected, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("family", sorted(FIXED_SIZE - {"foundation_vit"}))
def test_images_need_not_be_square(family):
    model = small(family)
    model.eval()
    assert list(model(images(2, 3, 64, 101)).shape) == [2, 5]


def test_biases_between_patches_need_a_square():
    model = create_model("BEiTv2_vit_base_patch16_224", 5, image_size=64, depth=1)
    with pytest.raises(ShapeError, match="BEiTv2 takes square images; got 4x6 patches of 16 "):
        model(images(1, 3, 64, 96))


@pytest.mark.parametrize("family", sorted(FIXED_SIZE))
def test_image_size_decides_the_tables(family):
    model = small(family)
    model.eval()
    assert list(model(images(2, 3, 64, 64)).shape) == [2, 5]


@pytest.mark.parametrize(("family", "multiple"), [("swin", 4), ("swin_v2", 4), ("twins", 32)])
def test_sizes_that_patches_do_not_fit_are_refused(family, multiple):
    with pytest.raises(ShapeError, match=f"multiples of {multiple}; got 97x131"):
        small(family).forward_features(images(1, 3, 97, 131))


@pytest.mark.parametrize("family", ["swin", "swin_v2", "cswin"])
def test_windows_need_not_fit(family):
    model = small(family)
    model.eval()
    features = model.forward_features(images(1, 3, 100, 148))
    assert list(features.shape[2:]) == [4, 5]


@pytest.mark.parametrize("family", ["mobilevit", "mobilevit_v2", "mobilevit_v3"])
def test_patches_need_not_fit(family):
    model = small(family)
    model.eval()
    assert list(model.forward_features(images(1, 3, 97, 131)).shape[2:]) == [4, 5]


def test_distilled_deit_gives_two_logits_in_training_and_their_mean_in_evaluation():
    model = small("deit", drop_path_rate=0.0)
    batch = images(2, 3, 64, 64)
    model.train()
    own, teacher = model(batch)
    model.eval()
    np.testing.assert_allclose(
        model(batch).numpy(), (own.numpy() + teacher.numpy()) / 2, rtol=1e-5, atol=1e-6
    )


def test_drop_path_rates_grow_to_the_last_block():
    model = build("vit", drop_path_rate=0.2, image_size=64, depth=5)
    rates = [block.drop_path.p for block in model.blocks]
    np.testing.assert_allclose(rates, [0.0, 0.05, 0.1, 0.15, 0.2])


# The layers, against a formula


def test_attention_is_the_papers_formula():
    queries, keys, values = (normal(2, 3, 4, 5, seed=seed) for seed in range(3))
    bias = normal(3, 4, 4, seed=3)
    scores = np.einsum("nhld,nhmd->nhlm", queries, keys) * 0.5 + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("nhlm,nhme->nlhe", weights, values).reshape(2, 4, 15)
    found = attend(*map(paddle.to_tensor, (queries, keys, values)), 0.5, paddle.to_tensor(bias))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_self_attention_is_paddles_multi_head_attention():
    ours, theirs = SelfAttention(12, 3), nn.MultiHeadAttention(12, 3)
    weight, bias = ours.qkv.weight.numpy(), normal(36)
    ours.qkv.bias.set_value(bias)
    for part, layer in enumerate((theirs.q_proj, theirs.k_proj, theirs.v_proj)):
        layer.weight.set_value(weight[:, 12 * part : 12 * (part + 1)])
        layer.bias.set_value(bias[12 * part : 12 * (part + 1)])
    theirs.out_proj.weight.set_value(ours.proj.weight.numpy())
    theirs.out_proj.bias.set_value(ours.proj.bias.numpy())
    tokens = images(2, 7, 12)
    np.testing.assert_allclose(ours(tokens).numpy(), theirs(tokens).numpy(), rtol=1e-4, atol=1e-6)


def test_heads_come_back_as_they_were():
    tokens = images(2, 6, 24)
    (heads,) = split_heads(tokens, 4)
    assert list(heads.shape) == [2, 4, 6, 6]
    np.testing.assert_array_equal(heads[1, 2, 3].numpy(), tokens[1, 3, 12:18].numpy())
    np.testing.assert_array_equal(merge_heads(heads).numpy(), tokens.numpy())


def test_windows_hold_neighbours_and_come_back():
    x = images(2, 6, 8, 3)
    windows = partition(x, (3, 4))
    assert list(windows.shape) == [2, 4, 12, 3]
    np.testing.assert_array_equal(windows[1, 1].numpy(), x[1, 0:3, 4:8].numpy().reshape(12, 3))
    np.testing.assert_array_equal(unite(windows, (3, 4), (6, 8)).numpy(), x.numpy())


def test_relative_positions_are_the_same_for_the_same_offset():
    window = 3
    index = relative_position_index(window).numpy().reshape(window**2, window**2)
    places = [(row, column) for row in range(window) for column in range(window)]
    offsets = {}
    for one, (row, column) in enumerate(places):
        for other, (other_row, other_column) in enumerate(places):
            offset = (row - other_row, column - other_column)
            assert offsets.setdefault(offset, index[one, other]) == index[one, other]
    assert sorted(offsets.values()) == list(range((2 * window - 1) ** 2))


def test_a_shift_does_not_let_opposite_borders_meet():
    size, window, shift = (8, 8), 4, 2
    mask = shift_mask(size, window, shift, paddle.float32).numpy()[:, 0]
    rows, columns = np.indices(size)
    moved = [np.roll(axis, (-shift, -shift), (0, 1)) for axis in (rows, columns)]
    where = partition(paddle.to_tensor(np.stack(moved, axis=-1)[None]), (4, 4)).numpy()[0]
    # Within a window, places that were apart by a window or more must not see each other.
    apart = np.abs(where[:, :, None] - where[:, None]).max(axis=-1) >= window
    assert (mask[apart] == -100).all()
    assert (mask[~apart] == 0).all()


def test_patches_unfold_and_fold():
    x = images(2, 3, 4, 6)
    tokens = unfold(x)
    assert list(tokens.shape) == [2, 4, 6, 3]
    # The second pixel of each patch: row 0, column 1 within it.
    np.testing.assert_array_equal(
        tokens[0, 1].numpy(), x[0, :, 0::2, 1::2].flatten(1).transpose([1, 0]).numpy()
    )
    np.testing.assert_array_equal(fold(tokens, 4, 6).numpy(), x.numpy())
    assert to_even(x) is x
    np.testing.assert_allclose(
        to_even(images(1, 1, 3, 4)).numpy(),
        F.interpolate(images(1, 1, 3, 4), size=[4, 4], mode="bilinear").numpy(),
    )

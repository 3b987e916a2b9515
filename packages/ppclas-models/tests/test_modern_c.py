"""Of the convolutional families since 2022: what a re-parameterised network gives, the images that
each refuses, and answers compared with timm's models of the same random weights.
"""

from __future__ import annotations

import re
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import paddle
import pytest
from ppclas_core.contracts.image_model import ImageModel
from ppclas_core.errors import ShapeError
from ppclas_core.models import create_model
from ppclas_models.catalog import load_catalog

_SPEC = spec_from_file_location("torch_peers", Path(__file__).with_name("torch_peers.py"))
torch_peers = module_from_spec(_SPEC)
_SPEC.loader.exec_module(torch_peers)

missing = [name for name in ("torch", "torchvision", "timm") if find_spec(name) is None]
needs_timm = pytest.mark.skipif(
    bool(missing), reason=f"not installed, only needed to compare: {', '.join(missing)}"
)


def build(name: str, **params: object) -> ImageModel:
    with paddle.utils.unique_name.guard():
        return create_model(name, **params)


def count(name: str, **params: object) -> int:
    with paddle.LazyGuard():
        model = build(name, **params)
    return sum(parameter.size for _, parameter in model.trainable())


def images(*shape: int, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


# Against timm's models

BATCH_NORM = {"running_mean": "_mean", "running_var": "_variance"}
MAPS = {
    "convnext_v2": (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        ("dwconv", "conv_dw"),
        (r"pwconv(\d)", r"mlp.fc\1"),
        (r"\.grn\.", ".mlp.grn."),
        (r"^norm\.", "head.norm."),
        (r"^head\.(weight|bias)", r"head.fc.\1"),
    ),
    "mobileone": (
        (r"\.linear\.", "."),
        (r"\.se\.conv(\d)", r".attn.fc\1"),
        (r"^fc\.", "head.fc."),
    ),
    "fastvit": (
        (r"\.linear\.", "."),
        (r"\.downsample\.", ".downsample.proj."),
        (r"token_mixer\.norm\.", "token_mixer.norm.identity."),
        (r"\.se\.conv(\d)", r".se.fc\1"),
        (r"^fc\.", "head.fc."),
    ),
    "efficientvit": (
        (r"^stem\.0\.", "stem.in_conv."),
        (r"^stem\.1\.", "stem.res0."),
        (r"^stages\.(\d)\.(\d+)\.(?!context|local|main)", r"stages.\1.blocks.\2.main."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.qkv\.", ".qkv.conv."),
        (r"\.aggregate\.", ".aggreg.0."),
        (r"^last_conv\.", "head.in_conv."),
        (r"^hidden\.", "head.classifier."),
        (r"^fc\.", "head.classifier.4."),
    ),
    "dinov2": ((r"gamma_(\d)", r"ls\1.gamma"), ("register_tokens", "reg_token")),
}
"""Family → our names as regular expressions, with timm's for them, applied in this order."""


def copy_weights(theirs, ours: ImageModel, family: str) -> None:
    """Every tensor of timm's model into the one of ours that has its place."""
    state = {
        re.sub("running_mean|running_var", lambda m: BATCH_NORM[m[0]], key): value.numpy()
        for key, value in theirs.state_dict().items()
        if "num_batches" not in key
    }
    linear = {
        f"{path}.weight"
        for path, layer in ours.named_sublayers()
        if isinstance(layer, paddle.nn.Linear)
    }
    for key, tensor in ours.state_dict().items():
        name = key
        for pattern, other in MAPS[family]:
            name = re.sub(pattern, other, name)
        value = state.pop(name)
        if key == "pos_embed" and value.shape[1] == tensor.shape[1] - 1:
            # With registers timm's class token has its position in it.
            value = np.concatenate([np.zeros_like(value[:, :1]), value], axis=1)
        if key in linear:
            value = value.reshape(value.shape[:2]).T  # some are 1x1 convolutions there
        tensor.set_value(value.reshape(tensor.shape))
    assert state == {}


QUICK = {
    "ConvNeXtV2_atto": "convnextv2_atto",
    "MobileOne_s0": "mobileone_s0",
    "MobileOne_s4": "mobileone_s4",
    "FastViT_t8": "fastvit_t8",
    "FastViT_sa12": "fastvit_sa12",
    "EfficientViT_b0": "efficientvit_b0",
    "EfficientViT_l1": "efficientvit_l1",
    "DINOv2_vit_small_patch14": "vit_small_patch14_dinov2",
    "DINOv2_vit_small_patch14_reg4": "vit_small_patch14_reg4_dinov2",
}
PEERS = {
    **QUICK,
    **{
        f"ConvNeXtV2_{size}": f"convnextv2_{size}"
        for size in ("femto", "pico", "nano", "tiny", "base", "large", "huge")
    },
    **{f"MobileOne_s{size}": f"mobileone_s{size}" for size in (1, 2, 3)},
    **{f"FastViT_{size}": f"fastvit_{size}" for size in ("t12", "s12", "sa24", "sa36", "ma36")},
    **{f"EfficientViT_{size}": f"efficientvit_{size}" for size in ("b1", "b2", "b3", "l2", "l3")},
    **{
        f"DINOv2_vit_{size}_patch14{registers}": f"vit_{size}_patch14{registers}_dinov2"
        for size in ("base", "large", "giant")
        for registers in ("", "_reg4")
    },
}
"""Ours → timm's."""
DEEP = ("MobileOne_s4", "FastViT_sa36", "FastViT_ma36")
"""Where gates or softmaxes, one after another, let rounding grow unless the batch norms keep the
maps small."""
GIANT = ("ConvNeXtV2_huge", "DINOv2_vit_giant_patch14", "DINOv2_vit_giant_patch14_reg4")
"""Too large to build on a small machine; timm's are counted."""


@needs_timm
@pytest.mark.parametrize("name", PEERS)
def test_as_many_parameters_as_timms(name):
    libraries = torch_peers.libraries()
    classes = {"num_classes": 0} if "DINOv2" in name else {}
    with libraries["torch"].device("meta"):
        theirs = libraries["timm"].create_model(PEERS[name], **classes)
    wanted = sum(parameter.numel() for parameter in theirs.parameters())
    with_positions = 0
    if "reg4" in name:
        with_positions = theirs.embed_dim  # of the class token, whose position timm adds to it
    assert count(name, **classes) == wanted + with_positions


@needs_timm
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.sweep)
        for name in PEERS
        if name not in GIANT
    ],
)
def test_the_answers_are_timms(name):
    libraries = torch_peers.libraries()
    torch, small = libraries["torch"], {"img_size": 70} if "DINOv2" in name else {}
    theirs = libraries["timm"].create_model(PEERS[name], num_classes=10, **small).eval()
    size = small.get("img_size", 96)
    batch = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch_peers.randomise(theirs, batch, gain=0.2 if name in DEEP else 1.0)
    ours = build(name, num_classes=10, **({"image_size": size} if small else {}))
    ours.eval()
    copy_weights(theirs, ours, load_catalog()[name].family)
    with torch.no_grad():
        wanted = theirs(batch[:2]).numpy()
    with paddle.no_grad():
        found = ours(paddle.to_tensor(batch[:2].numpy())).numpy()
    error = np.abs(found - wanted).max() / np.sqrt((wanted**2).mean())
    assert error < 1e-4


# Branches that become one convolution


@pytest.mark.parametrize("name", ["MobileOne_s0", "MobileOne_s4", "FastViT_sa12"])
def test_a_fused_network_gives_the_same_logits(name):
    model = build(name, num_classes=10)
    rng = np.random.default_rng(0)
    for key, tensor in model.state_dict().items():
        if key.rsplit(".", 1)[-1] in ("_mean", "_variance", "gamma") or ".bn." in key:
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    model.eval()
    batch = images(2, 3, 64, 64)
    before, parameters = model(batch).numpy(), sum(p.size for _, p in model.trainable())
    model.fuse()
    after = model(batch).numpy()
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    left = set(model.state_dict())
    assert not any("conv_kxk" in key or "identity" in key for key in left)
    assert sum(p.size for _, p in model.trainable()) < parameters
    model.fuse()  # nothing is left to fuse
    assert set(model.state_dict()) == left


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # The paper counts the networks that run.
        ("MobileOne_s0", 2.1),
        ("MobileOne_s1", 4.8),
        ("MobileOne_s2", 7.8),
        ("MobileOne_s3", 10.1),
        ("MobileOne_s4", 14.8),
    ],
)
def test_fused_parameter_counts_are_the_papers(name, millions):
    model = build(name)
    model.fuse()
    found = sum(parameter.size for _, parameter in model.trainable())
    assert found / 1e6 == pytest.approx(millions, abs=0.06)


# Images that do not fit, and training


def test_inception_v3_says_that_an_image_is_too_small():
    with pytest.raises(ShapeError, match=r"InceptionV3 needs .* at least 75x75 pixels; got 74x200"):
        build("InceptionV3").forward_features(images(1, 3, 74, 200))


def test_dsnet_says_that_an_image_is_too_small():
    with pytest.raises(ShapeError, match=r"DSNet needs .* at least 64x64 pixels; got 48x64"):
        build("DSNet_tiny").forward_features(images(1, 3, 48, 64))


def test_dinov2_of_another_size_has_as_many_positions():
    model = build("DINOv2_vit_small_patch14_reg4", image_size=56, num_classes=0, depth=1)
    assert list(model.pos_embed.shape) == [1, 1 + 4 * 4, 384]
    assert list(model.forward_features(images(2, 3, 56, 56)).shape) == [2, 1 + 4 + 16, 384]
    assert list(model.forward_features(images(2, 3, 70, 43)).shape) == [2, 1 + 4 + 15, 384]
    with pytest.raises(ShapeError, match=r"DINOv2 needs .* at least 14x14 pixels; got 13x70"):
        model(images(1, 3, 13, 70))


def test_branches_drop_samples_while_training_only():
    model = build("ConvNeXtV2_atto", num_classes=10, drop_path_rate=0.9)
    batch = images(2, 3, 64, 64)
    paddle.seed(0)
    model.train()
    assert np.abs(model(batch).numpy() - model(batch).numpy()).max() > 0
    model.eval()
    np.testing.assert_array_equal(model(batch).numpy(), model(batch).numpy())

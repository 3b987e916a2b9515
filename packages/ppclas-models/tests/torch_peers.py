"""The torch models that are built like ours, and how to make one with weights that show every
difference.

Needs torch, torchvision and timm only when called. As a program:

    python torch_peers.py facts                # writes torch_peers.json.xz: what the tests without
    torch compare with python torch_peers.py compare ['ResNet*']  # converts and compares answers, a
    row of a Markdown table each
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import re
import sys
import tempfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FACTS = Path(__file__).with_name("torch_peers.json.xz")


class Peer(NamedTuple):
    """A torch model."""

    architecture: str
    """Ours."""
    library: str
    """``torchvision`` or ``timm``."""
    model: str
    """Its name there; where the library has none of these sizes, its class, with ``arguments``."""
    size: int = 64
    """Pixels that the two are compared at."""
    arguments: tuple[tuple[str, Any], ...] = ()
    params: tuple[tuple[str, Any], ...] = ()
    """What ours is built with, where it takes that to give the same answers."""
    same: bool | None = True
    """Whether the answers are the same. If not, the conversion says why. None: it depends on the
    weights, and the conversion says so."""
    gain: float = 1.0
    """Mean of the batch norms' random weights. Where dozens of gated blocks follow one another,
    rounding grows a millionfold at 1, and nothing but rounding would be compared."""

    dtype: str = "float32"
    """In which both compute. In float64, next to no rounding is left."""

    @property
    def named(self) -> bool:
        """Whether the conversion has to be told the model, since others have the same names."""
        return bool(re.search("efficientnet|mixnet|swinv2_base_window1|clip", self.model))

    @property
    def title(self) -> str:
        """The library, the model and what it was built with."""
        given = ", ".join(f"{key}={value}".replace(" ", "") for key, value in self.arguments)
        return f"{self.library} {self.model}" + (f"({given})" if given else "")


def _resnet(architecture: str, depths: tuple[int, ...], size: int = 64, **arguments: Any) -> Peer:
    """One of timm's class, of a size that timm has no name for."""
    return Peer(
        architecture, "timm", "ResNet", size, tuple({"layers": depths, **arguments}.items())
    )


def _efficientnet(
    number: int, library: str, name: str, size: int = 64, params: tuple[tuple[str, Any], ...] = ()
) -> Peer:
    """EfficientNetB0 to B7; B0 alone has few enough gates for weights like the others'."""
    gain = 0.2 if number else 1.0
    return Peer(
        f"EfficientNetB{number}", library, f"{name}_b{number}", size, params=params, gain=gain
    )


_VD = {"stem_type": "deep", "stem_width": 32, "avg_down": True}
_WIDE_VD = {"stem_type": "deep", "stem_width": 64, "avg_down": True}
_PLAIN = (("padded_for", None),)
# The sizes at which TensorFlow's padding is that of the published size: it depends on which maps
# are odd.
_EFFICIENT_SIZES = (96, 112, 68, 108, 124, 72, 80, 88)


def _later(pattern: str, model: str, names: str, size: int = 64, **more: Any) -> tuple[Peer, ...]:
    """timm's models ``model`` for each of ``names``, either with the name, or with what stands
    after a colon, in the place of the braces.
    """
    pairs = (each.split(":") for each in names.split())
    return tuple(
        Peer(pattern.format(pair[0]), "timm", model.format(pair[-1].lower()), size, **more)
        for pair in pairs
    )


_CLASSES = (("num_classes", 1000),)
_ONE_WINDOW = (("shift_one_window", False),)
_EPSILON = (("epsilon", 1e-6),)

PEERS: tuple[Peer, ...] = (
    *(Peer(f"ResNet{n}", library, f"resnet{n}") for n in (18, 34, 50, 101,
        152) for library in ("torchvision", "timm")),
    Peer("ResNet50_vc", "timm", "resnet50c"),
    *(Peer(f"ResNet{n}_vd", "timm", f"resnet{n}d") for n in (18, 34, 50, 101, 152)),
    _resnet("ResNet200_vd", (3, 12, 48, 3), **_VD),
    Peer("ResNeXt50_32x4d", "torchvision", "resnext50_32x4d"),
    Peer("ResNeXt50_32x4d", "timm", "resnext50_32x4d"),
    _resnet("ResNeXt50_64x4d", (3, 4, 6, 3), cardinality=64, base_width=4),
    Peer("ResNeXt101_32x4d", "timm", "resnext101_32x4d"),
    Peer("ResNeXt101_64x4d", "torchvision", "resnext101_64x4d"),
    Peer("ResNeXt101_64x4d", "timm", "resnext101_64x4d"),
    _resnet("ResNeXt152_32x4d", (3, 8, 36, 3), cardinality=32, base_width=4),
    _resnet("ResNeXt152_64x4d", (3, 8, 36, 3), cardinality=64, base_width=4),
    Peer("ResNeXt50_vd_32x4d", "timm", "resnext50d_32x4d"),
    _resnet("ResNeXt50_vd_64x4d", (3, 4, 6, 3), cardinality=64, base_width=4, **_VD),
    _resnet("ResNeXt101_vd_32x4d", (3, 4, 23, 3), cardinality=32, base_width=4, **_VD),
    _resnet("ResNeXt101_vd_64x4d", (3, 4, 23, 3), cardinality=64, base_width=4, **_VD),
    _resnet("ResNeXt152_vd_32x4d", (3, 8, 36, 3), cardinality=32, base_width=4, **_VD),
    _resnet("ResNeXt152_vd_64x4d", (3, 8, 36, 3), cardinality=64, base_width=4, **_VD),
    Peer("ResNeXt101_32x8d_wsl", "torchvision", "resnext101_32x8d"),
    *(Peer(f"ResNeXt101_32x{n}d_wsl", "timm", f"resnext101_32x{n}d") for n in (8, 16, 32)),
    _resnet("ResNeXt101_32x48d_wsl", (3, 4, 23, 3), cardinality=32, base_width=48),
    _resnet("SE_ResNet50_vd", (3, 4, 6, 3), attn_layer="se", **_VD),
    Peer("SE_ResNeXt50_32x4d", "timm", "seresnext50_32x4d"),
    Peer("SE_ResNeXt101_32x4d", "timm", "seresnext101_32x4d"),
    _resnet("SE_ResNeXt50_vd_32x4d", (3, 4, 6, 3), cardinality=32, base_width=4, attn_layer="se",
        **_WIDE_VD),
    _resnet("SENet154_vd", (3, 8, 36, 3), cardinality=64, base_width=4, attn_layer="se",
        **_WIDE_VD)._replace(gain=0.2),
    Peer("Res2Net50_26w_4s", "timm", "res2net50_26w_4s", same=False),
    Peer("Res2Net50_14w_8s", "timm", "res2net50_14w_8s", same=False),
    Peer("Res2Net50_vd_26w_4s", "timm", "res2net50d", same=False),
    Peer("Res2Net101_vd_26w_4s", "timm", "res2net101d", same=False),
    Peer("MobileNetV1", "timm", "mobilenetv1_100", same=False),
    Peer("MobileNetV2", "torchvision", "mobilenet_v2"),
    Peer("MobileNetV2", "timm", "mobilenetv2_100"),
    Peer("MobileNetV2_x2_0", "torchvision", "mobilenet_v2", arguments=(("width_mult", 2.0),)),
    *(Peer(name, "torchvision", f"shufflenet_v2_{width}") for name, width in (
        ("ShuffleNetV2_x0_5", "x0_5"), ("ShuffleNetV2", "x1_0"), ("ShuffleNetV2_x1_5", "x1_5"),
    )),
    *(Peer(name, "torchvision", "ShuffleNetV2", arguments=(
        ("stages_repeats", (4, 8, 4)), ("stages_out_channels", (24, *channels, 512)),
    )) for name, channels in (("ShuffleNetV2_x0_25", (24, 48, 96)), ("ShuffleNetV2_x0_33", (32, 64,
        128)))),
    Peer("SqueezeNet1_0", "torchvision", "squeezenet1_0", 99),
    Peer("SqueezeNet1_1", "torchvision", "squeezenet1_1", 96, params=(("stem_padding", 0),)),
    *(Peer(f"DenseNet{n}", library, f"densenet{n}")
      for n in (121, 161, 169, 201) for library in ("torchvision", "timm")),
    Peer("DenseNet264", "torchvision", "DenseNet", arguments=(("block_config", (6, 12, 64, 48)),)),
    *(Peer(f"VGG{n}", library, f"vgg{n}", 224 if library == "timm" else 64, same=False)
      for n in (11, 13, 16, 19) for library in ("torchvision", "timm")),
    Peer("AlexNet", "torchvision", "alexnet", 128),
    *(_efficientnet(n, "torchvision", "efficientnet", params=_PLAIN) for n in range(8)),
    *(_efficientnet(n, "timm", "efficientnet", params=_PLAIN) for n in range(8)),
    *(_efficientnet(n, "timm", "tf_efficientnet", size) for n, size in enumerate(_EFFICIENT_SIZES)),
    *(Peer(f"HRNet_W{n}_C", "timm", f"hrnet_w{n}") for n in (18, 30, 32, 40, 44, 48, 64)),
    *(Peer(f"DPN{n}", "timm", f"dpn{n}") for n in (68, 92, 98, 107, 131)),
    *(Peer(f"Xception{n}_deeplab", "timm", f"xception{n}", 96, params=(("last_dilation",
        1),)) for n in (41, 65)),
    Peer("DarkNet53", "timm", "darknet53", same=False),
    # Since 2021
    *_later("PPLCNet_x{}", "lcnet_{}", "0_35:035 0_5:050 0_75:075 1_0:100 1_5:150", same=False),
    *_later("PPLCNetV2_{}", "lcnetv2_{}", "small base large"),
    *_later("PPHGNet_{}", "hgnet_{}", "tiny small base", gain=0.5),
    *_later("PPHGNetV2_{}", "hgnetv2_{}", "B0 B1 B2 B3", same=None),
    *_later("PPHGNetV2_{}", "hgnetv2_{}", "B4 B5 B6", gain=0.5),
    *_later("RegNetX_{}", "regnetx_{}", "200MF:002 400MF:004 600MF:006 800MF:008 1600MF:016 "
            "3200MF:032 4GF:040 6400MF:064 8GF:080 12GF:120 16GF:160 32GF:320"),
    *(Peer(f"RegNetX_{size.upper()}", "torchvision", f"regnet_x_{name}") for size, name in (
        ("800mf", "800mf"), ("1600mf", "1_6gf"), ("3200mf", "3_2gf"), ("8gf", "8gf"),
        ("16gf", "16gf"), ("32gf", "32gf"))),
    *_later("RepVGG_{}", "repvgg_{}", "A0 A1 A2 B0 B1 B1g4 B2 B2g4 B3 B3g4 D2se"),
    *_later("ResNeSt{}", "resnest{}", "50:50d 101:101e 200:200e 269:269e",
            params=(("pool_zeros", True),), gain=0.2),
    *_later("ReXNet_{}", "rexnet_{}", "1_0:100 1_3:130 1_5:150 2_0:200 3_0:300",
            gain=0.5),
    *_later("MixNet_{}", "mixnet_{}", "S M L", gain=0.5),
    *_later("MixNet_{}", "tf_mixnet_{}", "S M L", same=False),
    *_later("MobileNetV4_{}", "mobilenetv4_{}",
            "conv_small conv_medium conv_large"),
    *_later("MobileNetV4_{}", "mobilenetv4_{}", "hybrid_medium hybrid_large", gain=0.5,
            dtype="float64"),
    Peer("EfficientNetV2_S", "timm", "tf_efficientnetv2_s", gain=0.2),
    Peer("EfficientNetV2_S", "timm", "efficientnetv2_s", params=_PLAIN, gain=0.2),
    Peer("EfficientNetV2_S", "torchvision", "efficientnet_v2_s", params=_PLAIN, gain=0.2),
    Peer("InceptionV3", "timm", "inception_v3", 299),
    Peer("InceptionV3", "torchvision", "inception_v3", 299),
    *_later("DLA{}", "dla{}", "34 46_c 46x_c 60 60x 60x_c 102 102x 102x2 169"),
    Peer("CSPDarkNet53", "timm", "cspdarknet53"),
    *_later("StarNet_{}", "starnet_{}", "S1 S2 S3 S4", gain=0.2),
    *_later("FasterNet_{}", "fasternet_{}", "T0 T1 T2 S M L"),
    *(Peer(f"ConvNeXt_{name}", library, f"convnext_{name.partition('_')[0]}")
      for name in ("tiny", "small", "base_224", "base_384", "large_224", "large_384")
      for library in ("timm", "torchvision")),
    *_later("ConvNeXtV2_{}", "convnextv2_{}", "atto femto pico nano tiny base large huge"),
    *_later("MobileOne_{}", "mobileone_{}", "s0 s1 s2 s3"),
    Peer("MobileOne_s4", "timm", "mobileone_s4", gain=0.2),
    *_later("FastViT_{}", "fastvit_{}", "t8 t12 s12 sa12 sa24"),
    *_later("FastViT_{}", "fastvit_{}", "sa36 ma36", gain=0.2),
    Peer("ShuffleNetV2_x1_0", "torchvision", "shufflenet_v2_x1_0"),
    *_later("SwinTransformer_{}_224", "swin_{}_224", "tiny_patch4_window7 small_patch4_window7 "
            "base_patch4_window7 large_patch4_window7", 224, params=_ONE_WINDOW),
    *_later("SwinTransformer_{}_384", "swin_{}_384", "base_patch4_window12 large_patch4_window12",
            384, params=_ONE_WINDOW),
    *(Peer(f"SwinTransformer_{size}_patch4_window7_224", "torchvision", f"swin_{size[0]}", 224,
           params=_ONE_WINDOW)
      for size in ("tiny", "small", "base")),
    *_later("SwinTransformerV2_{}", "swinv2_{}", "tiny_patch4_window8_256:tiny_window8_256 "
            "small_patch4_window8_256:small_window8_256 base_patch4_window8_256:base_window8_256 "
            "tiny_patch4_window16_256:tiny_window16_256 "
            "small_patch4_window16_256:small_window16_256 "
            "base_patch4_window16_256:base_window16_256 "
            "large_patch4_window16_256:large_window12to16_192to256", 256),
    Peer("SwinTransformerV2_base_patch4_window16_256", "timm", "swinv2_base_window12to16_192to256",
         256, params=(("pretrained_windows", (12, 12, 12, 6)),)),
    *_later("SwinTransformerV2_{}_patch4_window24_384", "swinv2_{}_window12to24_192to384",
            "base large", 384),
    *(Peer(f"SwinTransformerV2_{size}_patch4_window8_256", "torchvision", f"swin_v2_{size[0]}", 256)
      for size in ("tiny", "small", "base")),
    *_later("ViT_{}_224", "vit_{}_224", "base_patch16 large_patch16", 224),
    *_later("ViT_{}_384", "vit_{}_384", "base_patch16 base_patch32 large_patch16 large_patch32",
            384),
    *(Peer(f"ViT_{width}_patch{patch}_{size}", "torchvision", f"vit_{width[0]}_{patch}", size,
           (("image_size", size),))
      for width in ("base", "large") for patch, size in ((16, 224), (16, 384), (32, 384))),
    *_later("DeiT_{}_patch16_224", "deit_{}_patch16_224",
            "tiny small base tiny_distilled small_distilled base_distilled", 224),
    *_later("DeiT_{}_patch16_384", "deit_{}_patch16_384", "base base_distilled", 384),
    *_later("PVT_V2_{}", "pvt_v2_{}", "B0 B1 B2 B2_Linear:b2_li B3 B4 B5", 224),
    *_later("MobileViT_{}", "mobilevit_{}", "XXS XS S", 256),
    *_later("MobileViTV2_x{}", "mobilevitv2_{}",
            "0_5:050 0_75:075 1_0:100 1_25:125 1_5:150 1_75:175 2_0:200", 256),
    *_later("LeViT_{}", "levit_{}", "128S 128 192 256 384", 224, same=None,
            arguments=(("distilled", False),), dtype="float64"),
    *_later("alt_gvt_{}", "twins_svt_{}", "small base large", 224),
    *_later("pcpvt_{}", "twins_pcpvt_{}", "small base large", 224),
    *_later("TNT_{}", "tnt_{}_patch16_224", "small:s base:b", 224),
    *_later("NextViT_{}_224", "nextvit_{}", "small base large", 224),
    *_later("NextViT_{}_384", "nextvit_{}", "small base large", 384),
    *_later("EfficientViT_{}", "efficientvit_{}", "b0 b1 b2 b3 l1 l2 l3", 96),
    *_later("DINOv2_vit_{}", "vit_{}_dinov2", "small_patch14 base_patch14 large_patch14 "
            "giant_patch14 small_patch14_reg4 base_patch14_reg4 large_patch14_reg4 "
            "giant_patch14_reg4", 518, arguments=_CLASSES),
    *_later("CLIP_vit_{}", "vit_{}", "base_patch32_224:base_patch32_clip_224 "
            "large_patch14_224:large_patch14_clip_224", 224, arguments=_CLASSES),
    Peer("CLIP_vit_base_patch16_224", "timm", "vit_base_patch16_clip_224", 224, _CLASSES,
         (("pooled_token", 0),)),
    Peer("CLIP_vit_large_patch14_336", "timm", "vit_large_patch14_clip_336", 336, _CLASSES),
    *_later("CLIP_vit_{}_224", "vit_{}_clip_quickgelu_224",
            "base_patch32 base_patch16 large_patch14", 224, arguments=_CLASSES, same=False),
    Peer("CLIP_vit_large_patch14_336", "timm", "vit_large_patch14_clip_quickgelu_336", 336,
         _CLASSES, same=False),
    *_later("MAE_vit_{}", "vit_{}_224", "base_patch16 large_patch16 huge_patch14", 224,
            arguments=_CLASSES, params=_EPSILON),
    Peer("MOCOV3_vit_base", "timm", "vit_base_patch16_224", 224, params=_EPSILON),
    Peer("MOCOV3_vit_small", "timm", "vit_small_patch16_224", 224, (("num_heads", 12),), _EPSILON),
    *_later("BEiTv2_vit_{}_224", "beitv2_{}_224", "base_patch16 large_patch16", 224, same=False,
            arguments=(("global_pool", "token"),)),
)  # fmt: skip


_KEPT: list[Any] = []
"""Declarations of operators, which end when nothing refers to them."""


@cache
def libraries() -> dict[str, Any]:
    """torch, torchvision and timm by name."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        # One whose compiled operators are for another build of torch: models need none of them, yet
        # without the declarations it cannot be imported.
        declared = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(declared)
        import torchvision
    import timm

    return {"torch": torch, "torchvision": torchvision, "timm": timm}


def build(peer: Peer, **more: Any) -> Any:
    """The torch model, in eval mode."""
    found, arguments = libraries(), {**dict(peer.arguments), **more}
    if peer.library == "torchvision":
        make: Callable[..., Any] = getattr(found["torchvision"].models, peer.model)
        return make(**arguments).eval()
    if peer.model == "ResNet":
        from timm.models.resnet import Bottleneck, ResNet

        attention = arguments.pop("attn_layer", None)
        block_args = {"attn_layer": attention} if attention else None
        return ResNet(block=Bottleneck, block_args=block_args, **arguments).eval()
    return found["timm"].create_model(peer.model, pretrained=False, **arguments).eval()


def facts() -> dict[str, Any]:
    """Versions, and the shapes of each model's tensors by name."""
    found = libraries()
    models: dict[str, dict[str, list[int]]] = {}
    for peer in PEERS:
        try:
            with found["torch"].device("meta"):  # nothing is drawn
                state = build(peer).state_dict()
        except NotImplementedError:  # torchvision's RegNet draws by hand
            state = build(peer).state_dict()
        models[peer.title] = {
            key: list(value.shape) for key, value in state.items() if "num_batches" not in key
        }
    return {
        "versions": {name: module.__version__ for name, module in found.items()},
        "models": models,
    }


def randomise(model: Any, images: Any, seed: int = 0, gain: float = 1.0) -> None:
    """Give every tensor of a torch model random values that keep its features near 1, seeded.

    ``images`` [N, 3, H, W] set the batch norms' statistics, which are then moved away from what
    they should be. ``gain`` is the mean of their weights.
    """
    torch = libraries()["torch"]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    norms = [module for module in model.modules() if isinstance(module, batch_norm)]
    with torch.no_grad():
        for parameter in model.parameters():
            weight = parameter.ndim > 1 and len(parameter) > 1  # not a token or its place
            deviation = (2 / parameter[0].numel()) ** 0.5 if weight else 0.2
            parameter.normal_(0, deviation, generator=generator)
        for module in model.modules():
            if isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm)):
                # Else an encoder's branches would hardly show beside what passes by them.
                module.weight.uniform_(0.5, 1.5, generator=generator)
        for norm in norms:
            norm.weight.uniform_(0.5 * gain, 1.5 * gain, generator=generator)
            norm.momentum = None  # the statistics become those of the images
        if norms:
            model.train()(images)
        for norm in norms:
            norm.running_mean += (
                0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features, generator=generator)
            )
            norm.running_var *= 0.7 + 0.7 * torch.rand(norm.num_features, generator=generator)
    model.eval()


def compare(
    peer: Peer, folder: Path, dtype: str | None = None, seed: int = 0
) -> tuple[float, list[str]]:
    """The largest difference between the logits, in units of their RMS, and the conversion's
    warnings.

    The torch model is saved by torch in float32, converted by the command line and read into ours;
    then both compute in ``dtype``: in float64, next to no rounding is left.
    """
    import numpy as np
    import paddle
    from ppclas_cli.main import main
    from ppclas_core.models import create_model
    from ppclas_core.weights import load_weights

    torch = libraries()["torch"]
    dtype = dtype or peer.dtype
    torch.manual_seed(0)
    theirs = build(peer)
    images = torch.randn(
        4, 3, peer.size, peer.size, generator=torch.Generator().manual_seed(seed + 1)
    )
    randomise(theirs, images, seed, peer.gain)
    source, target = folder / "theirs.pth", folder / "ours.safetensors"
    torch.save(theirs.state_dict(), source)
    images = images[:2].to(getattr(torch, dtype))
    with torch.no_grad():
        wanted = theirs.to(images.dtype)(images).double().numpy()
    del theirs
    command = [
        "models",
        "convert",
        str(source),
        "--model",
        peer.architecture,
        "-o",
        str(target),
        "--overwrite",
    ]
    if peer.named:
        command += ["--torch-model", peer.model]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(command)
    if code:
        raise RuntimeError(said.getvalue())
    source.unlink()
    paddle.set_default_dtype(dtype)
    try:
        ours = create_model(peer.architecture, **dict(peer.params))
    finally:
        paddle.set_default_dtype("float32")
    load_weights(ours, target)
    target.unlink()
    ours.eval()
    with paddle.no_grad():
        found = ours(paddle.to_tensor(images.numpy())).numpy()
    largest = np.abs(found - wanted).max() / np.sqrt((wanted**2).mean())
    warnings = [
        line.removeprefix("warning: ")
        for line in said.getvalue().splitlines()
        if line.startswith("warning: ")
    ]
    return largest.item(), warnings


def ours(peer: Peer) -> str:
    """The architecture here and what it is built with."""
    params = ", ".join(f"{key}={value}" for key, value in peer.params)
    return f"{peer.architecture}({params})" if params else peer.architecture


def _compare_all(patterns: list[str]) -> None:
    for peer in PEERS:
        if any(
            fnmatchcase(peer.architecture, pattern) or fnmatchcase(peer.title, pattern)
            for pattern in patterns
        ):
            with tempfile.TemporaryDirectory() as folder:
                largest, warnings = compare(peer, Path(folder))
            print(
                f"| {ours(peer)} | {peer.title} | {peer.size} | {largest:.1e} | "
                f"{'; '.join(warnings)} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1] == "facts":
        FACTS.write_bytes(
            lzma.compress(json.dumps(facts()).encode(), preset=9 | lzma.PRESET_EXTREME)
        )
    else:
        _compare_all(sys.argv[2:] or ["*"])

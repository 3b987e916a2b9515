"""What timm and torchvision call architectures that have another name here.

Case, ``-``, ``_`` and ``.`` make no difference (``resnet50`` is ResNet50), so only what is left.
"""

from __future__ import annotations


def _each(there: str, ours: str, names: str) -> dict[str, str]:
    """``there`` → ``ours`` for each of ``names``: what stands in the place of the braces, there and
    after a colon here.
    """
    pairs = (name.partition(":") for name in names.split())
    return {there.format(name): ours.format(here or name) for name, _, here in pairs}


_ELSEWHERE = {
    "ghostnet_100": "GhostNet_x1_0",
    "lcnet_050": "PPLCNet_x0_5",
    "lcnet_075": "PPLCNet_x0_75",
    "lcnet_100": "PPLCNet_x1_0",
    "mobilenet_v3_large": "MobileNetV3_large_x1_0",
    "mobilenet_v3_small": "MobileNetV3_small_x1_0",
    "mobilenetv1_100": "MobileNetV1",
    "mobilenetv2_100": "MobileNetV2",
    "mobilenetv3_large_100": "MobileNetV3_large_x1_0",
    "mobilenetv3_small_100": "MobileNetV3_small_x1_0",
    "res2net101d": "Res2Net101_vd_26w_4s",
    "res2net50d": "Res2Net50_vd_26w_4s",
    "resnet50c": "ResNet50_vc",
    "resnext50d_32x4d": "ResNeXt50_vd_32x4d",
    **{f"hrnet_w{width}": f"HRNet_W{width}_C" for width in (18, 30, 32, 40, 44, 48, 64)},
    **{f"resnet{depth}d": f"ResNet{depth}_vd" for depth in (18, 34, 50, 101, 152, 200)},
    **{f"tf_efficientnet_b{number}": f"EfficientNetB{number}" for number in range(8)},
    **{
        f"swin_{size}_patch4_window7_224": f"SwinTransformer_{size}_patch4_window7_224"
        for size in ("tiny", "small", "base")
    },
    **_each("lcnet_{}", "PPLCNet_x{}", "035:0_35 150:1_5"),
    **_each("lcnetv2_{}", "PPLCNetV2_{}", "small base large"),
    **_each("hgnet_{}", "PPHGNet_{}", "tiny small base"),
    **_each("hgnetv2_b{}", "PPHGNetV2_B{}", "0 1 2 3 4 5 6"),
    **_each(
        "regnetx_{}",
        "RegNetX_{}",
        "002:200MF 004:400MF 006:600MF 008:800MF 016:1600MF 032:3200MF 040:4GF 064:6400MF 080:8GF "
        "120:12GF 160:16GF 320:32GF",
    ),
    **_each("rexnet_{}", "ReXNet_{}", "100:1_0 130:1_3 150:1_5 200:2_0 300:3_0"),
    "tf_efficientnetv2_s": "EfficientNetV2_S",
    **_each("convnext_{}", "ConvNeXt_{}_224", "base large"),
    **_each("nextvit_{}", "NextViT_{}_224", "small base large"),
    **_each(
        "swinv2_{}",
        "SwinTransformerV2_{}",
        "tiny_window8_256:tiny_patch4_window8_256 small_window8_256:small_patch4_window8_256 "
        "base_window8_256:base_patch4_window8_256 tiny_window16_256:tiny_patch4_window16_256 "
        "small_window16_256:small_patch4_window16_256 base_window16_256:base_patch4_window16_256 "
        "large_window12to16_192to256:large_patch4_window16_256 "
        "base_window12to24_192to384:base_patch4_window24_384 "
        "large_window12to24_192to384:large_patch4_window24_384",
    ),
    **_each("swin_v2_{}", "SwinTransformerV2_{}_patch4_window8_256", "t:tiny s:small b:base"),
    "pvt_v2_b2_li": "PVT_V2_B2_Linear",
    **_each(
        "mobilevitv2_{}",
        "MobileViTV2_x{}",
        "050:0_5 075:0_75 100:1_0 125:1_25 150:1_5 175:1_75 200:2_0",
    ),
    **_each("twins_svt_{}", "alt_gvt_{}", "small base large"),
    **_each("twins_pcpvt_{}", "pcpvt_{}", "small base large"),
    **_each("tnt_{}_patch16_224", "TNT_{}", "s:small b:base"),
}


def spellings(name: str) -> tuple[str, ...]:
    """The other names of the architecture ``name``."""
    return tuple(other for other, ours in _ELSEWHERE.items() if ours == name)

"""What timm and torchvision call architectures that have another name here.

Case, ``-``, ``_`` and ``.`` make no difference (``resnet50`` is ResNet50), so only what is left.
"""

from __future__ import annotations

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
}


def spellings(name: str) -> tuple[str, ...]:
    """The other names of the architecture ``name``."""
    return tuple(other for other, ours in _ELSEWHERE.items() if ours == name)

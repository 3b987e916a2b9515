"""The light convolutional families since 2019: what timm and torchvision call their tensors."""

from __future__ import annotations

from ppclas_models.conversion.torch_layout import DROPPED, HEAD, UNREAD, Layout, Rules, in_stages

_PADS = (
    "its strided convolutions pad both sides alike, those here as TensorFlow does: build the "
    "model with padded_for=null (-o model.params.padded_for=null) to get the same answers"
)

_LCNET: Rules = (
    (r"^conv1\.conv\.", "conv_stem."),
    (r"^conv1\.bn\.", "bn1."),
    (r"^blocks5\.([01])\.", r"blocks.3.\1."),
    # The paper's fifth stage is two of timm's.
    (r"^blocks5\.(\d)\.", lambda match: f"blocks.4.{int(match[1]) - 2}."),
    (r"^blocks6\.", "blocks.5."),
    (r"^blocks(\d)\.", lambda match: f"blocks.{int(match[1]) - 2}."),
    (r"\.(dw|pw)_conv\.conv\.", r".conv_\1."),
    (r"\.dw_conv\.bn\.", ".bn1."),
    (r"\.pw_conv\.bn\.", ".bn2."),
    (r"\.se\.conv1\.", ".se.conv_reduce."),
    (r"\.se\.conv2\.", ".se.conv_expand."),
    (r"^last_conv\.", "conv_head."),
    (r"^fc\.", "classifier."),
)
_LCNET_V2: Rules = (
    # Made of the branches before an export.
    (r".*\.dw_conv\.(?:weight|bias)$", UNREAD),
    (r"\.se\.conv(\d)\.", r".se.fc\1."),
    (r"\.pw_conv_(\d)\.", lambda match: f".pw_conv.{int(match[1]) - 1}."),
    (r"^last_conv\.", "conv_head."),
    (r"^fc\.", "classifier."),
)
_PAIR = {"0": "conv", "1": "bn", "3": "conv", "4": "bn", "6": "conv", "7": "bn"}
_GATE = {"0": "fc1", "1": "bn", "3": "fc2"}
_REXNET: Rules = (
    (r"^features\.0\.", "stem.conv."),
    (r"^features\.1\.", "stem.bn."),
    (r"^features\.19\.", "features.16.conv."),
    (r"^features\.20\.", "features.16.bn."),
    # The first block does not expand, the first three have no gate; others count their layers from
    # the expansion.
    (r"^features\.3\.out\.([01])\.", lambda match: f"features.0.conv_dw.{_PAIR[match[1]]}."),
    (r"^features\.3\.out\.([34])\.", lambda match: f"features.0.conv_pwl.{_PAIR[match[1]]}."),
    (r"^features\.(\d+)\.(?=out)", lambda match: f"features.{int(match[1]) - 3}."),
    (r"\.out\.([01])\.", lambda match: f".conv_exp.{_PAIR[match[1]]}."),
    (r"\.out\.([34])\.", lambda match: f".conv_dw.{_PAIR[match[1]]}."),
    (r"\.out\.5\.fc\.([013])\.", lambda match: f".se.{_GATE[match[1]]}."),
    (r"^(features\.[12])\.out\.([67])\.", lambda match: f"{match[1]}.conv_pwl.{_PAIR[match[2]]}."),
    (r"\.out\.([78])\.", lambda match: f".conv_pwl.{'conv' if match[1] == '7' else 'bn'}."),
    (r"^output\.1\.", "head.fc."),
)


def _mixnet(split: int) -> Rules:
    """``split``: blocks of the fourth stage, of which timm makes two, in the first of them."""
    return (
        (r"^features\.init_block\.conv1\.conv\.", "conv_stem."),
        (r"^features\.init_block\.conv1\.bn\.", "bn1."),
        (r"^features\.init_block\.conv2\.conv1\.conv\.", "blocks.0.0.conv_dw."),
        (r"^features\.init_block\.conv2\.conv2\.conv\.", "blocks.0.0.conv_pw."),
        (r"^features\.init_block\.conv2\.conv(\d)\.bn\.", r"blocks.0.0.bn\1."),
        (r"^features\.final_block\.conv\.", "conv_head."),
        (r"^features\.final_block\.bn\.", "bn2."),
        (
            r"^features\.stage(\d)\.unit(\d+)\.",
            lambda match: _mixnet_block(int(match[1]), int(match[2]) - 1, split),
        ),
        (r"\.exp_conv\.conv\.", ".conv_pw."),
        (r"\.exp_conv\.bn\.", ".bn1."),
        (r"\.se\.conv1\.", ".se.conv_reduce."),
        (r"\.se\.conv2\.", ".se.conv_expand."),
        (r"\.conv1\.conv\.", ".conv_dw."),
        (r"\.conv1\.bn\.", ".bn2."),
        (r"\.conv2\.conv\.", ".conv_pwl."),
        (r"\.conv2\.bn\.", ".bn3."),
        (r"^output\.", "classifier."),
    )


def _mixnet_block(stage: int, block: int, split: int) -> str:
    return (
        f"blocks.5.{block - split}."
        if (stage, block >= split) == (4, True)
        else (f"blocks.{stage}.{block}.")
    )


def _mobilenet_v4(depths: tuple[int, ...]) -> Rules:
    return (
        (r"^blocks\.(\d+)\.", in_stages(depths, "blocks.{stage}.{block}.")),
        (r"^conv_stem\.conv\.", "conv_stem."),
        (r"^conv_stem\.bn\.", "bn1."),
        (r"^conv_head\.conv\.", "conv_head."),
        (r"^conv_head\.bn\.", "norm_head."),
        (r"\.conv_(exp|pwl)\.conv\.", r".conv_\1."),
        (r"\.conv_exp\.bn\.", ".bn1."),
        (r"\.conv_pwl\.bn\.", ".bn2."),
        (r"^(blocks\.\d+\.\d+)\.bn\.", r"\1.bn1."),
        (r"\.(query|key|value)_proj\.", r".attn.\1.proj."),
        (r"\.(key|value)_down_proj\.conv\.", r".attn.\1.down_conv."),
        (r"\.(key|value)_down_proj\.bn\.", r".attn.\1.norm."),
        (r"^(blocks\.\d+\.\d+)\.proj\.", r"\1.attn.output.proj."),
    )


_MOBILENET_V4_DEPTHS = {
    "conv_small": (2, 2, 6, 6, 1),
    "conv_medium": (1, 2, 8, 11, 1),
    "conv_large": (1, 2, 11, 13, 1),
    "hybrid_medium": (1, 2, 12, 16, 1),
    "hybrid_large": (1, 2, 15, 18, 1),
}

_MOBILENET_V4HEADS = {"hybrid_medium": 4, "hybrid_large": 8}

_EFFICIENTNET_V2_DEPTHS = (2, 4, 4, 6, 9, 15)
_EFFICIENTNET_V2: Rules = (
    (r"^_blocks\.(\d+)\.", in_stages(_EFFICIENTNET_V2_DEPTHS, "blocks.{stage}.{block}.")),
    (r"^_stem\._conv_stem\._conv\.", "conv_stem."),
    (r"^_stem\._norm\.", "bn1."),
    (r"^_head\._conv_head\.", "conv_head."),
    (r"^_head\._norm\.", "bn2."),
    (r"^_fc\.", "classifier."),
    (r"\._se\._se_(reduce|expand)\._conv\.", r".se.conv_\1."),
    (r"^(blocks\.0\.\d)\._project_conv\._conv\.", r"\1.conv."),
    (r"^(blocks\.0\.\d)\._norm1\.", r"\1.bn1."),
    (r"^(blocks\.[12]\.\d)\._expand_conv\._conv\.", r"\1.conv_exp."),
    (r"\._expand_conv\._conv\.", ".conv_pw."),
    (r"\._depthwise_conv\._conv\.", ".conv_dw."),
    (r"\._project_conv\._conv\.", ".conv_pwl."),
    (r"\._norm(\d)\.", lambda match: f".bn{int(match[1]) + 1}."),
)
_EFFICIENTNET_V2_TORCHVISION: Rules = (
    (
        r"^_blocks\.(\d+)\.",
        in_stages((0, *_EFFICIENTNET_V2_DEPTHS), "features.{stage}.{block}.block."),
    ),
    (r"^_stem\._conv_stem\._conv\.", "features.0.0."),
    (r"^_stem\._norm\.", "features.0.1."),
    (r"^_head\._conv_head\.", "features.7.0."),
    (r"^_head\._norm\.", "features.7.1."),
    (r"^_fc\.", "classifier.1."),
    (r"\._se\._se_reduce\._conv\.", ".2.fc1."),
    (r"\._se\._se_expand\._conv\.", ".2.fc2."),
    (r"^(features\.1\.\d\.block)\._project_conv\._conv\.", r"\1.0.0."),
    (r"^(features\.1\.\d\.block)\._norm1\.", r"\1.0.1."),
    (r"^(features\.[23]\.\d\.block)\._project_conv\._conv\.", r"\1.1.0."),
    (r"\._expand_conv\._conv\.", ".0.0."),
    (r"\._depthwise_conv\._conv\.", ".1.0."),
    (r"\._project_conv\._conv\.", ".3.0."),
    (r"\._norm([01])\.", r".\1.1."),
    (r"\._norm2\.", ".3.1."),
)
_MOBILEONE: Rules = (
    (r"\.linear\.", "."),
    (r"\.se\.conv(\d)\.", r".attn.fc\1."),
    HEAD,
)

MOBILE: dict[str, tuple[Layout, ...]] = {
    r"PPLCNet_x(?:0_35|0_5|0_75|1_0|1_5)": (
        Layout(
            ("timm/lcnet_*",),
            rules=_LCNET,
            factors=DROPPED,
            dropped=r"conv_head\.bias",
            differences=(
                "its last convolution has a bias, the one here has none: only fine-tuning makes "
                "up for it",
            ),
        ),
    ),
    r"PPLCNetV2_.*": (Layout(("timm/lcnetv2_*",), rules=_LCNET_V2, factors=DROPPED),),
    r"ReXNet_.*": (Layout(("timm/rexnet_*",), rules=_REXNET),),
    **{
        f"MixNet_{size}": (
            Layout((f"timm/mixnet_{size.lower()}",), rules=_mixnet(split)),
            Layout(
                (f"timm/tf_mixnet_{size.lower()}",),
                rules=_mixnet(split),
                epsilon=1e-3,
                differences=(
                    "its strided convolutions pad as TensorFlow does, those here pad both sides "
                    "alike: only fine-tuning makes up for it",
                ),
            ),
        )
        for size, split in (("S", 3), ("M", 4), ("L", 4))
    },
    **{
        f"MobileNetV4_{size}": (
            Layout(
                (f"timm/mobilenetv4_{size}",),
                rules=_mobilenet_v4(depths),
                # There a head's width scales the products of queries and keys, here that of all
                # heads.
                factors={r"blocks\.\d+\.query_proj\.weight": _MOBILENET_V4HEADS[size] ** 0.5}
                if size in _MOBILENET_V4HEADS
                else {},
            ),
        )
        for size, depths in _MOBILENET_V4_DEPTHS.items()
    },
    r"EfficientNetV2_S": (
        Layout(("timm/tf_efficientnetv2_s",), rules=_EFFICIENTNET_V2, epsilon=1e-3),
        Layout(("timm/efficientnetv2_s",), rules=_EFFICIENTNET_V2, differences=(_PADS,)),
        Layout(
            ("torchvision/efficientnet_v2_s",),
            rules=_EFFICIENTNET_V2_TORCHVISION,
            epsilon=1e-3,
            differences=(_PADS,),
        ),
    ),
    r"MobileOne_.*": (Layout(("timm/mobileone_*",), rules=_MOBILEONE),),
}
"""Pattern of the architectures' names → the layouts."""

MOBILE_EPSILONS = {r"EfficientNetV2_S": 1e-3}
"""Pattern of the architectures' names → epsilon of their batch norms, where it is not 1e-5."""

MOBILE_REFUSED = {
    r"TinyNet_.*": "timm rounds the blocks of a stage to the nearest number, here they are rounded "
    "up",
}
"""Pattern of the architectures' names → why no torch weights fit."""

"""The convolutional families since 2021: what timm and torchvision call their tensors."""

from __future__ import annotations

from ppclas_models.conversion.torch_layout import UNREAD, Layout, Rules, in_stages

_HEAD = (r"^(?:fc|linear|head|out)\.(weight|bias)", r"head.fc.\1")
"""The classifier, as timm calls it where a pool stands before it."""

_PADS = (
    "its strided convolutions pad both sides alike, those here as TensorFlow does: build the "
    "model with padded_for=null (-o model.params.padded_for=null) to get the same answers"
)

_DROPPED = {r"fc\.weight": 1 / 0.8}
"""A dropout before the classifier that scales in evaluation here: its weights do the opposite."""

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
_HGNET: Rules = (
    (r"^stem\.(\d)\.", r"stem.stem.\1."),
    (r"\.aggregation_(?:squeeze_)?conv\.", ".aggregation.0."),
    (r"\.(?:aggregation_excitation_conv|att)\.", ".aggregation.1."),
    (r"^last_conv\.", "head.last_conv.0."),
    (r"^lab\.", "head.last_conv.2."),
    _HEAD,
)
_REGNET: Rules = (
    (r"^conv\.", "stem."),
    (r"^s(\d)_b(\d+)\.", r"s\1.b\2."),
    (r"\.short\.", ".downsample."),
    (r"\.conv(\d)\.", lambda match: f".conv{int(match[1]) + 1}."),
    (r"\._conv\.", ".conv."),
    (r"\._batch_norm\.", ".bn."),
    _HEAD,
)
_REGNET_TORCHVISION: Rules = (
    (r"^conv\._conv\.", "stem.0."),
    (r"^conv\._batch_norm\.", "stem.1."),
    (
        r"^s(\d)_b(\d+)\.",
        lambda match: f"trunk_output.block{match[1]}.block{match[1]}-{int(match[2]) - 1}.",
    ),
    (r"\.short\.", ".proj."),
    (r"\.conv(\d)\.", lambda match: f".f.{'abc'[int(match[1])]}."),
    (r"\._conv\.", ".0."),
    (r"\._batch_norm\.", ".1."),
    (r"^out\.", "fc."),
)
_REPVGG: Rules = (
    (r"^stage0\.", "stem."),
    (r"^stage(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"\.rbr_dense\.", ".conv_kxk."),
    (r"\.rbr_(1x1|identity)\.", lambda match: f".{match[1].replace('1x1', 'conv_1x1')}."),
    (r"\.se\.down\.", ".attn.fc1."),
    (r"\.se\.up\.", ".attn.fc2."),
    _HEAD,
)
_RESNEST: Rules = (
    (r"^stem\.conv(\d)\._conv\.", lambda match: f"conv1.{3 * int(match[1]) - 3}."),
    (r"^stem\.conv3\._batch_norm\.", "bn1."),
    (r"^stem\.conv(\d)\._batch_norm\.", lambda match: f"conv1.{3 * int(match[1]) - 2}."),
    (r"\.layer\d_bottleneck_(\d+)\.", r".\1."),
    (r"\.conv2\.conv1\._conv\.", ".conv2.conv."),
    (r"\.conv2\.conv1\._batch_norm\.", ".conv2.bn0."),
    (r"\.conv2\.conv2\._conv\.", ".conv2.fc1."),
    (r"\.conv2\.conv2\._batch_norm\.", ".conv2.bn1."),
    (r"\.conv2\.conv3\.", ".conv2.fc2."),
    (r"\.(conv|bn)(\d)\._conv\.", r".\1\2."),
    (r"\.conv(\d)\._batch_norm\.", r".bn\1."),
    (r"\.conv4\.", ".downsample.1."),
    (r"\._batch_norm\.", ".downsample.2."),
    (r"^out\.", "fc."),
)
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
_PAIR = {"0": "conv", "1": "bn", "3": "conv", "4": "bn", "6": "conv", "7": "bn"}
_GATE = {"0": "fc1", "1": "bn", "3": "fc2"}
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
    return f"blocks.5.{block - split}." if (stage, block >= split) == (4, True) else (
        f"blocks.{stage}.{block}."
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

_MOBILENET_V4_HEADS = {"hybrid_medium": 4, "hybrid_large": 8}

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
_INCEPTION_V3: Rules = (
    (r"^inception_stem\.conv_", "Conv2d_"),
    (
        r"^inception_block_list\.(\d+)\.",
        lambda match: f"Mixed_{_INCEPTION_V3_BLOCKS[int(match[1])]}.",
    ),
    (r"\.branch_pool_conv\.", ".branch_pool."),
)
_INCEPTION_V3_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_FASTERNET: Rules = (
    (
        r"^stages\.(\d)\.blocks\.",
        lambda match: f"stages.{int(match[1]) // 2}.blocks.",
    ),
    (
        r"^stages\.(\d)\.(reduction|norm)\.",
        lambda match: f"stages.{int(match[1]) // 2 + 1}.downsample.{match[2]}.",
    ),
    (r"^avgpool_pre_head\.\d\.", "conv_head."),
    (r"^head\.", "classifier."),
)
_CONVNEXT: Rules = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.grn\.", ".mlp.grn."),
    (r"^norm\.", "head.norm."),
    _HEAD,
)
_CONVNEXT_TORCHVISION: Rules = (
    (r"^downsample_layers\.(\d)\.", lambda match: f"features.{2 * int(match[1])}."),
    (r"^stages\.(\d)\.", lambda match: f"features.{2 * int(match[1]) + 1}."),
    (r"\.gamma$", ".layer_scale"),
    (r"\.dwconv\.", ".block.0."),
    (r"^(features\.\d\.\d+)\.norm\.", r"\1.block.2."),
    (r"\.pwconv1\.", ".block.3."),
    (r"\.pwconv2\.", ".block.5."),
    (r"^norm\.", "classifier.0."),
    (r"^head\.", "classifier.2."),
)
_MOBILEONE: Rules = (
    (r"\.linear\.", "."),
    (r"\.se\.conv(\d)\.", r".attn.fc\1."),
    _HEAD,
)
_FASTVIT: Rules = (
    (r"\.linear\.", "."),
    (r"\.downsample\.", ".downsample.proj."),
    (r"token_mixer\.norm\.", "token_mixer.norm.identity."),
    (r"\.se\.conv(\d)\.", r".se.fc\1."),
    _HEAD,
)

MODERN: dict[str, tuple[Layout, ...]] = {
    r"PPLCNet_x(?:0_35|0_5|0_75|1_0|1_5)": (
        Layout(
            ("timm/lcnet_*",),
            rules=_LCNET,
            factors=_DROPPED,
            dropped=r"conv_head\.bias",
            differences=(
                "its last convolution has a bias, the one here has none: only fine-tuning makes "
                "up for it",
            ),
        ),
    ),
    r"PPLCNetV2_.*": (Layout(("timm/lcnetv2_*",), rules=_LCNET_V2, factors=_DROPPED),),
    r"PPHGNet_base": (Layout(("timm/hgnet_*",), rules=_HGNET, factors=_DROPPED),),
    r"PPHGNet_.*": (Layout(("timm/hgnet_*",), rules=_HGNET),),
    r"PPHGNetV2_B[0-3]": (
        Layout(
            ("timm/hgnetv2_*",),
            rules=_HGNET[1:],
            differences=(
                "the pool of its stem sees zeros beyond the right and the lower border, the one "
                "here nothing: where an affine makes all of a window negative, answers differ",
            ),
        ),
    ),
    r"PPHGNetV2_B[4-6]": (Layout(("timm/hgnetv2_*",), rules=_HGNET[1:]),),
    r"RegNetX_(?:[246]00MF|6400MF|4GF|12GF)": (Layout(("timm/regnetx_*",), rules=_REGNET),),
    r"RegNetX_(?:800MF|1600MF|3200MF|8GF|16GF|32GF)": (
        Layout(("timm/regnetx_*",), rules=_REGNET),
        Layout(("torchvision/regnet_x_*",), rules=_REGNET_TORCHVISION),
    ),
    r"RepVGG_(?:A\d|B[0-3]|B[123]g4|D2se)": (Layout(("timm/repvgg_*",), rules=_REPVGG),),
    r"ResNeSt(?:50|101|200|269)": (
        Layout(
            ("timm/resnest*",),
            rules=_RESNEST,
            differences=(
                "its pools count the zeros around the map: build the model with pool_zeros=true "
                "(-o model.params.pool_zeros=true) to get the same answers",
            ),
            folded={r"(.*)\.layer\d_bottleneck_(\d+)\.conv2\.conv2\._batch_norm\._mean": (
                r"\1.\2.conv2.fc1.bias"
            )},
        ),
    ),
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
                factors={r"blocks\.\d+\.query_proj\.weight": _MOBILENET_V4_HEADS[size] ** 0.5}
                if size in _MOBILENET_V4_HEADS
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
    r"InceptionV3": (
        Layout(
            ("timm/inception_v3", "torchvision/inception_v3"),
            rules=_INCEPTION_V3,
            factors=_DROPPED,
            epsilon=1e-3,
            dropped=r"AuxLogits\..*",
        ),
    ),
    r"DLA.*": (Layout(("timm/dla*",)),),
    r"CSPDarkNet53": (Layout(("timm/cspdarknet53",), rules=(_HEAD,)),),
    r"StarNet_.*": (Layout(("timm/starnet_*",)),),
    r"FasterNet_.*": (Layout(("timm/fasternet_*",), rules=_FASTERNET),),
    r"ConvNeXt_.*": (
        Layout(("timm/convnext_*",), rules=_CONVNEXT),
        Layout(("torchvision/convnext_*",), rules=_CONVNEXT_TORCHVISION),
    ),
    r"ConvNeXtV2_.*": (Layout(("timm/convnextv2_*",), rules=_CONVNEXT),),
    r"MobileOne_.*": (Layout(("timm/mobileone_*",), rules=_MOBILEONE),),
    r"FastViT_.*": (Layout(("timm/fastvit_*",), rules=_FASTVIT),),
}
"""Pattern of the architectures' names → the layouts."""

MODERN_EPSILONS = {
    r"EfficientNetV2_S": 1e-3,
}
"""Pattern of the architectures' names → epsilon of their batch norms, where it is not 1e-5."""

MODERN_REFUSED: dict[str, str] = {
    r"TinyNet_.*": "timm rounds the blocks of a stage to the nearest number, here they are rounded "
    "up",
}
"""Pattern of the architectures' names → why no torch weights fit."""

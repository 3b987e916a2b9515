"""The convolutional families since 2021: what timm and torchvision call their tensors."""

from __future__ import annotations

from ppclas_models.conversion.torch_layout import DROPPED, HEAD, Layout, Rules

_HGNET: Rules = (
    (r"^stem\.(\d)\.", r"stem.stem.\1."),
    (r"\.aggregation_(?:squeeze_)?conv\.", ".aggregation.0."),
    (r"\.(?:aggregation_excitation_conv|att)\.", ".aggregation.1."),
    (r"^last_conv\.", "head.last_conv.0."),
    (r"^lab\.", "head.last_conv.2."),
    HEAD,
)
_REGNET: Rules = (
    (r"^conv\.", "stem."),
    (r"^s(\d)_b(\d+)\.", r"s\1.b\2."),
    (r"\.short\.", ".downsample."),
    (r"\.conv(\d)\.", lambda match: f".conv{int(match[1]) + 1}."),
    (r"\._conv\.", ".conv."),
    (r"\._batch_norm\.", ".bn."),
    HEAD,
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
    HEAD,
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
_INCEPTION_V3_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_INCEPTION_V3: Rules = (
    (r"^inception_stem\.conv_", "Conv2d_"),
    (
        r"^inception_block_list\.(\d+)\.",
        lambda match: f"Mixed_{_INCEPTION_V3_BLOCKS[int(match[1])]}.",
    ),
    (r"\.branch_pool_conv\.", ".branch_pool."),
)
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
    HEAD,
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
_FASTVIT: Rules = (
    (r"\.linear\.", "."),
    (r"\.downsample\.", ".downsample.proj."),
    (r"token_mixer\.norm\.", "token_mixer.norm.identity."),
    (r"\.se\.conv(\d)\.", r".se.fc\1."),
    HEAD,
)

MODERN: dict[str, tuple[Layout, ...]] = {
    r"PPHGNet_base": (Layout(("timm/hgnet_*",), rules=_HGNET, factors=DROPPED),),
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
            folded={
                r"(.*)\.layer\d_bottleneck_(\d+)\.conv2\.conv2\._batch_norm\._mean": (
                    r"\1.\2.conv2.fc1.bias"
                )
            },
        ),
    ),
    r"InceptionV3": (
        Layout(
            ("timm/inception_v3", "torchvision/inception_v3"),
            rules=_INCEPTION_V3,
            factors=DROPPED,
            epsilon=1e-3,
            dropped=r"AuxLogits\..*",
        ),
    ),
    r"DLA.*": (Layout(("timm/dla*",)),),
    r"CSPDarkNet53": (Layout(("timm/cspdarknet53",), rules=(HEAD,)),),
    r"StarNet_.*": (Layout(("timm/starnet_*",)),),
    r"FasterNet_.*": (Layout(("timm/fasternet_*",), rules=_FASTERNET),),
    r"ConvNeXt_.*": (
        Layout(("timm/convnext_*",), rules=_CONVNEXT),
        Layout(("torchvision/convnext_*",), rules=_CONVNEXT_TORCHVISION),
    ),
    r"ConvNeXtV2_.*": (Layout(("timm/convnextv2_*",), rules=_CONVNEXT),),
    r"FastViT_.*": (Layout(("timm/fastvit_*",), rules=_FASTVIT),),
}
"""Pattern of the architectures' names → the layouts."""

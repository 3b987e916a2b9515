"""The transformers: what timm and torchvision call their tensors."""

from __future__ import annotations

from ppclas_models.conversion.torch_layout import UNREAD, Layout, Rules, in_stages

_INDICES = r".*\.(?:relative_position_index|relative_coords_table)"
"""Tables that follow from the sizes."""

_NORM_EPSILON = (
    "its layer norms add 1e-6 to the variance, those here 1e-5: build the model with epsilon=1e-6 "
    "(-o model.params.epsilon=1e-6) to get the same answers"
)
_QUICK_GELU = (
    "its activation is x sigmoid(1.702 x), the one here the GELU that this comes close to: only "
    "fine-tuning makes up for it"
)
_FIRST_PATCH = (
    "its classifier reads the token of the whole image: build the model with pooled_token=0 "
    "(-o model.params.pooled_token=0) to get the same answers"
)
_ONE_WINDOW = (
    "it does not shift a map that is a single window: build the model with shift_one_window=false "
    "(-o model.params.shift_one_window=false) to get the same answers"
)

_SWIN: Rules = (
    # Where a stage of the paper ends, timm's next one begins.
    (r"^layers\.(\d)\.downsample\.", lambda match: f"layers.{int(match[1]) + 1}.downsample."),
    (r"^head\.", "head.fc."),
)
_SWIN_TORCHVISION: Rules = (
    (r"^patch_embed\.proj\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"^layers\.(\d)\.downsample\.", lambda match: f"features.{2 * int(match[1]) + 2}."),
    (r"^layers\.(\d)\.blocks\.", lambda match: f"features.{2 * int(match[1]) + 1}."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"\.attn\.q_bias$", ".attn.qkv.bias[0/3]"),
    (r"\.attn\.v_bias$", ".attn.qkv.bias[2/3]"),
)
_VIT_TORCHVISION: Rules = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^norm\.", "encoder.ln."),
    (r"^head\.", "heads.head."),
)
_PVT_V2: Rules = (
    (r"^patch_embed1\.", "patch_embed."),
    (r"^patch_embed(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.downsample."),
    (r"^block(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.blocks."),
    (r"^norm(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.norm."),
    (r"\.dwconv\.dwconv\.", ".dwconv."),
)
_MOBILEVIT_PLACES = ("0.0", "1.0", "1.1", "1.2", "2.0", "3.0", "4.0")
_MOBILEVIT: Rules = (
    (r"^conv3x3\.conv\.", "stem.conv."),
    (r"^conv3x3\.norm\.", "stem.bn."),
    (r"^conv1x1\.conv\.", "final_conv.conv."),
    (r"^conv1x1\.norm\.", "final_conv.bn."),
    (r"^linear\.", "head.fc."),
    (r"^mv2_block_(\d)\.", lambda match: f"stages.{_MOBILEVIT_PLACES[int(match[1]) - 1]}."),
    (r"^mvit_block_(\d)\.", lambda match: f"stages.{int(match[1]) + 1}.1."),
    (r"\.conv\.0\.", ".conv1_1x1."),
    (r"\.conv\.1\.", ".conv2_kxk."),
    (r"\.conv\.2\.", ".conv3_1x1.conv."),
    (r"\.conv\.3\.", ".conv3_1x1.bn."),
    (r"\.1\.conv1\.", ".1.conv_kxk."),
    (r"\.1\.conv2\.", ".1.conv_1x1."),
    (r"\.1\.conv3\.", ".1.conv_proj."),
    (r"\.1\.conv4\.", ".1.conv_fusion."),
    (r"\.transformer\.layers\.", ".transformer."),
    (r"\.attn_norm\.", ".norm1."),
    (r"\.mlp_norm\.", ".norm2."),
    (r"\.transformer\.norm\.", ".norm."),
    (r"\.(conv\w*)\.norm\.", r".\1.bn."),
)
_MOBILEVIT_V2: Rules = (
    (r"^conv_1\.conv\.", "stem.conv."),
    (r"^conv_1\.norm\.", "stem.bn."),
    (r"^classifier\.fc\.", "head.fc."),
    (r"^layer_(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"\.block\.exp_1x1\.", ".conv1_1x1."),
    (r"\.block\.conv_3x3\.", ".conv2_kxk."),
    (r"\.block\.red_1x1\.", ".conv3_1x1."),
    (r"\.local_rep\.0\.", ".conv_kxk."),
    (r"\.local_rep\.1\.conv\.", ".conv_1x1."),
    (r"\.global_rep\.(\d+)\.(?=weight|bias)", ".norm."),
    (r"\.global_rep\.", ".transformer."),
    (r"\.pre_norm_attn\.0\.", ".norm1."),
    (r"\.pre_norm_attn\.1\.", ".attn."),
    (r"\.pre_norm_ffn\.0\.", ".norm2."),
    (r"\.pre_norm_ffn\.1\.", ".mlp.fc1."),
    (r"\.pre_norm_ffn\.4\.", ".mlp.fc2."),
    (r"\.(conv\w*)\.norm\.", r".\1.bn."),
)
_LEVIT_DEPTHS = {"128S": (2, 3, 4), "(?:128|192|256|384)": (4, 4, 4)}


def _levit(depths: tuple[int, ...]) -> Rules:
    # An attention and an MLP are a block of timm's; before all stages but the first, two more are
    # what makes the map smaller.
    modules: list[str] = []
    for stage, depth in enumerate(depths):
        if stage:
            down = f"stages.{stage}.downsample"
            modules += [f"{down}.attn_downsample", f"{down}.mlp"]
        for block in range(depth):
            modules += [f"stages.{stage}.blocks.{block}.{part}" for part in ("attn", "mlp")]
    return (
        (r"^patch_embed\.(\d)\.", lambda match: f"stem.conv{int(match[1]) // 2 + 1}."),
        (r"^blocks\.(\d+)\.(?:m\.)?", lambda match: f"{modules[int(match[1])]}."),
        (r"\.mlp\.0\.", ".mlp.ln1."),
        (r"\.mlp\.2\.", ".mlp.ln2."),
        (r"\.(q|proj)\.1\.", r".\1.ln."),
        (r"\.c\.", ".linear."),
        (r"^head\.l\.", "head.linear."),
    )


_NEXTVIT_DEPTHS = {"small": (3, 4, 10, 3), "base": (3, 4, 20, 3), "large": (3, 4, 30, 3)}


def _nextvit(depths: tuple[int, ...]) -> Rules:
    return (
        (r"^features\.(\d+)\.", in_stages(depths, "stages.{stage}.blocks.{block}.")),
        (r"\.mlp\.conv(\d)\.", r".mlp.fc\1."),
        (r"^proj_head\.0\.", "head.fc."),
    )


_FOUNDATION: Rules = (
    (r"^proj$", UNREAD),
    (r"^head\.fc_head\.", "head."),
    (r"^ln_pre\.", "norm_pre."),
)
_EFFICIENTVIT: Rules = (
    (r"^stem\.0\.", "stem.in_conv."),
    (r"^stem\.1\.", "stem.res0."),
    (r"^stages\.(\d)\.(\d+)\.(?!context|local|main)", r"stages.\1.blocks.\2.main."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.qkv\.", ".qkv.conv."),
    (r"\.aggregate\.", ".aggreg.0."),
    (r"^last_conv\.", "head.in_conv."),
    (r"^hidden\.", "head.classifier."),
    (r"^fc\.", "head.classifier.4."),
)
_DINOV2: Rules = ((r"\.gamma_(\d)$", r".ls\1.gamma"), ("register_tokens", "reg_token"))

TRANSFORMERS: dict[str, tuple[Layout, ...]] = {
    r"SwinTransformer_(?:large.*|base.*384)": (
        Layout(("timm/swin_*",), rules=_SWIN, differences=(_ONE_WINDOW,)),
    ),
    r"SwinTransformer_.*": (
        Layout(("timm/swin_*",), rules=_SWIN, differences=(_ONE_WINDOW,)),
        Layout(
            ("torchvision/swin_[tsb]",),
            rules=_SWIN_TORCHVISION,
            dropped=_INDICES,
            differences=(_ONE_WINDOW,),
        ),
    ),
    r"SwinTransformerV2_base_.*_window16_.*": (
        Layout(("timm/swinv2_base_window16_256",), rules=_SWIN),
        Layout(
            ("timm/swinv2_base_window12to16_192to256",),
            rules=_SWIN,
            differences=(
                "its windows grew from 12 to 16: build the model with "
                "pretrained_windows=[12,12,12,6] (-o model.params.pretrained_windows=[12,12,12,6]) "
                "to get the same answers",
            ),
        ),
    ),
    r"SwinTransformerV2_.*_window(?:16|24)_.*": (Layout(("timm/swinv2_*",), rules=_SWIN),),
    r"SwinTransformerV2_.*": (
        Layout(("timm/swinv2_*",), rules=_SWIN),
        Layout(("torchvision/swin_v2_*",), rules=_SWIN_TORCHVISION, dropped=_INDICES),
    ),
    r"ViT_(?:base|large).*": (
        Layout(("timm/vit_*",)),
        Layout(("torchvision/vit_*",), rules=_VIT_TORCHVISION),
    ),
    r"DeiT_.*": (Layout(("timm/deit_*",)),),
    r"PVT_V2_.*": (Layout(("timm/pvt_v2_*",), rules=_PVT_V2),),
    r"MobileViT_.*": (Layout(("timm/mobilevit_*",), rules=_MOBILEVIT),),
    r"MobileViTV2_.*": (Layout(("timm/mobilevitv2_*",), rules=_MOBILEVIT_V2),),
    **{
        f"LeViT_{size}": (
            Layout(
                ("timm/levit_*",),
                rules=_levit(depths),
                dropped=r"head_dist\..*",
                differences=(
                    "the mean of its two classifiers answers, of which the second learned from a "
                    "teacher: it is left out",
                ),
            ),
        )
        for size, depths in _LEVIT_DEPTHS.items()
    },
    r"(?:alt_gvt|pcpvt)_.*": (Layout(("timm/twins_*",)),),
    r"TNT_.*": (Layout(("timm/tnt_*",)),),
    **{
        f"NextViT_{size}_.*": (Layout((f"timm/nextvit_{size}",), rules=_nextvit(depths)),)
        for size, depths in _NEXTVIT_DEPTHS.items()
    },
    r"EfficientViT_.*": (Layout(("timm/efficientvit_[bl]*",), rules=_EFFICIENTVIT),),
    r"DINOv2_.*_reg4": (
        Layout(
            ("timm/vit_*_reg4_dinov2",),
            rules=_DINOV2,
            # timm's class token has its position in it.
            joined={"pos_embed": (None, "pos_embed")},
        ),
    ),
    r"DINOv2_.*": (Layout(("timm/vit_*_dinov2",), rules=_DINOV2),),
    **{
        pattern: (
            Layout(("timm/vit_*_clip_[0-9]*",), rules=_FOUNDATION, differences=differences),
            Layout(
                ("timm/vit_*_clip_quickgelu_*",),
                rules=_FOUNDATION,
                differences=(*differences, _QUICK_GELU),
            ),
        )
        for pattern, differences in (
            (r"CLIP_vit_base_patch16_224", (_FIRST_PATCH,)),
            (r"CLIP_vit_(?:base_patch32|large).*", ()),
        )
    },
    r"(?:MAE|MOCOV3)_.*": (
        Layout(
            ("timm/vit_*",),
            rules=_FOUNDATION,
            folded={"pos_embed": "patch_embed.proj.bias"},
            differences=(_NORM_EPSILON,),
        ),
    ),
    r"BEiTv2_.*": (
        Layout(
            ("timm/beitv2_*",),
            rules=_FOUNDATION,
            joined={r"(blocks\.\d+\.attn)\.qkv\.bias": (r"\1.q_bias", None, r"\1.v_bias")},
            dropped=r"patch_embed\.proj\.bias",
            differences=(
                "its patch embedding has a bias, the one here has none: only fine-tuning makes up "
                "for it",
            ),
        ),
    ),
}
"""Pattern of the architectures' names → the layouts."""

"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0
_SSLD = "docs/en/advanced_tutorials/distillation/distillation_en.md of PaddleClas 2020"


@hookimpl
def register_losses(registry: Registry) -> None:
    """Add the losses between a student and its teacher."""
    registry.register(
        "ssld",
        "ppclas_distill.losses:SSLD",
        summary="symmetrised KL divergence from the teacher; labels are ignored",
    )
    for name, target, summary in (
        ("js", "losses:JS", "Jensen-Shannon divergence from the teacher; labels are ignored"),
        (
            "kl",
            "losses:KL",
            "KL divergence from the teacher with a temperature (Hinton et al. 2015)",
        ),
        ("soft_ce", "losses:SoftCE", "cross entropy with the teacher's probabilities as labels"),
        ("dkd", "losses:DKD", "decoupled knowledge distillation (Zhao et al. 2022)"),
        ("dist", "losses:DIST", "correlation with the teacher's answers (Huang et al. 2022)"),
        ("skd", "losses:SKD", "distillation of normalised logits (Guo et al. 2020)"),
        ("wsl", "losses:WSL", "soft labels that weigh less where known (Zhou et al. 2021)"),
    ):
        registry.register(name, f"ppclas_distill.{target}", summary=summary)


@hookimpl
def register_feature_losses(registry: Registry) -> None:
    """Add the losses between feature maps."""
    registry.register(
        "fitnet",
        "ppclas_distill.features:FitNet",
        summary="a projected map against the teacher's (Romero et al. 2015)",
    )
    registry.register(
        "similarity",
        "ppclas_distill.features:Similarity",
        summary="photos that look alike to the teacher should to the student (Tung & Mori 2019)",
    )
    registry.register(
        "distance",
        "ppclas_distill.features:Distance",
        summary="mean distance of two maps of the same shape",
    )
    registry.register(
        "mgd",
        "ppclas_distill.features:MGD",
        summary="the teacher's map, made up from a masked one of the student (Yang et al. 2022)",
    )
    registry.register(
        "pefd",
        "ppclas_distill.features:PEFD",
        summary="the angle between pooled maps, after several projectors (Chen et al. 2022)",
    )
    registry.register(
        "rkd",
        "ppclas_distill.features:RKD",
        summary="distances and angles between photos (Park et al. 2019)",
    )
    registry.register(
        "afd",
        "ppclas_distill.attention:AFD",
        summary="all maps with each other, as much as attention says (Ji et al. 2021)",
    )


@hookimpl
def register_recipes(registry: Registry) -> None:
    """Add both pairs of SSLD and their later stages."""
    eight, many = "8 V100, batch 2048", "32 V100, batch 1024"
    for name, top1, hardware, summary in (
        (
            "ssld-mobilenetv3-large",
            0.762,
            eight,
            "SSLD: MobileNetV3_large_x1_0 from ResNet50_vd_ssld, ImageNet-1k",
        ),
        (
            "ssld-mobilenetv3-large-finetune",
            0.7896,
            eight,
            "its second stage, after photos without labels",
        ),
        (
            "ssld-resnet50-vd",
            0.8207,
            many,
            "SSLD: ResNet50_vd from ResNeXt101_32x16d_wsl, ImageNet-1k",
        ),
        (
            "ssld-resnet50-vd-finetune",
            0.8239,
            many,
            "its second stage, after photos without labels",
        ),
        (
            "ssld-resnet50-vd-fix320",
            0.84,
            "not stated",
            "its last stage: the classifier alone, at 320 pixels",
        ),
    ):
        facts = {"source": _SSLD, "hardware": hardware, "time": "not stated"}
        registry.register(
            name,
            f"ppclas_distill.recipes:{name.replace('-', '_')}",
            summary=summary,
            metadata={**facts, "published": top1, "measured": None},
        )


@hookimpl
def register_objectives(registry: Registry) -> None:
    """Add learning from a teacher, and from each other."""
    registry.register(
        "Distill",
        "ppclas_distill.objective:Distill",
        summary="learn from teachers, and from labels where there are any",
    )
    registry.register(
        "Mutual",
        "ppclas_distill.mutual:Mutual",
        summary="several networks learn from labels and from each other (Zhang et al. 2018)",
    )

"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_schedulers(registry: Registry) -> None:
    """Add the schedules of PaddleClas 2.x that the built-in ones cannot follow."""
    registry.register(
        "WarmupThen",
        "ppclas_paddleclas.schedules:WarmupThen",
        summary="a warmup from any rate, then a constant, cosine, polynomial or steps to any rate",
    )


@hookimpl
def register_losses(registry: Registry) -> None:
    """Add the losses of the attribute recipes, and of "ResNet strikes back"."""
    registry.register(
        "AttributeCrossEntropy",
        "ppclas_paddleclas.losses:AttributeCrossEntropy",
        summary="several labels: the rarer answer of each class counts more",
    )
    registry.register(
        "AttributeDML",
        "ppclas_paddleclas.losses:AttributeDML",
        summary="several labels: divergence from a teacher, weighed in the same way",
    )
    registry.register(
        "MixedBinaryCrossEntropy",
        "ppclas_paddleclas.losses:MixedBinaryCrossEntropy",
        summary="one label: every class that has a share of a mixed image is there",
    )


@hookimpl
def register_metrics(registry: Registry) -> None:
    """Add the metric of the two-class recipes."""
    registry.register(
        "TprAtFpr",
        "ppclas_paddleclas.metrics:TprAtFpr",
        summary="true positives of class 1 where hardly any other is taken for one",
    )


@hookimpl
def register_recipes(registry: Registry) -> None:
    """Add the published training settings."""
    from ppclas_paddleclas.recipes import facts_of  # deferred: only those who list them wait

    for name, facts in facts_of().items():
        registry.register(
            name,
            f"ppclas_paddleclas.recipes:{name}",
            summary=facts["summary"],
            metadata={key: value for key, value in facts.items() if key != "summary"},
        )


@hookimpl
def register_config_formats(registry: Registry) -> None:
    """Add the two schemas of PaddleClas."""
    registry.register(
        "paddleclas",
        "ppclas_paddleclas.config_format:PaddleClasFormat",
        summary="PaddleClas' configs of 2020 and of 2.x, as they are",
    )

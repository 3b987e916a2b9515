"""What this package registers, by "module:attribute" so that listing names imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = -1  # before the packages that add to these


@hookimpl
def register_recipes(registry: Registry) -> None:
    """Add the recipes that ship with the core."""
    for name, summary in {
        "demo": "eight kinds of groceries, the built-in photos, minutes on a CPU",
        "finetune": "your own photos, from published weights of MobileNetV3_large_x1_0",
        "imagenet-resnet50": "ResNet-50 on ImageNet-1k from random weights, 120 epochs",
    }.items():
        registry.register(name, f"ppclas_engine.recipes:{name.replace('-', '_')}", summary=summary)

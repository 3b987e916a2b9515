"""Recipes: config files with a name. Each says in its header how it is used and what it reaches."""

from __future__ import annotations

from pathlib import Path


def demo() -> Path:
    """The built-in photos."""
    return _path("demo")


def finetune() -> Path:
    """Your own photos."""
    return _path("finetune")


def imagenet_resnet50() -> Path:
    """ImageNet-1k from scratch."""
    return _path("imagenet-resnet50")


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.yaml")

"""Recipes: config files with a name. Each says in its header how it is used and what it reaches."""

from __future__ import annotations

from pathlib import Path


def ssld_mobilenetv3_large() -> Path:
    """ResNet50_vd_ssld to MobileNetV3_large_x1_0."""
    return _path("ssld-mobilenetv3-large")


def ssld_mobilenetv3_large_finetune() -> Path:
    """The student of the large data, on ImageNet-1k."""
    return _path("ssld-mobilenetv3-large-finetune")


def ssld_resnet50_vd() -> Path:
    """ResNeXt101_32x16d_wsl to ResNet50_vd."""
    return _path("ssld-resnet50-vd")


def ssld_resnet50_vd_finetune() -> Path:
    """The student of the large data, on ImageNet-1k."""
    return _path("ssld-resnet50-vd-finetune")


def ssld_resnet50_vd_fix320() -> Path:
    """The classifier alone, at 320 pixels."""
    return _path("ssld-resnet50-vd-fix320")


def _path(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.yaml")

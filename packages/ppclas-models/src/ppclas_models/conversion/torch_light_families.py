"""What torchvision and timm call the layers of MobileNet, ShuffleNet and EfficientNet."""

from __future__ import annotations

import re

from ppclas_models.conversion.torch_families import Namer

_MOBILENET_V1_DEPTHS = (1, 2, 2, 6, 2)


def mobilenet_v1_timm(_architecture: str, _units: list[str]) -> Namer:
    """timm's."""
    places = [
        f"blocks.{stage}.{block}"
        for stage, depth in enumerate(_MOBILENET_V1_DEPTHS)
        for block in range(depth)
    ]

    def module(unit: str, norm: bool) -> str | None:
        if unit == "fc":
            return "classifier"
        if unit == "conv":
            return "bn1" if norm else "conv_stem"
        _, index, layer = unit.split(".")
        pair = ("conv_dw", "bn1") if layer == "depthwise_conv" else ("conv_pw", "bn2")
        return f"{places[int(index)]}.{pair[norm]}"

    return module


_MOBILENET_V2_DEPTHS = (1, 2, 3, 4, 3, 3, 1)


def _mobilenet_v2_block(unit: str) -> tuple[int, int, str] | None:
    """Stage and position, 0-based, and layer."""
    match = re.fullmatch(
        r"conv(\d)\.(?:_first_block|conv\d_(\d))\._(expand|bottleneck|linear)_conv", unit
    )
    return None if match is None else (int(match[1]) - 2, int(match[2] or 1) - 1, match[3])


def mobilenet_v2(_architecture: str, _units: list[str]) -> Namer:
    """torchvision's."""
    others = {"conv1": "features.0", "conv9": "features.18", "out": "classifier.1"}

    def module(unit: str, norm: bool) -> str | None:
        found = _mobilenet_v2_block(unit)
        if found is None:
            return others[unit] if unit == "out" else f"{others[unit]}.{int(norm)}"
        stage, position, layer = found
        block = f"features.{1 + sum(_MOBILENET_V2_DEPTHS[:stage]) + position}.conv"
        first = int(stage == 0)  # its block does not expand
        if layer == "linear":
            return f"{block}.{2 - first + int(norm)}"
        if layer == "expand" and first:
            return None
        index = 0 if layer == "expand" else 1 - first
        return f"{block}.{index}.{int(norm)}"

    return module


def mobilenet_v2_timm(_architecture: str, _units: list[str]) -> Namer:
    """timm's."""
    others = {
        "conv1": ("conv_stem", "bn1"),
        "conv9": ("conv_head", "bn2"),
        "out": ("classifier", ""),
    }
    layers = {
        "expand": ("conv_pw", "bn1"),
        "bottleneck": ("conv_dw", "bn2"),
        "linear": ("conv_pwl", "bn3"),
    }
    first = {"expand": None, "bottleneck": ("conv_dw", "bn1"), "linear": ("conv_pw", "bn2")}

    def module(unit: str, norm: bool) -> str | None:
        found = _mobilenet_v2_block(unit)
        if found is None:
            return others[unit][norm]
        stage, position, layer = found
        pair = first[layer] if stage == 0 else layers[layer]
        return None if pair is None else f"blocks.{stage}.{position}.{pair[norm]}"

    return module


def shufflenet_v2(_architecture: str, _units: list[str]) -> Namer:
    """torchvision's."""
    others = {"_conv1": "conv1", "_last_conv": "conv5"}
    # The convolution's number in its branch; its batch norm follows.
    layers = {
        "_conv_dw_1": "branch1.0",
        "_conv_linear_1": "branch1.2",
        **dict.fromkeys(("_conv_pw", "_conv_pw_2"), "branch2.0"),
        **dict.fromkeys(("_conv_dw", "_conv_dw_2"), "branch2.3"),
        **dict.fromkeys(("_conv_linear", "_conv_linear_2"), "branch2.5"),
    }

    def module(unit: str, norm: bool) -> str | None:
        if unit == "_fc":
            return "fc"
        if unit in others:
            return f"{others[unit]}.{int(norm)}"
        block, _, layer = unit.partition(".")
        stage, position = block.split("_")
        branch, index = layers[layer].split(".")
        return f"stage{stage}.{int(position) - 1}.{branch}.{int(index) + int(norm)}"

    return module


def _efficientnet_blocks(units: list[str]) -> dict[str, tuple[int, int]]:
    """Block → stage and position, 0-based; ``_blocks`` has a stage's first, ``block`` the rest."""
    found: dict[str, tuple[int, int]] = {}
    stage, position = -1, 0
    for unit in units:
        match = re.match(r"_ef\.(_blocks|block)\.\d+", unit)
        if match and match[0] not in found:
            stage, position = (stage + 1, 0) if match[1] == "_blocks" else (stage, position + 1)
            found[match[0]] = (stage, position)
    return found


def efficientnet(_architecture: str, units: list[str]) -> Namer:
    """torchvision's."""
    blocks = _efficientnet_blocks(units)

    def module(unit: str, norm: bool) -> str | None:
        others = {"_ef._conv_stem": "features.0", "_conv": "features.8"}
        if unit == "_fc":
            return "classifier.1"
        if unit in others:
            return f"{others[unit]}.{int(norm)}"
        name, layer = unit.split("..", 1)
        stage, position = blocks[name]
        block = f"features.{stage + 1}.{position}.block"
        expands = int(f"{name}.._ecn" in units)
        if layer.startswith("_se."):
            return f"{block}.{expands + 1}.fc{layer[-1]}"
        index = {"_ecn": 0, "_dcn": expands, "_pcn": expands + 2}[layer]
        return f"{block}.{index}.{int(norm)}"

    return module


def efficientnet_timm(_architecture: str, units: list[str]) -> Namer:
    """timm's."""
    blocks = _efficientnet_blocks(units)
    others = {
        "_ef._conv_stem": ("conv_stem", "bn1"),
        "_conv": ("conv_head", "bn2"),
        "_fc": ("classifier", ""),
    }
    squeeze = {"_se._conv1": "se.conv_reduce", "_se._conv2": "se.conv_expand"}
    layers = {"_ecn": ("conv_pw", "bn1"), "_dcn": ("conv_dw", "bn2"), "_pcn": ("conv_pwl", "bn3")}
    first = {"_dcn": ("conv_dw", "bn1"), "_pcn": ("conv_pw", "bn2")}

    def module(unit: str, norm: bool) -> str | None:
        if unit in others:
            return others[unit][norm]
        name, layer = unit.split("..", 1)
        stage, position = blocks[name]
        block = f"blocks.{stage}.{position}"
        if layer in squeeze:
            return f"{block}.{squeeze[layer]}"
        return f"{block}.{(layers if f'{name}.._ecn' in units else first)[layer][norm]}"

    return module

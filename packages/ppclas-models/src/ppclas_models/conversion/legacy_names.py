"""What the 2020 release called the tensors of its models.

The names are those with which the first dygraph release loaded the 2020 files: its layers spell
them out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ppclas_core.errors import WeightsError

from ppclas_models.conversion.parts import Part, parts_of, residual_positions

Namer = Callable[[str], tuple[str, str]]
"""A unit → the old names of its convolution (or linear layer) and of its batch norm."""

_NORM_LEAVES = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}


def legacy_names(architecture: str) -> dict[str, str]:
    """State-dict name → the name of 2020.

    Raises:
        WeightsError: the old names of this architecture are not known.
    """
    for pattern, family in _FAMILIES.items():
        if re.fullmatch(pattern, architecture):
            parts = parts_of(architecture)
            namer = family(architecture, list(dict.fromkeys(part.unit for part in parts.values())))
            return {key: _name(part, namer) for key, part in parts.items()}
    raise WeightsError(
        f"the tensor names of 2020 are not known for {architecture}; they are for ResNet (vc, vd), "
        "ResNeXt, MobileNetV1, V2 and V3, ShuffleNetV2 and SqueezeNet. Take the .pdparams file: "
        "ppclas models download"
    )


def _name(part: Part, namer: Namer) -> str:
    conv, norm = namer(part.unit)
    if part.kind == "norm":
        return f"{norm}_{_NORM_LEAVES[part.leaf]}"
    if conv == "fc_0":  # a layer without a name of its own: Paddle counted it
        return {"weight": "fc_0.w_0", "bias": "fc_0.b_0"}[part.leaf]
    return f"{conv}_{'weights' if part.leaf == 'weight' else 'offset'}"


def _resnet(architecture: str, units: list[str]) -> Namer:
    """``res4b22_branch2a``: stage 4, block 22, first convolution; batch norms begin with bn."""
    positions = residual_positions(units)
    # Stage 4 of these has more blocks than there are letters.
    counted = re.search(r"(?:101|152|200)", architecture) is not None
    resnext = architecture.startswith("ResNeXt")

    def conv(unit: str) -> str:
        if unit in ("fc", "out"):
            return "fc" if resnext else "fc_0"
        if unit == "conv":
            return "res_conv1"
        if stem := re.fullmatch(r"stem\.(\d)", unit):
            return f"conv1_{int(stem[1]) + 1}" if "stem.1" in units else "conv1"
        if unit.startswith("conv1_"):
            return unit
        name, _, layer = unit.rpartition(".")
        stage, block = positions[name].stage + 2, positions[name].block
        letter = chr(ord("a") + block)
        if counted and stage == 4:
            letter = f"b{block}" if block else "a"
        branch = (
            "branch1" if layer == "short" else f"branch2{'abc'[int(layer.removeprefix('conv'))]}"
        )
        return f"res{stage}{letter}_{branch}"

    def both(unit: str) -> tuple[str, str]:
        name = conv(unit)
        return name, "bn_conv1" if name == "conv1" else f"bn{name[3:]}"

    return both


def _renamed(*rules: tuple[str, str]) -> Callable[[str, list[str]], Namer]:
    """Units that match a pattern get its template; batch norms are ``<convolution>_bn``."""

    def family(_architecture: str, _units: list[str]) -> Namer:
        def both(unit: str) -> tuple[str, str]:
            for pattern, template in rules:
                if match := re.fullmatch(pattern, unit):
                    name = match.expand(template)
                    return name, f"{name}_bn"
            raise AssertionError(f"no rule for {unit}")

        return both

    return family


def _mobilenet_v1(_architecture: str, _units: list[str]) -> Namer:
    """Blocks 2_1 to 4_2 by map size and position, 5_1 to 5_6, and 6."""
    blocks = ["2_1", "2_2", "3_1", "3_2", "4_1", "4_2", *(f"5_{i}" for i in range(1, 7)), "6"]

    def both(unit: str) -> tuple[str, str]:
        name = {"conv": "conv1", "fc": "fc7"}.get(unit)
        if name is None:
            _, index, layer = unit.split(".")
            name = f"conv{blocks[int(index)]}_{'dw' if layer == 'depthwise_conv' else 'sep'}"
        return name, f"{name}_bn"

    return both


def _mobilenet_v3(_architecture: str, _units: list[str]) -> Namer:
    layers = {
        "expand_conv": "expand",
        "bottleneck_conv": "depthwise",
        "linear_conv": "linear",
        "mid_se.conv1": "se_1",
        "mid_se.conv2": "se_2",
    }
    others = {
        "conv": "conv1",
        "last_second_conv": "conv_last",
        "last_conv": "last_1x1_conv",
        "fc": "fc",
    }

    def both(unit: str) -> tuple[str, str]:
        name = others.get(unit)
        if name is None:
            _, index, layer = unit.split(".", 2)
            name = f"conv{int(index) + 2}_{layers[layer]}"
        return name, f"{name}_bn"

    return both


def _squeezenet(_architecture: str, _units: list[str]) -> Namer:
    layers = {"": "squeeze1x1", "._conv_path1": "expand1x1", "._conv_path2": "expand3x3"}

    def both(unit: str) -> tuple[str, str]:
        name = {"_conv": "conv1", "_conv9": "conv10"}.get(unit)
        if name is None:
            name = f"fire{int(unit[5]) + 1}_{layers[unit[6:]]}"
        return name, name

    return both


_FAMILIES: dict[str, Callable[[str, list[str]], Namer]] = {
    r"ResNet\d+(_vc|_vd)?|ResNeXt\d+_(32|64)x4d": _resnet,
    r"MobileNetV1.*": _mobilenet_v1,
    r"MobileNetV2.*": _renamed(
        (r"conv1", "conv1_1"),
        (r"(conv9)", r"\1"),
        (r"out", "fc10"),
        (r"(conv\d)\._first_block\._expand_conv", r"\1_1_expand"),
        (r"(conv\d)\._first_block\._bottleneck_conv", r"\1_1_dwise"),
        (r"(conv\d)\._first_block\._linear_conv", r"\1_1_linear"),
        (r"conv\d\.(conv\d_\d)\._expand_conv", r"\1_expand"),
        (r"conv\d\.(conv\d_\d)\._bottleneck_conv", r"\1_dwise"),
        (r"conv\d\.(conv\d_\d)\._linear_conv", r"\1_linear"),
    ),
    r"MobileNetV3.*": _mobilenet_v3,
    r"ShuffleNetV2.*": _renamed(
        (r"_conv1", "stage1_conv"),
        (r"_last_conv", "conv5"),
        (r"_fc", "fc6"),
        (r"(\d_\d)\._conv_pw(?:_2)?", r"stage_\1_conv1"),
        (r"(\d_\d)\._conv_dw(?:_2)?", r"stage_\1_conv2"),
        (r"(\d_\d)\._conv_linear(?:_2)?", r"stage_\1_conv3"),
        (r"(\d_\d)\._conv_dw_1", r"stage_\1_conv4"),
        (r"(\d_\d)\._conv_linear_1", r"stage_\1_conv5"),
    ),
    r"SqueezeNet.*": _squeezenet,
}
"""Pattern of the architectures' names → what makes their namer."""

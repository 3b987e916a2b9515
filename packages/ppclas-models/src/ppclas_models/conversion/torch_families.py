"""What torchvision and timm call the layers of the families that they share with this zoo.

A namer gets a unit (a layer, or a convolution with its batch norm) and whether the batch norm is
meant, and gives the torch module; None where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ppclas_models.conversion.parts import residual_positions

Namer = Callable[[str, bool], str | None]
Family = Callable[[str, list[str]], Namer]
"""An architecture and its units → the namer."""


def resnet(architecture: str, units: list[str]) -> Namer:
    """All of torchvision's and timm's ResNet classes, timm's Res2Net among them."""
    positions = residual_positions(units)
    deep = any(unit in ("stem.1", "conv1_2") for unit in units)
    pooled = "_vd" in architecture  # the pool is a module of its own in timm's shortcuts
    # The basic blocks of stage 1 keep the shape: torch has no convolution in their shortcut.
    basic = not any(unit.endswith("conv2") for unit in units)

    def module(unit: str, norm: bool) -> str | None:
        if unit in ("fc", "out", "_out"):
            return "fc"
        if stem := re.fullmatch(r"conv1?|_conv_stem|stem\.(\d)|conv1_(\d)", unit):
            if not deep:
                return "bn1" if norm else "conv1"
            index = int(stem[1]) if stem[1] else int(stem[2]) - 1
            return ("conv1.1", "conv1.4", "bn1")[index] if norm else f"conv1.{3 * index}"
        name = unit.removesuffix(".squeeze").removesuffix(".excitation").rpartition(".")[0]
        where, layer = positions[name], unit[len(name) + 1 :].removeprefix("_")
        block = f"layer{where.stage + 1}.{where.block}"
        if layer.startswith("scale."):
            return f"{block}.se.fc{1 if layer.endswith('squeeze') else 2}"
        if rung := re.fullmatch(r"res\d\w+_branch2b_(\d)", layer):
            return f"{block}.{'bns' if norm else 'convs'}.{int(rung[1]) - 1}"
        if layer == "short":
            if basic and where.stage == 0:
                return None
            return f"{block}.downsample.{int(norm) + int(pooled)}"
        return f"{block}.{'bn' if norm else 'conv'}{int(layer.removeprefix('conv')) + 1}"

    return module


_SQUEEZENET_FIRES = {
    "SqueezeNet1_0": (3, 4, 5, 7, 8, 9, 10, 12),
    "SqueezeNet1_1": (3, 4, 6, 7, 9, 10, 11, 12),
}
"""Where torchvision's list of layers has the fire modules."""


def squeezenet(architecture: str, _units: list[str]) -> Namer:
    """torchvision's."""
    fires = _SQUEEZENET_FIRES[architecture]
    layers = {"": "squeeze", "._conv_path1": "expand1x1", "._conv_path2": "expand3x3"}

    def module(unit: str, _norm: bool) -> str | None:
        others = {"_conv": "features.0", "_conv9": "classifier.1"}
        return others.get(unit) or f"features.{fires[int(unit[5]) - 1]}.{layers[unit[6:]]}"

    return module


def densenet(_architecture: str, _units: list[str]) -> Namer:
    """torchvision's and timm's."""

    def module(unit: str, norm: bool) -> str | None:
        if unit == "out":
            return "classifier"
        if unit == "batch_norm":
            return "features.norm5"
        layer = "norm" if norm else "conv"
        if unit == "conv1_func":
            return f"features.{layer}0"
        if match := re.fullmatch(r"tr_conv(\d)_blk\.conv_ac_func", unit):
            return f"features.transition{int(match[1]) - 1}.{layer}"
        match = re.fullmatch(r"db_conv_(\d)\.conv\d_(\d+)\.bn_ac_func(\d)", unit)
        assert match is not None
        return f"features.denseblock{int(match[1]) - 1}.denselayer{match[2]}.{layer}{match[3]}"

    return module


def _vgg(units: list[str], classifier: dict[str, str]) -> Namer:
    # All layers are counted: a ReLU follows each convolution, a pool each block.
    indices, index, block = {}, 0, ""
    for unit in units:
        if unit.startswith("conv_block_"):
            name = unit.partition(".")[0]
            index += 1 if block not in ("", name) else 0
            indices[unit], block = f"features.{index}", name
            index += 2

    def module(unit: str, _norm: bool) -> str | None:
        return indices.get(unit) or classifier[unit]

    return module


def vgg(_architecture: str, units: list[str]) -> Namer:
    """torchvision's."""
    return _vgg(units, {"fc1": "classifier.0", "fc2": "classifier.3", "fc3": "classifier.6"})


def vgg_timm(_architecture: str, units: list[str]) -> Namer:
    """timm's."""
    return _vgg(units, {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "fc3": "head.fc"})


def alexnet(_architecture: str, _units: list[str]) -> Namer:
    """torchvision's."""
    convs = {
        f"_conv{number}": f"features.{index}"
        for number, index in enumerate((0, 3, 6, 8, 10), start=1)
    }
    layers = {**convs, "_fc6": "classifier.1", "_fc7": "classifier.4", "_fc8": "classifier.6"}

    def module(unit: str, _norm: bool) -> str | None:
        return layers[unit]

    return module


def hrnet_timm(_architecture: str, units: list[str]) -> Namer:
    """timm's: a batch norm follows its convolution in a list, or is beside it."""
    others = {
        "conv_layer1_1": ("conv1", "bn1"),
        "conv_layer1_2": ("conv2", "bn2"),
        "conv_tr1_1": ("transition1.0.0", "transition1.0.1"),
        "conv_tr1_2": ("transition1.1.0.0", "transition1.1.0.1"),
        "conv_tr2": ("transition2.2.0.0", "transition2.2.0.1"),
        "conv_tr3": ("transition3.3.0.0", "transition3.3.0.1"),
        "conv_last": ("final_layer.0", "final_layer.1"),
        "fc": ("classifier", ""),
    }
    ways = _hrnet_ways(units)

    def module(unit: str, norm: bool) -> str | None:
        if unit in others:
            return others[unit][norm]
        if match := re.fullmatch(r"cls_head_conv_list\.(\d)", unit):
            return f"downsamp_modules.{match[1]}.{int(norm)}"
        stage, _, rest = unit.partition(".stage_func_list.")
        if not rest:  # a bottleneck of the first stage or of the head
            block, _, layer = unit.rpartition(".")
            block = re.sub(r"last_cls\.func_list\.(\d)", r"incre_modules.\1.0", block)
        elif match := re.fullmatch(r"(\d)\.fuse_func\.residual_func_list\.(\d+)", rest):
            return f"stage{stage[-1]}.{match[1]}.{ways[stage][int(match[2])]}.{int(norm)}"
        else:
            index, _, octave, position, layer = rest.split(".")
            block = f"stage{stage[-1]}.{index}.branches.{octave}.{position}"
        if layer == "conv_down":
            return f"{block}.downsample.{int(norm)}"
        return f"{block}.{'bn' if norm else 'conv'}{layer[-1]}"

    return module


def _hrnet_ways(units: list[str]) -> dict[str, list[str]]:
    """Stage → the torch modules of an exchange's convolutions, in their order here."""
    ways: dict[str, list[str]] = {}
    for stage in ("st2", "st3", "st4"):
        octaves = range(int(stage[-1]))
        ways[stage] = [
            way
            for target in octaves
            for source in octaves
            if source != target
            for way in (
                [f"fuse_layers.{target}.{source}"]
                if source > target
                else [f"fuse_layers.{target}.{source}.{step}" for step in range(target - source)]
            )
        ]
        exchange = f"{stage}.stage_func_list.0.fuse_func."
        assert len(ways[stage]) == sum(unit.startswith(exchange) for unit in units)
    return ways


_DPN_DEPTHS = {
    "DPN68": (3, 4, 12, 3),
    "DPN92": (3, 4, 20, 3),
    "DPN98": (3, 6, 20, 3),
    "DPN107": (4, 8, 20, 3),
    "DPN131": (4, 8, 28, 3),
}


def dpn_timm(architecture: str, _units: list[str]) -> Namer:
    """timm's."""
    stages = enumerate(_DPN_DEPTHS[architecture], start=2)
    blocks = [f"conv{stage}_{block}" for stage, depth in stages for block in range(1, depth + 1)]

    def module(unit: str, norm: bool) -> str | None:
        if unit == "out":
            return "classifier"
        layer = "bn" if norm else "conv"
        if unit == "conv1_x_1_func":
            return f"features.conv1_1.{layer}"
        if unit == "conv5_x_x_bn":
            return "features.conv5_bn_ac.bn"
        match = re.fullmatch(r"dpn(\d+)\.(c\dx\d_\w)_func", unit)
        assert match is not None
        block, conv = blocks[int(match[1]) - 1], match[2]
        if conv == "c1x1_w":
            conv += "_s1" if block == "conv2_1" else "_s2"
        return f"features.{block}.{conv}.{layer}"

    return module


_XCEPTION_LAYERS = {"_conv1": "conv_dw", "_bn1": "bn_dw", "_conv2": "conv_pw", "_bn2": "bn_pw"}


def xception_timm(_architecture: str, units: list[str]) -> Namer:
    """timm's aligned Xception, which counts the blocks of all flows."""
    blocks: dict[str, int] = {}
    for unit in units:
        if match := re.match(r"xception_\d+/\w+/block\d+|_exit_flow_\d", unit):
            blocks.setdefault(match[0], len(blocks))

    def module(unit: str, norm: bool) -> str | None:
        if unit == "_fc":
            return "head.fc"
        layer = "bn" if norm else "conv"
        if stem := re.fullmatch(r"_conv(\d)", unit):
            return f"stem.{int(stem[1]) - 1}.{layer}"
        name, _, rest = unit.partition(".")
        block = f"blocks.{blocks[name]}"
        if rest == "_short":
            return f"{block}.shortcut.{layer}"
        conv, _, inner = rest.partition(".")
        return f"{block}.stack.{conv.removeprefix('_')}.{_XCEPTION_LAYERS[inner]}"

    return module


def darknet_timm(_architecture: str, _units: list[str]) -> Namer:
    """timm's."""

    def module(unit: str, norm: bool) -> str | None:
        layer = "bn" if norm else "conv"
        others = {
            "_conv1": f"stem.conv1.{layer}",
            "_conv2": f"stages.0.conv_down.{layer}",
            "_out": "head.fc",
        }
        if unit in others:
            return others[unit]
        if down := re.fullmatch(r"_downsample_(\d)", unit):
            return f"stages.{int(down[1]) + 1}.conv_down.{layer}"
        match = re.fullmatch(r"_basic_block_(\d)(\d+)\._(conv\d)", unit)
        assert match is not None
        return f"stages.{match[1]}.blocks.{int(match[2]) - 1}.{match[3]}.{layer}"

    return module

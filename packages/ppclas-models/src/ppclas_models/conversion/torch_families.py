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


def _efficientnet_blocks(units: list[str]) -> dict[str, tuple[int, int]]:
    """Block → stage and position, 0-based: the first of a stage is in ``_blocks``, the others are
    in ``block``.
    """
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


def hrnet_timm(_architecture: str, units: list[str]) -> Namer:
    """timm's: a batch norm stands behind its convolution in a list, or beside it under its
    number.
    """
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

"""What torchvision and timm call the tensors of the models that they share with this zoo.

Not every difference is one of names: a layer that only the models here have is made the identity, and where these
models scale features in evaluation (a dropout of the old kind before a layer), the layer's weights make up for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ppclas_core.errors import WeightsError

from ppclas_models.conversion.parts import Part, parts_of, residual_positions

Namer = Callable[[str, bool], str | None]
"""A unit, and whether its batch norm is meant → the torch module; None where there is none."""


@dataclass(frozen=True)
class TorchNames:
    """How one torch package names a model."""

    names: dict[str, str | None]
    """State-dict name here → there; None for a tensor of a layer that the torch model lacks."""
    factors: dict[str, float] = field(default_factory=dict)
    """State-dict name here → what its values are multiplied by."""
    notes: tuple[str, ...] = ()
    """What stays different."""


_LEAVES = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}


def torch_names(architecture: str) -> list[TorchNames]:
    """The namings to try for ``architecture``, torchvision's first.

    Raises:
        WeightsError: torchvision and timm have no such model, or its names are not known here.
    """
    for pattern, families in _FAMILIES.items():
        if re.fullmatch(pattern, architecture):
            parts = parts_of(architecture)
            units = list(dict.fromkeys(part.unit for part in parts.values()))
            extras = _EXTRAS.get(pattern, ({}, ()))
            factors = {key: factor for key, factor in extras[0].items() if key in parts}
            return [TorchNames(_names(parts, family(units)), factors, extras[1]) for family in families]
    raise WeightsError(
        f"no names of torch weights are known for {architecture}; they are for ResNet, ResNet_vd (timm's d), ResNeXt, "
        f"MobileNetV2, ShuffleNetV2, SqueezeNet, DenseNet, VGG and EfficientNet"
    )


def _names(parts: dict[str, Part], namer: Namer) -> dict[str, str | None]:
    names: dict[str, str | None] = {}
    for key, part in parts.items():
        module = namer(part.unit, part.kind == "norm")
        names[key] = None if module is None else f"{module}.{_LEAVES[part.leaf]}"
    return names


def _resnet(units: list[str]) -> Namer:
    positions = residual_positions(units)
    deep = "stem.1" in units or "conv1_2" in units
    pooled = deep and "conv1_2" not in units  # the pool is a module of its own in timm's shortcuts
    # The basic blocks of stage 1 keep the shape: torch has no convolution in their shortcut.
    basic = not any(unit.endswith(".conv2") for unit in units)

    def module(unit: str, norm: bool) -> str | None:
        if unit in ("fc", "out"):
            return "fc"
        if stem := re.fullmatch(r"conv|stem\.(\d)|conv1_(\d)", unit):
            if not deep:
                return "bn1" if norm else "conv1"
            index = int(stem[1]) if stem[1] else int(stem[2]) - 1
            return ("conv1.1", "conv1.4", "bn1")[index] if norm else f"conv1.{3 * index}"
        name, _, layer = unit.rpartition(".")
        where = positions[name]
        block = f"layer{where.stage + 1}.{where.block}"
        if layer == "short":
            if basic and where.stage == 0:
                return None
            return f"{block}.downsample.{int(norm) + int(pooled)}"
        return f"{block}.{'bn' if norm else 'conv'}{int(layer.removeprefix('conv')) + 1}"

    return module


_MOBILENET_V2_DEPTHS = (1, 2, 3, 4, 3, 3, 1)


def _mobilenet_v2_block(unit: str) -> tuple[int, int, str] | None:
    """Stage and position, 0-based, and layer."""
    match = re.fullmatch(r"conv(\d)\.(?:_first_block|conv\d_(\d))\._(expand|bottleneck|linear)_conv", unit)
    return None if match is None else (int(match[1]) - 2, int(match[2] or 1) - 1, match[3])


def _mobilenet_v2(_units: list[str]) -> Namer:
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


def _mobilenet_v2_timm(_units: list[str]) -> Namer:
    others = {"conv1": ("conv_stem", "bn1"), "conv9": ("conv_head", "bn2"), "out": ("classifier", "")}
    layers = {"expand": ("conv_pw", "bn1"), "bottleneck": ("conv_dw", "bn2"), "linear": ("conv_pwl", "bn3")}
    first = {"expand": None, "bottleneck": ("conv_dw", "bn1"), "linear": ("conv_pw", "bn2")}

    def module(unit: str, norm: bool) -> str | None:
        found = _mobilenet_v2_block(unit)
        if found is None:
            return others[unit][norm]
        stage, position, layer = found
        pair = first[layer] if stage == 0 else layers[layer]
        return None if pair is None else f"blocks.{stage}.{position}.{pair[norm]}"

    return module


def _shufflenet_v2(_units: list[str]) -> Namer:
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


def _squeezenet(fires: tuple[int, ...]) -> Callable[[list[str]], Namer]:
    """``fires``: where torchvision's list of layers has the fire modules."""

    def family(_units: list[str]) -> Namer:
        layers = {"": "squeeze", "._conv_path1": "expand1x1", "._conv_path2": "expand3x3"}

        def module(unit: str, _norm: bool) -> str | None:
            others = {"_conv": "features.0", "_conv9": "classifier.1"}
            return others.get(unit) or f"features.{fires[int(unit[5]) - 1]}.{layers[unit[6:]]}"

        return module

    return family


def _densenet(_units: list[str]) -> Namer:
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


def _vgg(units: list[str]) -> Namer:
    # torchvision counts every layer: a ReLU follows each convolution, a pool each block.
    indices, index, block = {}, 0, ""
    for unit in units:
        if unit.startswith("conv_block_"):
            name = unit.partition(".")[0]
            index += 1 if block not in ("", name) else 0
            indices[unit], block = f"features.{index}", name
            index += 2
    classifier = {"fc1": "classifier.0", "fc2": "classifier.3", "fc3": "classifier.6"}

    def module(unit: str, _norm: bool) -> str | None:
        return indices.get(unit) or classifier[unit]

    return module


def _efficientnet_blocks(units: list[str]) -> dict[str, tuple[int, int]]:
    """Block → stage and position, 0-based: the first of a stage is in ``_blocks``, the others are in ``block``."""
    found: dict[str, tuple[int, int]] = {}
    stage, position = -1, 0
    for unit in units:
        match = re.match(r"_ef\.(_blocks|block)\.\d+", unit)
        if match and match[0] not in found:
            stage, position = (stage + 1, 0) if match[1] == "_blocks" else (stage, position + 1)
            found[match[0]] = (stage, position)
    return found


def _efficientnet(units: list[str]) -> Namer:
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


def _efficientnet_timm(units: list[str]) -> Namer:
    blocks = _efficientnet_blocks(units)
    others = {"_ef._conv_stem": ("conv_stem", "bn1"), "_conv": ("conv_head", "bn2"), "_fc": ("classifier", "")}
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


_SQUEEZENET_1_0 = _squeezenet((3, 4, 5, 7, 8, 9, 10, 12))
_SQUEEZENET_1_1 = _squeezenet((3, 4, 6, 7, 9, 10, 11, 12))

_FAMILIES: dict[str, tuple[Callable[[list[str]], Namer], ...]] = {
    r"ResNet\d+(_vc|_vd)?|ResNeXt\d+_(32|64)x4d": (_resnet,),
    r"MobileNetV2.*": (_mobilenet_v2, _mobilenet_v2_timm),
    r"ShuffleNetV2(_x\d_\d+)?": (_shufflenet_v2,),
    r"SqueezeNet1_0": (_SQUEEZENET_1_0,),
    r"SqueezeNet1_1": (_SQUEEZENET_1_1,),
    r"DenseNet\d+": (_densenet,),
    r"VGG\d+": (_vgg,),
    r"EfficientNetB\d": (_efficientnet, _efficientnet_timm),
}
"""Pattern of the architectures' names → what makes their namers."""

_SQUEEZENET_EXTRAS = (
    {"_conv9.weight": 2.0},
    (
        "torchvision's pools also take windows that reach over the border, and its 1.1 does not pad the first "
        "convolution: the logits differ",
    ),
)
_EXTRAS: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    r"SqueezeNet1_0": _SQUEEZENET_EXTRAS,
    r"SqueezeNet1_1": _SQUEEZENET_EXTRAS,
    r"VGG\d+": (
        {"fc2.weight": 2.0, "fc3.weight": 2.0},
        ("the convolutions here have no biases, torchvision's have: the logits differ until it is fine-tuned",),
    ),
    r"EfficientNetB\d": (
        {},
        (
            "the model here pads as TensorFlow does and adds 1e-3 to variances, as timm's tf_ weights were trained; "
            "with others the logits differ",
        ),
    ),
}
"""Pattern → factors (2: a dropout of one half before the layer halves its input in evaluation here), and notes."""

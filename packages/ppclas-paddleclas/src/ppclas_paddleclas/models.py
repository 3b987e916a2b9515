"""The model that an old config names, and its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppclas_core.config.explain import describe, dotted
from ppclas_core.contracts.variants import LazyModel
from ppclas_core.errors import MissingDependencyError, UnknownNameError
from ppclas_core.plugins import get_registries

from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import is_whole

_NEAREST = {
    "AdaFace_IR_18": "ResNet18",
    "CLIP_large_patch14_224_aesthetic": "CLIP_vit_large_patch14_224",
    "CSPResNet50_leaky": "CSPDarkNet53",
    "DyRepResNet18": "ResNet18",
    "EVA_vit_giant_patch14": "CLIP_vit_large_patch14_224",
    "EVA_vit_huge_patch14": "CLIP_vit_large_patch14_224",
    "EfficientFormerV2_L": "EfficientViT_b2",
    "EfficientFormerV2_S0": "EfficientViT_b0",
    "EfficientFormerV2_S1": "EfficientViT_b1",
    "EfficientFormerV2_S2": "EfficientViT_b1",
    "EfficientNetB3_watermark": "EfficientNetB3",
    "EfficientNetLite0": "EfficientNetB0_small",
    "EfficientNetLite1": "EfficientNetB0",
    "EfficientNetLite2": "EfficientNetB0",
    "EfficientNetLite3": "EfficientNetB1",
    "EfficientNetLite4": "EfficientNetB2",
    "MobileViTV3_x0_5": "MobileViTV3_XXS",
    "MobileViTV3_x0_75": "MobileViTV3_XS",
    "MobileViTV3_x1_0": "MobileViTV3_S",
    "ResNeSt50_fast_1s1x64d_dropblock": "ResNeSt50_fast_1s1x64d",
    "ResNet18_dbb": "ResNet18",
    "ResNet50_ACNet": "ResNet50",
    "ResNet50_last_stage_stride1": "ResNet50",
    "VGG19Sigmoid": "VGG19",
    "WideResNet": "ResNet34",
    "cae_base_patch16_224": "CAE_vit_base_patch16_224",
    "cae_large_patch16_224": "CAE_vit_base_patch16_224",
}
"""Models of PaddleClas' configs that have no counterpart here, and what comes nearest in kind and
size. A name that is registered after all is taken as it is."""

_CLASSES = {
    "scale": "{class}_x{value}",
    "layers": "{stem}{value}{suffix}",
    "width": "HRNet_W{value}_C",
}
"""A parameter of a class of models → the name of the variant that it stands for."""
_RENAMED = {"MobileNet": "MobileNetV1", "ShuffleNet": "ShuffleNetV2"}
"""Classes that are called otherwise than their variants."""

_DROPOUT = ("drop_rate", "dropout", "dropout_prob")
_RATES = (*_DROPOUT, "classifier_dropout", "drop_path_rate", "attn_drop_rate", "drop_block_rate")
"""Chances, which have no effect where they are 0."""
_NEUTRAL: Mapping[str, float] = {"head_init_scale": 1.0, "init_scale": 1.0}
"""Factors that change nothing at this value."""
_SPEED = ("use_fused_attn", "use_fused_linear", "use_checkpoint", "enable_addto")
"""How fast the same numbers are computed."""
_BUILT_IN = {"ConvNeXt": 1e-6}
"""The first value of the layer scale of models that have no parameter for it."""
_OVERRIDES = {
    "batch_norm_momentum": "norm_momentum",
    "batch_norm_epsilon": "norm_epsilon",
    "drop_connect_rate": "drop_path_rate",
}
"""What PaddleClas' configs of TinyNet change in EfficientNet → our parameters."""
_OUTPUTS = ("return_embed", "infer_output_key")


def find_variant(t: Translation, name: str, *block: str) -> str:
    """The catalogue name of a class with parameters (PPLCNet with scale: 1.0); else ``name``."""
    registry = get_registries().models
    suffix = name[-3:] if name.endswith(("_vb", "_vc", "_vd")) else ""
    stem = name.removesuffix(suffix)
    for key, form in _CLASSES.items():
        if (value := t.get(*block, key)) is None or isinstance(value, bool | list | dict):
            continue
        words = {
            "class": _RENAMED.get(name, name),
            "value": str(float(value) if key == "scale" and is_whole(value) else value),
            "stem": stem,
            "suffix": suffix,
        }
        words["value"] = words["value"].replace(".", "_")
        found = form.format(**words)
        if key == "scale" and found not in registry and words["value"] == "1_0":
            found = words["class"]
        if found in registry:  # else the key is refused, or the model
            t.lines.append(f"{dotted(block)}: {name} with {key}: {value} → {found}")
            if t.get(*block, "act") == "hardswish":
                t.drop("it is the model's own", *block, "act")
            return found
    return name


def set_name(t: Translation, name: str, *source: str | int) -> None:
    """``model.name``, if there is such a model."""
    if check_name(t, name, *source):
        t.set("model.name", name, *source)


def check_name(t: Translation, name: str, *source: str | int) -> bool:
    """Whether there is such a model; one of PaddleClas that there is not here is called that."""
    registry = get_registries().models
    nearest = _NEAREST.get(name)
    if name in registry:
        return True
    # Of the parameters of a model that is not there nothing is said.
    around = source[:-1] if source[-1:] == ("name",) else source
    if nearest is not None:
        hint = f" The nearest is {nearest}." if nearest in registry else ""
        message = f"{name} is a model of PaddleClas that ppclas does not have.{hint}"
        t.refuse(source, message, covers=around)
        return False
    try:
        registry.entry(name)
    except UnknownNameError as error:
        t.refuse(source, str(error), covers=around)
    return False


def set_params(t: Translation, name: str, *block: str) -> None:
    """``model.params`` of the parameters of its own that an old config gives a model."""
    given = t.section_keys(*block)
    for key in _SPEED:
        t.drop("the numbers are the same", *block, key)
    for key in _OUTPUTS:
        t.drop("models here answer with logits", *block, key)
    chances = [key for key in (*_RATES, *_NEUTRAL) if key in given]
    others = [key for key in ("layer_scale_init_value", "class_expand") if key in given]
    known = _fields(name) if chances or others or "stride_list" in given else None
    if "use_last_conv" in given:
        _set_last_conv(t, name, *block, "use_last_conv")
    if "stride_list" in given:
        _set_strides(t, name, known, *block, "stride_list")
    _set_overrides(t, name, *block)
    for key in chances:
        _set_chance(t, key, known, *block, key)
    for key in others:
        built_in = next((own for start, own in _BUILT_IN.items() if name.startswith(start)), None)
        if known is not None and key not in known and t.number(*block, key) == built_in:
            t.drop("it is the model's own", *block, key)
        elif known is not None and key not in known:
            t.refuse((*block, key), f"{name} has no such parameter here. Leave the key out.")
        else:
            t.move_number(f"model.params.{key}", *block, key)


def _set_overrides(t: Translation, name: str, *block: str) -> None:
    """``model.params`` of the ``override_params`` of a TinyNet."""
    place = (*block, "override_params")
    if not t.has(*place) or t.is_null(*place) or not t.section(*place, required=False):
        t.get(*place)
        return
    known = _fields(name)
    if known is not None and "nearest_depth" not in known:
        t.refuse(place, f"{name} has no such parameters here.", covers=place)
        return
    for key, ours in _OVERRIDES.items():
        t.move_number(f"model.params.{ours}", *place, key)
    rounding = t.get(*place, "depth_trunc", default="ceil")
    if rounding not in ("ceil", "round"):
        t.refuse((*place, "depth_trunc"), f"expected ceil or round, got {describe(rounding)}.")
    elif rounding == "round":
        t.set("model.params.nearest_depth", True, *place, "depth_trunc")


def _set_strides(t: Translation, name: str, known: Mapping[str, Any] | None, *source: str) -> None:
    """``strides`` of a PPLCNet, each for both directions, or [height, width]."""
    strides = t.get(*source)
    each = strides if isinstance(strides, list) else []
    pairs = [stride if isinstance(stride, list) else [stride, stride] for stride in each]
    if known is not None and "strides" not in known:
        t.refuse(source, f"{name} has no such parameter here. Leave the key out.")
    elif len(pairs) != 5 or not all(len(p) == 2 and all(map(_is_stride, p)) for p in pairs):
        t.refuse(source, f"expected five strides or pairs of them, got {describe(strides)}.")
    elif any(stride != 2 for pair in pairs for stride in pair):
        t.set("model.params.strides", strides, *source)
    else:
        t.drop("it is the model's own", *source)


def _set_last_conv(t: Translation, name: str, *source: str) -> None:
    """``last_conv`` of a PPLCNet."""
    if t.flag(*source, default=True):
        t.drop("it is the model's own", *source)
        return
    known = _fields(name)
    if known is not None and "last_conv" not in known:
        t.refuse(source, f"{name} has no such parameter here. Leave the key out.")
    else:
        t.set("model.params.last_conv", False, *source)


def _is_stride(value: Any) -> bool:
    return is_whole(value) and value > 0


def _set_chance(t: Translation, key: str, known: Mapping[str, Any] | None, *source: str) -> None:
    value = t.number(*source, default=0.0)
    if value is None:
        return
    names = ("dropout", key) if key in _DROPOUT else (key,)
    fitting = [name for name in names if known is None or name in known]
    neutral = _NEUTRAL.get(key, 0.0)
    if fitting and known is not None and known[fitting[0]] == value:
        t.drop("it is the model's own", *source)
    elif fitting:
        t.set(f"model.params.{fitting[0]}", value, *source)
    elif value == neutral:
        t.drop("it has no effect at this value", *source)
    else:
        t.refuse(
            source,
            f"the model here has no such parameter. Leave the key out, or set it to {neutral:g}.",
        )


def _fields(name: str) -> Mapping[str, Any] | None:
    """The parameters of a model with their values; None where that cannot be told."""
    registry = get_registries().models
    if name not in registry:
        return None
    entry = registry.entry(name)
    try:
        if isinstance(entry.builder, LazyModel):
            return entry.builder.variant().config.model_dump()
        fields = entry.params_model().model_fields
    except MissingDependencyError:
        return None
    return {key: field.default for key, field in fields.items()}

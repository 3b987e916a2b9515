"""PaddleClas' operators on images in this project's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppclas_core.config.explain import describe, dotted
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.augmentations import AUGMENTATIONS
from ppclas_paddleclas.params import Component, OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import is_whole, read_numbers


def translate_operators(translation: Translation, *path: str | int) -> list[Component]:
    """The transforms of the operators at ``path``; normalisation goes to ``data.normalize``."""
    found: list[Component] = []
    before = 0  # of what is found, how many come before the normalisation
    for index, item in enumerate(translation.items(*path)):
        where = (*path, index)
        if item is None:
            continue
        try:
            name, params = one_entry(item)
            if name not in _OPERATORS:
                near = near_names(name, _OPERATORS)
                hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(_OPERATORS)}."
                raise ConfigError(f"there is no transform for the operator {name}. {hint}")
            taken = OperatorParams(name, params)
            component = _OPERATORS[name](taken, translation, where)
            taken.finish()
            if name == "NormalizeImage":
                before = len(found)
        except ConfigError as error:
            translation.refuse(where, str(error))
            continue
        if component is not None:
            found.append(component)
    _color_what_is_erased(found, before, translation)
    return _padded_crops(found, translation, path)


def _color_what_is_erased(
    components: list[Component], before: int, translation: Translation
) -> None:
    """PaddleClas erases with 0: black before normalisation, and after it the mean."""
    for component in components[:before]:
        if component["name"] in _ERASING and component.get("fill") != "pixels":
            component["color"] = [0, 0, 0]
    mean = translation.new.get("data", {}).get("normalize", {}).get("mean", _IMAGENET_MEAN)
    if mean == _IMAGENET_MEAN:  # what is erased with if nothing is said
        return
    for component in components[before:]:
        if component["name"] in _ERASING and component.get("fill") != "pixels":
            component["color"] = [round(255 * value) for value in mean]


def _padded_crops(
    components: list[Component], translation: Translation, path: KeyPath
) -> list[Component]:
    """Padding to a size, then a crop of the size before it: one RandomCrop with padding."""
    found: list[Component] = []
    size: list[int] | None = None
    padded: Component | None = None
    for component in components:
        if component["name"] == _PAD:
            padded = component
            continue
        wanted = component.get("size")
        if component["name"] == "RandomCrop" and padded is not None:
            edges = [(a - b) / 2 for a, b in zip(padded["size"], size or (0, 0), strict=True)]
            if size is None or edges[0] != edges[1] or edges[0] != int(edges[0]) or edges[0] < 0:
                translation.refuse(
                    path,
                    "Padv2 before RandomCropImage: expected the same whole number of pixels on all "
                    "four sides of what ResizeImage or RandCropImage gives before it.",
                )
            component = {**component, "padding": int(edges[0]), "fill": padded["fill"]}
            padded = None
        if component["name"] in ("Resize", "RandomResizedCrop", "CenterCrop", "RandomCrop"):
            size = [wanted, wanted] if isinstance(wanted, int) else wanted
        found.append(component)
    if padded is not None:
        translation.refuse(path, "Padv2 has a meaning here before RandomCropImage alone.")
    return found


_PAD = "Padv2"
_ERASING = ("RandomErasing", "Cutout", "HideAndSeek", "GridMask")
_IMAGENET_MEAN = [0.485, 0.456, 0.406]


def _decode(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    if not params.flag("to_rgb", True):
        # The published files of MobileViT train on RGB and evaluate the authors' BGR weights.
        if "Train" in where or "TRAIN" in where or not _trains_on_rgb(translation):
            raise ConfigError("DecodeImage.to_rgb: false: models here take RGB. Leave it at true.")
        translation.lines.append(
            f"{dotted(where)}: DecodeImage.to_rgb: False is left out: training takes RGB, and so "
            "does evaluation here"
        )
    if params.flag("channel_first"):
        raise ConfigError(
            "DecodeImage.channel_first: true: images stay [H, W, C] here until the device has them."
        )
    params.drop("to_np", "backend")


def _trains_on_rgb(translation: Translation) -> bool:
    """Whether the operators of training, in either schema, decode to RGB."""
    for path in (("DataLoader", "Train", "dataset", "transform_ops"), ("TRAIN", "transforms")):
        for item in translation.items(*path) if translation.has(*path) else []:
            if isinstance(item, dict) and isinstance(item.get("DecodeImage"), dict):
                return item["DecodeImage"].get("to_rgb", True) is True
    return False


def _random_crop(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    component = {"name": "RandomResizedCrop", "size": params.size("size"), **params.range("scale")}
    component |= params.range("ratio")
    if params.flag("use_log_aspect"):
        component["sampling"] = "one_draw_log"
    return {**component, **params.interpolation(drawn=True)}


def _flip(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    code = params.integer("flip_code", 1)
    axes = {1: {}, 0: {"axis": "vertical"}, -1: {"axis": "both"}}
    if code not in axes:
        raise ConfigError(f"RandFlipImage.flip_code: expected 1, 0 or -1, got {code}.")
    return {"name": "RandomFlip", **axes[code]}


def _resize(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    short = params.take("resize_short")
    if short is None:
        side: dict[str, Any] = {"size": params.size("size")}
    elif is_whole(short) and short > 0:
        side = {"short": short}
    else:
        raise params.error("resize_short", f"expected a side in pixels, got {describe(short)}.")
    params.drop("size", "return_numpy")
    return {"name": "Resize", **side, **params.interpolation()}


def _crop(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    params.drop("backend")
    return {"name": "CenterCrop", "size": params.size("size")}


def _normalize(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    scale = 255 * params.number("scale", 1 / 255, or_null=True)
    if scale <= 0:
        raise params.error("scale", f"expected more than 0, got {scale / 255:g}.")
    params.drop("order", "channel_num", "output_fp16")
    for name, default in (("mean", _IMAGENET_MEAN), ("std", [0.229, 0.224, 0.225])):
        try:
            value = read_numbers(params.take(name, default), 3)
        except ConfigError as error:
            raise params.error(name, str(error)) from error
        # Here pixels are divided by 255 first, so mean and std of other scales are, too.
        if abs(scale - 1) > 1e-4:
            value = [round(number / scale, 9) for number in value]
        known = translation.new.get("data", {}).get("normalize", {}).get(name)
        if known is not None and known != value:
            raise ConfigError(
                f"NormalizeImage.{name} is {value} here and {known} in another list: give both the "
                "same."
            )
        translation.set(f"data.normalize.{name}", value, *where, quiet=known is not None)


def _to_chw(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    """The layout changes on the device."""


def _pad(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    size, mode = params.size("size"), params.integer("pad_mode", 0)
    if mode != 1:
        raise params.error("pad_mode", f"expected 1, the same on all sides, got {mode}.")
    params.drop("size_divisor", "offsets")
    fill = params.take("fill_value", 127.5)
    values = fill if isinstance(fill, list) else [fill] * 3
    try:
        color = [round(number) for number in read_numbers(values, 3)]
    except ConfigError as error:
        raise params.error("fill_value", str(error)) from error
    return {"name": _PAD, "size": [size, size] if isinstance(size, int) else size, "fill": color}


def _plain_crop(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    params.drop("backend")
    return {"name": "RandomCrop", "size": params.size("size")}


_OPERATORS: dict[str, Callable[[OperatorParams, Translation, KeyPath], Component | None]] = {
    "DecodeImage": _decode,
    "RandCropImage": _random_crop,
    "RandFlipImage": _flip,
    "ResizeImage": _resize,
    "CropImage": _crop,
    "NormalizeImage": _normalize,
    "ToCHWImage": _to_chw,
    **AUGMENTATIONS,
    "Padv2": _pad,
    "RandomCropImage": _plain_crop,
    "RandCropImageV2": _plain_crop,
}

"""PaddleClas' operators on images in this project's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.params import Component, OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import is_whole, read_numbers


def translate_operators(translation: Translation, *path: str | int) -> list[Component]:
    """The transforms of the operators at ``path``; normalisation goes to ``data.normalize``."""
    found = []
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
        except ConfigError as error:
            translation.refuse(where, str(error))
            continue
        if component is not None:
            found.append(component)
    _erase_with_the_mean(found, translation)
    return found


def _erase_with_the_mean(components: list[Component], translation: Translation) -> None:
    """PaddleClas erases with 0 after normalisation: the mean that the config normalises by."""
    mean = translation.new.get("data", {}).get("normalize", {}).get("mean", _IMAGENET_MEAN)
    if mean == _IMAGENET_MEAN:  # what is erased with if nothing is said
        return
    for component in components:
        if component["name"] in _ERASING and component.get("fill") != "pixels":
            component["color"] = [round(255 * value) for value in mean]


_ERASING = ("RandomErasing", "Cutout", "HideAndSeek", "GridMask")
_IMAGENET_MEAN = [0.485, 0.456, 0.406]


def _decode(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    if not params.flag("to_rgb", True):
        raise ConfigError("DecodeImage.to_rgb: false: models here take RGB. Leave it at true.")
    if params.flag("channel_first"):
        raise ConfigError(
            "DecodeImage.channel_first: true: images stay [H, W, C] here until the device has them."
        )
    params.drop("to_np", "backend")


def _random_crop(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    component = {"name": "RandomResizedCrop", "size": params.size("size"), **params.range("scale")}
    component |= params.range("ratio")
    if params.flag("use_log_aspect"):
        component["sampling"] = "one_draw_log"
    return {**component, **params.interpolation(translation.lines)}


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
    return {"name": "Resize", **side, **params.interpolation(translation.lines)}


def _crop(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    params.drop("backend")
    return {"name": "CenterCrop", "size": params.size("size")}


def _normalize(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    scale = params.number("scale", 1 / 255, or_null=True)
    if abs(scale * 255 - 1) > 1e-4:
        raise ConfigError(f"NormalizeImage.scale: pixels are divided by 255 here, got {scale:g}.")
    params.drop("order", "channel_num", "output_fp16")
    for name, default in (("mean", _IMAGENET_MEAN), ("std", [0.229, 0.224, 0.225])):
        try:
            value = read_numbers(params.take(name, default), 3)
        except ConfigError as error:
            raise params.error(name, str(error)) from error
        known = translation.new.get("data", {}).get("normalize", {}).get(name)
        if known is not None and known != value:
            raise ConfigError(
                f"NormalizeImage.{name} is {value} here and {known} in another list: give both the "
                "same."
            )
        translation.set(f"data.normalize.{name}", value, *where, quiet=known is not None)


def _to_chw(params: OperatorParams, translation: Translation, where: KeyPath) -> None:
    """The layout changes on the device."""


def _auto_augment(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append("AutoAugment turns photos both ways; PaddleClas' own did one way only")
    return {"name": "AutoAugment"}


def _rand_augment(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    layers, magnitude = params.integer("num_layers", 2), params.number("magnitude", 5)
    translation.lines.append(
        "RandAugment follows its paper: a larger magnitude is a stronger change in every operation"
    )
    return {"name": "RandAugment", "num_layers": layers, "magnitude": magnitude}


def _random_erasing(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "RandomErasing erases rectangles of whole photos; PaddleClas' of 2020 reached a few rows"
    )
    aspect = params.number("r1", 0.3)
    if aspect <= 0:
        raise params.error("r1", f"expected more than 0, got {aspect:g}.")
    component: Component = {
        "name": "RandomErasing",
        "probability": params.number("EPSILON", 0.5),
        "area": [params.number("sl", 0.02), params.number("sh", 0.4)],
        "aspect": [aspect, 1 / aspect],
    }
    if params.flag("use_log_aspect"):
        component["log_aspect"] = True
    attempts = params.integer("attempt", 100)
    if attempts != 100:
        component["attempts"] = attempts
    mode = params.take("mode", "const")
    if mode == "pixel":
        component["fill"] = "pixels"
    elif mode != "const":
        raise ConfigError(f"RandomErasing.mode: expected const or pixel, got {mode!r}.")
    mean = params.take("mean", [0.0, 0.0, 0.0])
    if not isinstance(mean, list) or any(read_numbers(mean)):
        raise params.error(
            "mean",
            "only [0, 0, 0], the mean of normalised photos, has a meaning here; got "
            f"{describe(mean)}.",
        )
    return component


def _cutout(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    return {
        "name": "Cutout",
        "holes": params.integer("n_holes", 1),
        "length": params.integer("length", 112),
    }


def _hide_and_seek(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "HideAndSeek hides cells of whole photos; PaddleClas' of 2020 reached a few columns"
    )
    return {"name": "HideAndSeek"}


def _grid_mask(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "GridMask is applied, more often with each epoch; PaddleClas' own never was"
    )
    return {
        "name": "GridMask",
        "period": [params.integer("d1", 96), params.integer("d2", 224)],
        "rotate": params.integer("rotate", 1),
        "ratio": params.number("ratio", 0.5),
        "remove": "squares" if params.integer("mode", 0) else "bars",
        "probability": params.number("prob", 1.0),
    }


_OPERATORS: dict[str, Callable[[OperatorParams, Translation, KeyPath], Component | None]] = {
    "DecodeImage": _decode,
    "RandCropImage": _random_crop,
    "RandFlipImage": _flip,
    "ResizeImage": _resize,
    "CropImage": _crop,
    "NormalizeImage": _normalize,
    "ToCHWImage": _to_chw,
    "AutoAugment": _auto_augment,
    "RandAugment": _rand_augment,
    "RandomErasing": _random_erasing,
    "Cutout": _cutout,
    "HideAndSeek": _hide_and_seek,
    "GridMask": _grid_mask,
}

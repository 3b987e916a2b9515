"""PaddleClas' augmentations of images in this project's words."""

from __future__ import annotations

import re
from collections.abc import Callable

from ppclas_core.config.explain import describe
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError

from ppclas_paddleclas.params import Component, OperatorParams
from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import read_numbers


def _auto_augment(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append("AutoAugment turns photos both ways; PaddleClas' own did one way only")
    return {"name": "AutoAugment"}


def _rand_augment(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    layers, magnitude = params.integer("num_layers", 2), params.number("magnitude", 5)
    translation.lines.append(
        "RandAugment follows its paper: a larger magnitude is a stronger change in every operation"
    )
    return {"name": "RandAugment", "num_layers": layers, "magnitude": magnitude}


def _rand_augment_v2(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    layers, magnitude = params.integer("num_layers", 2), params.number("magnitude", 5)
    if params.take("progress_magnitude") is not None:
        raise params.error("progress_magnitude", "the strength stays the same for the whole run.")
    translation.lines.append(
        "RandAugmentV2 → TimmRandAugment: without its cutout, and its shifts of up to 100 pixels "
        "are up to 45 % of the side"
    )
    return {
        "name": "TimmRandAugment",
        "num_layers": layers,
        "magnitude": magnitude,
        "magnitude_std": 0.0,
        "increasing": False,
        "operation_probability": 1.0,
        "resampling": "nearest",
        "fill": params.take("fillcolor", [128, 128, 128]),
    }


def _rand_augment_v3(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    return {
        "name": "RandAugment",
        "num_layers": params.integer("num_layers", 2),
        "magnitude": params.number("magnitude", 3),
        "resampling": params.take("interpolation", "bicubic"),
        "fill": params.take("fillcolor", [0, 0, 0]),
    }


def _rand_augment_v4(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "RandAugmentV4 → TimmRandAugment: pairs of operations by even chances and of any strength, "
        "without its cutout"
    )
    return {
        "name": "TimmRandAugment",
        "magnitude": 10.0,
        "magnitude_std": 100.0,
        "fill": [128, 128, 128],
    }


def _timm_augment(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    words = params.take("config_str", "rand-m9-mstd0.5-inc1")
    parts = words.split("-") if isinstance(words, str) else []
    component: Component = {"name": "TimmRandAugment", "magnitude_std": 0.0, "increasing": False}
    for part in parts[1:]:
        found = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", part)
        new = _TIMM_WORDS.get(found[1]) if found else None
        if found is None or new is None:
            raise params.error(
                "config_str", f"expected words like {', '.join(_TIMM_WORDS)}, got {part!r}."
            )
        number = float(found[2])
        component[new] = bool(number) if new == "increasing" else number
    if parts[:1] != ["rand"]:
        raise params.error("config_str", f"expected rand-m9-mstd0.5-inc1, got {describe(words)}.")
    if "num_layers" in component:
        component["num_layers"] = int(component["num_layers"])
    chance = params.number("prob", 1.0)
    if chance != 1:
        component["probability"] = chance
    resampling = params.take("interpolation", "bicubic")
    if resampling == "random":
        component["random_resampling"] = True
    elif resampling != "bicubic":
        component["resampling"] = resampling
    params.drop("img_size", "mean", "fill_value")
    return component


_TIMM_WORDS = {
    "m": "magnitude",
    "n": "num_layers",
    "mstd": "magnitude_std",
    "inc": "increasing",
    "p": "operation_probability",
}
"""A word of timm's names of policies → the parameter that its number is."""


def _color_jitter(params: OperatorParams, translation: Translation, where: KeyPath) -> Component:
    component: Component = {"name": "ColorJitter"}
    for name in ("brightness", "contrast", "saturation", "hue"):
        component[name] = params.number(name, 0.0)
    chance = params.number("prob", 1.0)
    return {**component, "probability": chance} if chance != 1 else component


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
        translation.lines.append(
            "RandomErasing.mode: pixel: the noise is uniform over 0 to 255; PaddleClas' is normal "
            "around the mean"
        )
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


AUGMENTATIONS: dict[str, Callable[[OperatorParams, Translation, KeyPath], Component]] = {
    "RandAugmentV2": _rand_augment_v2,
    "RandAugmentV3": _rand_augment_v3,
    "RandAugmentV4": _rand_augment_v4,
    "RandAugment": _rand_augment,
    "AutoAugment": _auto_augment,
    "TimmAutoAugment": _timm_augment,
    "ColorJitter": _color_jitter,
    "RandomErasing": _random_erasing,
    "Cutout": _cutout,
    "HideAndSeek": _hide_and_seek,
    "GridMask": _grid_mask,
}
"""Operator → its translation, which adds what there is to say to the lines."""

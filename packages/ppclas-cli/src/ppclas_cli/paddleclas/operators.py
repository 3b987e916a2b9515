"""PaddleClas' image and batch operators in this project's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError

from ppclas_cli.paddleclas.translation import Translation, one_entry, read_number

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")
"""By OpenCV's numbers."""
_NAMED = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "lanczos": "lanczos",
    "area": "area",
}

Component = dict[str, Any]


def translate_operators(translation: Translation, *path: str | int) -> list[Component]:
    """The transforms of the operators at ``path``; normalisation goes to ``data.normalize``."""
    items = translation.get(*path)
    if items is None:
        return []
    if not isinstance(items, list):
        translation.refuse(path, f"expected a list of operators, got {items!r}.")
        return []
    found = []
    for index, item in enumerate(items):
        where = (*path, index)
        if item is None:
            continue
        try:
            name, params = one_entry(item)
            if name not in _OPERATORS:
                raise ConfigError(
                    f"there is no transform for the operator {name}. Known: "
                    f"{', '.join(_OPERATORS)}."
                )
            taken = _Params(name, dict(params))
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


def translate_batch_operators(
    translation: Translation, *path: str | int, mixup_alpha: float
) -> list[Component]:
    """The batch transforms of the list of batch operators at ``path``; of several, one is drawn a
    batch in 2.x.

    ``mixup_alpha`` is what a MixupOperator without alpha meant: another number in each schema.
    """
    found = []
    for index, item in enumerate(translation.get(*path) or ()):
        where = (*path, index)
        try:
            name, params = one_entry(item)
            if name not in _BATCH_OPERATORS:
                raise ConfigError(
                    f"there is no batch transform for {name}. Known: {', '.join(_BATCH_OPERATORS)}."
                )
            new, default = _BATCH_OPERATORS[name]
            default = mixup_alpha if default is None else default
            taken = _Params(name, dict(params))
            component = {"name": new, "alpha": taken.number("alpha", default), "per": "batch"}
            if name == "FmixOperator":
                component |= {
                    "decay_power": taken.number("decay_power", 3),
                    "max_soft": taken.number("max_soft", 0),
                }
                if taken.take("reformulate", False):
                    raise ConfigError("FmixOperator.reformulate: true has no setting here.")
            taken.drop("class_num")
            taken.finish()
        except ConfigError as error:
            translation.refuse(where, str(error))
            continue
        found.append(component)
    return found


_BATCH_OPERATORS = {
    "MixupOperator": ("Mixup", None),
    "CutmixOperator": ("CutMix", 0.2),
    "FmixOperator": ("FMix", 1.0),
}
"""Old name → new name, and the old default of alpha. None: it depends on the schema."""


class _Params:
    """An operator's parameters; what nobody asks for is an error."""

    def __init__(self, operator: str, params: dict[str, Any]) -> None:
        self._operator, self._params = operator, params

    def take(self, name: str, default: Any = None) -> Any:
        value = self._params.pop(name, default)
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        return float(read_number(self.take(name, default)))

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.take(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{self._operator}.{name}: expected a whole number, got {value!r}.")
        return value

    def size(self, name: str) -> int | list[int]:
        """A side, or PaddleClas' (width, height) as (height, width)."""
        value = self.take(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if (
            isinstance(value, list)
            and len(value) == 2
            and all(isinstance(side, int) for side in value)
        ):
            return value[0] if value[0] == value[1] else value[::-1]
        raise ConfigError(
            f"{self._operator}.{name}: expected a side or [width, height], got {value!r}."
        )

    def interpolation(self) -> dict[str, str]:
        value = self.take("interpolation", -1)
        self.drop("backend")
        if value == -1:
            return {}
        if isinstance(value, int) and 0 <= value < len(_INTERPOLATIONS):
            return {"interpolation": _INTERPOLATIONS[value]}
        if isinstance(value, str) and value.lower() in _NAMED:
            return {"interpolation": _NAMED[value.lower()]}
        raise ConfigError(
            f"{self._operator}.interpolation: expected OpenCV's number 0 to 4, got {value!r}."
        )

    def range(self, name: str) -> dict[str, list[float]]:
        value = self.take(name)
        if value is None:
            return {}
        if isinstance(value, list) and len(value) == 2:
            return {name: [float(read_number(end)) for end in value]}
        raise ConfigError(f"{self._operator}.{name}: expected [smallest, largest], got {value!r}.")

    def drop(self, *names: str) -> None:
        for name in names:
            self._params.pop(name, None)

    def finish(self) -> None:
        if self._params:
            raise ConfigError(
                f"{self._operator} has {', '.join(self._params)}, for which there is no setting "
                "here."
            )


def _decode(params: _Params, translation: Translation, where: KeyPath) -> None:
    if params.take("to_rgb", True) is not True:
        raise ConfigError("DecodeImage.to_rgb: false: models here take RGB. Leave it at true.")
    if params.take("channel_first", False) is not False:
        raise ConfigError(
            "DecodeImage.channel_first: true: images stay [H, W, C] here until the device has them."
        )
    params.drop("to_np", "backend")


def _random_crop(params: _Params, translation: Translation, where: KeyPath) -> Component:
    component = {"name": "RandomResizedCrop", "size": params.size("size"), **params.range("scale")}
    component |= params.range("ratio")
    if params.take("use_log_aspect", False):
        component["sampling"] = "one_draw_log"
    return {**component, **params.interpolation()}


def _flip(params: _Params, translation: Translation, where: KeyPath) -> Component:
    code = params.integer("flip_code", 1)
    axes = {1: {}, 0: {"axis": "vertical"}, -1: {"axis": "both"}}
    if code not in axes:
        raise ConfigError(f"RandFlipImage.flip_code: expected 1, 0 or -1, got {code}.")
    return {"name": "RandomFlip", **axes[code]}


def _resize(params: _Params, translation: Translation, where: KeyPath) -> Component:
    short = params.take("resize_short")
    side: dict[str, Any] = {"short": short} if short is not None else {"size": params.size("size")}
    params.drop("size", "return_numpy")
    return {"name": "Resize", **side, **params.interpolation()}


def _crop(params: _Params, translation: Translation, where: KeyPath) -> Component:
    params.drop("backend")
    return {"name": "CenterCrop", "size": params.size("size")}


def _normalize(params: _Params, translation: Translation, where: KeyPath) -> None:
    scale = params.number("scale", 1 / 255)
    if abs(scale * 255 - 1) > 1e-4:
        raise ConfigError(f"NormalizeImage.scale: pixels are divided by 255 here, got {scale:g}.")
    params.drop("order", "channel_num", "output_fp16")
    for name, default in (("mean", _IMAGENET_MEAN), ("std", [0.229, 0.224, 0.225])):
        value = [float(read_number(item)) for item in params.take(name, default)]
        known = translation.new.get("data", {}).get("normalize", {}).get(name)
        if known is not None and known != value:
            raise ConfigError(
                f"NormalizeImage.{name} is {value} here and {known} in another list: give both the "
                "same."
            )
        translation.set(f"data.normalize.{name}", value, *where, quiet=known is not None)


def _to_chw(params: _Params, translation: Translation, where: KeyPath) -> None:
    """The layout changes on the device."""


def _auto_augment(params: _Params, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append("AutoAugment turns photos both ways; PaddleClas' own did one way only")
    return {"name": "AutoAugment"}


def _rand_augment(params: _Params, translation: Translation, where: KeyPath) -> Component:
    layers, magnitude = params.integer("num_layers", 2), params.number("magnitude", 5)
    translation.lines.append(
        "RandAugment follows its paper: a larger magnitude is a stronger change in every operation"
    )
    return {"name": "RandAugment", "num_layers": layers, "magnitude": magnitude}


def _random_erasing(params: _Params, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "RandomErasing erases rectangles of whole photos; PaddleClas' of 2020 reached a few rows"
    )
    aspect = params.number("r1", 0.3)
    component: Component = {
        "name": "RandomErasing",
        "probability": params.number("EPSILON", 0.5),
        "area": [params.number("sl", 0.02), params.number("sh", 0.4)],
        "aspect": [aspect, 1 / aspect],
    }
    if params.take("use_log_aspect", False):
        component["log_aspect"] = True
    attempts = params.take("attempt")
    if attempts is not None:
        component["attempts"] = attempts
    mode = params.take("mode", "const")
    if mode == "pixel":
        component["fill"] = "pixels"
    elif mode != "const":
        raise ConfigError(f"RandomErasing.mode: expected const or pixel, got {mode!r}.")
    mean = params.take("mean")
    if mean is not None and any(read_number(item) for item in mean):
        raise ConfigError(
            "RandomErasing.mean: only [0, 0, 0], the mean of normalised photos, has a meaning here."
        )
    return component


def _cutout(params: _Params, translation: Translation, where: KeyPath) -> Component:
    return {
        "name": "Cutout",
        "holes": params.integer("n_holes", 1),
        "length": params.integer("length", 112),
    }


def _hide_and_seek(params: _Params, translation: Translation, where: KeyPath) -> Component:
    translation.lines.append(
        "HideAndSeek hides cells of whole photos; PaddleClas' of 2020 reached a few columns"
    )
    return {"name": "HideAndSeek"}


def _grid_mask(params: _Params, translation: Translation, where: KeyPath) -> Component:
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


_OPERATORS: dict[str, Callable[[_Params, Translation, KeyPath], Component | None]] = {
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

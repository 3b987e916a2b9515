"""What a search may choose: values or a range for any key of the config, wildcards for models."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ppclas_core.config.yaml_source import read_yaml
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_core.wording import near_names

MODEL = "model.name"
Sampler: TypeAlias = Literal["grid", "tpe", "gp", "random"]
Point: TypeAlias = dict[str, Any]
"""Dotted key of the config → its value."""

_KEYS = (
    "model",
    "data.image_size",
    "data.resize_mode",
    "data.resize_short",
    "data.interpolation",
    "data.normalize",
    "data.eval_transforms",
)
"""What decides about size, latency and frozen features; all else is the recipe."""
_SEEDS: Mapping[str, Sequence[Any]] = {
    "schedule.lr": (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4),
    "optimizer.weight_decay": (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6),
    "loss.label_smoothing": (0.0, 0.1),
    "data.batch_transforms": ([], [{"name": "Mixup", "alpha": 0.2}]),
}
"""The space of PaddleClas' transfer learning: 7 · 7 · 2 · 2 = 196 points."""
_SSLD_FACTORS = (
    [1.0, 1.0, 1.0, 1.0, 1.0],
    [0.1, 0.1, 0.2, 0.2, 0.3],
    [0.2, 0.2, 0.4, 0.4, 0.6],
    [0.25, 0.25, 0.5, 0.5, 0.75],
)
"""On the learning rate of each of five stages, as published for fine-tuning SSLD weights of
ResNet50_vd (the second and third) and MobileNetV3 (the last)."""
_RECIPE: Mapping[str, Sequence[Any]] = {
    "schedule.lr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "optimizer.lr_mult": ({"backbone": 0.1}, {"backbone": 0.2}, {"backbone": 1.0}),
    "loss.label_smoothing": (0.0, 0.1),
    "data.batch_transforms": ([], [{"name": "Mixup", "alpha": 0.2}]),
}


@dataclass(frozen=True)
class Named:
    """A space by name, and how it is searched where nobody says."""

    values: Mapping[str, Sequence[Any]]
    sampler: Sampler
    trials: int | None
    """Nothing: every point."""
    summary: str


NAMED: Mapping[str, Named] = {
    "recipe": Named(_RECIPE, "gp", 20, "learning rate, its share for the backbone, smoothing, mix"),
    "seeds-grid": Named(_SEEDS, "grid", None, "the 196 points of PaddleClas, each of them"),
    "seeds-bayes": Named(_SEEDS, "gp", 20, "the same points, chosen by a Gaussian process"),
    "ssld": Named(
        {**_SEEDS, "optimizer.lr_mult": _SSLD_FACTORS},
        "gp",
        20,
        "the same, and rates for each stage of SSLD weights",
    ),
}
DEFAULT = "recipe"


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Whether a factor, not a difference, makes one number as far from another."""
    whole: bool = False
    """Whole numbers alone."""

    def at(self, share: float) -> float | int:
        """The number at ``share`` (0..1) of the way."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + share * (high - low)
        value = float(f"{math.exp(value) if self.log else value:.4g}")
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def share(self, value: float) -> float:
        """The inverse of ``at``."""
        if self.high == self.low:
            return 0.0
        if self.log:
            # 0, which may be asked for beside the space, has no logarithm.
            return math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


Part = tuple[Any, ...] | Range
"""Values to choose from, or a range."""


def key_of(point: Mapping[str, Any]) -> str:
    """The same text for the same point, whatever the order of its keys."""
    return json.dumps(point, sort_keys=True)


def part_of(point: Mapping[str, Any]) -> Point:
    """What of ``point`` makes its candidate."""
    return {
        key: value
        for key, value in point.items()
        if any(key == name or key.startswith(f"{name}.") for name in _KEYS)
    }


@dataclass(frozen=True)
class Space:
    """What may be chosen, and how it is searched where nobody says."""

    parts: Mapping[str, Part]
    sampler: Sampler
    trials: int | None

    @property
    def size(self) -> int | None:
        """Number of points; None where there is a range."""
        if any(isinstance(part, Range) for part in self.parts.values()):
            return None
        return math.prod(len(part) for part in self.parts.values() if isinstance(part, tuple))

    def points(self) -> Iterator[Point]:
        """Every point once; the last key changes fastest.

        Raises:
            ConfigError: there is a range.
        """
        ranges = [key for key, part in self.parts.items() if isinstance(part, Range)]
        if ranges:
            raise ConfigError(
                f"{ranges[0]} is a range, which has no end of points. Use --sampler random, tpe or "
                f"gp, or list values: {ranges[0]}: [0.001, 0.01]"
            )
        values = [part for part in self.parts.values() if isinstance(part, tuple)]
        for chosen in itertools.product(*values):
            yield dict(zip(self.parts, chosen, strict=True))

    def described(self) -> dict[str, Any]:
        """As a YAML file of it says it."""
        return {
            key: list(part)
            if isinstance(part, tuple)
            else {"low": part.low, "high": part.high, "log": part.log, "whole": part.whole}
            for key, part in self.parts.items()
        }


def open_space(sources: Sequence[str], models: Sequence[str] = ()) -> Space:
    """The space that names and YAML files say together, a later one's keys over an earlier one's.

    A file maps dotted keys of the config to a list of values, or to a range such as
    ``{low: 1e-4, high: 0.1, log: true}``. Names of models may have ``*`` and ``?`` in them.

    Args:
        sources: names of ``NAMED`` and files. Nothing: the space ``recipe``.
        models: names and wildcards of models, in place of ``model.name`` in a file.

    Raises:
        ConfigError: there is no such file or name, or it says something else.
    """
    asked: dict[str, Part] = {MODEL: _models(models, "--model")} if models else {}
    parts = dict(asked)
    sampler, trials = NAMED[DEFAULT].sampler, NAMED[DEFAULT].trials
    for source in sources or [DEFAULT]:
        if source in NAMED:
            named = NAMED[source]
            parts |= {key: tuple(values) for key, values in named.values.items()}
            sampler, trials = named.sampler, named.trials
        else:
            parts |= _read(source)
    parts |= asked
    if not parts:
        raise ConfigError(f"{', '.join(sources)}: expected keys of the config, got none")
    return Space(parts, sampler, trials)


def _read(source: str) -> dict[str, Part]:
    path = Path(source)
    if not path.is_file():
        near = near_names(source, NAMED)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"--space {source}: there is no such file or space. {hint}Spaces: {', '.join(NAMED)}."
        )
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{source}: expected a map of config keys to values, such as schedule.lr: [0.001, 0.01]"
        )
    parts: dict[str, Part] = {}
    for key, value in document.value.items():
        line = document.values[(key,)].line
        where = f"{source}:{line}: {key}"
        parts[key] = _models(value, where) if key == MODEL else _part(value, where)
    return parts


def _part(value: Any, where: str) -> Part:
    if isinstance(value, list) and value:
        return _once(value)
    if isinstance(value, dict) and {"low", "high"} <= value.keys():
        unknown = sorted(value.keys() - {"low", "high", "log", "whole"})
        low, high = value["low"], value["high"]
        numbers = all(type(end) in (int, float) for end in (low, high))
        if unknown or not numbers or low > high:
            what = f"the key {unknown[0]!r}" if unknown else f"low {low!r} and high {high!r}"
            raise ConfigError(
                f"{where}: expected numbers low <= high, and log and whole where wanted; got {what}"
            )
        log = bool(value.get("log", False))
        if log and low <= 0:
            raise ConfigError(f"{where}: log needs numbers above 0, got low {low:g}")
        whole = value.get("whole", type(low) is int and type(high) is int)
        return Range(float(low), float(high), log, bool(whole))
    raise ConfigError(
        f"{where}: expected a list of values, or a range {{low: 1e-4, high: 0.1, log: true}}; got "
        f"{json.dumps(value, default=str)}"
    )


def _models(patterns: Any, where: str) -> tuple[str, ...]:
    """The registered models that names and wildcards stand for."""
    registry = get_registries().models
    if isinstance(patterns, str):
        patterns = [patterns]
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"{where}: expected names of models, as 'ppclas models list' has them")
    found: list[str] = []
    for pattern in patterns:
        if any(sign in pattern for sign in "*?["):
            names = [name for name in registry if fnmatchcase(name.lower(), pattern.lower())]
            if not names:
                raise ConfigError(
                    f"{where}: no model is called {pattern!r}. 'ppclas models list' has the names."
                )
            found += names
        else:
            found.append(registry.entry(pattern).name)
    return tuple(dict.fromkeys(found))


def _once(values: Sequence[Any]) -> tuple[Any, ...]:
    """Without what is there twice."""
    return tuple({json.dumps(value, sort_keys=True): value for value in values}.values())


_SHORT = {
    "data.batch_transforms": "mix",
    "loss.label_smoothing": "smoothing",
    "optimizer.lr_mult": "rates",
    "optimizer.weight_decay": "decay",
}
"""Headings for keys whose last word says little or much."""


def short_key(key: str) -> str:
    """A heading: ``lr`` for ``schedule.lr``.

    >>> [short_key(key) for key in ("schedule.lr", "model.name", "data.batch_transforms")]
    ['lr', 'model', 'mix']
    """
    head, _, last = key.rpartition(".")
    return _SHORT.get(key, head if last == "name" else last.replace("_", " "))


def short_value(value: Any) -> str:
    """A value in a cell: components by their names, rates for stages by their factors.

    >>> [short_value(value) for value in (0.001, [], [{"name": "Mixup", "alpha": 0.2}])]
    ['0.001', 'no', 'Mixup']
    >>> short_value({"backbone": 0.2})
    'backbone 0.2'
    >>> short_value({"name": "MobileNetV2", "pretrained": "mine/flowers.safetensors"})
    'MobileNetV2 (flowers)'
    """
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return "+".join(str(each.get("name", each)) for each in value) or "no"
    if isinstance(value, list):
        return "/".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
    if isinstance(value, dict):
        if "name" in value:
            weights = value.get("pretrained")
            named = f" ({Path(weights).stem})" if isinstance(weights, str) else ""
            return f"{value['name']}{named}"
        return " ".join(f"{key} {each}" for key, each in value.items()) or "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(point: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The settings of a point in a line: models by their names alone.

    >>> in_words({"model.name": "ResNet18", "schedule.lr": 0.01}, ["model.name", "schedule.lr"])
    'ResNet18, lr 0.01'
    """
    return ", ".join(
        short_value(point[key])
        if key.split(".")[0] == "model"
        else f"{short_key(key)} {short_value(point[key])}"
        for key in keys
    )

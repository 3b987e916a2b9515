"""``--augment``: a preset or a file of transforms, put behind the crop and flip of training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_core.config.schema import ComponentConfig
    from ppclas_engine.planning.plan import Plan

_KEYS = ("train_transforms", "batch_transforms")


def augmented(plan: Plan, what: str) -> Plan:
    """``plan`` with the augmentations of a preset's name, or of a YAML file.

    Raises:
        ConfigError: there is no such preset or file, or its transforms do not fit.
    """
    from ppclas_core.errors import ConfigError
    from ppclas_engine.planning.data import AUGMENTED, try_out

    transforms, batch_transforms = _chosen(what)
    data = plan.config.data
    # What was only inferred gives way to what is asked for.
    before = tuple(one for one in data.train_transforms or () if one not in plan.augmentation)
    if any(component.name in ("Normalize", "ToCHW") for component in before):
        raise ConfigError(
            "--augment goes behind the crop and flip, and data.train_transforms normalises "
            "already: put the transforms into that list instead."
        )
    # Augmentations expect three channels.
    grey = tuple(component for component in before[-1:] if component.name == "Grayscale")
    colour = before[: len(before) - len(grey)]
    data = data.replace(
        train_transforms=(*colour, *transforms, *grey),
        batch_transforms=data.batch_transforms or batch_transforms,
    )
    try_out(data, plan.train)
    names = ", ".join(component.name for component in (*transforms, *data.batch_transforms))
    note = f"augmentation {what}: {names}"
    notes = (*(said for said in plan.notes if not said.startswith(AUGMENTED)), note)
    return replace(plan, config=plan.config.replace(data=data), notes=notes, augmentation=())


def _chosen(what: str) -> tuple[tuple[ComponentConfig, ...], tuple[ComponentConfig, ...]]:
    from ppclas_augment.presets import PRESETS
    from ppclas_core.config.load import load_config
    from ppclas_core.errors import ConfigError

    if what in PRESETS:
        preset = PRESETS[what]
        return preset.transforms, preset.batch_transforms
    listed = _read(Path(what), ", ".join(PRESETS))
    overrides = [f"data.{key}={json.dumps(value)}" for key, value in listed.items()]
    try:
        data = load_config(None, overrides).config.data
    except ConfigError as error:
        raise ConfigError(f"--augment {what}: {error}") from error
    return data.train_transforms or (), data.batch_transforms


def _read(path: Path, presets: str) -> dict[str, Any]:
    """What a file says for each of ``_KEYS``: a list alone is the first."""
    import yaml
    from ppclas_core.errors import ConfigError

    if not path.is_file():
        raise ConfigError(
            f"--augment {path}: expected {presets}, or a YAML file with a list of transforms; "
            "there is no such file."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"--augment {path} is no YAML file: {said}") from error
    listed = {"train_transforms": content} if isinstance(content, list) else content
    if not isinstance(listed, dict) or not listed or set(listed) - set(_KEYS):
        raise ConfigError(
            f"--augment {path}: expected a list of transforms, as [{{name: ColorJitter}}], or a "
            f"map with {' and '.join(_KEYS)}."
        )
    return listed

"""The pipeline file of SSLD: which stages there are, and what each takes from earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppclas_core.config.explain import dotted, problems_of
from ppclas_core.config.overrides import apply_override
from ppclas_core.config.schema import Fraction
from ppclas_core.config.yaml_source import read_yaml
from ppclas_core.errors import ConfigError
from ppclas_core.params import Params
from ppclas_core.wording import near_names
from pydantic import Field, PositiveInt, ValidationError, model_validator

from ppclas_distill.teacher import TeacherConfig

_SHIPPED = Path(__file__).with_name("pipelines")


class SelectStage(Params):
    """``ppclas distill select``."""

    pool: str
    """Photos without labels: a folder, at any depth, or a list file."""
    teacher: TeacherConfig
    per_class: PositiveInt
    """Photos of a class at most."""
    least: Fraction = 0.0
    """Smallest probability of a photo's class."""
    root: str | None = None
    """Folder that a list's paths are relative to. Nothing: its own."""


class DedupStage(Params):
    """``ppclas distill dedup``."""

    against: str | None = None
    """Validation photos: a folder or a list file. Nothing: ``data.val`` of ``common``, with its
    ``root``."""
    pool: str | None = None
    """Photos to look through."""
    pool_from: str | None = None
    """The stage whose photos to look through."""
    root: str | None = None
    """Folder that the paths of ``against`` are relative to. Nothing: its own."""

    @model_validator(mode="after")
    def _one_pool(self) -> DedupStage:
        if (self.pool is None) == (self.pool_from is None):
            raise ValueError("give either pool (photos) or pool_from (a stage), and not both")
        return self


class Stage(Params):
    """One stage: it selects, removes look-alikes, or trains."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """The name of its folder."""
    select: SelectStage | None = None
    dedup: DedupStage | None = None
    train: str | None = None
    """A recipe or a config file, to train with."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Changes to that config, in its own form."""
    weights_from: str | None = None
    """The training stage whose best weights this one starts from."""
    extra_from: str | None = None
    """The stage whose photos are trained on without labels."""

    @model_validator(mode="after")
    def _one_thing(self) -> Stage:
        if sum(part is not None for part in (self.select, self.dedup, self.train)) != 1:
            raise ValueError("a stage has exactly one of select, dedup and train")
        if self.train is None and (self.set or self.weights_from or self.extra_from):
            raise ValueError("set, weights_from and extra_from are for stages that train")
        return self

    @property
    def kind(self) -> str:
        """``select``, ``dedup`` or ``train``."""
        return (
            "train" if self.train is not None else "select" if self.select is not None else "dedup"
        )


class Pipeline(Params):
    """Stages in order."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    common: dict[str, Any] = Field(default_factory=dict)
    """Changes to the config of every stage that trains, for example where the photos are; a stage's
    own come after."""

    @model_validator(mode="after")
    def _stages_refer_to_earlier_ones(self) -> Pipeline:
        seen: dict[str, str] = {}
        for stage in self.stages:
            pool_from = stage.dedup.pool_from if stage.dedup is not None else None
            for source, kinds in (
                (stage.weights_from, ("train",)),
                (stage.extra_from, ("select", "dedup")),
                (pool_from, ("select", "dedup")),
            ):
                if source is not None and seen.get(source) not in kinds:
                    fits = [name for name, kind in seen.items() if kind in kinds]
                    raise ValueError(
                        f"stage {stage.name} refers to {source!r}; before it there are: "
                        f"{', '.join(fits) or 'none'}"
                    )
            if stage.name in seen:
                raise ValueError(f"two stages are called {stage.name!r}")
            if stage.dedup is not None and self.against(stage.dedup)[0] is None:
                raise ValueError(
                    f"stage {stage.name}: give against, or the validation photos as common.data.val"
                )
            seen[stage.name] = stage.kind
        return self

    def against(self, stage: DedupStage) -> tuple[str | None, str | None]:
        """The validation photos that ``stage`` compares with, and the folder that their paths are
        relative to.
        """
        if stage.against is not None:
            return stage.against, stage.root
        data = self.common.get("data") or {}
        root = data.get("root")
        return data.get("val"), stage.root or (root[-1] if isinstance(root, list | tuple) else root)


def shipped() -> list[str]:
    """Names of the pipelines that come with this package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_pipeline(source: str, overrides: Sequence[str] = ()) -> Pipeline:
    """The pipeline of a YAML file, or of one that comes with this package, with ``KEY=VALUE``
    overrides.

    Raises:
        ConfigError: there is none, or it is wrong; every mistake, with its key.
    """
    path = Path(source)
    if not path.is_file():
        if source not in shipped():
            near = near_names(source, shipped())
            hint = (
                f" Did you mean {near[0]!r}?"
                if near
                else f" Those that ship: {', '.join(shipped())}."
            )
            raise ConfigError(f"There is no pipeline {source}.{hint}")
        path = _SHIPPED / f"{source}.yaml"
    document = read_yaml(path)
    values = document.value if isinstance(document.value, dict) else {}
    for assignment in overrides:
        apply_override(values, assignment)
    try:
        return Pipeline.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error, Pipeline, values)
        said = [": ".join(part for part in (dotted(p.path), p.message) if part) for p in problems]
        raise ConfigError(f"{source}: {'; '.join(said)}") from error

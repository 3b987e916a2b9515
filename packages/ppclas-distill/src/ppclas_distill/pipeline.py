"""SSLD as one line: select photos, remove look-alikes, distil, fine-tune, fix; a stopped stage goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.component import Params
from ppclas_core.config.explain import dotted, problems_of
from ppclas_core.config.load import load_config
from ppclas_core.config.overrides import apply_override
from ppclas_core.config.schema import Config, Fraction
from ppclas_core.config.yaml_source import read_yaml
from ppclas_core.errors import ConfigError
from ppclas_core.files import write_json
from ppclas_core.near import near_names
from pydantic import Field, PositiveInt, ValidationError, model_validator

from ppclas_distill.teacher import TeacherConfig

if TYPE_CHECKING:
    from ppclas_core.engine.console import Console

_SHIPPED = Path(__file__).with_name("pipelines")
_DONE = "stage.json"
"""In a stage's folder, once it is done: what the stage was."""


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

    against: str
    """Validation photos: a folder or a list file."""
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
        return "train" if self.train is not None else "select" if self.select is not None else "dedup"


class Pipeline(Params):
    """Stages in order."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    common: dict[str, Any] = Field(default_factory=dict)
    """Changes to the config of every stage that trains, for example where the photos are; a stage's own come after."""

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
                        f"stage {stage.name} refers to {source!r}; before it there are: {', '.join(fits) or 'none'}"
                    )
            if stage.name in seen:
                raise ValueError(f"two stages are called {stage.name!r}")
            seen[stage.name] = stage.kind
        return self


def shipped() -> list[str]:
    """Names of the pipelines that come with this package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_pipeline(source: str, overrides: Sequence[str] = ()) -> Pipeline:
    """The pipeline of a YAML file, or of one that comes with this package, with ``KEY=VALUE`` overrides.

    Raises:
        ConfigError: there is none, or it is wrong; every mistake, with its key.
    """
    path = Path(source)
    if not path.is_file():
        if source not in shipped():
            near = near_names(source, shipped())
            hint = f" Did you mean {near[0]!r}?" if near else f" Those that ship: {', '.join(shipped())}."
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


def run_pipeline(pipeline: Pipeline, folder: Path, console: Console, *, dry_run: bool = False) -> None:
    """Run the stages that are not done yet, each in ``folder/<name>``.

    Every config is checked before the first stage starts.

    Raises:
        ConfigError: a stage's config is wrong, or a stage that is done has changed since.
        PpclasError: what a stage raises; run the same line again to go on.
    """
    configs = {stage.name: _config(stage, pipeline, folder) for stage in pipeline.stages if stage.train is not None}
    for number, stage in enumerate(pipeline.stages, 1):
        title = f"stage {number}/{len(pipeline.stages)} {stage.name}"
        said = _said(stage, configs)
        if _is_done(folder / stage.name, said, stage.name):
            console.line(f"{title}: done already")
            continue
        console.line(f"{title}: {'to be done' if dry_run else stage.kind}")
        if dry_run:
            continue
        started = time.monotonic()
        if stage.select is not None:
            _run_select(stage.select, folder / stage.name, console)
        elif stage.dedup is not None:
            _run_dedup(stage.dedup, folder, stage.name, console)
        else:
            _run_train(configs[stage.name], folder / stage.name, console)
        seconds = time.monotonic() - started
        write_json(folder / stage.name / _DONE, {"stage": said, "seconds": round(seconds, 1)})
        console.line(f"{title}: done in {seconds / 60:.1f} minutes")


def _config(stage: Stage, pipeline: Pipeline, folder: Path) -> Config:
    assert stage.train is not None
    said = {**_leaves(pipeline.common), **_leaves(stage.set)}
    said["train.output"] = str(folder / stage.name)
    if stage.weights_from is not None:
        said["model.pretrained"] = str(folder / stage.weights_from / "bundle" / "model.safetensors")
    if stage.extra_from is not None:
        said["data.train_extra"] = str(folder / stage.extra_from / _list_of(pipeline, stage.extra_from))
    try:
        return load_config(stage.train, [f"{key}={json.dumps(value)}" for key, value in said.items()]).config
    except ConfigError as error:
        raise ConfigError(f"stage {stage.name}: {error}") from error


def _list_of(pipeline: Pipeline, name: str) -> str:
    kind = next(stage.kind for stage in pipeline.stages if stage.name == name)
    return "selected.txt" if kind == "select" else "kept.txt"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested maps; an empty map is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _said(stage: Stage, configs: Mapping[str, Config]) -> dict[str, Any]:
    """What a stage is, as plain data: two that are equal do the same."""
    if stage.train is not None:
        return {"train": configs[stage.name].model_dump(mode="json")}
    return stage.model_dump(mode="json", include={"select", "dedup"}, exclude_none=True)


def _is_done(folder: Path, said: Mapping[str, Any], name: str) -> bool:
    file = folder / _DONE
    if not file.is_file():
        return False
    before = json.loads(file.read_text(encoding="utf-8"))["stage"]
    if before != json.loads(json.dumps(said)):
        keys = sorted(_differing(before, json.loads(json.dumps(said))))
        raise ConfigError(
            f"stage {name} is done in {folder} with other settings ({', '.join(keys[:5])}). Choose another --output, "
            f"or remove that folder and those of the stages after it."
        )
    return True


def _differing(before: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differing(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key


def _run_select(stage: SelectStage, folder: Path, console: Console) -> None:
    from ppclas_distill.scorer import open_scorer
    from ppclas_distill.select import select

    scorer = open_scorer(stage.teacher)
    result = select(
        stage.pool,
        scorer.answer,
        scorer.class_names,
        folder,
        per_class=stage.per_class,
        least=stage.least,
        root=stage.root,
        teacher=scorer.fingerprint,
        note=console.line,
        on_batch=photo_counter(console),
    )
    console.line(f"{result.chosen} of {result.photos} photos chosen; {result.unreadable} could not be read")


def _run_dedup(stage: DedupStage, folder: Path, name: str, console: Console) -> None:
    from ppclas_distill.dedup_report import dedup

    pool = stage.pool
    if pool is None:
        assert stage.pool_from is not None
        source = folder / stage.pool_from
        pool = str(next(path for path in (source / "kept.txt", source / "selected.txt") if path.is_file()))
    report = dedup(pool, stage.against, folder / name, root=stage.root, on_photo=photo_counter(console))
    console.line(
        f"{len(report.matches)} of {report.photos} photos show a validation photo; "
        f"{len(report.unreadable)} could not be read"
    )


def _run_train(config: Config, folder: Path, console: Console) -> None:
    from ppclas_core.engine.run import RunFolder
    from ppclas_core.engine.session import check_same_recipe, resume, train

    run = RunFolder(folder)
    if run.finished.is_file():
        return  # stopped between the end of the training and the note that the stage is done
    if run.config.is_file():
        resume(folder, console, check_same_recipe(folder, config))
    else:
        train(config, console)


def photo_counter(console: Console, seconds: float = 10.0) -> Callable[[int], None]:
    """Count photos, with a line every so many seconds."""
    done, started = 0, time.monotonic()
    said = started

    def count(photos: int) -> None:
        nonlocal done, said
        done += photos
        now = time.monotonic()
        if now - said > seconds:
            said = now
            console.line(f"{done} photos, {done / (now - started):.1f} a second")

    return count

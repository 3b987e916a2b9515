"""The stages of SSLD as one line: each runs after the other, and a stopped one goes on."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError, PpclasError
from ppclas_core.files import sha256, write_json
from pydantic import ValidationError

from ppclas_distill.stages import DedupStage, Pipeline, SelectStage, Stage
from ppclas_distill.teacher import TeacherConfig

if TYPE_CHECKING:
    from ppclas_engine.console import Console

_DONE = "stage.json"
"""In a stage's folder, once it is done: what the stage was."""


def run_pipeline(
    pipeline: Pipeline, folder: Path, console: Console, *, dry_run: bool = False
) -> None:
    """Run the stages that are not done yet, each in ``folder/<name>``.

    Every config is checked before the first stage starts, and that the photos and teachers it names
    are there.

    Raises:
        ConfigError: a stage's config is wrong, something it names is missing, or a stage that is
            done has changed since, or what it started from has.
        PpclasError: what a stage raises; run the same line again to go on.
    """
    configs = {
        stage.name: _config(stage, pipeline, folder)
        for stage in pipeline.stages
        if stage.train is not None
    }
    missing = list(_missing(pipeline, configs, folder))
    if missing and not dry_run:
        raise ConfigError(f"There is no {'; no '.join(missing)}. Nothing has been started.")
    for number, stage in enumerate(pipeline.stages, 1):
        title = f"stage {number}/{len(pipeline.stages)} {stage.name}"
        said = _said(stage, configs)
        if _is_done(stage, pipeline, folder, said):
            console.line(f"{title}: done already")
            continue
        console.line(f"{title}: {'to be done' if dry_run else stage.kind}")
        if dry_run:
            continue
        started = time.monotonic()
        try:
            if stage.select is not None:
                _run_select(stage.select, folder / stage.name, console)
            elif stage.dedup is not None:
                _run_dedup(stage.dedup, pipeline, folder, stage.name, console)
            else:
                _run_train(configs[stage.name], folder / stage.name, console)
        except (PpclasError, KeyboardInterrupt):
            console.line(f"{title}: not done. The same command again goes on from here")
            raise
        seconds = time.monotonic() - started
        note = {
            "stage": said,
            "made_from": _made_from(stage, pipeline, folder),
            "seconds": round(seconds, 1),
        }
        write_json(folder / stage.name / _DONE, note)
        console.line(f"{title}: done in {seconds / 60:.1f} minutes")
    for lack in missing:
        console.warn(f"there is no {lack}")
    if not dry_run and pipeline.stages[-1].train is not None:
        run = shlex.quote(str(folder / pipeline.stages[-1].name))
        console.line(f"The student is in {run}. Try: ppclas predict PHOTO -m {run}")


def _missing(pipeline: Pipeline, configs: Mapping[str, Config], folder: Path) -> Iterator[str]:
    """Photos and teachers that stages name and nobody has made or will make."""
    earlier: list[Path] = []
    for stage in pipeline.stages:
        for what, path in _named(stage, pipeline, configs):
            place = Path(path).absolute()
            if not place.exists() and not any(place.is_relative_to(made) for made in earlier):
                yield f"{path} (stage {stage.name}, {what})"
        earlier.append((folder / stage.name).absolute())


def _named(
    stage: Stage, pipeline: Pipeline, configs: Mapping[str, Config]
) -> Iterator[tuple[str, str]]:
    """The files and folders that a stage names, each with what it is."""
    teachers: Sequence[TeacherConfig] = ()
    if stage.select is not None:
        yield "pool", stage.select.pool
        teachers = (stage.select.teacher,)
    elif stage.dedup is not None:
        against, _ = pipeline.against(stage.dedup)
        for what, path in (("against", against), ("pool", stage.dedup.pool)):
            if path is not None:
                yield what, path
    else:
        config = configs[stage.name]
        extra = config.data.train_extra if stage.extra_from is None else None
        for what, path in (
            ("data.train", config.data.train),
            ("data.val", config.data.val),
            ("data.train_extra", extra),
        ):
            if path is not None:
                yield what, path
        if config.objective.name == "Distill":
            teachers = [
                TeacherConfig.model_validate(given) for given in config.objective.params["teachers"]
            ]
    for teacher in teachers:
        if not teacher.is_name:
            yield "teacher", teacher.source
        if teacher.weights is not None:
            yield "teacher's weights", teacher.weights


def _config(stage: Stage, pipeline: Pipeline, folder: Path) -> Config:
    assert stage.train is not None
    said = {**_leaves(pipeline.common), **_leaves(stage.set)}
    said["train.output"] = str(folder / stage.name)
    if stage.weights_from is not None:
        said["model.pretrained"] = str(_outcome(pipeline, folder, stage.weights_from))
    if stage.extra_from is not None:
        said["data.train_extra"] = str(_outcome(pipeline, folder, stage.extra_from))
    try:
        return load_config(
            stage.train, [f"{key}={json.dumps(value)}" for key, value in said.items()]
        ).config
    except ConfigError as error:
        raise ConfigError(f"stage {stage.name}: {error}") from error


def _outcome(pipeline: Pipeline, folder: Path, name: str) -> Path:
    """The file of a stage that later stages start from."""
    kind = next(stage.kind for stage in pipeline.stages if stage.name == name)
    files = {"select": "selected.txt", "dedup": "kept.txt", "train": "bundle/model.safetensors"}
    return folder / name / files[kind]


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


def _made_from(stage: Stage, pipeline: Pipeline, folder: Path) -> dict[str, str]:
    """The stages that ``stage`` takes something from, each with the hash of what it takes."""
    pool_from = stage.dedup.pool_from if stage.dedup is not None else None
    sources = [
        name for name in (stage.weights_from, stage.extra_from, pool_from) if name is not None
    ]
    files = {name: _outcome(pipeline, folder, name) for name in sources}
    return {name: sha256(file) for name, file in files.items() if file.is_file()}


def _is_done(stage: Stage, pipeline: Pipeline, folder: Path, said: Mapping[str, Any]) -> bool:
    place = folder / stage.name
    file = place / _DONE
    if not file.is_file():
        return False
    note = json.loads(file.read_text(encoding="utf-8"))
    advice = "Choose another --output, or remove that folder and those of the stages after it."
    before, now = _noted(note["stage"], stage), json.loads(json.dumps(said))
    if before != now:
        keys = sorted(_differing(before, now))
        raise ConfigError(
            f"stage {stage.name} is done in {place} with other settings ({', '.join(keys[:5])}). "
            f"{advice}"
        )
    changed = [
        name
        for name, digest in _made_from(stage, pipeline, folder).items()
        if note["made_from"].get(name) != digest
    ]
    if changed:
        raise ConfigError(
            f"stage {stage.name} is done in {place}, and stage {changed[0]}, which it started "
            f"from, has another outcome since. {advice}"
        )
    return True


def _noted(said: Mapping[str, Any], stage: Stage) -> Mapping[str, Any]:
    """What a stage was, with the defaults of keys that there were not yet when it was noted."""
    try:
        if stage.train is not None and "train" in said:
            return {
                "train": Config.model_validate_json(json.dumps(said["train"])).model_dump(
                    mode="json"
                )
            }
        known = Stage.model_validate_json(json.dumps({"name": stage.name, **said}))
    except ValidationError:
        return said
    return known.model_dump(mode="json", include={"select", "dedup"}, exclude_none=True)


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
    console.line(
        f"{result.chosen} of {result.photos} photos chosen; {result.unreadable} could not be read"
    )


def _run_dedup(
    stage: DedupStage, pipeline: Pipeline, folder: Path, name: str, console: Console
) -> None:
    from ppclas_distill.dedup_report import dedup

    pool = stage.pool
    if pool is None:
        assert stage.pool_from is not None
        pool = str(_outcome(pipeline, folder, stage.pool_from))
    against, root = pipeline.against(stage)
    assert against is not None
    report = dedup(
        pool,
        against,
        folder / name,
        against_root=root,
        note=console.line,
        on_photo=photo_counter(console),
    )
    console.line(
        f"{len(report.matches)} of {report.photos} photos show a validation photo; "
        f"{len(report.unreadable)} could not be read"
    )


def _run_train(config: Config, folder: Path, console: Console) -> None:
    from ppclas_engine.runs.run import RunFolder
    from ppclas_engine.session import check_same_recipe, plan_run, resume, train_plan

    run = RunFolder(folder)
    if run.config.is_file():
        config = check_same_recipe(folder, config)
        # A finished one was stopped before the note that the stage is done.
        if not run.finished.is_file():
            resume(folder, console, config)
        return
    plan = plan_run(config)
    for note in plan.notes:
        console.line(f"  {note}")
    train_plan(plan, console)


def photo_counter(console: Console, seconds: float = 10.0) -> Callable[[int], None]:
    """Count photos, with a line every so many seconds."""
    done = 0
    started = said = None

    def count(photos: int) -> None:
        nonlocal done, said, started
        now = time.monotonic()
        if started is None or said is None:
            started = said = now  # what is got ready before the first photo is not counted
        done += photos
        if now - said > seconds:
            said = now
            console.line(f"{done} photos, {done / (now - started):.1f} a second")

    return count

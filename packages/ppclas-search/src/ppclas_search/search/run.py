"""A whole search: candidates, trials in the order that a sampler says, and its end."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.files import write_json, write_text
from ppclas_data.leftovers import clear_leftovers
from ppclas_engine.console import Console, duration
from ppclas_engine.planning.plan import given, plan_run
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.scoring.monitor import format_metric

from ppclas_search.search.candidates import (
    Candidate,
    Measure,
    candidates_of,
    keep_best,
    look_at,
    promising,
    usual,
)
from ppclas_search.search.choosing import choose
from ppclas_search.search.jobs import Job, Message, Pool, wait_until_free
from ppclas_search.search.settings import Found, Settings, assignment, check_space
from ppclas_search.search.space import Point, Range, in_words, key_of, part_of
from ppclas_search.search.trials import Trial, Trials
from ppclas_search.search.worker import outcome

_TRIES = 2
"""Processes that a trial may lose before it counts as failed."""


def search(settings: Settings, measure: Measure, console: Console) -> Found:
    """Search, or go on with the search in ``settings.folder``.

    Raises:
        ConfigError: the space does not fit the settings, or another search is in the folder.
        TrainingError: another process searches there, or every candidate is dropped.
        MissingDependencyError: Optuna is not installed.
    """
    return _Search(settings, measure, console).run()


class _Search:
    """The work; it stops and goes on at any moment."""

    def __init__(self, settings: Settings, measure: Measure, console: Console) -> None:
        self._settings, self._measure, self._console = settings, measure, console
        self._folder = settings.folder
        self._base = self._folder / "base.yaml"
        self._clock = self._folder / "clock.json"
        self._candidates: list[Candidate] = []
        self._losses: dict[int, int] = {}
        self._worked = False
        self._metric = ""

    def run(self) -> Found:
        settings, folder = self._settings, self._folder
        check_space(settings.base, settings.space)
        folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._trials = self._open()
            self._before, self._began = self._read_clock(), time.monotonic()
            self._look()
            plan = plan_run(self._config_of(promising(self._candidates).point))
            self._metric = given(plan.config.train.monitor)
            self._start = usual(plan.config, settings.space)
            with Pool(settings.jobs, folder / "jobs") as pool:
                try:
                    ended = self._work(pool)
                finally:
                    if self._worked:
                        self._tick()
            seconds = self._spent() if self._worked else self._before
            return Found(
                settings, self._metric, self._trials.all(), self._candidates, seconds, ended
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep another process from searching in this folder."""
        with open(self._folder / ".lock", "w") as file:
            try:
                import fcntl  # not on Windows

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"{self._folder}: another process searches there.") from None
            except (ImportError, OSError):  # a filesystem without locks
                pass
            clear_leftovers(self._folder)
            yield

    def _open(self) -> Trials:
        """The trials of this search; a search that never came to one makes room for it."""
        settings, folder = self._settings, self._folder
        try:
            self._write_base()
            return Trials(folder, settings.storage, settings.space, settings.definition())
        except ConfigError:
            if settings.storage is not None or (folder / "trials").exists():
                raise
        for path in (self._base, self._clock, folder / "study.journal"):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "candidates", ignore_errors=True)
        self._write_base()
        return Trials(folder, None, settings.space, settings.definition())

    def _write_base(self) -> None:
        """The settings that every run starts from; those of the search that is there must be these.

        Raises:
            ConfigError: they are others.
        """
        text = dump_config(self._settings.base)
        if not self._base.is_file():
            write_text(self._base, text)
        elif self._base.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{self._folder} holds a search with other settings (-c, -o or data). Go on with "
                "it by the same command, or start another one: --output DIR"
            )

    # Time

    def _read_clock(self) -> float:
        try:
            return float(json.loads(self._clock.read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError, TypeError):  # none yet
            return 0.0

    def _spent(self) -> float:
        return self._before + time.monotonic() - self._began

    def _left(self) -> float:
        minutes = self._settings.minutes
        return float("inf") if minutes is None else 60.0 * minutes - self._spent()

    def _looked(self) -> None:
        self._worked = True
        self._tick()

    def _tick(self) -> None:
        write_json(self._clock, {"seconds": round(self._spent(), 1)})

    # Candidates

    def _config_of(self, point: Mapping[str, Any]) -> Config:
        overrides = [assignment(key, value) for key, value in point.items()]
        return load_config(str(self._base), overrides).config

    def _look(self) -> None:
        settings = self._settings
        found = look_at(
            candidates_of(settings.space),
            self._config_of,
            self._folder / "candidates",
            self._measure,
            settings.limits,
            self._console,
            probe=settings.minutes is not None,
            alive=self._looked,
        )
        if settings.minutes is not None:
            found = keep_best(found, max(self._left(), 0.0), settings.jobs)
        self._candidates = found
        kept = [each for each in found if not each.dropped]
        if not kept:
            none = "No model" if len(found) == 1 else f"Not one of {len(found)} models"
            raise TrainingError(
                f"{none} can be tried. {found[0].name}: {found[0].dropped}. Choose others "
                "(--model) or other limits (--latency-ms, --size-mb)."
            )
        if len(found) > 1:
            self._console.line(
                f"{len(kept)} of {len(found)} models are tried: "
                + ", ".join(each.name for each in kept)
            )

    def _candidate_of(self, point: Point) -> Candidate | None:
        mine = key_of(part_of(point))
        return next((each for each in self._candidates if key_of(each.point) == mine), None)

    def _prior(self, point: Point) -> float | None:
        candidate = self._candidate_of(point)
        return None if candidate is None else candidate.probe

    def _expected(self, point: Point) -> float:
        """Seconds of a run: as long as those of its model took, else as its features promise."""
        mine = key_of(part_of(point))
        taken = [
            float(trial.facts["seconds"])
            for trial in self._trials.all()
            if trial.state == "complete" and key_of(part_of(trial.point)) == mine
        ]
        if taken:
            return sorted(taken)[len(taken) // 2]
        candidate = self._candidate_of(point)
        return 0.0 if candidate is None else candidate.seconds or 0.0

    # Trials

    def _work(self, pool: Pool) -> str:
        """Train until there is nothing more to try or no time; why it ended."""
        waiting = self._trials.interrupted()
        wait_until_free([self._run_of(trial.number).path for trial in waiting])
        ended = ""
        while True:
            while pool.free and not ended:
                if waiting:
                    self._start_job(pool.free[0], waiting.pop(0))
                elif ended := self._why_no_more():
                    break
                else:
                    ended = self._begin_next(pool.free[0])
            if not pool.busy:
                return ended
            job, message = pool.next(self._tick)
            self._hear(job, message)
            self._tick()

    def _why_no_more(self) -> str:
        most = self._settings.most_trials
        begun = len(self._trials.all())
        if self._left() <= 0 and begun:  # one is always begun: none would leave no answer
            return "the time is over"
        return f"{most} trials were asked for" if most is not None and begun >= most else ""

    def _begin_next(self, job: Job) -> str:
        """Begin the next trial; why there is none."""
        tried = self._trials.tried()
        left = self._left()
        nothing_done = not any(each.height is not None for each in tried)
        kept = {key_of(each.point) for each in self._candidates if not each.dropped}
        late: dict[str, bool] = {}

        def allowed(point: Point) -> bool:
            mine = key_of(part_of(point))
            if mine not in kept:
                return False
            if mine not in late:
                late[mine] = self._expected(point) > left
            # The first run is begun whatever it takes: a search that ends with none is of no use.
            return nothing_done or not late[mine]

        point = choose(
            self._settings.space,
            self._settings.sampler,
            tried,
            seed=self._settings.seed,
            allowed=allowed,
            prior=self._prior,
            start=self._start,
        )
        if point is None:
            return (
                f"no further run fits into the {max(left, 0):.0f} seconds that are left"
                if any(late.values())
                else "every point was tried"
            )
        trial = self._trials.begin(point)
        if trial is not None:
            self._start_job(job, trial)
        return ""

    def _run_of(self, number: int) -> RunFolder:
        return RunFolder(self._folder / "trials" / f"{number:04d}")

    def _start_job(self, job: Job, trial: Trial) -> None:
        run, self._worked = self._run_of(trial.number), True
        if run.finished.exists():  # stopped between the end of the run and word of it
            self._end(trial.number, {**outcome(run), "seconds": 0.0})
            return
        folder = str(run.path)
        overrides = [
            *(assignment(key, value) for key, value in trial.point.items()),
            assignment("train.output", folder),
            assignment("train.monitor", self._metric),
        ]
        said = [word for each in overrides for word in ("-o", each)]
        job.start(
            trial.number,
            {
                "folder": folder,
                "base": str(self._base),
                "overrides": overrides,
                "command": ["ppclas", "train", "-c", str(self._base), *said],
            },
        )

    def _hear(self, job: Job, message: Message) -> None:
        number = job.trial
        if number is None:
            return
        if "step" in message:
            hopeless = self._trials.report(
                number,
                message["step"],
                message["height"],
                prune=self._settings.prune,
            )
            over = self._left() <= 0
            if hopeless or over:  # kept before the run hears of it, and may end at once
                self._trials.stop(number, "the time was over" if over else "it was hopeless")
            job.answer(go=not (hopeless or over))
            return
        job.trial = None
        if "lost" in message:
            self._lose(job, number)
        elif "error" in message["done"]:
            self._trials.finish(number, "failed", None, {"reason": message["done"]["error"]})
            self._console.line(f"trial {number} failed: {message['done']['error']}")
        else:
            self._end(number, message["done"])

    def _lose(self, job: Job, number: int) -> None:
        """A process died: its run goes on in another one, once."""
        why = job.lost()
        self._losses[number] = self._losses.get(number, 0) + 1
        if self._losses[number] < _TRIES:
            self._console.warn(f"trial {number}: {why}; it goes on from its last checkpoint")
            self._start_job(job, next(t for t in self._trials.all() if t.number == number))
            return
        log = self._folder / "jobs" / f"job-{job.number}.log"
        reason = f"{why} twice; what it said is in {log}"
        self._trials.finish(number, "failed", None, {"reason": reason})
        self._console.line(f"trial {number} failed: {reason}")

    def _end(self, number: int, done: Mapping[str, Any]) -> None:
        """A run has ended: write it down, and say so."""
        facts = dict(done)
        why = self._trials.why_stopped(number)
        cut = facts["epochs"] < facts["planned"] and why != ""
        if cut:
            facts["reason"] = f"{why} after epoch {facts['epochs']}"
        self._trials.finish(number, "pruned" if cut else "complete", facts["height"], facts)
        # Of no use to a run that has finished, and more than all the rest of it.
        shutil.rmtree(self._run_of(number).last.parent, ignore_errors=True)
        self._console.line(self._line(number, facts))

    def _line(self, number: int, facts: Mapping[str, Any]) -> str:
        everything = self._trials.all()
        trial = next(each for each in everything if each.number == number)
        complete = [each for each in everything if each.state == "complete"]
        best = max(complete, key=lambda each: each.height or 0.0, default=None)
        what = format_metric(self._metric, abs(facts["height"]))
        if "reason" in facts:
            what += f", stopped: {facts['reason']}"
        elif best is not None:
            what += (
                " (the best so far)"
                if best.number == number
                else f" (best: {format_metric(self._metric, abs(best.height or 0.0))}, trial "
                f"{best.number})"
            )
        parts = self._settings.space.parts
        keys = [key for key, part in parts.items() if isinstance(part, Range) or len(part) > 1]
        chosen = in_words(trial.point, keys)
        return f"trial {number}: {what}, {duration(facts['seconds'])}; {chosen}"

"""The trials of a search in Optuna's storage: begun, reported, finished, each of them once."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ppclas_core.errors import ConfigError, MissingDependencyError

from ppclas_search.search.choosing import Tried, distributions, labelled
from ppclas_search.search.space import Point, Space, key_of

State: TypeAlias = Literal["running", "complete", "pruned", "failed"]

NAME = "ppclas-search"
_POINT, _PLACE, _FACTS, _DEFINITION = "point", "place", "facts", "definition"
_DUPLICATE, _STOPPED = "duplicate", "stopped"


@dataclass(frozen=True)
class Trial:
    """One point and what came of it."""

    number: int
    point: Point
    state: State
    height: float | None
    """What the search raises: the best epoch's metric, negated where less is better; of a pruned
    trial, what it had reached."""
    place: str
    """Machine and folder that it runs in."""
    facts: Mapping[str, Any]
    """What its job said at the end: the run's best numbers, seconds, or why it failed."""


class Trials:
    """All trials of a search, of every machine that shares its storage.

    Raises:
        MissingDependencyError: Optuna, or what its storage needs, is not installed.
        ConfigError: the storage cannot be opened, or holds another search.
    """

    def __init__(
        self, folder: Path, storage: str | None, space: Space, definition: Mapping[str, Any]
    ) -> None:
        optuna = _optuna()
        self._trial_states = optuna.trial.TrialState
        self._trial_type = optuna.trial.Trial
        self._ways = distributions(space)
        self.place = f"{socket.gethostname()}:{folder.resolve()}"
        self._own = storage is None
        where = storage or str(folder / "study.journal")
        try:
            self._study = optuna.create_study(
                storage=_open(optuna, where),
                study_name=NAME if storage is None else f"{NAME}-{folder.name}",
                direction="maximize",
                # Points are chosen outside: what is asked for is always enqueued before.
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=30),
                load_if_exists=True,
            )
        except Exception as error:  # each kind of storage has errors of its own
            raise ConfigError(
                f"The storage {where} cannot be opened ({' '.join(str(error).split())}). Expected "
                "a file ending in .journal, or an address such as sqlite:///search.db or "
                "mysql://user@host/name."
            ) from error
        before = self._study.user_attrs.get(_DEFINITION)
        if before is None:
            self._study.set_user_attr(_DEFINITION, dict(definition))
        elif (changed := _changed(before, definition)) is not None:
            raise ConfigError(
                f"{where} holds a search with another {changed}. Go on with it by the same "
                "command, or start another one: --output DIR"
            )

    def all(self) -> list[Trial]:
        """In the order in which they were begun; what was enqueued and not begun is left out."""
        found = []
        for frozen in self._study.get_trials(deepcopy=False):
            state = _STATES.get(frozen.state.name)
            attributes = frozen.user_attrs
            if state is None or _POINT not in attributes or _DUPLICATE in attributes:
                continue
            facts = attributes.get(_FACTS, {})
            found.append(
                Trial(
                    frozen.number,
                    json.loads(attributes[_POINT]),
                    state,
                    frozen.value if state == "complete" else facts.get("height"),
                    str(attributes.get(_PLACE, "")),
                    facts,
                )
            )
        return found

    def tried(self) -> list[Tried]:
        """What choosing the next point is to know; a pruned run counts with what it reached."""
        return [Tried(trial.point, trial.height, trial.state == "running") for trial in self.all()]

    def begin(self, point: Point) -> Trial | None:
        """A new trial, written before it runs; None where its point is another trial's.

        It is that of ``point``, or of one that was enqueued earlier. Two machines may choose the
        same point at once. A trial appears in the storage with its point and its number in one
        step, so the later one always sees the earlier one.
        """
        self._study.enqueue_trial(labelled(point), user_attrs={_POINT: key_of(point)})
        return self._claim(self._study.ask(self._ways))

    def interrupted(self) -> list[Trial]:
        """Trials that a process of this search began in this folder and did not end."""
        found = []
        for frozen in self._study.get_trials(deepcopy=False):
            if _STATES.get(frozen.state.name) != "running":
                continue
            place = frozen.user_attrs.get(_PLACE)
            # Stopped before it could say where it runs; elsewhere that takes milliseconds.
            unsaid = place is None and (self._own or _age(frozen) > 60)
            if (place == self.place or unsaid) and (mine := self._claim(self._live(frozen.number))):
                found.append(mine)
        return found

    def _claim(self, live: Any) -> Trial | None:
        """Take a trial for this place, unless an earlier one has its point."""
        taken = live.user_attrs[_POINT]
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.number < live.number and frozen.user_attrs.get(_POINT) == taken:
                live.set_user_attr(_DUPLICATE, frozen.number)
                self._study.tell(live, state=self._trial_states.FAIL)
                return None
        for name, way in self._ways.items():
            live._suggest(name, way)  # those of a trial that was stopped before it had them
        if live.user_attrs.get(_PLACE) != self.place:
            live.set_user_attr(_PLACE, self.place)
        return Trial(live.number, json.loads(taken), "running", None, self.place, {})

    def report(self, number: int, step: int, height: float, *, prune: bool) -> bool:
        """Keep what a run reached after ``step`` per cent; whether it is hopeless."""
        trial = self._live(number)
        if step not in self._frozen(number).intermediate_values:
            trial.report(height, step)
        return prune and trial.should_prune()

    def stop(self, number: int, why: str) -> None:
        """Keep why a run is told to end after this epoch."""
        self._live(number).set_user_attr(_STOPPED, why)

    def why_stopped(self, number: int) -> str:
        """What ``stop`` kept; empty where the run ended by itself."""
        return str(self._frozen(number).user_attrs.get(_STOPPED, ""))

    def finish(
        self, number: int, state: State, height: float | None, facts: Mapping[str, Any]
    ) -> None:
        """Write the end of a trial, once."""
        if self._frozen(number).state.is_finished():
            return
        trial = self._live(number)
        trial.set_user_attr(_FACTS, dict(facts))
        if state == "complete":
            self._study.tell(trial, height)
        else:
            ended = self._trial_states.PRUNED if state == "pruned" else self._trial_states.FAIL
            self._study.tell(trial, state=ended)

    def _frozen(self, number: int) -> Any:
        return self._study.get_trials(deepcopy=False)[number]

    def _live(self, number: int) -> Any:
        return self._trial_type(self._study, self._frozen(number)._trial_id)


_STATES: Mapping[str, State] = {
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What of a search is not as it was."""
    plain = json.loads(json.dumps(dict(now)))
    return next((name for name in plain if before.get(name) != plain[name]), None)


def _age(frozen: Any) -> float:
    """Seconds since a trial was begun."""
    return (datetime.now() - frozen.datetime_start).total_seconds()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError(
            "ppclas search needs Optuna: pip install 'ppclas-cli[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open(optuna: Any, where: str) -> Any:
    if "://" in where:
        return optuna.storages.get_storage(where)
    from optuna.storages.journal import JournalFileBackend

    Path(where).parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(where))

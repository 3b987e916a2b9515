"""What is searched, and what was found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError
from ppclas_core.files import write_text
from ppclas_data.leftovers import temporary_folder

from ppclas_search.search.candidates import Candidate, Limits
from ppclas_search.search.space import Sampler, Space, key_of, part_of
from ppclas_search.search.trials import Trial

_FALLBACK = 20


@dataclass(frozen=True)
class Settings:
    """What is searched, and how."""

    folder: Path
    """Of everything that the search writes."""
    base: Config
    """The settings that the space changes; its ``train.output`` plays no part."""
    space: Space
    sampler: Sampler
    trials: int | None = None
    """How many at most. Nothing: every point of a grid, no limit under ``minutes``, else 20."""
    minutes: float | None = None
    """For all of it, over its resumes. Nothing: no limit, and no probe of features."""
    jobs: int = 1
    storage: str | None = None
    """Optuna's: an address or a journal file. Nothing: a journal in the folder."""
    engine: str = ""
    """Says what ``measure`` measures with; kept with the search."""
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    prune: bool = True

    @property
    def most_trials(self) -> int | None:
        """How many there are at most; None: as many as there are points, or as time allows."""
        if self.trials is not None or self.minutes is not None or self.sampler == "grid":
            return self.trials
        return self.space.trials or _FALLBACK

    def definition(self) -> dict[str, Any]:
        """What makes it this search, and must not change when it goes on."""
        return {
            "settings (-c, -o or data)": dump_config(self.base),
            "--space or --model": self.space.described(),
            "--sampler": self.sampler,
            "--engine": self.engine,
            "limit (--latency-ms or --size-mb)": [self.limits.latency_ms, self.limits.size_mb],
            "--seed": self.seed,
        }


@dataclass(frozen=True)
class Found:
    """What a search found."""

    settings: Settings
    metric: str
    trials: Sequence[Trial]
    candidates: Sequence[Candidate]
    seconds: float
    """That it took, over all resumes."""
    ended: str
    """Why it ended."""

    @property
    def best(self) -> Trial | None:
        """The highest complete trial, the earlier of equal ones; of those that were stopped where
        none is complete."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        some = complete or [trial for trial in self.trials if trial.height is not None]
        return max(some, key=lambda trial: trial.height or 0.0, default=None)

    def candidate_of(self, trial: Trial) -> Candidate | None:
        """The model of a trial, and what it costs."""
        mine = key_of(part_of(trial.point))
        return next((each for each in self.candidates if key_of(each.point) == mine), None)


def check_space(base: Config, space: Space) -> None:
    """Need a config that is valid with each value of the space, one key at a time.

    Raises:
        ConfigError: with the key and what is wrong with its value.
    """
    with temporary_folder() as folder:
        file = Path(folder) / "base.yaml"
        write_text(file, dump_config(base))
        for key, part in space.parts.items():
            ends = part if isinstance(part, tuple) else (part.at(0.0), part.at(1.0))
            for value in ends:
                said = assignment(key, value)
                try:
                    load_config(str(file), [said])
                except ConfigError as error:
                    reason = str(error).replace(f"-o {said}: ", "").removeprefix(f"{key}: ")
                    raise ConfigError(f"the space's {key}: {reason}") from error


def assignment(key: str, value: Any) -> str:
    """What ``-o`` takes to set ``key``."""
    return f"{key}={json.dumps(value)}"

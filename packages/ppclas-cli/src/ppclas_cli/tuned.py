"""``ppclas train --lr find``, ``--batch-size auto`` and ``--fix``: what is measured beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.lazy import need_extra

if TYPE_CHECKING:
    from ppclas_core.config.schema import Config
    from ppclas_engine.console import Console
    from ppclas_engine.planning.plan import Plan
    from ppclas_search.tuning.fix import Before
    from ppclas_search.tuning.rate import RangeTest

FIND, AUTO = "find", "auto"


@dataclass
class Tuning:
    """What is to be measured before a training."""

    rate: bool
    batch_size: bool
    size: int | None
    run: str | None
    found: RangeTest | None = None
    """What ``plan`` has measured."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Tuning:
        """From the options of the command.

        Raises:
            click.UsageError: some contradict others.
            MissingDependencyError: the package that measures is not installed.
        """
        rate, batch_size = given["lr"] == FIND, given["batch_size"] == AUTO
        size, run = given["fix"], given["fixed_run"]
        if (size is None) != (run is None):
            raise click.UsageError("--fix SIZE and --from RUN go together.")
        asked = {"--lr find": rate, "--batch-size auto": batch_size, "--fix": size is not None}
        for option in (name for name, wanted in asked.items() if wanted):
            need_extra(option, "ppclas_search", "search")
            for other in ("resume", "kfold"):
                if given[other] is not None:
                    raise click.UsageError(f"{option} does not go with --{other}.")
        if size is not None and (given["source"] or given["image_size"]):
            raise click.UsageError(
                "--fix takes the settings of the run: leave --config and --image-size out."
            )
        return cls(rate, batch_size, size, run)

    @contextmanager
    def source(self, source: str | None) -> Iterator[str | None]:
        """The file that settings come from: that of ``--fix`` in its place."""
        if self.size is None or self.run is None:
            yield source
            return
        from ppclas_core.config.load import dump_config
        from ppclas_data.leftovers import temporary_folder
        from ppclas_search.tuning.fix import fix_config

        config = fix_config(Path(self.run), self.size)
        with temporary_folder() as folder:
            file = Path(folder) / "fix.yaml"
            file.write_text(dump_config(config), encoding="utf-8")
            yield str(file)

    def config(self, config: Config, console: Console) -> Config:
        """With the number of images in a step that was measured."""
        if not self.batch_size:
            return config
        from ppclas_search.tuning.batch import with_batch_size

        config, found = with_batch_size(config, console)
        console.line(found.why())
        return config

    def plan(self, plan: Plan, console: Console) -> Plan:
        """With the learning rate that was found; its curve will be in the run folder."""
        if not self.rate:
            return plan
        from ppclas_search.tuning.rate import find_rate, with_rate

        self.found = find_rate(plan, console)
        return with_rate(plan, self.found)

    @contextmanager
    def curve_kept(self) -> Iterator[None]:
        """A run that begins inside gets the curve."""
        if self.found is None:
            yield
            return
        from ppclas_core.plugins import get_plugin_manager
        from ppclas_search.tuning.rate import KeepCurve

        manager, keeper, name = get_plugin_manager(), KeepCurve(self.found), "train --lr find"
        manager.add(keeper, name)
        try:
            yield
        finally:
            manager.remove(keeper, name)

    def before(self, console: Console) -> Before | None:
        """What the run of ``--from`` reaches without training."""
        if self.size is None or self.run is None:
            return None
        from ppclas_search.tuning.fix import measure_before

        return measure_before(Path(self.run), self.size, console)


def print_gain(before: Before | None, best: Mapping[str, Any], console: Console) -> None:
    """What the larger size and the training have brought."""
    if before is None:
        return
    from ppclas_engine.scoring.monitor import format_metric

    own, larger, now = (
        format_metric(before.monitor, value)
        for value in (before.own, before.larger, best[before.monitor])
    )
    console.line(
        f"The run before, at its own size: {own}; at the new size without training: {larger}; "
        f"now: {now}"
    )

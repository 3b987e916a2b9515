"""Experiment trackers: the rows of ``metrics.jsonl`` for TensorBoard and VisualDL.

Each run gets a folder of its own inside ``dir``, so that several can be compared. A resumed run
sends its history again and takes the place of what it had written before; files of other runs are
never touched.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ppclas_core.contracts.training import Tracker
from ppclas_core.errors import MissingDependencyError
from pydantic import PrivateAttr

_RESULTS = ("loss", "top1", "map", "macro_f1")
"""Metrics that stand beside a run's hyper-parameters."""


class _EventFiles(Tracker):
    """A tracker that writes event files into ``dir``."""

    dir: str | None = None
    """Folder that gets a subfolder for each run. Nothing: a subfolder of the run itself."""

    package: ClassVar[str]
    """Module that is needed, and the extra of ppclas-engine that brings it."""
    extra: ClassVar[str]

    _writer: Any = PrivateAttr(None)
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict)
    _last: dict[str, float] = PrivateAttr(default_factory=dict)

    def check(self) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise MissingDependencyError(
                f"tracker {type(self).__name__} needs the package {self.package}, which is not "
                f'installed. Run: pip install "ppclas-engine[{self.extra}]"'
            )

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        folder = run / self.extra if self.dir is None else Path(self.dir) / run.resolve().name
        folder.mkdir(parents=True, exist_ok=True)
        mark = hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:12]
        for old in folder.glob(f"*{mark}*"):
            old.unlink()
        self._settings = dict(flat_settings(config))
        self._writer = self._open(folder, mark)

    def log(self, row: Mapping[str, Any], step: int) -> None:
        epoch = int(row["epoch"])
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("epoch", "step", "num_images"):
                self._writer.add_scalar(tag_of(name), value, epoch)
                if name in _RESULTS:
                    self._last[name] = float(value)

    def finish(self) -> None:
        if self._writer is None:
            return
        self._add_settings(self._writer)
        self._writer.close()
        self._writer = None

    def _open(self, folder: Path, mark: str) -> Any:
        raise NotImplementedError

    def _add_settings(self, writer: Any) -> None:
        raise NotImplementedError


class TensorBoard(_EventFiles):
    """Event files for TensorBoard: scalars by epoch; settings and results under HPARAMS."""

    package: ClassVar[str] = "tensorboardX"
    extra: ClassVar[str] = "tensorboard"

    def _open(self, folder: Path, mark: str) -> Any:
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(folder), filename_suffix=f".{mark}")

    def _add_settings(self, writer: Any) -> None:
        from tensorboardX.summary import hparams

        results = {f"result/{name}": value for name, value in self._last.items()}
        for summary in hparams(self._settings, results):
            writer.file_writer.add_summary(summary)
        for name, value in results.items():
            writer.add_scalar(name, value, 0)


class VisualDL(_EventFiles):
    """Log files for VisualDL: scalars by epoch; settings and results under hyper-parameters."""

    package: ClassVar[str] = "visualdl"
    extra: ClassVar[str] = "vdl"

    def _open(self, folder: Path, mark: str) -> Any:
        from visualdl import LogWriter

        # A file name that VisualDL recognises, and that is this run's own.
        return LogWriter(logdir=str(folder), file_name=f"vdlrecords.{mark}.log")

    def _add_settings(self, writer: Any) -> None:
        results = {f"result/{name}": value for name, value in self._last.items()}
        if not results:
            return
        writer.add_hparams(hparams_dict=self._settings, metrics_list=list(results))
        for name, value in results.items():
            writer.add_scalar(name, value, 0)


def tag_of(column: str) -> str:
    """Group and name of a column of ``metrics.jsonl``: ``train/loss``, ``validation/top1``."""
    if column.startswith("train_"):
        return f"train/{column.removeprefix('train_')}"
    if column in ("lr", "images_per_second", "wait_share", "skipped_steps"):
        return f"run/{column}"
    return f"validation/{column}"


def flat_settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every setting that is a number, a truth value or a text."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            yield f"{prefix}{key}", str(value).lower()
        elif isinstance(value, int | float | str):
            yield f"{prefix}{key}", value

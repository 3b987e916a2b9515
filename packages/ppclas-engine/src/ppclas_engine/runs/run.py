"""The run folder: where it is, and the files that describe a run in it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppclas_core.errors import TrainingError
from ppclas_core.files import write_text
from ppclas_data.leftovers import clear_leftovers

_TABLES = ("per_class.csv", "confusion.csv", "reliability.csv", "predictions.csv")
_TRACE = re.compile(r"command\.txt|\.writable|\.(command\.txt|config\.yaml)\..*\.tmp")
"""Names of what a run that was killed before its ``config.yaml`` was written can leave behind."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """Every line of the console, with times."""
        return self.path / "log.txt"

    @property
    def logs(self) -> Path:
        """A file for each of several ranks that trained it: everything that process said."""
        return self.path / "logs"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def bundle(self) -> Path:
        """The best epoch's weights with preprocessing and labels."""
        return self.path / "bundle"

    @property
    def finished(self) -> Path:
        """Exists once the last epoch is done."""
        return self.path / "summary.json"

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """``metrics.jsonl`` and ``metrics.csv``, one row per epoch."""
        write_text(self.history, "".join(json.dumps(row) + "\n" for row in rows))
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "metrics.csv", table.getvalue())

    def write_command(self, command: Sequence[str] | None = None) -> None:
        """``command.txt``: the shell line that started the run; without one, of a run that a
        program started, the line that makes such a run again."""
        line = command or ["ppclas", "train", "-c", str(self.config)]
        write_text(self.path / "command.txt", shlex.join(line) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training in this folder.

        Raises:
            TrainingError: one does so already; or afterwards: the folder is gone.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                import fcntl  # not on Windows

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"{self.path}: another process is training there.") from None
            except (ImportError, OSError):  # a filesystem without locks
                pass
            clear_leftovers(self.path, self.last.parent)
            yield
        if not self.config.is_file():
            raise TrainingError(f"{self.path} was removed while it was trained in: nothing is left")

    def discard(self, *, keep_folder: bool) -> None:
        """Remove what describes a run that never began; a plugin's files and their folder stay."""
        for name in (
            ".lock",
            "config.yaml",
            "command.txt",
            "log.txt",
            "metrics.jsonl",
            "metrics.csv",
            *_TABLES,
        ):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.logs, ignore_errors=True)
        for folder in (self.last.parent, *([] if keep_folder else [self.path])):
            with contextlib.suppress(OSError):  # not there, or not empty
                folder.rmdir()


def create_run_folder(output: str | None, model: str, base: Path | None = None) -> RunFolder:
    """A new, empty run folder: ``output`` itself, or ``runs/<model>-<n>`` with the next free
    number.

    What a run left in ``output`` that was killed before it began is removed.

    Raises:
        TrainingError: ``output`` has files in it already, or the folder cannot be made.
    """
    try:
        if output is not None:
            folder = Path(output)
            folder.mkdir(parents=True, exist_ok=True)
            found = list(folder.iterdir())
            taken = next((path for path in found if not _TRACE.fullmatch(path.name)), None)
            if taken is not None:
                hint = (
                    f" or go on with it: --resume {shlex.quote(output)}"
                    if (folder / "config.yaml").is_file()
                    else ""
                )
                raise TrainingError(
                    f"The output folder {output} is not empty (it holds {taken.name}). Runs are "
                    f"never overwritten: choose another --output{hint}."
                )
            for trace in (*found, folder / ".writable"):
                trace.touch()
                trace.unlink()
            return RunFolder(folder)
        base = base or Path("runs")
        base.mkdir(parents=True, exist_ok=True)
        safe = re.sub(r"[^\w.-]", "_", model)
        number = 1
        while True:
            try:
                folder = base / f"{safe}-{number}"
                folder.mkdir()
                return RunFolder(folder)
            except FileExistsError:
                number += 1
    except FileExistsError as error:
        raise TrainingError(
            f"{error.filename} is a file; expected a folder or a free name. Choose another "
            "--output."
        ) from error
    except OSError as error:
        raise TrainingError(
            f"The output folder {error.filename or output or base} cannot be written "
            f"({error.strerror}). Choose another one with --output."
        ) from error


def find_unfinished(base: Path | None = None) -> RunFolder:
    """The newest run under ``runs`` that has not reached its last epoch.

    Raises:
        TrainingError: there is none.
    """
    base = base or Path("runs")
    runs = [RunFolder(config.parent) for config in base.glob("*/config.yaml")]
    open_runs = [run for run in runs if not run.finished.exists()]
    if not open_runs:
        found = (
            f"all {len(runs)} runs in {base}{'/' if base.name else ''} are finished"
            if runs
            else f"there is no run in {base}"
        )
        raise TrainingError(f"Nothing to resume: {found}. Name a run folder: --resume DIR")
    return max(open_runs, key=lambda run: run.config.stat().st_mtime)

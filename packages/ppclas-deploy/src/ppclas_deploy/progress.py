"""What a step says while it works in a process of its own, shown by the command that started it.

The step tells its lines, warnings and bars to a file, a JSON array each; the command reads on in
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ppclas_engine.console import Bar, Console


class Teller(Console):
    """A console in the step's process: what it is told goes to ``path``."""

    def __init__(self, path: Path) -> None:
        super().__init__(quiet=True)
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open as long as the process

    def tell(self, what: str, *values: Any) -> None:
        """Append one message."""
        self._file.write(json.dumps([what, *values]) + "\n")

    def line(self, text: str = "") -> None:
        """A line for the person, and for the step's log."""
        self.tell("line", text)
        print(text, flush=True)

    def warn(self, text: str) -> None:
        """A line that starts with ``warning:``."""
        self.tell("warn", text)
        print(f"warning: {text}", flush=True)

    @contextmanager
    def bar(
        self, title: str, total: int, start: int = 0, every: int | None = None
    ) -> Iterator[Bar]:
        """A progress bar, drawn where there is a terminal."""
        self.tell("bar", title, total, start, every)
        yield _ToldBar(self, title, total, start, every)
        self.tell("end")


class _ToldBar(Bar):
    def __init__(
        self, teller: Teller, title: str, total: int, start: int, every: int | None
    ) -> None:
        super().__init__(teller, title, total, start, every)
        self._teller = teller

    def advance(self, facts: str = "") -> None:
        self._teller.tell("advance", facts)


class Listener:
    """Shows on ``console`` what a ``Teller`` wrote to ``path``; ``close`` it when the step has
    ended.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._path, self._console = path, console
        self._heard = 0  # bytes
        self._bar: Bar | None = None
        self._drawn = ExitStack()

    def catch_up(self) -> None:
        """Show what was told since the last time."""
        if not self._path.is_file():
            return
        with open(self._path, "rb") as file:
            file.seek(self._heard)
            told = file.read()
        whole = told[: told.rfind(b"\n") + 1]  # the last line may be half written
        self._heard += len(whole)
        for line in whole.splitlines():
            what, *values = json.loads(line)
            self._show(what, values)

    def close(self) -> None:
        """Show the rest, and take away a bar that a crash left."""
        self.catch_up()
        self._drawn.close()

    def _show(self, what: str, values: list[Any]) -> None:
        if what == "line":
            self._console.line(*values)
        elif what == "warn":
            self._console.warn(*values)
        elif what == "bar":
            self._bar = self._drawn.enter_context(self._console.bar(*values))
        elif what == "end":
            self._drawn.close()
        elif self._bar is not None:
            self._bar.advance(*values)

"""What a person sees of a run: lines and a bar on stderr; the lines with times in ``log.txt``."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TextIO

from ppclas_core.wording import escaped_lines
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

_HEAD = re.compile(r" +(\w+ {2,})?")
"""An indent, or that and the name of a value."""
_ONE_SPACE = re.compile(r"(?<! ) (?! )")
_WIDE = 110
"""Characters a line from which on a bar is long."""


class Console:
    """Progress and messages of one command. Everything goes to stderr: stdout is for data."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._rich = RichConsole(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._log: TextIO | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a bar can be drawn."""
        return self._rich.is_terminal and not self._quiet

    def open_log(self, path: Path) -> None:
        """Append every line from now on to ``path``."""
        self.close_log()
        # File names are not always UTF-8.
        self._log = open(  # noqa: SIM115 - open as long as the run
            path, "a", encoding="utf-8", errors="backslashreplace", buffering=1
        )

    def close_log(self) -> None:
        """Stop writing to the log file."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk: what is buffered cannot be written
                self._log.close()
            self._log = None

    def line(self, text: str = "") -> None:
        """A line for the person and the log."""
        if not self._quiet:
            self._rich.print(self._fitted(text), markup=False)
        self.log(text)

    def warn(self, text: str) -> None:
        """A line that starts with ``warning:``; shown even when quiet."""
        shown = self._fitted(f"warning: {text}")
        self._rich.print(shown, markup=False, style="yellow" if self._rich.is_terminal else None)
        self.log(f"warning: {text}")

    def _fitted(self, text: str) -> str:
        """Broken between words on a terminal, under where the text begins; where two spaces part
        facts, only there; a command as a shell reads it."""
        shown = escaped_lines(text)
        command = shown.lstrip().startswith("ppclas ")
        if not self._rich.is_terminal or (command and re.search("['\"]", shown)):
            return shown
        head = _HEAD.match(shown)
        indent, begin, end = "", 0 if head is None else head.end(), "\n"
        if command:
            indent, end = "    ", " \\\n"
            shown = re.sub(r"( -\S+) (?!-)", "\\1\xa0", shown)  # an option and its value
        elif "  " in shown[begin:]:
            shown = shown[:begin] + _ONE_SPACE.sub("\xa0", shown[begin:])
        lines = textwrap.wrap(
            shown,
            self._rich.width - len(end) + 1,
            subsequent_indent=" " * begin + indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return end.join(lines).replace("\xa0", " ")

    def log(self, text: str) -> None:
        """A line for the log alone; a log that cannot be written ends with a warning."""
        if self._log is None:
            return
        try:
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            name = self._log.name
            self.close_log()
            self.warn(f"{name} ends here: {error.strerror or error}")

    @contextmanager
    def bar(
        self, title: str, total: int, start: int = 0, every: int | None = None
    ) -> Iterator[Bar]:
        """A progress bar on terminals and in notebooks; else a line every ``every`` steps, or now
        and then.
        """
        if self._rich.is_jupyter and not self._quiet:
            notebook = _NotebookBar(self, title, total, start)
            yield notebook
            notebook.clear()
            return
        if not self.is_terminal:
            yield Bar(self, title, total, start, every)
            return
        wide = 24 if self._rich.width >= _WIDE else 10
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=wide),
            MofNCompleteColumn(),
            _FactsColumn(self._rich, wide),
        )
        with Progress(*columns, console=self._rich, transient=True) as progress:
            task = progress.add_task(title, total=total, completed=start, facts="")
            yield _TerminalBar(self, title, total, start, progress, int(task))


class Bar:
    """Counts steps; without a terminal it prints a line after so many steps, or so many seconds."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(
        self, console: Console, title: str, total: int, start: int, every: int | None = None
    ) -> None:
        self._console, self._title, self._total, self._done = console, title, total, start
        self._every = every
        self._last_line = time.monotonic()

    def advance(self, facts: str = "") -> None:
        """One step is done; ``facts`` stand beside the count, the most important first."""
        self._done += 1
        now = time.monotonic()
        due = (
            now - self._last_line >= self.SECONDS_BETWEEN_LINES
            if self._every is None
            else not self._done % self._every
        )
        if due:
            self._last_line = now
            self._console.line(f"{self._title} {self._done}/{self._total} {facts}".rstrip())


class _TerminalBar(Bar):
    def __init__(
        self, console: Console, title: str, total: int, start: int, progress: Progress, task: int
    ) -> None:
        super().__init__(console, title, total, start)
        self._progress, self._task = progress, task

    def advance(self, facts: str = "") -> None:
        self._progress.update(self._task, advance=1, facts=facts)  # type: ignore[arg-type]


class _NotebookBar(Bar):
    """One picture that is replaced, at most five times per second."""

    def __init__(self, console: Console, title: str, total: int, start: int) -> None:
        from IPython.display import HTML, display

        super().__init__(console, title, total, start)
        self._html = HTML
        self._place = display(HTML(""), display_id=True)

    def advance(self, facts: str = "") -> None:
        self._done += 1
        if time.monotonic() - self._last_line < 0.2 and self._done < self._total:
            return
        self._last_line = time.monotonic()
        said = f"{self._title} <progress value={self._done} max={self._total}></progress>"
        self._place.update(self._html(f"{said} {self._done}/{self._total} {escape(facts)}"))

    def clear(self) -> None:
        """Take it away: what is to be kept is said in lines."""
        self._place.update(self._html(""))


class _FactsColumn(ProgressColumn):
    """As many whole facts as fit in the line; the time that is left where there are none."""

    def __init__(self, console: RichConsole, bar_width: int) -> None:
        super().__init__()
        self._console, self._bar_width = console, bar_width

    def render(self, task: Task) -> Text:
        """The facts that fit."""
        facts = str(task.fields["facts"]) or self._time_left(task)
        count = 2 * len(f"{task.total:.0f}") + 1
        taken = cell_len(task.description) + self._bar_width + count
        room = self._console.width - taken - 3  # spaces between columns
        shown = ""
        for fact in facts.split("  "):
            longer = f"{shown}  {fact}" if shown else fact
            if cell_len(longer) > room:
                break
            shown = longer
        return Text(shown, no_wrap=True)

    @staticmethod
    def _time_left(task: Task) -> str:
        seconds = task.time_remaining
        return f"{duration(seconds)} left" if seconds is not None and not task.finished else ""


def duration(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
        if minutes >= 60
        else f"{minutes}:{rest:02d}"
    )

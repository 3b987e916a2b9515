"""A process that trains one run after another for a search: ``python -m`` this module.

Lines of JSON come in on stdin and go out on stdout. In: a job, and after each epoch ``{"go":
bool}``. Out: ``{"step": …, "height": …}`` after each epoch, and at the end what came of the run.
When stdin ends, the search is gone: the run writes a checkpoint and the process ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ppclas_core.config.load import load_config
from ppclas_core.contracts.training import TrainContext
from ppclas_core.errors import PpclasError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.plugins import get_plugin_manager
from ppclas_engine.console import Console
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.scoring.monitor import height
from ppclas_engine.session import resume, train

_SECONDS_TO_STOP = 30.0


class Asking:
    """The hook that reports each epoch, and ends the run where the search says so."""

    def __init__(self, out: TextIO, answers: queue.Queue[Any]) -> None:
        self._out, self._answers = out, answers

    @hookimpl
    def on_epoch_end(self, context: TrainContext) -> None:
        """Send the epoch's height and wait for the answer."""
        monitor = context.config.train.monitor or ""
        if monitor not in context.metrics:
            return
        step = round(100 * (context.epoch + 1) / context.epochs)
        _send(self._out, {"step": step, "height": height(context.metrics, monitor)})
        if not self._answers.get()["go"]:
            context.stop = True


def main() -> None:
    """Work until stdin ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print goes to the log, not between our lines
    jobs: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(jobs, answers), daemon=True).start()
    get_plugin_manager().add(Asking(out, answers), "ppclas-search-worker")
    while (job := jobs.get()) is not None:
        _send(out, {"done": _work(job)})


def _read(jobs: queue.Queue[Any], answers: queue.Queue[Any]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        (answers if "go" in message else jobs).put(message)
    jobs.put(None)
    answers.put({"go": True})
    os.kill(os.getpid(), signal.SIGTERM)  # training writes a checkpoint; where none runs, the end
    time.sleep(_SECONDS_TO_STOP)
    os._exit(1)


def _work(job: Mapping[str, Any]) -> dict[str, Any]:
    """Train, or go on with, the run of ``job``, and say what came of it."""
    folder, began, used = Path(job["folder"]), time.monotonic(), time.process_time()
    run, console = RunFolder(folder), Console(quiet=True)
    try:
        if not run.finished.exists():
            if run.config.is_file():
                resume(folder, console)
            else:
                config = load_config(job["base"], job["overrides"]).config
                train(config, console, job["command"])
    except PpclasError as error:
        if str(error).startswith("Stopped on request"):  # nobody is there to be told
            sys.exit(0)
        return {"error": str(error)}
    return {
        **outcome(run),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }


def outcome(run: RunFolder) -> dict[str, Any]:
    """What a finished run reached: ``height``, ``best`` epoch and its numbers, ``epochs`` done."""
    summary = json.loads(run.finished.read_text(encoding="utf-8"))
    config = load_config(str(run.config)).config
    best = {
        key: value for key, value in summary["best"].items() if isinstance(value, int | float | str)
    }
    return {
        "height": height(best, config.train.monitor or ""),
        "best": best,
        "epochs": summary["epochs"],
        "planned": config.train.epochs,
    }


def _send(out: TextIO, message: Mapping[str, Any]) -> None:
    try:
        out.write(json.dumps(message) + "\n")
        out.flush()
    except BrokenPipeError:  # the search is gone; stdin says so as well
        pass


if __name__ == "__main__":
    main()

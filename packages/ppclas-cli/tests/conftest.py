"""What the tests of the command share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from ppclas_cli.main import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ppclas(capfd, monkeypatch) -> Callable[..., Result]:
    """Run ``ppclas`` in this process, in the folder ``cwd`` and with ``env`` beside this process's
    environment; None takes a variable out.
    """

    def run(
        *arguments: str, cwd: Path | None = None, env: Mapping[str, str | None] | None = None
    ) -> Result:
        capfd.readouterr()
        with monkeypatch.context() as there:
            if cwd is not None:
                there.chdir(cwd)
            for name, value in (env or {}).items():
                there.delenv(name, raising=False) if value is None else there.setenv(name, value)
            code = main(arguments)
        return Result(code, *capfd.readouterr())

    return run

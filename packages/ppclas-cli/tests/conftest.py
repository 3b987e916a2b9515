"""What the tests of the command share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from ppclas_cli.main import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ppclas(capfd) -> Callable[..., Result]:
    """Run ``ppclas`` in this process."""

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        code = main(arguments)
        return Result(code, *capfd.readouterr())

    return run

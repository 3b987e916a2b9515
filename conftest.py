"""What every test session needs, wherever it was started from."""

from __future__ import annotations

import random
import signal
import sys
from typing import Any

import numpy as np
import pytest

# A shell that starts pytest in the background has it ignore Ctrl-C, and every process of a test
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Random weights are those of the test and its fixtures, whatever ran before them in the same
    worker.
    """
    random.seed(0)
    np.random.seed(0)
    if (paddle := sys.modules.get("paddle")) is not None:
        paddle.seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile``: a file's tests share dear fixtures; the zoo's share none and fill the
    end one by one.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class FilesFirst(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return (
                nodeid
                if nodeid.startswith("packages/ppclas-models/")
                else nodeid.partition("::")[0]
            )

    return FilesFirst(config, log)

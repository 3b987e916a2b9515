"""Run the real command line in a process of its own, on a tiny data set or on the real photos
beside the clone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.runs.checkpoint import load_checkpoint
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

Ppclas = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """One thread a process, no colours, and nothing of the developer's own settings."""
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("PPCLAS_", "COV_"))
    }
    return {
        **plain,
        "OMP_NUM_THREADS": "1",
        "PPCLAS_OFFLINE": "1",
        "NO_COLOR": "1",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture(scope="session")
def ppclas(environment: dict[str, str]) -> Ppclas:
    """``ppclas("train", …, cwd=…)`` → the finished process; it must succeed unless ``code`` says
    otherwise.
    """

    def run(*arguments: object, cwd: Path | None = None, code: int | None = 0, **env: str):
        done = subprocess.run(
            [sys.executable, "-m", "ppclas_cli", *map(str, arguments)],
            cwd=cwd,
            env={**environment, **env},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=1800,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, (
                f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    return run


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three learnable classes of 16 photos with a short side of 40 pixels."""
    folder = tmp_path_factory.mktemp("tiny photos")
    make_tiny_dataset(folder, classes=3, per_class=16, size=40)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights beside the clone; tests that need it are skipped
    elsewhere.
    """
    if not (SHARED / "data").is_dir():
        pytest.skip(
            f"needs the real photos and weights in {SHARED}, which are not part of the repository"
        )
    return SHARED


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """``assert_same_run(run, expected)``: the same arrays, bundle and history, bit for bit, but for
    the times.
    """

    def arrays(file: Path) -> dict[str, np.ndarray]:
        return (
            dict(load_checkpoint(file).arrays)
            if file.parent.name == "checkpoints"
            else load_file(file)
        )

    def history(run: Path) -> list[dict[str, Any]]:
        rows = load_checkpoint(run / "checkpoints" / "last.safetensors").state["history"]
        return [
            {k: v for k, v in row.items() if k not in ("images_per_second", "wait_share")}
            for row in rows
        ]

    def check(run: Path, expected: Path) -> None:
        for file in ("checkpoints/last.safetensors", "bundle/model.safetensors"):
            mine, theirs = arrays(run / file), arrays(expected / file)
            assert mine.keys() == theirs.keys()
            for key, value in theirs.items():
                np.testing.assert_array_equal(mine[key], value, err_msg=f"{file}: {key}")
        assert history(run) == history(expected)

    return check


_TINY_PLUGIN = """
from ppclas_core.hookspecs import hookimpl
from ppclas_core.contracts.variants import register_variants


@hookimpl
def register_models(registry):
    register_variants(registry, "ppclas_core.testing.tiny_net:models", "FakeNet")
"""


@pytest.fixture(scope="session")
def tiny_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``PYTHONPATH`` that has the model ``FakeNet`` installed: 6000 weights, three
    batch norms.
    """
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "tiny_plugin.py").write_text(_TINY_PLUGIN)
    installed = folder / "tiny_plugin-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[ppclas]\ntiny = tiny_plugin\n")
    return folder

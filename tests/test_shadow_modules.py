"""Files of the user's that are called like modules are never imported, in no process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("paddle")

NAMES = ("types", "random", "json", "queue", "token", "utils", "numpy", "cv2", "PIL", "paddle")
SMALL = [
    "--from-scratch", "--epochs", "1", "--device", "cpu", "--batch-size", "16",
    "-o", "data.train_transforms=[{name: Resize, size: [32, 32]}]",
    "-o", "data.eval_transforms=[{name: Resize, size: [32, 32]}]",
]  # fmt: skip


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["--workers", "1"], id="a worker"),
        pytest.param(["--devices", "cpu:2"], id="two ranks", marks=pytest.mark.slow),
    ],
)
def test_training_beside_them(tmp_path, places):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py was imported')\n")
    # -P: as the ``ppclas`` command starts, which is not in this folder.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ppclas_cli", "train", *SMALL, *places, "--output", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert "was imported" not in done.stderr
    assert (done.returncode, (tmp_path / "run" / "bundle").is_dir()) == (0, True), done.stderr

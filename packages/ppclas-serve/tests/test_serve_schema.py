"""The description of the API, tried out by schemathesis: what it makes of it gets no 5xx."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("schemathesis", reason="it is a development dependency")
pytestmark = pytest.mark.slow
HOOKS = Path(__file__).parent / "schemathesis" / "hooks.py"
# A photo cannot be described in a schema: most of what it makes up is none, and gets a 422.
LEFT_OUT = "positive_data_acceptance"


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


def test_what_schemathesis_makes_of_the_description_is_answered_as_it_says(server, tmp_path):
    (tmp_path / "schemathesis.toml").write_text(
        f'hooks = "{HOOKS.as_posix()}"\n[parameters]\nname = "fruit"\nversion = "1"\n'
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run",
         f"http://127.0.0.1:{server.port}/openapi.json", "--seed", "1", "-n", "20",
         "--phases", "coverage,fuzzing", "--continue-on-failure", "--exclude-checks", LEFT_OUT,
         "--no-color", "--report", "json", "--report-json-path", "report.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"]["tested"] == report["operations"]["total"] > 15
    assert report["test_cases"]["generated"] > 200
    # Its warnings: paths where nothing got through, so that nothing behind them was tried.
    assert report["warnings"]["missing_test_data"] == ["GET /v1/shadow"]

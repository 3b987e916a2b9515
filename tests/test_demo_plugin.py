"""The example package as an outsider has it: built, installed from its wheel, found by its entry
point, used.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "examples" / "ppclas-demo"

pytestmark = pytest.mark.slow


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, DEMO)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def test_the_wheel_holds_the_package_and_its_entry_point(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read("ppclas_demo-0.1.0.dist-info/entry_points.txt").decode()
    assert {Path(name).name for name in names if name.startswith("ppclas_demo/")} == {
        "__init__.py",
        "model.py",
        "plugin.py",
        "py.typed",
        "schedule.py",
        "transform.py",
    }
    assert entry_points.split() == ["[ppclas]", "demo", "=", "ppclas_demo.plugin"]


def test_its_names_are_registered_without_importing_anything_heavy(installed):
    code = """
import json, sys
from ppclas_core.plugins import get_plugin_manager
manager = get_plugin_manager()
print(json.dumps({
    "owners": {
        name: registry.entry(name).owner
        for registry in manager.registries.all().values() for name in registry
    },
    "loaded": [info.distribution for info in manager.plugins if not info.reason],
    "heavy": sorted({"numpy", "paddle", "pydantic"} & set(sys.modules)),
}))
"""
    told = json.loads(run("-c", code, PYTHONPATH=installed, PPCLAS_STRICT_PLUGINS=1).stdout)
    demo = {name for name, owner in told["owners"].items() if owner == "ppclas-demo"}
    assert demo == {"DemoNet_small", "DemoNet_large", "Pixelate", "Sawtooth"}
    assert "ppclas-demo" in told["loaded"]
    assert told["heavy"] == []


def test_its_own_tests_pass_against_the_installed_wheel(installed, tmp_path):
    done = run(
        "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider",
        DEMO / "tests",
        PYTHONPATH=installed,
    )  # fmt: skip
    assert "5 passed" in done.stdout


def test_a_model_of_it_is_trained_from_the_command_line(installed, tmp_path):
    code = (
        "from pathlib import Path; from ppclas_data.testing import make_tiny_dataset; "
        f"make_tiny_dataset(Path({str(tmp_path / 'photos')!r}), per_class=16)"
    )
    run("-c", code)
    run(
        "-m", "ppclas_cli", "train", tmp_path / "photos", "--model", "DemoNet_small", "--epochs",
        6, "--image-size", 32,
        "--batch-size", 8, "--workers", 0, "--device", "cpu", "--output", tmp_path / "run",
        "-o", "schedule.name=Sawtooth", "-o", "schedule.lr=0.05",
        PYTHONPATH=installed,
    )  # fmt: skip
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert max(row["top1"] for row in rows) > 0.6  # chance is a third
    manifest = json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text())
    assert manifest["architecture"]["distribution"] == "ppclas-demo"

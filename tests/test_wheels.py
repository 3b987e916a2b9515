"""The wheels: what they hold and declare, and that they work in an environment with nothing
else of ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS = {
    "core": "",
    "data": "core",
    "models": "core",
    "augment": "data core",
    "components": "core",
    "engine": "data components core",
    "distill": "engine data components core",
    "deploy": "engine data core",
    "search": "engine data core",
    "paddleclas": "components core",
    "serve": "core data deploy engine",
    "cli": "core data augment engine distill deploy paddleclas",
}
"""Package → the siblings that it declares and may import."""
PACKAGES = tuple(NEEDS)
BIN = "Scripts" if os.name == "nt" else "bin"

pytestmark = pytest.mark.slow


def uv(
    *arguments: object, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    command = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if command is None:
        pytest.skip("needs uv, which is in the development group of the root pyproject.toml")
    done = subprocess.run(
        [command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Package (without ``ppclas-``) → its wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    done = uv("build", "--all-packages", "--wheel", "--out-dir", folder, cwd=ROOT, check=False)
    _skip_without_index(done)
    return {path.name.split("-")[0].removeprefix("ppclas_"): path for path in folder.glob("*.whl")}


def _skip_without_index(done: subprocess.CompletedProcess[str]) -> None:
    unreachable = (
        "dns error",
        "client error (Connect)",
        "Failed to fetch",
        "tcp connect error",
        "operation timed out",
    )
    if done.returncode and any(sign in done.stderr for sign in unreachable):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def _environment(folder: Path, wheels: dict[str, Path], *requirements: str) -> Path:
    """The ``bin`` of a new environment in which ``requirements`` are installed, ours from
    ``wheels``.
    """
    uv("venv", "--python", sys.executable, folder)
    python = folder / BIN / "python"
    found = next(iter(wheels.values())).parent
    _skip_without_index(
        uv(
            "pip",
            "install",
            "--python",
            python,
            "--find-links",
            found,
            *requirements,
            cwd=folder,
            check=False,
        )
    )
    uv("pip", "check", "--python", python)
    return folder / BIN


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory) -> Path:
    """The ``bin`` of an environment with everything, as a user installs it."""
    return _environment(
        tmp_path_factory.mktemp("all") / "env",
        wheels,
        "ppclas-cli[cpu,search,serve]",
        "ppclas-models",
    )


@pytest.fixture
def run(tmp_path):
    """Run a program in an empty folder, away from the repository and from this process's own
    packages.
    """

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        plain = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "PPCLAS_", "COV_"))
        }
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env={**plain, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_there_is_one_of_each_package(wheels):
    assert wheels.keys() == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_each_holds(wheels, package):
    names = names_in(wheels[package])
    assert f"ppclas_{package}/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    # ``import ppclas`` comes with the command.
    facade = ("ppclas/",) if package == "cli" else ()
    outside = [
        name
        for name in names
        if not name.startswith((f"ppclas_{package}/", f"ppclas_{package}-", *facade))
    ]
    assert outside == []
    assert not [name for name in names if "test" in Path(name).parts or name.endswith(".pyc")]


def test_photos_and_weights_carry_their_licences(wheels):
    data, models = names_in(wheels["data"]), names_in(wheels["models"])
    photos = [name for name in data if name.startswith("ppclas_data/produce8/")]
    assert sum(name.endswith(".jpg") for name in photos) > 100
    assert any(Path(name).name.startswith("LICENSE") for name in photos)
    assert "ppclas_models/pretrained/SqueezeNet1_1.safetensors" in models
    assert "ppclas_models/pretrained/MobileNetV2.safetensors" in models
    assert "ppclas_models/imagenet.tsv" in models
    assert "ppclas/__init__.py" in names_in(wheels["cli"])
    assert [name for name in models if ".dist-info/licenses/" in name and "SqueezeNet" in name]
    assert [name for name in data if ".dist-info/licenses/" in name and "produce8" in name]
    assert metadata_of(wheels["data"])["License-Expression"] == "Apache-2.0 AND MIT"
    assert metadata_of(wheels["models"])["License-Expression"].endswith(
        "BSD-2-Clause AND BSD-3-Clause"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_what_each_requires(wheels, package):
    metadata = metadata_of(wheels[package])
    assert metadata["Requires-Python"] == ">=3.10"
    requirements = metadata.get_all("Requires-Dist") or []
    assert not [line for line in requirements if "==" in line.partition(";")[0]]
    names = [re.match(r"[\w.-]+", line).group() for line in requirements if "extra ==" not in line]
    assert not [name for name in names if name.startswith("paddle")]
    # Another lower bound for a newer Python is a line of its own.
    each = [(re.match(r"[\w.-]+", line).group(), line.partition(";")[2]) for line in requirements]
    assert len(each) == len(set(each)), "something is required twice"
    siblings = [line for line in requirements if line.startswith("ppclas-") and "[" not in line]
    assert all(re.fullmatch(r"ppclas-\w+<1,>=0\.\d+( *; *extra == .*)?", line) for line in siblings)
    declared = {name for name in names if name.startswith("ppclas-")}
    assert declared == {f"ppclas-{name}" for name in NEEDS[package].split()}


def test_the_command_in_an_empty_environment(installed, run):
    ppclas = installed / "ppclas"
    versions = run(ppclas, "--version").stdout
    for package in PACKAGES:
        assert re.search(rf"ppclas-{package} \d", versions)
    plugins = {row["package"]: row for row in json.loads(run(ppclas, "plugins", "--json").stdout)}
    # The core registers nothing: all that ships comes by plugins.
    assert plugins.keys() == {f"ppclas-{package}" for package in PACKAGES} - {"ppclas-core"}
    assert all(row["ok"] for row in plugins.values())
    assert "Nothing is wrong." in run(ppclas, "doctor").stdout


def test_training_in_an_empty_environment(installed, run, tmp_path):
    ppclas = installed / "ppclas"
    said = run(ppclas, "train", "--epochs", 1, "--output", "run").stderr
    assert "MobileNetV2.safetensors: 265/267 tensors loaded" in said
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert best["top1"] > 0.5  # chance is an eighth
    scored = json.loads(run(ppclas, "eval", "run", "--json").stdout)
    assert (scored["top1"], scored["num_images"]) == (best["top1"], best["num_images"])


def needed(package: str) -> set[str]:
    """The package, and the siblings that it brings, directly or not."""
    return {package}.union(*(needed(name) for name in NEEDS[package].split()))


@pytest.mark.parametrize("package", PACKAGES)
def test_each_alone(wheels, run, tmp_path, package):
    """With what it declares and nothing else of ours: it imports, and its plugin loads."""
    folder = _environment(tmp_path / "env", wheels, f"ppclas-{package}")
    code = (
        "import importlib, importlib.metadata as m, json, sys\n"
        f"importlib.import_module('ppclas_{package}')\n"
        "light = sorted({'numpy', 'paddle', 'cv2', 'pydantic'} & set(sys.modules))\n"
        "from ppclas_core.plugins import get_plugin_manager\n"
        "plugins = {info.distribution: info.reason for info in get_plugin_manager().plugins}\n"
        "print(json.dumps([sorted(d.name for d in m.distributions()), light, plugins]))"
    )
    names, heavy, plugins = json.loads(run(folder / "python", "-c", code).stdout)
    siblings = needed(package)
    assert {name for name in names if name.startswith("ppclas-")} == {
        f"ppclas-{name}" for name in siblings
    }
    assert not heavy
    assert plugins == {f"ppclas-{name}": "" for name in siblings - {"core"}}
    if package == "core":
        named = {"pydantic", "pluggy", "PyYAML", "numpy", "safetensors"}
        theirs = {"annotated-types", "pydantic_core", "typing_extensions", "typing-inspection"}
        assert {*names} - {"ppclas-core"} == named | theirs


def test_an_onnx_export_runs_without_paddle_and_models(wheels, run, tmp_path):
    """onnxruntime, NumPy, OpenCV and our packages without the zoo: predict, benchmark and the
    Python interface.
    """
    folder = _environment(
        tmp_path / "env",
        {name: wheels[name] for name in PACKAGES if name != "models"},
        *(wheels[name] for name in PACKAGES if name not in ("models", "cli")),
        f"ppclas-cli[onnxruntime] @ {wheels['cli'].as_uri()}",
    )
    export = _linear_export(tmp_path / "export")
    photos = ROOT / "packages/ppclas-data/src/ppclas_data/produce8/val/Oat-Milk"
    names = (
        "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    )
    installed = set(run(folder / "python", "-c", names).stdout.split())
    assert "onnxruntime" in installed
    assert not {
        name
        for name in installed
        if name.startswith(("paddle", "onnx-", "torch")) or name == "ppclas-models"
    }
    ppclas = folder / "ppclas"
    forced = json.loads(
        run(ppclas, "predict", photos, "-m", export, "--threads", 1, "--format", "json").stdout
    )
    assert len(forced) == len(list(photos.glob("*.jpg")))
    assert all(row["top"][0]["probability"] > 0 for row in forced)
    chosen = run(ppclas, "predict", photos, "-m", export, "--engine", "auto", "--format", "json")
    assert json.loads(chosen.stdout) == forced
    assert "Engine onnxruntime: " in chosen.stderr
    rows = json.loads(
        run(ppclas, "benchmark", export, "--batch", "1", "--seconds", 0.1, "--json").stdout
    )
    assert rows[0]["engine"] == "onnxruntime"
    assert not rows[0]["error"]
    code = (
        "import sys, ppclas_deploy\n"
        f"answers = ppclas_deploy.load({str(export)!r}).predict({str(photos / '000.jpg')!r})\n"
        "print(answers[0].top[0][0])"
    )
    assert run(folder / "python", "-c", code).stdout.strip() == forced[0]["label"]


def _linear_export(folder: Path) -> Path:
    """A linear classifier of three classes on 32 x 32 pixels, as an ONNX export."""
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a network by hand")
    import numpy as np
    from ppclas_core.bundle import Architecture, Manifest, Preprocessing, write_manifest
    from ppclas_core.config.schema import ComponentConfig

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).normal(0, 0.01, (3 * 32 * 32, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 3])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    manifest = Manifest(
        kind="export",
        architecture=Architecture(name="SomethingOutside", num_classes=3),
        preprocessing=Preprocessing(
            image_size=(32, 32), transforms=(ComponentConfig(name="Resize", size=(32, 32)),)
        ),
        labels=("a", "b", "c"),
        export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx"},
    )
    write_manifest(folder, manifest)
    return folder

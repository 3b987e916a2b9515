"""Whatever goes in, a user gets one line that says what was expected, what came and what to try;
nothing is lost.

Inputs that fail before Paddle is needed go through a process each. The others share this process,
through the same ``main`` that the command runs; `test_paddle_missing` and those after it use real
processes again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ppclas_cli.main import main
from ppclas_engine.runs.checkpoint import load_checkpoint

NET = ("--model", "MobileNetV3_small_x0_35", "--image-size", "32", "--workers", "0")
TINY = (*NET, "-o", "model.pretrained=false")
ONE_EPOCH = (*TINY, "--epochs", "1")

Refused = Callable[..., str]


def snapshot(folder: Path) -> dict[str, str]:
    """Every file with its content's hash, and every folder but ``runs`` itself."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
        if path != folder / "runs"
    }


def one_line(code: int, stderr: str, expected_code: int = 1) -> str:
    """The only ``error:`` line, of a process that ended as a user's mistake does."""
    assert code == expected_code, stderr
    assert "Traceback" not in stderr
    assert "bug in ppclas" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    return errors[0]


@pytest.fixture
def work(tmp_path: Path, tiny_photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, with ``photos`` and a list of them in it."""
    folder = tmp_path / "work"
    shutil.copytree(tiny_photos, folder / "photos")
    lines = [
        f"{path.relative_to(folder)} {path.parent.name[-1]}"
        for path in sorted(folder.glob("photos/*/*"))
    ]
    (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(ppclas, work) -> Refused:
    """Run ``ppclas`` in a process; it must give one line and leave ``work`` as it was."""

    def run(*arguments: object, code: int = 1, **env: str) -> str:
        before = snapshot(work)
        done = ppclas(*arguments, cwd=work, code=None, **env)
        assert snapshot(work) == before
        return one_line(done.returncode, done.stderr, code)

    return run


@pytest.fixture
def refused_here(work, capfd) -> Refused:
    """As ``refused``, in this process: Paddle is imported once for all."""

    def run(*arguments: object, code: int = 1) -> str:
        before = snapshot(work)
        capfd.readouterr()
        returned = main([*map(str, arguments)])
        assert snapshot(work) == before
        return one_line(returned, capfd.readouterr().err, code)

    return run


# Settings


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "data.batchsize=8"], 1, ["unknown key 'batchsize'", "Did you mean 'batch_size'?"]),
        (["-o", "train.epochs=many"], 1, ["expected a whole number", "'many'"]),
        (["-o", "batch_size"], 1, ["expected KEY=VALUE", "-o data.batch_size=32"]),
        (
            ["-o", "data.eval_transforms.0.size=3"],
            1,
            ["data.eval_transforms is not set", "give all of it"],
        ),
        (["-c", "imagenet-resnet50", "-o", "data.train_transforms.99.size=3"], 1, ["99"]),
        (
            ["--model", "MobileNetV3_smal_x0_35"],
            1,
            ["Did you mean 'MobileNetV3_small_x0_35'", "ppclas models list"],
        ),
        (["--lr", "-1"], 2, ["--lr", "x>0", "ppclas train --help"]),
        (["--lr", "nan"], 1, ["schedule.lr", "expected a finite number", "nan"]),
        (["-o", "schedule.lr=-1"], 1, ["expected more than 0", "-1"]),
        (["--image-size", "0"], 2, ["--image-size", "x>=8"]),
        (["-o", "data.image_size=0"], 1, ["data.image_size", "expected more than 0"]),
        (["--epochs", "0"], 2, ["--epochs", "x>=1"]),
        (["-c", "finetun"], 1, ["no file finetun", "finetune"]),
        (["-c", "photos"], 1, ["photos is a folder", "expected a YAML file"]),
        (["--resume", "nowhere"], 1, ["nowhere is not a run folder", "ppclas train"]),
        (["--resume"], 1, ["Nothing to resume", "--resume DIR"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_settings(refused, arguments, code, words):
    data = [] if "--resume" in arguments else ["photos"]
    line = refused("train", *data, *arguments, code=code)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"model: {name: ResNet50}\ntrain:\n  epoch: 3\n",
            ["bad.yaml:3:3", "'epoch'", "Did you mean 'epochs'?"],
        ),
        (b"train: {epochs: three}\n", ["bad.yaml:1:17", "expected a whole number", "'three'"]),
        (b"train: [1\n", ["bad.yaml:"]),
        (b"!!python/object/apply:os.system ['touch owned']\n", ["bad.yaml:1"]),
        ("train: {epochs: 1}\n".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
        (bytes(range(256)), ["bad.yaml:"]),
    ],
    ids=["unknown key", "wrong type", "cut off", "code", "UTF-16", "binary"],
)
def test_config_file(refused, work, content, words):
    (work / "bad.yaml").write_bytes(content)
    line = refused("train", "photos", "-c", "bad.yaml")
    for word in words:
        assert word in line
    assert not (work / "owned").exists()


def test_unknown_target(refused):
    line = refused("export", "photos", "--target", "onx")
    assert "Unknown export target 'onx'. Did you mean 'onnx'?" in line


# Photos and labels


def test_data_paths(refused_here, work):
    assert "nowhere: expected a folder of class folders, a list file or a CSV" in refused_here(
        "train", "nowhere"
    )
    (work / "empty").mkdir()
    assert "empty: expected a folder of class folders with photos" in refused_here("train", "empty")
    shutil.copytree(work / "photos" / "class_00", work / "one" / "class_00")
    assert "two classes or more, got one class (class_00)" in refused_here("train", "one")


def test_lists(refused_here, work):
    lines = (work / "list.txt").read_text().splitlines()

    def said(changed: list[str], *more: object) -> str:
        (work / "bad.txt").write_text("".join(f"{line}\n" for line in changed))
        return refused_here("train", *(more or ["bad.txt"]), *ONE_EPOCH)

    assert "bad.txt:33: expected labels without gaps" in said(
        [line.replace(" 2", " 3") for line in lines]
    )
    assert "expected labels that start at 0, got 1" in said(
        [f"{line[:-1]}{int(line[-1]) + 1}" for line in lines]
    )
    assert "bad.txt:6: expected 'path label'" in said([*lines[:5], lines[5].split()[0], *lines[6:]])
    lost = said([*lines, "gone.jpg 2", "lost.jpg 2"])  # one alone would be left out with a warning
    assert "bad.txt:49: ./gone.jpg: No such file" in lost
    unknown = said(
        [*lines[:3], lines[-1].replace(" 2", " 5")], "--train", "list.txt", "--val", "bad.txt"
    )
    assert "bad.txt:4: expected a label from 0 to 2 for 3 classes, got 5" in unknown


def test_too_many_bad_photos(refused_here, work):
    for photo in sorted(work.glob("photos/class_00/*.jpg"))[:4]:
        photo.write_bytes(photo.read_bytes()[:40])
    line = refused_here("train", "photos", *ONE_EPOCH)
    assert "at most one unreadable image" in line
    assert "ppclas data check" in line
    assert "data.max_bad_fraction" in line


def test_text_renamed_to_jpg(refused_here, work):
    for photo in sorted(work.glob("photos/class_01/*.jpg")):
        photo.write_text("no photo, but a note\n")
    assert "not an image: it looks like text" in refused_here("train", "photos", *ONE_EPOCH)


def test_a_batch_larger_than_the_set(refused_here):
    line = refused_here("train", "photos", *ONE_EPOCH, "--batch-size", 1000)
    assert "batch_size 1000 is more than the" in line
    assert "Use a smaller --batch-size" in line


# Weights


class Hostile:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["there are no weights at"]),
        (b"", ["is empty (0 bytes)", "Get it again"]),
        (b"<!DOCTYPE html><html>404</html>", ["HTML or XML page"]),
        (
            pickle.dumps({"fc.weight": Hostile()}, 2),
            ["asks to run 'posix.system'", "nothing of it was run"],
        ),
        (
            pickle.dumps({"a.weight": np.ones((3, 3), "f4")}, 4),
            ["none of the file's 1 tensors", "another model?"],
        ),
        (
            pickle.dumps({"a.weight": np.ones((99, 99), "f4")}, 4)[:5000],
            ["damaged", "cut off at 5000 bytes"],
        ),
    ],
    ids=["missing", "zero bytes", "HTML", "hostile pickle", "another model's", "truncated"],
)
def test_weights(refused_here, work, content, words):
    file = work / "weights.pdparams"
    if content is not None:
        file.write_bytes(content)
    for line in (
        refused_here("train", "photos", *NET, "--pretrained", file),
        refused_here(
            "eval", "--model", "MobileNetV3_small_x0_35", "--weights", file, "--data", "list.txt"
        ),
    ):
        assert "weights.pdparams" in line
        for word in words:
            assert word in line
    assert not (work / "owned").exists()


# Where results go


def test_output_folders(refused_here, work):
    (work / "file").write_text("mine")
    assert "file is a file; expected a folder" in refused_here(
        "train", "photos", *ONE_EPOCH, "--output", "file"
    )
    assert "file/run cannot be written" in refused_here(
        "train", "photos", *ONE_EPOCH, "--output", "file/run"
    )
    line = refused_here("train", "photos", *ONE_EPOCH, "--output", "photos")
    assert "photos is not empty (it holds class_0" in line
    assert "choose another --output" in line


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a folder that not even root can write to"
)
def test_read_only_output(refused_here):
    line = refused_here("train", "photos", *ONE_EPOCH, "--output", "/proc/run")
    assert "/proc/run cannot be written" in line
    assert "--output" in line


def test_an_empty_folder_of_the_user_stays(refused_here, work):
    (work / "mine").mkdir()
    (work / "empty.pdparams").touch()
    line = refused_here(
        "train", "photos", *NET, "--pretrained", "empty.pdparams", "--output", "mine"
    )
    assert "is empty (0 bytes)" in line


# The installation


def test_paddle_missing(refused, ppclas, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        """
import sys
from importlib.machinery import PathFinder

class WithoutPaddle:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name == "paddle" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutPaddle
"""
    )
    line = refused("train", "photos", *ONE_EPOCH, PYTHONPATH=str(tmp_path))
    assert "PaddlePaddle is needed for training and is not installed" in line
    assert "ppclas setup" in line
    assert 'pip install "ppclas-core[cpu]"' in line
    assert "ResNet50" in ppclas("models", "list", PYTHONPATH=str(tmp_path)).stdout


def installed_plugin(folder: Path, name: str, code: str) -> dict[str, str]:
    """An environment in which the package ``name`` is installed with a plugin of that ``code``."""
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[ppclas]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def test_a_plugin_that_raises_on_import(ppclas, tmp_path):
    env = installed_plugin(tmp_path, "boom", "raise RuntimeError('no such luck')")
    done = ppclas("models", "list", "resnet50", **env)
    assert "ResNet50_vd" in done.stdout
    assert (
        "warning: plugin 'boom' of boom is left out: RuntimeError: no such luck (see 'ppclas "
        "plugins')" in done.stderr
    )
    assert "Traceback" not in done.stderr
    told = {row["name"]: row for row in json.loads(ppclas("plugins", "--json", **env).stdout)}
    assert not told["boom"]["ok"]
    assert "RuntimeError: no such luck" in told["boom"]["traceback"]
    strict = ppclas("models", "list", code=1, PPCLAS_STRICT_PLUGINS="1", **env)
    assert "plugin 'boom' (boom) failed: RuntimeError: no such luck" in one_line(
        strict.returncode, strict.stderr
    )


def test_a_name_that_two_plugins_register(ppclas, tmp_path):
    code = (
        "from ppclas_core import hookimpl\n"
        "@hookimpl\n"
        "def register_models(registry):\n"
        "    registry.register('ResNet50', 'nowhere:model')\n"
    )
    done = ppclas("models", "list", "resnet50", **installed_plugin(tmp_path, "twice", code))
    assert "ResNet50_vd" in done.stdout
    assert "model 'ResNet50' is registered twice: by ppclas-models and by twice" in done.stderr


# What must work, and what must survive


@pytest.mark.slow
def test_spaces_and_chinese_characters(ppclas, tiny_photos, tmp_path):
    folder = tmp_path / "花 园"
    for index, source in enumerate(sorted(tiny_photos.iterdir())):
        shutil.copytree(source, folder / "照片 集" / f"类 别 {index}")
    said = ppclas("train", "照片 集", *ONE_EPOCH, "--output", "运行 一", cwd=folder).stderr
    assert "ppclas eval '运行 一'" in said  # can be pasted into a shell
    photo = "照片 集/类 别 0/000.png"
    (answer,) = json.loads(
        ppclas("predict", photo, "-m", "运行 一", "--format", "json", cwd=folder).stdout
    )
    assert answer["path"] == photo
    assert sorted(row["label"] for row in answer["top"]) == ["类 别 0", "类 别 1", "类 别 2"]
    best = json.loads((folder / "运行 一" / "summary.json").read_text())["best"]
    scored = json.loads(ppclas("eval", "运行 一", "--json", cwd=folder).stdout)
    assert (scored["top1"], scored["loss"], scored["num_images"]) == (
        best["top1"],
        best["loss"],
        best["num_images"],
    )
    ppclas("predict", "照片 集", "-m", "运行 一", "-o", "答案.csv", cwd=folder)
    assert len((folder / "答案.csv").read_text(encoding="utf-8").splitlines()) == 1 + 48


@pytest.mark.slow
def test_a_tampered_bundle(ppclas, refused, work):
    ppclas("train", "photos", *ONE_EPOCH, "--output", "run", cwd=work)
    weights = work / "run" / "bundle" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()  # may be one file with the checkpoint
    weights.write_bytes(content)
    for arguments in (
        ("eval", "run"),
        ("predict", "photos", "-m", "run"),
        ("export", "run", "--target", "paddle"),
    ):
        line = refused(*arguments)
        assert "model.safetensors" in line
        assert "bundle.json" in line


_DISK_FILLS = """
import resource, safetensors.numpy
save, calls = safetensors.numpy.save_file, 0

def save_file(*args, **kwargs):
    global calls
    calls += 1
    if calls > {writes}:  # from here on the system refuses to write more than so much into one file
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    return save(*args, **kwargs)

safetensors.numpy.save_file = save_file
from ppclas_cli.main import main
raise SystemExit(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk(ppclas, environment, work):
    def train_on_full_disk(writes: int) -> str:
        code = _DISK_FILLS.format(writes=writes)
        done = subprocess.run(
            [sys.executable, "-c", code, "train", "photos", *TINY, "--epochs", "3", "--output",
                "run"],
            cwd=work, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return one_line(done.returncode, done.stderr)

    before = snapshot(work)
    line = train_on_full_disk(0)
    assert "run/checkpoints/last.safetensors cannot be written" in line
    assert "File too large" in line
    assert "choose another --output" in line
    assert snapshot(work) == before

    line = train_on_full_disk(2)
    assert "run/checkpoints/last.safetensors cannot be written" in line
    assert "Earlier checkpoints are untouched" in line
    assert load_checkpoint(work / "run" / "checkpoints" / "last.safetensors").state["epoch"] == 2
    assert not list((work / "run").rglob("*.tmp"))
    ppclas("eval", "run", cwd=work)
    ppclas("train", "--resume", "run", cwd=work)
    assert json.loads((work / "run" / "summary.json").read_text())["epochs"] == 3

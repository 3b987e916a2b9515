"""Every command that a page or a ``--help`` gives is run as it is written, among photos, lists,
runs and exports of the names that the pages use. Those that train do so for an epoch, at 32 pixels.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytestmark = pytest.mark.sweep

TOP = Path(__file__).parents[3]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*/*.md"), *TOP.glob("packages/*/README.md")])
CLASSES = ("pear", "plum", "tulip")
MODELS = (
    *("MobileNetV2", "MobileNetV3_small_x1_0", "PPLCNet_x1_0"),
    *("ResNet50", "ResNet50_vd", "ResNet50_vd_ssld"),
)
"""Whose published weights the pages use; random ones stand in for them here."""
RUNS = ("ResNet50_vd-1", "a-1", "b-1", "big-1", "teacher", "big", "alone", "student", "distilled")

NOT_RUN = {
    r"--nnodes": "several machines",
    r"--reader dali|--target trt|setup --device gpu|kind=gpu": "a GPU",
    r"setup": "it would change this environment",
    r"--torch-model|--from torch|resnet50-0676ba61": "weights of PyTorch's hub",
    r"PaddleClas/|configs/ResNet|ResNet50_vd\.yaml|R50_vd_distill|OLD\.yaml": "PaddleClas' files",
    r"flowers102/": "the Oxford set",
    r"ILSVRC2012|pipeline (?!.*--dry-run)": "ImageNet",
    r"hub (push|pull)|data fetch": "test_hub and test_data_fetch",
    r"mysql://": "a database server",
    r"ResNet50_vd_pretrained\.tar": "the archive of 2020",
    r"\.parquet|shards/": "test_data_parquet, test_data_shards and test_data_archives",
    r"photos\.example\.org|^ppclas client": "run with the service below",
}
"""What is left out, and why; or where it is run."""
STAND_INS = {
    r"--devices 0(,\d)+": "--devices cpu:2",
    r"--batch-size (256|1024)": "--batch-size 8",
    r"\bRUN\b": "runs/MobileNetV2-1",
    r"(?<= )(EXPORT|candidate/|live/|(?<!-o )old/|new/(?= --name)|newest/)(?= |$)": "exports/onnx",
    r"\bPHOTOS?\b": "cat.jpg",
    r"\b(DATA|LIST)\b": "val_list.txt",
    r"\b(NAME)\b": "MobileNetV2",
    r"--(weights|pretrained) (PATH|FILE)": r"--\1 mine.pdparams",
    r"\bDIR\b": "somewhere",
    r"--target T\b": "--target onnx",
    r"(?<=pear, plum)\]": ", tulip]",
    r"\[0\.3, 0\.6\]": "[0.3, 0.6, 0.5]",
    r"(?<=photos/ --kfold 5 --group )'patient_\(\[0-9\]\+\)'": r"'([0-9]+)\.jpg'",
}
"""Placeholders of sentences, and devices that are not here."""
SMALLER = {"epochs": " -o train.epochs=1", "size": " -o data.image_size=32"}
"""What is said behind a command that trains, where it does not say so itself."""


def commands():
    """Each command of a block of code, once; those in sentences are mentions, and often parts."""
    seen = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^ *(?:\$ )?(ppclas .*)", block, re.MULTILINE):
                words = re.sub(r"\s+(#|  ).*", "", line).strip()
                if "[OPTIONS]" not in words and "COMMAND" not in words:
                    seen.setdefault(words, str(page.relative_to(TOP)))
    return seen


COMMANDS = commands()
SERVED = [words for words in COMMANDS if words.startswith("ppclas serve")]


def why_not(words):
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, words)), None)


def stood_in(words):
    for pattern, stand_in in STAND_INS.items():
        words = re.sub(pattern, stand_in, words)
    if words.startswith("ppclas search "):
        words = re.sub(r" --(minutes|trials) \d+", "", words) + " --trials 1"
        words += "".join(SMALLER.values())
    if re.match(r"ppclas (distill )?train", words) and "--resume" not in words:
        words += "".join(smaller for word, smaller in SMALLER.items() if word not in words)
    return words


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with all that the commands name."""
    folder = tmp_path_factory.mktemp("shop")
    before, home = Path.cwd(), os.environ.get("PPCLAS_HOME")
    os.chdir(folder)
    os.environ["PPCLAS_HOME"] = str(folder / "home")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fill(folder)
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
    os.chdir(before)
    os.environ.pop("PPCLAS_HOME")
    if home is not None:
        os.environ["PPCLAS_HOME"] = home


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


def fill(folder):
    write_photos(folder)
    for name in MODELS:
        write_weights(folder / "home" / "weights", name)
    must_run("ppclas train photos/ --epochs 1 --image-size 64 --output runs/MobileNetV2-1")
    for name in ("MobileNetV2-2", *RUNS):
        shutil.copytree("runs/MobileNetV2-1", f"runs/{name}")
    for target in ("onnx", "openvino"):
        must_run(f"ppclas export runs/MobileNetV2-1 --target {target}")
    must_run("ppclas quantize runs/MobileNetV2-1 --guard 1")
    shutil.copytree("runs/MobileNetV2-1/export-onnx", "exports/onnx")
    shutil.copytree("runs/MobileNetV2-1/export-int8", "exports/int8")
    shutil.copytree("exports/onnx", "flowers-onnx")
    must_run("ppclas data audit photos/ -o audit")
    shutil.copy("audit/audit.csv", "audit.csv")


def write_photos(folder):
    rng = np.random.default_rng(0)
    places = [f"photos/{part}" for part in ("train", "val")]
    places += ["flowers", "held_out", "other_photos", "train", "val"]
    lists = {"train": [], "val": []}
    for place in places:
        for number, name in enumerate(CLASSES):
            for photo in range(10):
                file = folder / place / name / f"{photo}.jpg"
                write_photo(file, number, rng)
                if place.startswith("photos/"):
                    lists[place[7:]].append(f"{file.relative_to(folder)} {number}\n")
    for place in ("new", "pool", "more", "more_photos"):
        for photo in range(6):
            write_photo(folder / place / f"{photo}.jpg", photo % 3, rng)
    for name in ("cat.jpg", "photo.jpg", "new.jpg"):
        write_photo(folder / name, 0, rng)
    for part, lines in lists.items():
        for name in (f"{part}_list.txt", f"{part}.txt"):
            (folder / name).write_text("".join(lines))
    both = [f"photos/train/{name}/{n}.jpg\t{labels}\n" for n in range(8)
            for name, labels in zip(CLASSES, ("1,0,0", "0,1,1", "1,0,1"), strict=True)]  # fmt: skip
    (folder / "list.txt").write_text("".join(both))
    (folder / "names.txt").write_text("pear\nplum\nlily\n")
    (folder / "my.yaml").write_text("train: {epochs: 1}\ndata: {train: photos/}\n")
    (folder / "measured.csv").write_text("model,batch,p50_ms\nMobileNetV2,1,8\nPPLCNet_x1_0,1,5\n")
    (folder / "space.yaml").write_text("schedule.lr: {low: 1e-4, high: 0.1, log: true}\n")
    write_scans(folder, rng)
    write_bands(folder, rng)
    (folder / "selected").mkdir()
    (folder / "selected" / "selected.txt").write_text("../pool/0.jpg\n../pool/1.jpg\n")


def write_scans(folder, rng):
    """Three photos of each of ten patients, in folders of the classes and as a table."""
    rows = ["path,label,patient"]
    for kind, name in enumerate(CLASSES):
        for number in range(10):
            file = folder / "scans" / name / f"patient_{number}_{kind}.jpg"
            write_photo(file, kind, rng)
            rows.append(f"{file.relative_to(folder)},{name},{number}")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")


def write_bands(folder, rng):
    tifffile = pytest.importorskip("tifffile")
    for place, highest in (("bands", 10000), ("satellite", 4095)):
        for name in CLASSES:
            (folder / place / name).mkdir(parents=True)
            for number in range(10):
                tifffile.imwrite(
                    folder / place / name / f"{number}.tif",
                    rng.integers(0, highest, (48, 48, 5)).astype(np.uint16),
                    photometric="minisblack",
                    planarconfig="contig",
                )
    shutil.copy(folder / "photos" / "val" / "pear" / "0.jpg", folder / "field.tif")


def write_photo(file, kind, rng):
    file.parent.mkdir(parents=True, exist_ok=True)
    photo = rng.integers(0, 90, (60, 72, 3)).astype(np.uint8)
    photo[..., kind] += 150
    cv2.imwrite(str(file), photo)


def write_weights(folder, name):
    from ppclas_core.models import create_model
    from ppclas_models.catalog import load_catalog

    folder.mkdir(parents=True, exist_ok=True)
    row = load_catalog()[name]
    paddle.seed(0)
    state = create_model(row.architecture).state_dict()
    file = Path("mirror", urllib.parse.urlsplit(row.weights_url).path.lstrip("/"))
    paddle.save(state, str(file))
    if name != "MobileNetV2":  # has real ones in the wheel
        shutil.copy(file, folder)
    if name == "ResNet50":
        paddle.save(state, "my_resnet.pdparams")
        shutil.copy("my_resnet.pdparams", "ResNet50.safetensors")
    if name == "MobileNetV3_small_x1_0":
        paddle.save(create_model("MobileNetV2").state_dict(), "mine.pdparams")
        paddle.save(create_model("MobileOne_s0").state_dict(), "mobileone_s0.safetensors")


def run(line):
    """Exit code and stderr of a line; ``>`` works as in a shell."""
    line, _, target = line.partition(" > ")
    words = [sys.executable, "-m", "ppclas_cli", *shlex.split(line)[1:]]
    done = subprocess.run(words, capture_output=True, text=True)
    if target:
        Path(target).expanduser().parent.mkdir(parents=True, exist_ok=True)
        Path(target).expanduser().write_text(done.stdout)
    return done.returncode, done.stderr


def must_run(line):
    code, said = run(line)
    assert code == 0, said


@pytest.mark.parametrize("words", [one for one in COMMANDS if one not in SERVED])
def test_a_command_of_a_page_runs(shop, words, monkeypatch):
    if why := why_not(words):
        pytest.skip(why)
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    prepare(words)
    monkeypatch.setenv("PPCLAS_MIRROR", f"{shop}/mirror")
    code, said = run(stood_in(words).replace("https://example.com", shop))
    assert code == 0, f"{COMMANDS[words]}: {words}\n{said[-2000:]}"


def prepare(words):
    """Make room for what is written once; a stopped run where one is gone on with."""
    if words.startswith("ppclas search "):
        shutil.rmtree("search", ignore_errors=True)
    out = re.search(r" -o (\S+)", words)
    target = re.search(r"--target (\w+)", words)
    if words.startswith(("ppclas export", "ppclas quantize")):
        folder = f"runs/MobileNetV2-1/export-{target[1] if target else 'int8'}"
        shutil.rmtree(out[1] if out else folder, ignore_errors=True)
    made = re.search(r"train .*--output (\S+)", words)
    if made:
        shutil.rmtree(made[1], ignore_errors=True)
    if words.startswith("ppclas distill select "):
        shutil.rmtree(out[1], ignore_errors=True)
    if words.startswith("ppclas models fuse "):
        shutil.rmtree("fused", ignore_errors=True)
    found = re.search(r"models fuse (runs/((?:MobileOne|RepVGG)\w+)-1)", words)
    if found:
        how = "--from-scratch --epochs 1 --image-size 32"
        must_run(f"ppclas train photos/ -m {found[2]} {how} --output {found[1]}")
    if words.startswith("ppclas data audit "):
        shutil.rmtree("audit", ignore_errors=True)
    found = re.search(r"runs/\S+-5folds-1", words)
    if found:
        shutil.rmtree(found[0], ignore_errors=True)
        how = "--kfold 5 --epochs 1 --image-size 32"
        must_run(f"ppclas train photos/ {how} --output {found[0]}")
        if "--resume" in words:
            (Path(found[0]) / "fold-5" / "finished").unlink()
        return
    found = re.search(r"--resume (\S+)", words)
    if found:
        shutil.rmtree(found[1], ignore_errors=True)
        how = "distill train --teacher runs/teacher" if "distill" in words else "train"
        model = Path(found[1]).name.rpartition("-")[0]
        line = f"ppclas {how} photos/ -m {model} --epochs 2 --image-size 32 --output {found[1]}"
        must_run(line)
        (Path(found[1]) / "finished").unlink(missing_ok=True)


@pytest.mark.parametrize("words", SERVED)
def test_a_service_of_a_page_starts_and_answers(shop, words, tmp_path):
    words = re.sub(r" --(host|port|grpc-port) \S+", "", stood_in(words))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "ppclas_cli", *shlex.split(words)[1:], "--port", str(port)]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(line, stderr=log) as service:
        try:
            until = time.monotonic() + 120
            while not answers(f"http://127.0.0.1:{port}/ready"):
                assert service.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.5)
            for ask in ("cat.jpg", "photos/ -o answers.csv"):
                must_run(f"ppclas client http://127.0.0.1:{port} {ask}")
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0


@functools.cache
def _opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url):
    try:
        with _opener().open(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False

"""The commands of tutorials and how-to pages, one after the other, as a reader types them.

Trainings get ``--epochs 1``, where the page says nothing of epochs; what needs a network, a
cluster, a container or a phone is left out. Both languages have the same commands (``test_site``).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "en"
LEFT_OUT = re.compile(
    r"pip (install|download)|docker|kubectl|sbatch|mpirun|gradle|cd examples|export PPCLAS_TOKEN"
    r"|--host 0\.0\.0\.0|ResNet50_vd|--target lite|-m phone|--devices"
)
"""Installing from an index, tools of other machines, published weights, Paddle-Lite."""
READY = "http://127.0.0.1:8000/v2/health/ready"
TUTORIALS = ["first-model", "to-a-server", "to-a-phone", "distil-a-small-model", "first-plugin"]
HOW_TO = ["better-accuracy", "choosing-a-model", "metrics", "unknown", "multilabel", "platforms"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """What a reader has after the first tutorial: photos of three classes, and a run."""
    place = tmp_path_factory.mktemp("guides")
    taken = Path(str(files("ppclas_data"))) / "produce8" / "train"
    photos = sorted(taken.rglob("*.jpg"))
    assert photos
    by_class = {}
    for photo in photos:
        by_class.setdefault(photo.parent.name, []).append(photo)
    for name, all_of_it in sorted(by_class.items())[:3]:
        for folder, part in (
            ("photos", all_of_it[:10]),
            ("other_photos", all_of_it[10:13]),
            ("held_out", all_of_it[13:16]),
        ):
            (place / folder / name).mkdir(parents=True)
            for photo in part:
                shutil.copy(photo, place / folder / name)
        for folder, photo in (("new", all_of_it[16]), ("more_photos", all_of_it[17])):
            (place / folder).mkdir(exist_ok=True)
            shutil.copy(photo, place / folder / f"{name}.jpg")
    shutil.copy(photos[0], place / "cat.jpg")
    rows = [
        f"{photo.relative_to(place)}\t{photo.parent.name}|fruit"
        for photo in sorted((place / "photos").rglob("*.jpg"))
    ]
    (place / "list.txt").write_text("\n".join(rows) + "\n", "utf-8")
    run("ppclas train photos/ --epochs 1", place)
    assert (place / "runs" / "MobileNetV2-1" / "report.html").exists()
    return place


def environment(place):
    binaries = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PPCLAS_HOME": str(place / "home"),
        "PPCLAS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
        "PYTHONPATH": str(place / "petals" / "src"),
    }


def run(command, place):
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, env=environment(place), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def commands(page):
    """The commands in the blocks of a page, with an epoch for each training."""
    text = (PAGES / f"{page}.md").read_text("utf-8").replace("\\\n", " ")
    for block in re.findall(r"^```(?:shell|bash)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if not line or line.startswith("#") or LEFT_OUT.search(line):
                continue
            command = line.partition("  #")[0].rstrip()
            trains = re.match(r"ppclas (distill )?train ", command)
            if trains and "--epochs" not in command and "--resume" not in command:
                command += " --epochs 1"
            yield command


def follow(page, place):
    """Run every command of the page; what is started to stay (a server) ends with it."""
    followed = 0
    servers = []
    try:
        for command in commands(page):
            followed += 1
            if command.startswith("ppclas serve "):
                servers.append(subprocess.Popen(command.split(), cwd=place, env=environment(place)))
                wait_until_ready(servers[-1])
            else:
                run(command.replace("curl ", "curl --fail-with-body "), place)
            if command.startswith("ppclas plugins new"):
                announce(place)
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    return followed


def wait_until_ready(server):
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(READY, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server is not ready after two minutes")


def announce(place):
    """The plugin of the tutorial, as ``pip install -e`` does it without an index."""
    about = place / "petals" / "src" / "petals-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: petals\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[ppclas]\npetals = petals.plugin\n")


@pytest.fixture
def place(start, tmp_path):
    copy = tmp_path / "reader"
    shutil.copytree(start, copy)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.sweep if page == "distil-a-small-model" else ())
        for page in TUTORIALS
    ],
)
def test_a_tutorial_works_as_it_is_written(page, place):
    assert follow(page, place) >= {"to-a-phone": 1}.get(page, 3)


@pytest.mark.sweep
@pytest.mark.parametrize("page", HOW_TO)
def test_the_commands_of_a_how_to_page_work(page, place):
    assert follow(page, place) >= 1

"""Whole searches by the command: stopped, killed and taken up, and under a budget of time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ppclas_data.testing import make_tiny_dataset

slow, sweep = pytest.mark.slow, pytest.mark.sweep

SPACE = "schedule.lr: [0.01, 0.003, 0.001]\nloss.label_smoothing: [0, 0.1]\n"
SMALL = ("-o", "data.image_size=32", "-o", "train.epochs=4", "-o", "data.workers=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_tiny_dataset(tmp_path_factory.mktemp("photos"), per_class=10)[0]


def command(photos, folder, *options):
    space = Path(folder).parent / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    return [
        *(sys.executable, "-m", "ppclas_cli", "search", str(photos), "--space", str(space)),
        *("-m", "SqueezeNet1_1", "--engine", "dygraph", "--output", str(folder), *SMALL, *options),
    ]


def run(*line):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PPCLAS_OFFLINE": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


def result(folder):
    return json.loads((folder / "search.json").read_text())


def by_point(folder):
    """Point → what a trial of it reached."""
    return {
        (trial["schedule.lr"], trial["loss.label_smoothing"]): (trial["state"], trial["top1"])
        for trial in result(folder)["trials"]
    }


def wait_for(condition, seconds=240.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A grid that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    run(*command(photos, folder, "--sampler", "grid"))
    return folder


@slow
def test_every_trial_is_an_ordinary_run(whole, photos, tmp_path):
    found = result(whole)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 6
    best = max(trial["top1"] for trial in found["trials"])
    assert found["best"]["top1"] == best
    folder = Path(found["best"]["run"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best"]["top1"] == best
    listed = json.loads(
        run(
            sys.executable, "-m", "ppclas_cli", "runs", "list", str(whole / "trials"), "--json"
        ).stdout
    )
    assert len(listed) == 6
    # The best settings give the same numbers to the last digit, in a process of their own.
    again = tmp_path / "again"
    line = (sys.executable, "-m", "ppclas_cli", "train", "-c", str(whole / "best.yaml"))
    run(*line, "--output", str(again))
    assert json.loads((again / "summary.json").read_text())["best"] == summary["best"]


@pytest.mark.parametrize(
    "killed", [pytest.param("search", marks=sweep), pytest.param("all", marks=slow)]
)
def test_a_search_with_two_jobs_that_is_killed_goes_on(whole, photos, tmp_path, killed):
    folder = tmp_path / "search"
    line = command(photos, folder, "--sampler", "grid", "--jobs", "2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PPCLAS_OFFLINE": "1"}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, env=environment)
    began = folder / "trials"
    # One run has ended, and another has a checkpoint.
    wait_for(
        lambda: (
            process.poll() is not None
            or (
                list(began.glob("*/summary.json")) != []
                and any(
                    not (path.parents[1] / "summary.json").exists()
                    for path in began.glob("*/checkpoints/last.safetensors")
                )
            )
        )
    )
    assert process.poll() is None, (tmp_path / "log").read_text()
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for each in family if killed == "all" else [process]:
        os.kill(each.pid, signal.SIGKILL)
    process.wait()
    before = states(folder)
    assert before.count("RUNNING") >= 1
    run(*line)
    assert by_point(folder) == by_point(whole)
    assert sorted(states(folder)) == ["COMPLETE"] * 6
    assert len(list(began.glob("*/summary.json"))) == len(list(began.iterdir())) == 6
    # Once more: there is nothing to do.
    run(*line)
    assert sorted(states(folder)) == ["COMPLETE"] * 6


@sweep
def test_a_run_whose_process_dies_goes_on_in_another(whole, photos, tmp_path):
    folder = tmp_path / "search"
    line = command(photos, folder, "--sampler", "grid", "--trials", "1")
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)
    wait_for(lambda: list(folder.glob("trials/*/checkpoints/last.safetensors")) != [])
    (worker,) = [
        child
        for child in psutil.Process(process.pid).children()
        if "ppclas_search.search.worker" in child.cmdline()
    ]
    worker.send_signal(signal.SIGKILL)
    assert process.wait() == 0
    said = " ".join((tmp_path / "log").read_text().split())
    assert "its process ended by signal 9; it goes on from its last checkpoint" in said
    assert states(folder) == ["COMPLETE"]
    ((point, reached),) = by_point(folder).items()
    assert reached == by_point(whole)[point]


def states(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [trial.state.name for trial in trials if "duplicate" not in trial.user_attrs]


@sweep
def test_ctrl_c_stops_and_the_same_command_goes_on(photos, tmp_path):
    folder = tmp_path / "search"
    line = command(photos, folder, "--sampler", "random", "--trials", "2")
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log)
    wait_for(lambda: list(folder.glob("trials/*/checkpoints/last.safetensors")) != [])
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "goes on from here" in (tmp_path / "log").read_text()
    run(*line)
    assert states(folder) == ["COMPLETE", "COMPLETE"]


@slow
def test_a_budget_ranks_models_by_their_features_first(photos, tmp_path):
    folder = tmp_path / "search"
    line = command(photos, folder, "--minutes", "1.5", "--size-mb", "3.5")
    sizes = tmp_path / "sizes.yaml"
    sizes.write_text("data.image_size: [32, 48]\nmodel.name: [SqueezeNet1_1, SqueezeNet1_0]\n")
    done = run(*options_of(line, sizes))
    found = result(folder)
    candidates = {each["name"]: each for each in found["candidates"]}
    # Of SqueezeNet1_0 there are no weights on this machine.
    assert any("SqueezeNet1_0" in name and each["dropped"] for name, each in candidates.items())
    probed = [each for each in found["candidates"] if each["probe"] is not None]
    assert len(probed) == 2
    assert all(each["latency_ms"] > 0 and each["size_mb"] < 3.5 for each in probed)
    first = found["trials"][0]
    best = max(probed, key=lambda each: each["probe"])
    assert first["data.image_size"] == best["point"]["data.image_size"]
    assert found["ended"].startswith(("the time is over", "no further run fits", "every point"))
    assert "not tried: SqueezeNet1_0" in done.stderr
    assert (folder / "search.png").stat().st_size > 5000


def options_of(line, sizes):
    """``line`` with the sizes and models of another file."""
    kept = list(line)
    place = kept.index("SqueezeNet1_1")
    del kept[place - 1 : place + 1]
    place = kept.index("data.image_size=32")
    del kept[place - 1 : place + 1]
    return [*kept, "--space", str(sizes)]

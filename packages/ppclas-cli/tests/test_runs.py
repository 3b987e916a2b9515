"""``ppclas runs`` over run folders with the files that training writes."""

import json
import os

import pytest
from ppclas_core.config.load import dump_config, load_config
from ppclas_engine.runs.run import RunFolder


@pytest.fixture
def runs(tmp_path):
    base = tmp_path / "runs"
    write(base / "first", 1, lr=0.001, top1=(0.5, 0.75, 0.6), finished=True)
    write(base / "second", 2, lr=0.003, top1=(0.25,), finished=False)
    (base / "other").mkdir()  # no run
    return base


def write(folder, when, *, lr, top1, finished, size=64):
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    flips = f"data.train_transforms=[{{name: Resize, short: {size}}}, {{name: RandomFlip}}]"
    settings = ["train.epochs=3", "data.train=photos", f"schedule.lr={lr}", flips]
    run.config.write_text(dump_config(load_config(None, settings, {}).config))
    rows = [
        {"epoch": i, "step": i, "top1": value, "loss": 1 - value, "num_images": 8}
        for i, value in enumerate(top1, 1)
    ]
    run.write_history(rows)
    run.write_command(["ppclas", "train", "my photos"])
    if finished:
        best = max(rows, key=lambda row: row["top1"])
        run.finished.write_text(json.dumps({"best": best, "epochs": 3, "bundle": "bundle"}))
    os.utime(run.history, (when, when))


def test_the_newest_run_comes_first(ppclas, runs):
    code, out, err = ppclas("runs", "list", cwd=runs.parent)
    assert code == 0
    assert not err
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["second", "MobileNetV2", "25.00%", "1", "stopped", "after", "epoch", "1"],
        ["first", "MobileNetV2", "75.00%", "2", "finished"],
    ]
    told = json.loads(ppclas("runs", "list", str(runs), "--json").out)
    assert [run["top1"] for run in told] == [0.25, 0.75]
    assert told[1]["best_epoch"] == 2


def test_a_damaged_run_hides_no_other(ppclas, runs):
    (runs / "first" / "summary.json").write_text("{")
    code, out, err = ppclas("runs", "list", str(runs))
    assert code == 0
    assert "second" in out
    assert err.startswith(f"left out: {runs / 'first'}: expected the files of a run")
    assert ppclas("runs", "show", str(runs / "first")).code == 1


def test_what_differs_between_runs(ppclas, runs):
    write(runs / "third", 3, lr=0.001, top1=(0.5,), finished=True, size=96)
    folders = [str(runs / name) for name in ("first", "second", "third")]
    code, out, _ = ppclas("runs", "compare", *folders)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["first", "second", "third"]
    assert rows[2:6] == [
        ["data.train_transforms.0.short", "64", "64", "96"],
        ["schedule.lr", "0.001", "0.003", "0.001"],
        ["best", "epoch", "2", "1", "1"],
        ["top-1", "75.00%", "25.00%", "50.00%"],
    ]
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads(ppclas("runs", "compare", *folders, "--json").out)
    assert told["settings"]["schedule.lr"] == [0.001, 0.003, 0.001]
    assert set(told["settings"]) == {"schedule.lr", "data.train_transforms.0.short"}


def test_a_run_in_words(ppclas, runs):
    code, out, err = ppclas("runs", "show", str(runs / "first"))
    assert code == 0
    assert "ppclas train 'my photos'" in out
    assert f"ppclas eval {runs / 'first'} --data DATA" in err
    second = ppclas("runs", "show", str(runs / "second"))
    assert "stopped after epoch 1 of 3" in second.out
    assert f"ppclas train --resume {runs / 'second'}" in second.err


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("list", "nowhere"), "There is no run in nowhere. Start one with 'ppclas train'", 1),
        (("show", "nowhere"), "nowhere is not a run folder", 1),
        (("compare", "one"), "Expected two runs or more", 2),
    ],
)
def test_what_is_no_run(ppclas, tmp_path, arguments, words, code):
    done = ppclas("runs", *arguments, cwd=tmp_path)
    assert (done.code, words in done.err) == (code, True)

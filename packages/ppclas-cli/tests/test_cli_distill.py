"""``ppclas distill``: flags become a config, and mistakes are told before anything runs."""

from __future__ import annotations

import json

import pytest
from ppclas_cli.commands import distill
from ppclas_cli.commands.train import command as train
from ppclas_cli.main import cli
from ppclas_engine.console import Console


def handed_on(*arguments):
    """What 'ppclas distill train' hands to 'ppclas train'."""
    command = distill.distill.commands["train"]
    context = command.make_context("train", list(arguments), **cli.context_settings)
    return distill.arguments_of_train(**context.params)


def test_flags_set_the_objective():
    arguments = [
        "photos",
        "--teacher",
        "runs/a",
        "--teacher",
        "ResNet50_vd",
        "--loss",
        "kl:0.5",
        "--loss",
        "fitnet",
    ]
    arguments += [
        "--ground-truth",
        "0.1",
        "--extra",
        "more",
        "--cache",
        "c",
        "--epochs",
        "3",
        "-o",
        "data.batch_size=4",
    ]
    given = handed_on(*arguments)
    said = dict(text.split("=", 1) for text in given["overrides"])
    assert said.pop("objective.name") == "Distill"
    assert said.pop("data.batch_size") == "4"
    assert {key: json.loads(value) for key, value in said.items()} == {
        "objective.teachers": [{"source": "runs/a"}, {"source": "ResNet50_vd"}],
        "objective.losses": [{"name": "kl", "weight": 0.5}, {"name": "fitnet"}],
        "objective.ground_truth": 0.1,
        "objective.cache": "c",
        "data.train_extra": "more",
    }
    assert (given["data"], given["epochs"]) == ("photos", 3)
    assert set(given) == {parameter.name for parameter in train.params}


def test_going_on_says_nothing_of_the_objective():
    given = handed_on("--resume", "runs/x")
    assert (given["overrides"], given["resume"]) == ((), "runs/x")


def test_it_takes_every_option_of_train(ppclas):
    ours = {
        option
        for parameter in distill.distill.commands["train"].params
        for option in parameter.opts
    }
    assert ours >= {option for parameter in train.params for option in parameter.opts}
    assert "--teacher" in ppclas("distill", "train", "--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "a", "--teacher-weights", "f", "--teacher-weights", "g"], "got 2 for 1"),
        (["--teacher", "a", "--loss", "kl:much"], "expected NAME or NAME:WEIGHT"),
    ],
)
def test_wrong_use_is_told(ppclas, arguments, message):
    result = ppclas("distill", "train", *arguments)
    assert result.code == 2
    assert message in result.err


def test_a_teacher_is_asked_for(ppclas):
    result = ppclas("distill", "train", "--dry-run")
    assert result.code == 2
    assert "Give --teacher, or a config with objective.teachers (-c)" in result.err


def test_a_pool_that_is_not_there(ppclas, tmp_path):
    result = ppclas(
        "distill",
        "dedup",
        str(tmp_path / "no"),
        "--against",
        str(tmp_path / "none"),
        "-o",
        str(tmp_path),
    )
    assert result.code == 1
    assert "none: expected a folder of photos or a list file with one path per line" in result.err


def test_the_stages_of_a_pipeline(ppclas, tmp_path):
    result = ppclas(
        "distill",
        "pipeline",
        "-c",
        "ssld-resnet50-vd",
        "--output",
        str(tmp_path / "run"),
        "--dry-run",
    )
    assert result.code == 0
    assert [line.split()[2] for line in result.err.splitlines() if line.startswith("stage ")] == [
        "select:",
        "dedup:",
        "distil:",
        "finetune:",
        "fix:",
    ]
    assert "warning: there is no dataset/pool_list.txt (stage select, pool)" in result.err
    assert not (tmp_path / "run").exists()


def test_who_stops_a_tool_is_told_that_nothing_is_lost(capsys):
    with pytest.raises(KeyboardInterrupt), distill.can_go_on(Console()):
        raise KeyboardInterrupt
    assert "stopped. The same command again goes on from here" in capsys.readouterr().err

"""``ppclas search`` before anything is trained: help, the space, mistakes."""

import subprocess
import sys

import pytest
from ppclas_cli.main import main


def said(capsys, *arguments):
    code = main(["search", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_without_photos_it_prints_its_help(capsys):
    code, out, err = said(capsys)
    assert (code, err) == (0, "")
    assert "Find the best model and settings for the photos in DATA." in out


def test_a_dry_run_prints_the_space_and_writes_nothing(capsys, tmp_path):
    folder = tmp_path / "search"
    line = ("photos/", "--space", "seeds-grid", "-m", "PPLCNet_x1_0", "--engine", "dygraph")
    code, out, _ = said(capsys, *line, "--dry-run", "--output", folder)
    assert code == 0
    assert out.splitlines()[:2] == [
        "model.name: PPLCNet_x1_0",
        "schedule.lr: 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001",
    ]
    assert out.splitlines()[-1] == "196 points; grid, all of them, measured with dygraph"
    assert not folder.exists()


def test_the_twin_has_as_many_trials_as_the_seeds_took(capsys):
    _, out, _ = said(capsys, "photos/", "--space", "seeds-bayes", "--dry-run")
    assert "196 points; gp, 20 trials" in out
    _, out, _ = said(capsys, "photos/", "--space", "seeds-bayes", "--dry-run", "--minutes", 30)
    assert "196 points; gp, 30 minutes" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("photos/", "--space", "seed-grid"), 1, "Did you mean 'seeds-grid'?"),
        (("photos/", "-m", "Mobile*V9"), 1, "no model is called 'Mobile*V9'"),
        (("photos/", "--sampler", "guess"), 2, "'guess' is not one of"),
        (("photos/", "--minutes", "0"), 2, "0 is not in the range x>0"),
        (("photos/", "-o", "train.epoch=3"), 1, "Did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, arguments, code, words):
    found, out, err = said(capsys, *arguments, "--output", tmp_path / "search")
    assert (found, out) == (code, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "search").exists()


def test_its_help_imports_nothing_heavy():
    code = (
        "import sys; from ppclas_cli.main import main; main(['search', '--help']); "
        "print({'numpy', 'paddle', 'cv2', 'optuna', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"

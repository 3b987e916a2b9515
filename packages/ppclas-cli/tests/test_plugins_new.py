"""``ppclas plugins new``: the package installs without a network, and its own tests pass."""

import os
import subprocess
import sys

import pytest


def run(*command, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        timeout=500,
    )


@pytest.mark.slow
def test_a_new_plugin_installs_and_passes_at_once(ppclas, tmp_path):
    code, _, err = ppclas("plugins", "new", "my-birds", cwd=tmp_path)
    assert code == 0, err
    assert "pip install -e my-birds" in err
    installed = tmp_path / "installed"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    done = run(*pip, "--target", installed, "./my-birds", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    tests = ("-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "my-birds/tests")
    done = run(*tests, cwd=tmp_path, PYTHONPATH=installed)
    assert "7 passed" in done.stdout, done.stdout + done.stderr
    done = run("-m", "ppclas_cli", "plugins", "--json", cwd=tmp_path, PYTHONPATH=installed)
    assert '"MyBirdsNet_small"' in done.stdout


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("My Birds", "expected lower-case letters", 2),
        ("train", "is a command of ppclas", 1),
        ("numpy", "or a package here already", 1),
        ("there", "exists already", 1),
    ],
)
def test_names_that_no_plugin_can_have(ppclas, tmp_path, name, words, code):
    (tmp_path / "there").mkdir()
    done = ppclas("plugins", "new", name, cwd=tmp_path)
    assert (done.code, words in done.err) == (code, True)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]

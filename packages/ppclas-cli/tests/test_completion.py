"""What the shell is offered, asked as bash asks, and by bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PPCLAS = Path(sys.executable).with_name("ppclas")


def offered(line: str) -> list[str]:
    words = line.split(" ")
    asked = {
        "_PPCLAS_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [PPCLAS], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ppclas mod", {"plain,models"}),
        ("ppclas train --model mobilenetv3_large_x1_2", {"plain,MobileNetV3_large_x1_25"}),
        ("ppclas export r --target o", {"plain,onnx", "plain,openvino"}),
        ("ppclas recipes show imagenet-r", {"plain,imagenet-resnet50"}),
        ("ppclas train -c dem", {"plain,demo", "file,dem"}),
        ("ppclas config show -o train.ep", {"plain,train.epochs="}),
        ("ppclas models info PPLCNet_x1_5", {"plain,PPLCNet_x1_5"}),
        ("ppclas predict cat", {"file,cat"}),
        ("ppclas train --resize-mode l", {"plain,letterbox"}),
    ],
)
def test_what_is_offered(line, expected):
    assert set(offered(line)) - {f"file,{line.split(' ')[-1]}"} == expected - {
        f"file,{line.split(' ')[-1]}"
    }
    assert expected <= set(offered(line))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_the_script(tmp_path):
    written = subprocess.run(
        [PPCLAS, "completion", "bash", "--install"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    script = tmp_path / ".local/share/bash-completion/completions/ppclas"
    assert str(script) in written.stdout
    line = (
        f"source {script}; COMP_WORDS=(ppclas export r --target o); COMP_CWORD=4; "
        '_ppclas_completion ppclas; echo "${COMPREPLY[@]}"'
    )
    path = f"{PPCLAS.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", line],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["onnx", "openvino"]

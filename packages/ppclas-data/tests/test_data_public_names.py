"""What ``ppclas_data`` offers at its top, and what importing it costs; the README's example."""

import re
import subprocess
import sys
from pathlib import Path

import ppclas_data
import pytest

README = Path(__file__).parents[1] / "README.md"


def test_every_public_name_is_there():
    for name in ppclas_data.__all__:
        assert getattr(ppclas_data, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'ppclas_data' has no attribute 'nothing'"):
        _ = ppclas_data.nothing


def test_importing_it_imports_neither_opencv_nor_numpy():
    program = (
        "import sys, ppclas_data; print({'cv2', 'numpy', 'PIL', 'pydantic'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout == "set()\n"


def test_the_example_of_the_readme(tmp_path):
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))
    said = subprocess.run(
        [sys.executable, "-c", blocks["python"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == blocks["text"]

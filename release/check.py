"""Check what a release would publish: ``nox -s release-check``.

Builds the source archive and the wheel of every package, has twine look at each, and installs the
wheels together: once with the newest of everything, once with the lowest versions that the packages
declare. In each environment every package is imported, ``ppclas doctor`` runs, and a model is
trained, exported and asked.

    python release/check.py                                   # this Python, newest and lowest
    python release/check.py --python 3.13 --paddle 3.0.0      # a cell of the matrix
    python release/check.py --keep dist --tag v0.1.0          # what the release workflow does
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(folder.name for folder in (ROOT / "packages").iterdir() if folder.is_dir())
LOWEST, NEWEST = "lowest-direct", "highest"
EXTRAS = {"ppclas_core": "[cpu]", "ppclas_deploy": "[onnx]"}
TRIAL = """\
train --model MobileNetV3_small_x0_35 --from-scratch --epochs 1 --image-size 32 --output run
eval run
predict {photo} -m run
export run --target {target} --output exported
predict {photo} -m exported
"""


def build(folder: Path, tag: str | None) -> list[Path]:
    """The files of every package, looked at by twine; with ``tag`` their version is the tag's."""
    _run("uv", "build", "--all-packages", "--out-dir", folder, cwd=ROOT)
    files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    expected = {(name.replace("-", "_"), kind) for name in PACKAGES for kind in (".whl", ".tar.gz")}
    found = {
        (file.name.split("-")[0], ".whl" if file.suffix == ".whl" else ".tar.gz") for file in files
    }
    if found != expected:
        raise SystemExit(f"expected a wheel and an archive each, these differ: {found ^ expected}")
    _run("twine", "check", "--strict", *files)
    if tag is not None:
        wrong = [file.name for file in files if f"-{tag.removeprefix('v')}" not in file.name]
        if wrong:
            raise SystemExit(f"the tag is {tag}, and the version is another of: {', '.join(wrong)}")
    return files


def install(wheels: Sequence[Path], folder: Path, python: str, paddle: str, versions: str) -> Path:
    """An environment with all ``wheels``; the path of its Python."""
    _run("uv", "venv", "--quiet", "--python", python, folder)
    inside = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = [
        f"{_name(wheel)}{EXTRAS.get(_name(wheel), '')} @ {wheel.as_uri()}" for wheel in wheels
    ]
    if paddle:
        wanted.append(f"paddlepaddle=={paddle}")
    if versions == LOWEST:
        # Lowest is what is asked for directly; what others need beside it may be newer.
        wanted += sorted({line for wheel in wheels for line in declared(wheel)})
    _run(
        *("uv", "pip", "install", "--quiet", "--python", inside, "--resolution", versions),
        *wanted,
    )
    return inside


def declared(wheel: Path) -> Iterator[str]:
    """What a wheel says that it needs, with the extras that are tried, without its siblings."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode("utf-8").splitlines()
    for line in lines:
        needs = re.fullmatch(r"Requires-Dist: (.*?)(?: ?; (.*))?", line)
        if needs is None or needs[1].startswith("ppclas-"):
            continue
        extra = re.search(r"extra == ['\"](\w+)['\"]", needs[2] or "")
        if extra is not None and f"[{extra[1]}]" != EXTRAS.get(_name(wheel)):
            continue
        marker = re.sub(r"(?:^| and )extra == ['\"]\w+['\"]", "", needs[2] or "")
        yield f"{needs[1]} ; {marker}" if marker else needs[1]


def try_out(python: Path, folder: Path) -> None:
    """Import every package and go from photos to an answer of an export."""
    modules = ", ".join(name.replace("-", "_") for name in PACKAGES)
    _run(python, "-W", "error::SyntaxWarning", "-c", f"import ppclas, {modules}", cwd=folder)
    code = (
        "from importlib.util import find_spec; from ppclas_data import builtin_photos;"
        " print('onnx' if find_spec('paddle2onnx') else 'paddle', builtin_photos())"
    )
    found = subprocess.run(
        [python, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    # paddle2onnx has no release for Python 3.13: there the target that needs Paddle alone.
    target, _, photos = found.stdout.strip().partition(" ")
    photo = min(Path(photos).rglob("*.jpg"))
    for line in TRIAL.splitlines():
        words = [word.format(photo=photo, target=target) for word in line.split()]
        _run(python, "-m", "ppclas_cli", *words, cwd=folder)


def versions_in(python: Path) -> str:
    """What an environment has, for the report."""
    listed = subprocess.run(
        ["uv", "pip", "freeze", "--python", str(python)], capture_output=True, text=True, check=True
    )
    shown = ("paddlepaddle", "numpy", "pydantic", "click", "onnx", "onnxruntime", "opencv")
    lines = [line for line in listed.stdout.splitlines() if line.startswith(shown)]
    return ", ".join(line.partition(" @ ")[0].replace("==", " ") for line in lines)


def _name(wheel: Path) -> str:
    return wheel.name.split("-")[0]


def _run(*command: object, cwd: Path | None = None) -> None:
    words = [str(word) for word in command]
    print(
        "$", " ".join(re.sub(r"^(?:.*/)?(\S+)$", r"\1", word) for word in words)[:160], flush=True
    )
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise SystemExit(f"{said[-3000:]}\nfailed with exit code {done.returncode}: {words[:4]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, check, install, try."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", help="version; several: give it again")
    parser.add_argument("--paddle", action="append", help="version; nothing: what is resolved")
    parser.add_argument("--keep", type=Path, help="folder that gets the checked files")
    parser.add_argument("--tag", help="what the versions must agree with: v1.2.3")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        files = build(folder / "dist", chosen.tag)
        wheels = [file for file in files if file.suffix == ".whl"]
        for python in chosen.python or [f"{sys.version_info[0]}.{sys.version_info[1]}"]:
            for paddle in chosen.paddle or [""]:
                for versions in (NEWEST, LOWEST):
                    place = folder / "environment"  # ``python`` may be a path
                    inside = install(wheels, place, python, paddle, versions)
                    work = place / "work"
                    work.mkdir()
                    try_out(inside, work)
                    print(f"Python {python}, {versions}: {versions_in(inside)}: works", flush=True)
                    shutil.rmtree(place)
        if chosen.keep is not None:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, chosen.keep)


if __name__ == "__main__":
    main()

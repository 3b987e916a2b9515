"""Two campaigns with seeds: exports that were tampered with, and weight files that mean harm.

A tampered export is refused, or it answers what it answered before. A weight file is read or
refused; nothing in it is run, and reading takes no more than a gibibyte above the file's own size.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import ppclas
import pytest
from ppclas_core.bundle import MANIFEST, Bundle
from ppclas_core.errors import PpclasError
from ppclas_core.limits import weights_bytes
from ppclas_core.weights import read_state
from ppclas_data.builtin import builtin_photos
from ppclas_models.conversion.torch_file import read_torch

pytestmark = pytest.mark.sweep

EXPORTS, FILES = 15, 40
"""Of each seed; there are ten."""
FIRST = int(os.environ.get("CAMPAIGN_SEED", "0"))
SEEDS = range(FIRST, FIRST + 10)
"""Other seeds, other files: ``CAMPAIGN_SEED=1000 pytest -m sweep tests``."""
GIBIBYTE = 1 << 30


# Tampered exports


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """An ONNX export of the model that comes with the wheel, and what it answers."""
    folder = tmp_path_factory.mktemp("export") / "onnx"
    line = [sys.executable, "-m", "ppclas_cli", "export", "MobileNetV2", "--target", "onnx", "-o"]
    subprocess.run([*line, str(folder)], check=True, capture_output=True)
    return folder, answers(folder)


def answers(folder):
    photos = sorted((builtin_photos() / "val").rglob("*.jpg"))[::40]
    return [one.top for one in ppclas.load(folder).predict(photos)]


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


def change_json(file, rng):
    content = json.loads(file.read_text())
    *way, last = rng.choice(list(leaves(content)))
    node = content
    for key in way:
        node = node[key]
    old = node[last]
    others = [None, 0, -1, 1e9, "", "x", [], {}, True, "../../etc/passwd"]
    if isinstance(old, int | float):
        others += [old + 1, old * 1.01, -old]
    if isinstance(old, str):
        others += [old[:-1], old.upper(), old[::-1]]
    node[last] = rng.choice(others)
    file.write_text(json.dumps(content))


def flip_bytes(file, rng):
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 1, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def cut(file, rng):
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])


def swap_lines(file, rng):
    lines = file.read_text().splitlines(keepends=True)
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    file.write_text("".join(lines))


def repeat_key(file, rng):
    text = file.read_text()
    key = rng.choice([line for line in text.splitlines() if line.startswith('  "')])
    file.write_text(text.replace("{\n", "{\n" + key.rstrip(",[{ ") + ",\n", 1))


def tamper(folder, rng):
    """Change a file of the export; which one, and how."""
    texts = [MANIFEST, "parity.json"]
    names = sorted(file.name for file in folder.iterdir() if file.suffix != ".log")
    change = rng.choice((change_json, change_json, change_json, flip_bytes, cut, swap_lines,
                         repeat_key, Path.unlink, "rename", "model"))  # fmt: skip
    if change in (change_json, repeat_key):
        name = rng.choice(texts)
    elif change is swap_lines:
        name = rng.choice(["labels.txt", *texts])
    else:
        name = rng.choice(names)
    file = folder / name
    if change == "rename":
        file.rename(folder / f"{name}.bak")
    elif change == "model":
        name = "model.onnx"
        flip_bytes(folder / name, rng)
    elif change is Path.unlink:
        file.unlink()
    else:
        change(file, rng)
    return name, getattr(change, "__name__", change)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tampered_export_is_refused_or_answers_as_before(export, tmp_path, seed):
    folder, before = export
    rng, refused = random.Random(seed), 0
    for number in range(EXPORTS):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        what = tamper(copy, rng)
        try:
            after = answers(copy)
        except PpclasError:
            refused += 1
        else:
            assert after == before, what
        shutil.rmtree(copy)
    assert refused > EXPORTS // 2


# Hostile weight files


class Calls:
    """Pickled, it calls ``target`` with ``arguments`` when somebody unpickles it."""

    def __init__(self, target, *arguments):
        self.target, self.arguments = target, arguments

    def __reduce__(self):
        return self.target, self.arguments


def payloads(mark):
    return [
        Calls(os.system, f"touch {mark}"),
        Calls(exec, f"open({str(mark)!r}, 'w')"),
        Calls(eval, f"open({str(mark)!r}, 'w')"),
        Calls(open, str(mark), "w"),
        Calls(os.mkdir, str(mark)),
        Calls(bytearray, 1 << 40),
        Calls(range, 1 << 60),
        Calls(np.zeros, 1 << 40),
        Calls(np.ones, (1 << 20, 1 << 20)),
    ]


def hostile_pickle(rng, mark):
    state = {"conv.weight": np.ones((4, 3), np.float32), "fc.bias": rng.choice(payloads(mark))}
    content = bytearray(pickle.dumps(state, protocol=rng.choice((0, 2, 3, 4))))
    for _ in range(rng.choice((0, 0, 1, 5))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def bomb(rng, mark):
    """Short pickles that ask for much: memos, lengths, tuples that double, long numbers."""
    kind = rng.randrange(5)
    if kind == 0:
        return b"\x80\x02}r" + struct.pack("<I", rng.choice((1 << 28, 1 << 31, 0xFFFFFFFF))) + b"."
    if kind == 1:
        return b"\x80\x04\x8e" + struct.pack("<Q", 1 << rng.randrange(30, 62)) + b"abc."
    if kind == 2:
        return b"\x80\x02K\x01" + b"\x85q\x00h\x00h\x00\x86" * rng.randrange(30, 5000) + b"."
    if kind == 3:
        return b"\x80\x02\x8b" + struct.pack("<I", 1 << 30) + b"\xff" * 64 + b"."
    return b"\x80\x02" + b"(" * rng.randrange(10, 200_000) + b"t."


def hostile_safetensors(rng, mark):
    shape = [1 << rng.randrange(1, 40) for _ in range(rng.randrange(1, 4))]
    start, end = rng.choice(((0, 16), (0, 1 << 40), (8, 4), (-8, 8), (1 << 62, 1 << 63)))
    header = {"w": {"dtype": rng.choice(("F32", "F64", "I8", "X9")), "shape": shape,
                    "data_offsets": [start, end]}}  # fmt: skip
    if rng.random() < 0.3:
        header |= {f"w{n}": header["w"] for n in range(1000)}
    text = json.dumps(header).encode()
    length = rng.choice((len(text), len(text), 1 << 40, 3))
    return struct.pack("<Q", length) + text + bytes(16)


def hostile_zip(rng, mark):
    """What torch.save would write, with payloads, storages that are used many times, or zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        inside = rng.choice((hostile_pickle, bomb))(rng, mark)
        archive.writestr("a/data.pkl", inside)
        archive.writestr("a/data/0", bytes(rng.choice((24, 1 << 27))))
        if rng.random() < 0.3:
            archive.writestr("../../escape", b"x")
    content = bytearray(out.getvalue())
    for _ in range(rng.choice((0, 2))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


KINDS = (hostile_pickle, hostile_pickle, bomb, hostile_safetensors, hostile_zip)


def read_all(folder):
    """In a process of its own: read each file in every way; the last line is the peak memory."""
    mark = Path(folder) / "mark"
    for file in sorted(Path(folder).glob("*.weights")):
        for read in (read_state, partial(read_torch, most=weights_bytes(4_000_000))):
            with contextlib.suppress(PpclasError):
                read(file)
        assert not mark.exists(), f"{file} was run"
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hostile_weight_file_is_never_run_and_takes_little_memory(tmp_path, seed):
    rng = random.Random(seed)
    largest = 0
    for number in range(FILES):
        content = rng.choice(KINDS)(rng, tmp_path / "mark")
        largest = max(largest, len(content))
        (tmp_path / f"{number:03d}.weights").write_bytes(content)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_campaigns; test_campaigns.read_all(sys.argv[2])"
    )
    peaks = []
    for folder in (tmp_path / "none", tmp_path):
        line = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < GIBIBYTE + largest


def test_the_payloads_do_harm_where_they_are_unpickled(tmp_path):
    """The campaign could fail: Python's own unpickler runs what is in these files."""
    pickle.loads(pickle.dumps({"w": payloads(tmp_path / "mark")[0]}))
    assert (tmp_path / "mark").exists()


def test_the_export_of_the_campaign_is_a_good_one(export):
    assert Bundle.load(export[0]).manifest.kind == "export"

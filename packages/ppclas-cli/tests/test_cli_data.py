"""``ppclas data stats`` and ``ppclas data list``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ppclas_data.builtin import builtin_photos


def test_statistics_of_the_builtin_photos(ppclas):
    told = ppclas("data", "stats")
    assert told.code == 0
    assert "192 photos in " in told.out
    assert "mean of red, green, blue in 0..1: 0.556, 0.404, 0.280" in told.out
    found = json.loads(ppclas("data", "stats", "--json").out)
    assert found["class_counts"]["0 Cantaloupe"] == 24
    assert found["height"]["smallest"] == 128


def test_statistics_of_a_validation_list_alone(ppclas, tmp_path):
    photos = sorted(builtin_photos().rglob("*.jpg"))[:2]
    path = tmp_path / "val_list.txt"
    path.write_text("".join(f"{photo} {label}\n" for label, photo in enumerate(photos)))
    (tmp_path / "label_list.txt").write_text("0 melon\n1 mango\n")
    told = ppclas("data", "stats", str(tmp_path), "--json")
    assert json.loads(told.out)["class_counts"] == {"0 melon": 1, "1 mango": 1}
    assert f"{tmp_path} has no training part; its validation part is taken: {path}." in told.err


def test_names_do_not_reach_the_terminal_as_they_are(ppclas, tmp_path):
    for name in ("new\nline", "\x1b[31mred", "家\u200d庭"):
        for index, photo in enumerate(sorted(builtin_photos().rglob("*.jpg"))[:3]):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{index}.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "\x1b[31mred" / "bad\x07.jpg").write_text("text")
    for command in ("check", "stats"):
        told = ppclas("data", command, str(tmp_path))
        assert "1 new\\nline " in told.out
        assert "0 \\x1b[31mred " in told.out
        assert "2 家\u200d庭 " in told.out
        assert not {"\x1b", "\x07"} & {*told.out, *told.err}
    assert "cannot be read: " in ppclas("data", "check", str(tmp_path)).out
    (tmp_path / "\x1b[1m").mkdir()
    told = ppclas("data", "preview", str(tmp_path / "\x1b[1m"), "-o", str(tmp_path / "grid.png"))
    assert "\\x1b[1m: expected a folder of class folders with photos" in told.err
    told = ppclas(
        "data", "list", str(tmp_path), "-o", str(tmp_path / "lists"), "--labels", "\x1b[1m"
    )
    assert "\x1b" not in told.err
    assert (
        "0 \x1b[31mred"
        in json.loads(ppclas("data", "stats", str(tmp_path), "--json").out)["class_counts"]
    )


def test_damaged_photos_are_listed(ppclas, tmp_path):
    photos = sorted(builtin_photos().rglob("*.jpg"))[:4]
    for index, photo in enumerate(photos):
        path = tmp_path / "ab"[index % 2] / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        data = photo.read_bytes()
        path.write_bytes(data if index else data[: len(data) // 2] + b"\xff\xd9")
    pytest.importorskip("simplejpeg")
    told = ppclas("data", "check", str(tmp_path))
    assert told.code == 0
    assert (
        f"  damaged: {tmp_path / 'a' / '0.jpg'}: Corrupt JPEG data: premature end of data segment\n"
        in told.out
    )


def test_lists_are_written_once(ppclas, tmp_path):
    folder = tmp_path / "lists"
    written = json.loads(ppclas("data", "list", "-o", str(folder), "--json").out)
    assert [(Path(one["path"]).name, one["lines"]) for one in written] == [
        ("train_list.txt", 192),
        ("val_list.txt", 96),
        ("label_list.txt", 8),
    ]
    again = ppclas("data", "list", "-o", str(folder))
    assert again.code == 1
    assert f"{folder / 'train_list.txt'} exists already; it is not overwritten" in again.err
    assert ppclas("data", "list").code == 2
    both = ppclas(
        "data", "list", "-o", str(tmp_path / "both"), "--val", "photos", "--val-fraction", "0.5"
    )
    assert (both.code, "give one of them" in both.err) == (2, True)


def test_lists_that_cannot_be_written_are_an_error_of_one_line(ppclas, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output, reason in (("file", "File exists"), ("file/sub", "Not a directory")):
        told = ppclas("data", "list", "-o", str(tmp_path / output))
        assert told.code == 1
        assert told.err.splitlines()[-1] == (
            f"error: The lists cannot be written to {tmp_path / output} ({reason}); expected a "
            "folder, or a name that is free. Choose another --output"
        )
        assert "Traceback" not in told.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
def test_json_is_utf8_whatever_the_names(ppclas, tmp_path):
    photos = sorted(builtin_photos().rglob("*.jpg"))[:4]
    for index, photo in enumerate(photos):
        path = tmp_path / "ab"[index % 2] / os.fsdecode(b"caf\xe9%d.jpg" % index)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo.read_bytes() if index else b"text")
    program = [sys.executable, "-m", "ppclas_cli", "data", "check", str(tmp_path), "--json"]
    told = subprocess.run(program, capture_output=True)
    bad = [
        bad
        for part in ("train", "val")
        for bad in json.loads(told.stdout.decode())[part]["bad_images"]
    ]
    assert Path(bad[0]["where"]).samefile(tmp_path / "a" / os.fsdecode(b"caf\xe90.jpg"))


@pytest.mark.parametrize("command", [["check"], ["stats"], ["preview"], ["list", "-o", "lists"]])
def test_an_empty_path_is_not_the_current_folder(ppclas, tmp_path, command):
    for index, photo in enumerate(sorted(builtin_photos().rglob("*.jpg"))[:4]):
        path = tmp_path / "ab"[index % 2] / photo.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo.read_bytes())
    told = ppclas("data", *command, "", cwd=tmp_path)
    assert told.code == 1
    assert "error: Expected where the photos are, got an empty path" in told.out + told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert ppclas("data", "list", "a", "-o", "", cwd=tmp_path).code == 2


def test_a_path_that_cannot_be_looked_into_is_a_finding(ppclas):
    told = ppclas("data", "check", "a" * 300, "--json")
    assert told.code == 1
    assert json.loads(told.out)["errors"] == [f"{'a' * 300}: cannot be read: File name too long"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_photos_is_not_waited_for(tmp_path):
    for index, photo in enumerate(sorted(builtin_photos().rglob("*.jpg"))[:4]):
        path = tmp_path / "ab"[index % 2] / photo.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo.read_bytes())
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    program = [sys.executable, "-m", "ppclas_cli", "data", "check", str(tmp_path)]
    told = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert (
        f"cannot be read: {tmp_path / 'a' / 'pipe.jpg'}: a folder, a pipe or a device, not a file"
        in told.stdout
    )

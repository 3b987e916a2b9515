"""``ppclas data stats`` and ``ppclas data list``."""

import json
from pathlib import Path


def test_statistics_of_the_builtin_photos(ppclas):
    told = ppclas("data", "stats")
    assert told.code == 0
    assert "192 photos in " in told.out
    assert "mean of red, green, blue in 0..1: 0.556, 0.404, 0.280" in told.out
    found = json.loads(ppclas("data", "stats", "--json").out)
    assert found["class_counts"]["0 Cantaloupe"] == 24
    assert found["height"]["smallest"] == 128


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


def test_lists_that_cannot_be_written_are_an_error_of_one_line(ppclas, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output, reason in (("file", "File exists"), ("file/sub", "Not a directory")):
        told = ppclas("data", "list", "-o", str(tmp_path / output))
        assert told.code == 1
        assert told.err.splitlines()[-1] == (
            f"error: The lists cannot be written to {tmp_path / output} ({reason}); expected a folder, or a name that "
            f"is free. Choose another --output"
        )
        assert "Traceback" not in told.err
    assert (tmp_path / "file").read_text() == "mine"

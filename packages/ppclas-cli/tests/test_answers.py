"""Answers are written as they come, and a file that cannot be written is known before the first."""

from __future__ import annotations

import csv
import io
import json
import resource

import pytest
from ppclas_cli.answers import report, write_answers
from ppclas_core.errors import PpclasError
from ppclas_engine.results.predict import Prediction


def answer(path: str) -> Prediction:
    return Prediction(path, (("pear", 0.75), ("plum", 0.25)))


ANSWERS = [answer(f"{index}.jpg") for index in range(300)]


def text(rows, as_format):
    out = io.StringIO()
    write_answers(rows, as_format, out)
    return out.getvalue()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_what_the_json_module_writes(count):
    rows = ANSWERS[:count]
    assert text(rows, "json") == json.dumps([row.to_dict() for row in rows], indent=2) + "\n"


def test_columns_are_those_of_the_first_answer_however_late():
    bad = Prediction("a.jpg", (), error="a.jpg: cut off")
    rows = list(csv.reader(io.StringIO(text([bad, bad, *ANSWERS[:1], bad], "csv"))))
    assert rows[0] == ["path", "label_1", "probability_1", "label_2", "probability_2", "error"]
    assert [row[-1] for row in rows[1:]] == ["a.jpg: cut off"] * 2 + ["", "a.jpg: cut off"]
    assert {len(row) for row in rows} == {6}


@pytest.mark.parametrize("name", ["missing/a.csv", "."])
def test_a_file_that_cannot_be_written_is_known_before_the_first_photo(tmp_path, name):
    def asked():
        raise AssertionError("a photo was read")
        yield

    with pytest.raises(PpclasError, match="cannot be written"):
        report(asked(), str(tmp_path / name), "csv")


@pytest.mark.parametrize("as_format", ["csv", "jsonl"])
def test_a_run_that_is_ended_keeps_its_rows_and_the_old_file(tmp_path, as_format):
    output = tmp_path / f"a.{as_format}"
    output.write_text("old")

    def ended():
        yield from ANSWERS[:7]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report(ended(), str(output), as_format)
    assert output.read_text() == "old"
    rows = (tmp_path / f"a.{as_format}.part").read_text().splitlines()
    assert len(rows) == 7 + (as_format == "csv")


@pytest.mark.parametrize("limit", [0, 1, 100, 4000, 7000])
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, limit):
    """The k-th byte is one too many, for several k; a file may not grow beyond ``limit``."""
    output = tmp_path / "a.csv"
    output.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(PpclasError, match=r"a\.csv cannot be written"):
            report(iter(ANSWERS), str(output), "csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert output.read_text() == "old"
    report(iter(ANSWERS), str(output), "csv")
    assert len(output.read_text().splitlines()) == 301
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]

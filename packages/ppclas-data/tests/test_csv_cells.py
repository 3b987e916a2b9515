"""What is written for terminals and spreadsheets: no name in it does anything."""

from __future__ import annotations

import csv
import io

import pytest
from ppclas_core.wording import escaped
from ppclas_data.csv_cells import csv_cells, csv_value

NAMES = [
    "=cmd|' /C calc'!A0",
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "'=1",
    "''@x",
    "＝1+1",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_begins_as_a_formula_does(name):
    text = io.StringIO()
    csv.writer(text).writerow(csv_cells([name, 1]))
    cell, number = next(csv.reader(io.StringIO(text.getvalue())))
    assert cell[0] not in "=+-@＝\t\r\n"
    assert number == "1"
    assert csv_value(cell) == escaped(name)


@pytest.mark.parametrize("value", ["cat", "", "-1", "+2.5", "-1e-3", "'tis", "a=b", "花.jpg", -0.5])
def test_other_cells_stay_as_they_are(value):
    assert csv_cells([value]) == [value]
    assert csv_value(str(value)) == str(value)


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b[31m", "\x07", "\u2028", "\u202e", "\x9b"])
def test_a_cell_has_one_line_and_no_control_characters(mark):
    (cell,) = csv_cells([f"a{mark}b"])
    assert cell.isprintable()
    assert cell.startswith("a\\")

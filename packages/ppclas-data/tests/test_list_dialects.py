"""Lists and CSVs as other programs write them: read, or the mark that is in the way is named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ppclas_core.errors import DataError
from ppclas_data.sources.opening import load_image_set

PHOTOS = ("img/0 0.png", "img/0 1.png", "img/1 0.png", "img/1 1.png")
"""The class comes first in the name."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for name in PHOTOS:
        assert cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


def lines(form: str) -> str:
    return "".join(form.format(path=path, label=path[4]) + "\n" for path in PHOTOS)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ('"{path}" {label}', r"list\.txt:1: .*without the quotes \(\"\); they may have blanks"),
        ("'{path}' {label}", r"without the quotes \('\)"),
        ("{path}, {label}", "a blank or a tab between path and label instead of ','"),
        ("{path}; {label}", "a blank or a tab between path and label instead of ';'"),
        ("{path}|{label}", r"a blank or a tab between path and label instead of '\|'"),
        ("{path} | {label}", r"a blank or a tab between path and label instead of '\|'"),
        ("{path} -> {label}", r"a blank or a tab between path and label instead of '->'"),
        ("{path}={label}", "a blank or a tab between path and label instead of '='"),
        ("{path}，{label}", "a blank or a tab between path and label instead of '，'"),
        ("{path}\xa0{label}", "between path and label instead of no-break space"),
        ("{path}\u3000{label}", "between path and label instead of ideographic space"),
        ("“{path}” {label}", r"without the quotes \(“\)"),
        ('"{path}" "{label}"', r"without the quotes \(\"\)"),
        ("\u200b{path} {label}", r"take out the invisible character U\+200B"),
        ("{label} {path}", "write the path first"),
        ("{label},{path}", "write the path first"),
        ("('{path}', {label})", "write only the path and the label"),
        ("file:///{path} {label}", "write the path alone, without file://"),
        ("{path} {label}.0", r"write the label as a plain number, not 0\.0"),
        ("{path} +{label}", r"write the label as a plain number, not \+0"),
        ("{path} {label} 0.5", r"take out what follows the label \(0\.5\)"),
        ("{path} {label},", r"take out what follows the label \(,\)"),
        ("{path} {label} # good", r"take out what follows the label \(# good\)"),
    ],
)
def test_the_mark_in_the_way_is_named(folder, form, words):
    (folder / "list.txt").write_text(lines(form))
    with pytest.raises(DataError, match=words):
        load_image_set(str(folder / "list.txt"))


def test_a_wrong_folder_is_still_called_so(folder):
    (folder / "list.txt").write_text(lines("elsewhere/{path} {label}"))
    with pytest.raises(DataError, match=r"give the folder they are relative to as data\.root"):
        load_image_set(str(folder / "list.txt"))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_line_of_excel_names_the_mark(folder, mark, end):
    text = f"sep={mark}\npath{mark}label\n" + lines(f"{{path}}{mark}k{{label}}")
    (folder / "list.csv").write_bytes(text.replace("\n", end).encode())
    images = load_image_set(str(folder / "list.csv"))
    assert images.class_names == ("k0", "k1")
    assert images.labels().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_called_so(folder, encoding):
    (folder / "list.txt").write_bytes((lines("{path} {label}") + "花.jpg 0\n").encode(encoding))
    with pytest.raises(DataError, match=r"text in UTF-16 or UTF-32: save the file as UTF-8"):
        load_image_set(str(folder / "list.txt"))


def test_a_binary_file_is_not_called_text(folder):
    (folder / "list.bin").write_bytes(bytes(range(256)) * 16)
    with pytest.raises(DataError, match="this is a binary file"):
        load_image_set(str(folder / "list.bin"))


@pytest.mark.parametrize("text", ['"sep=;"\npath;label\n{}', "path|label\n{}"])
def test_other_marks_of_tables(folder, text):
    mark = "|" if "|" in text else ";"
    rows = lines(f"{{path}}{mark}k{{label}}")
    (folder / "list.csv").write_text(text.format(rows))
    assert load_image_set(str(folder / "list.csv")).labels().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "nothing", ["nan", "NaN", "#N/A", "<NA>", "#REF!", "NULL", "n/a", "\\N", "NaT"]
)
def test_a_missing_label_is_no_class(folder, nothing):
    rows = [f"{PHOTOS[0]},a", f"{PHOTOS[1]},b", f"{PHOTOS[2]},{nothing}"]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(DataError, match=r"list\.csv:4: .* stands for a missing value"):
        load_image_set(str(folder / "list.csv"))

"""What stands on a terminal of 60, 80 and 120 columns: nothing cut, no word broken."""

import os
import re
import struct
import subprocess
import sys
import unicodedata

import pytest
from ppclas_cli.output import print_table, wrapped

fcntl = pytest.importorskip("fcntl", reason="there are pseudo-terminals on POSIX systems alone")
pty = pytest.importorskip("pty", reason="as above")
termios = pytest.importorskip("termios", reason="as above")

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(columns, command, cwd=None):
    """(exit code, lines) of ``command`` on a terminal so wide."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment
    )
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(master)
    text = _CODES.sub("", said.decode().replace("\r\n", "\n"))
    return process.wait(), text.splitlines()


def width(line):
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line)


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "arguments",
    [("recipes", "list"), ("models", "info", "ResNet50_vd")],
)
def test_tables_fit_and_lose_no_word(columns, arguments):
    command = [sys.executable, "-m", "ppclas_cli", *arguments]
    code, lines = on_terminal(columns, command)
    assert code == 0
    for line in lines:  # addresses alone are longer
        assert width(line) <= columns or line.split()[-1].startswith("https://")
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = " ".join(lines).replace(",", " ").split()
    rows = " ".join(piped.splitlines()[2:])  # a narrow screen has no heading
    assert set(rows.replace(",", " ").split()) - {"-"} <= set(shown)


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        (60, ["name", "top-1", "params", "(M)"]),
        (80, ["name", "top-1", "params", "(M)", "FLOPs", "(G)", "weights"]),
        (120, ["name", "top-1", "params", "(M)", "FLOPs", "(G)", "weights", "licence"]),
    ],
)
@pytest.mark.parametrize("pattern", ["*", "swin"])
def test_models_keep_their_columns_and_names_whole(columns, titles, pattern):
    command = [sys.executable, "-m", "ppclas_cli", "models", "list", pattern]
    code, lines = on_terminal(columns, command)
    assert code == 0
    assert all(width(line) <= columns for line in lines)
    assert lines[0].split() == titles
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in piped.splitlines()[2:] if line.startswith("  ")]
    shown = {word for line in lines for word in line.split()}
    assert {row[0] for row in rows} <= shown
    for name, *figures in rows:  # a name that is too long has a line of its own
        at = next(
            i for i, line in enumerate(lines) if line.split()[:1] == [name] and line[0] == " "
        )
        words = lines[at].split()[1:] or lines[at + 1].split()
        assert words[:2] == figures[:2]


def rows_on_terminal(columns, rows, header):
    program = f"from ppclas_cli.output import print_table; print_table({rows!r}, {header!r})"
    return on_terminal(columns, [sys.executable, "-c", program])[1]


def test_the_column_of_words_is_broken_between_them():
    rows = [["one", "red apples, green pears and something", 1.5], ["two", "nothing", None]]
    assert rows_on_terminal(40, rows, ["name", "what it is", "x"]) == [
        "name  what it is                     x",
        "----  ---------------------------  ---",
        "one   red apples, green pears and  1.5",
        "      something",
        "two   nothing                        -",
    ]


def test_a_row_becomes_lines_where_columns_have_no_room():
    rows = [["a_long_name_of_a_model", 1.5, "two words", ["x y", "z"]]]
    assert rows_on_terminal(24, rows, ["model", "params (M)", "kind", "others"]) == [
        "a_long_name_of_a_model",
        "  params (M): 1.5,",
        "  kind: two words,",
        "  others: x y, z",
    ]


def test_a_number_stays_with_what_it_counts():
    from ppclas_cli.output import _lines

    assert _lines("8 photos: 1 pear, 12 plums", 18) == ["8 photos: 1 pear,", "12 plums"]
    assert _lines("8 photos: 1 pear, 12 plums", 20) == ["8 photos: 1 pear,", "12 plums"]


def test_a_cell_without_a_value_is_left_out_of_those_lines():
    rows = [["a_long_name_of_a_model", None, "two words"], ["b", 1.5, "three words here"]]
    assert rows_on_terminal(24, rows, ["model", "params (M)", "kind"]) == [
        "a_long_name_of_a_model",
        "  kind: two words",
        "b",
        "  params (M): 1.5,",
        "  kind: three words here",
    ]


def test_a_pipe_gets_whole_lines(capsys):
    print_table([["a" * 300, "b c"]], ["one", "two"])
    assert max(map(len, capsys.readouterr().out.splitlines())) == 305


def test_a_warning_is_yellow_and_broken_between_words_on_a_terminal():
    program = "from ppclas_cli.output import note; note('warning: ' + 'word ' * 20)"
    code, lines = on_terminal(60, [sys.executable, "-c", program])
    assert code == 0
    assert lines == ["warning:" + " word" * 10, "  " + " ".join(["word"] * 10)]
    assert all(set(line.split()) <= {"warning:", "word"} for line in lines)


def test_commands_stay_whole(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    text = "Go on with it:\n  ppclas train photos/ --epochs 20"
    assert wrapped(text, sys.stderr) == text


_SAYING = """
import sys
from ppclas_engine.console import Console
for line in sys.argv[1:]:
    Console().line(line)
"""


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_command_is_broken_as_a_shell_reads_it_and_a_number_stays_with_its_unit(columns):
    facts = [
        "epoch 1/2  train loss 1.7917",
        "train top-1 44.08%",
        "loss 1.2791",
        "top-1 of the mean with the start 87.50%",
        "8.0 img/s, 1% waiting for data",
    ]
    command = (
        "  ppclas train -c runs/student-more/config.yaml --output runs/student-next --lr 0.007"
    )
    quoted = (
        "  ppclas train --output 'runs/my own one, with so many spaces in its name' --lr 0.00067"
    )
    say = [sys.executable, "-c", _SAYING]
    code, lines = on_terminal(columns, [*say, "  ".join(facts)])
    assert code == 0
    assert all(width(line) <= columns for line in lines)
    assert [part for line in lines for part in line.split("  ")][1:] == [
        *facts[0].split("  ")[1:],
        *facts[1:],
    ]
    _, lines = on_terminal(columns, [*say, command])
    assert all(width(line) <= columns for line in lines)
    asked = subprocess.run(
        ["bash", "-c", "\n".join(['ppclas() { printf "%s " "$@"; }', *lines])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.split() == command.split()[1:]
    assert on_terminal(columns, [*say, quoted])[1] == [quoted]

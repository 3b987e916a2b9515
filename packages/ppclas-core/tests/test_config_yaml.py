"""YAML with positions: the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)
is the reference.
"""

import math

import pytest
from ppclas_core.config.yaml_source import Position, parse_yaml, read_yaml
from ppclas_core.errors import ConfigError
from ppclas_core.limits import CONFIG_BYTES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),  # YAML 1.1 as PyYAML reads it: the text "1e-4"
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.1e+2", -10.0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),  # YAML 1.1: sexagesimal, 90
        ("1_000", "1_000"),  # YAML 1.1: 1000
        ("2024-05-01", "2024-05-01"),  # YAML 1.1: a date
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("1./255.", "1./255."),
        ("'1e-4'", "1e-4"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("[1, a, {b: 2}]", [1, "a", {"b": 2}]),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    found = parse_yaml(f"key: {text}", "f")
    assert found.value == {"key": value}
    assert type(found.value["key"]) is type(value)


def test_infinity_and_nan():
    value = parse_yaml("[.inf, -.INF, .NaN]", "f").value
    assert value[:2] == [math.inf, -math.inf]
    assert math.isnan(value[2])


def test_keys_are_text():
    assert parse_yaml("1: a\ntrue: b\nnull: c", "f").value == {"1": "a", "true": "b", "null": "c"}


def test_positions_of_keys_and_values():
    document = parse_yaml("a:\n  - x\n  - {b: 1}\n", "f")
    assert document.keys["a",] == Position(1, 1)
    assert document.values["a", 0] == Position(2, 5)
    assert document.keys["a", 1, "b"] == Position(3, 6)
    assert document.values["a", 1, "b"] == Position(3, 9)


def test_anchors_and_merge_keys():
    text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nfirst: {<<: [{x: 7}, *b]}\nagain: *b"
    value = parse_yaml(text, "f").value
    assert value["use"] == {"x": 1, "y": 3}
    assert value["first"] == {"x": 7, "y": 2}
    assert value["again"] == {"x": 1, "y": 2}


def test_billion_laughs_is_bounded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(
        ConfigError, match=r"f:\d+:\d+: more than 100000 values once aliases are expanded"
    ):
        parse_yaml("\n".join(lines), "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: the key 'a' is here twice, first in line 1."),
        ("a: [1, 2", "f:1:9: not valid YAML: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document starts here; a config is one document."),
        (
            "a: !!python/object/apply:os.system [ls]",
            "f:1:4: the tag !!python/object/apply:os.system is not accepted",
        ),
        ("a: !mine 3", "f:1:4: the tag !mine is not accepted"),
        ("a: !!int x", "f:1:4: 'x' does not fit its tag !!int."),
        ("a: *b", "f:1:4: not valid YAML: found undefined alias 'b'."),
        ("a: &a [*a]", "f:1: nested too deeply before here, or an alias that contains itself."),
        ("[" * 1000, "f:1: nested too deeply"),
        ("? [1]\n: 2", "f:1:3: a key must be text."),
        ("a: 1\nb: 010", "f:2:4: 010 is an octal number to some programs and a decimal one to"),
        ("<<: 3", "f:1:5: '<<' takes a map, or a list of maps."),
        ("a:\n\t- b", "f:2:1: not valid YAML: found character '\\t'"),
        ("a: 1\nb: \x07", "f:2: the character U+0007 is not allowed in YAML."),
    ],
)
def test_errors_name_the_place(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value).startswith(message)


def test_a_number_of_ten_thousand_digits():
    # Python 3.11 and newer refuse to convert it; older ones do it.
    try:
        assert parse_yaml("a: " + "9" * 10_000, "f").value["a"] > 0
    except ConfigError as error:
        assert "the number is too long (10000 digits)" in str(error)  # noqa: PT017 - either outcome is right


def test_files(tmp_path):
    file = tmp_path / "配置.yaml"
    file.write_bytes("\ufeffa: 叶\n".encode())
    assert read_yaml(file).value == {"a": "叶"}
    assert read_yaml(file).name == str(file)
    file.write_text("", encoding="utf-8")
    assert read_yaml(file).value is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xff\n", ":2: byte 0xff is not UTF-8; save the file as UTF-8."),
        ("a: 1".encode("utf-16"), " is UTF-16 (what '>' writes in PowerShell); save it as UTF-8."),
        (
            b"#" * (CONFIG_BYTES + 1),
            " cannot be read: it has more than 1,048,576 bytes, the most that",
        ),
    ],
)
def test_files_that_are_not_configs(tmp_path, content, message):
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}{message}")


def test_folder_and_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; expected a YAML file"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match=r"There is no file .*nothing\.yaml"):
        read_yaml(tmp_path / "nothing.yaml")

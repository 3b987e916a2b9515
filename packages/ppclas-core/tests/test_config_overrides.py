"""``-o``: the vectors of the 2020 tools, with the values that a parser gives where those tools
called ``eval``.
"""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ppclas_core.config.overrides import apply_override, parse_value
from ppclas_core.errors import ConfigError

LEGACY = {
    "ARCHITECTURE": {"name": "ResNet50"},
    "pretrained_model": "",
    "classes_num": 1000,
    "epochs": 200,
    "image_shape": [3, 224, 224],
    "use_mix": True,
    "ls_epsilon": -1,
    "LEARNING_RATE": {"function": "Cosine", "params": {"lr": 0.1}},
    "TRAIN": {
        "batch_size": 256,
        "transforms": [
            {"DecodeImage": None},
            {"RandCropImage": {"size": 224}},
            {"ToCHWImage": None},
        ],
        "mix": [{"MixupOperator": {"alpha": 0.2}}],
    },
    "VALID": {"transforms": [{"DecodeImage": None}, {"ResizeImage": {"resize_short": 256}}]},
}


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        ("epochs=20", ("epochs",), 20),
        ("use_gpu=False", ("use_gpu",), False),
        ("use_gpu=false", ("use_gpu",), False),
        ("use_gpu=TRUE", ("use_gpu",), True),
        ("use_mix=1", ("use_mix",), 1),
        ("LEARNING_RATE.params.lr=0.1/8", ("LEARNING_RATE", "params", "lr"), 0.0125),
        ("ls_epsilon=1e-1", ("ls_epsilon",), 0.1),
        (
            "TRAIN.transforms.1.RandCropImage.size=160",
            ("TRAIN", "transforms", 1, "RandCropImage", "size"),
            160,
        ),
        (
            "VALID.transforms.1.ResizeImage.resize_short=300",
            ("VALID", "transforms", 1, "ResizeImage", "resize_short"),
            300,
        ),
        ("TRAIN.transforms.-1=None", ("TRAIN", "transforms", 2), None),
        (
            'TRAIN.mix=[{"MixupOperator":{"alpha":0.4}}]',
            ("TRAIN", "mix"),
            [{"MixupOperator": {"alpha": 0.4}}],
        ),
        ("image_shape.1=160", ("image_shape", 1), 160),
        ("pretrained_model=./a/b", ("pretrained_model",), "./a/b"),
        ("pretrained_model=", ("pretrained_model",), ""),
        ('pretrained_model=""', ("pretrained_model",), ""),
        ("ARCHITECTURE.name=ResNet18", ("ARCHITECTURE", "name"), "ResNet18"),
        ("ARCHITECTURE.name=list", ("ARCHITECTURE", "name"), "list"),
        ("ARCHITECTURE.name=a=b", ("ARCHITECTURE", "name"), "a=b"),
        ("foo.bar=1", ("foo", "bar"), 1),
    ],
)
def test_legacy_vectors(option, path, value):
    tree = copy.deepcopy(LEGACY)
    assert apply_override(tree, option) == path
    for part in path:
        tree = tree[part]
    assert tree == value
    assert type(tree) is type(value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "TRAIN.transforms.9=None",
            "index 9 is out of range: TRAIN.transforms has 3 items, 0 to 2.",
        ),
        (
            "TRAIN.transforms.-4=None",
            "index -4 is out of range: TRAIN.transforms has 3 items, 0 to 2.",
        ),
        (
            "TRAIN.transforms.x=1",
            "TRAIN.transforms is a list, so 'x' must be an index; it has 3 items, 0 to 2.",
        ),
        ("epochs.x=1", "epochs is 200, which has nothing inside called 'x'."),
        ("epochs", "expected KEY=VALUE with a dotted key, for example -o data.batch_size=32."),
        ("=1", "expected KEY=VALUE"),
        ("a..b=1", "expected KEY=VALUE"),
        ("epochs=[1, 2", "not valid YAML: expected ',' or ']'"),
        ('epochs="x', "not valid YAML"),
        ("epochs=1/0", "division by zero"),
        ("epochs={a: 1, a: 2}", "the key 'a' is here twice"),
    ],
)
def test_errors_start_with_the_option(option, message):
    before = copy.deepcopy(LEGACY)
    tree = copy.deepcopy(LEGACY)
    with pytest.raises(ConfigError) as caught:
        apply_override(tree, option)
    assert str(caught.value).startswith(f"-o {option}: {message}")
    assert tree == before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1./255.", 1 / 255),
        ("1.0/255.0", 1 / 255),
        ("-1/4", -0.25),
        ("1e-1/2", 0.05),
        (" 3 ", 3),
        ("tRuE", True),
        ("null", None),
        ("yes", "yes"),
        ("'5'", "5"),
        ("{a: 1e-4}", {"a": 1e-4}),
        ("a: b", "a: b"),
        ("C:\\photos\\x", "C:\\photos\\x"),
        ("__import__('os').system('ls')", "__import__('os').system('ls')"),
        ("2**8", "2**8"),
        ("1/2/3", "1/2/3"),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(ConfigError):
        parse_value(text)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12))
def test_numbers_come_back(number):
    assert parse_value(repr(number)) == number


def test_lists_are_copied_from_the_defaults():
    defaults = {"mean": (1.0, 2.0), "size": None}
    tree = {}
    assert apply_override(tree, "mean.-1=5", defaults) == ("mean", 1)
    assert tree == {"mean": [1.0, 5]}
    with pytest.raises(
        ConfigError, match="size is not set, so there is nothing inside it to set; give all of it"
    ):
        apply_override(tree, "size.0=5", defaults)

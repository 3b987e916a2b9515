"""What PaddleClas' configs mean, kind by kind: each gives its value, or is refused with its place.

The expected values are what PaddleClas' own code does with the file: YAML 1.1, then Python literals
in the values of maps. The small files are in ``paddleclas_cases.yaml``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ppclas_core.config.load import LoadedConfig, load_config
from ppclas_core.errors import ConfigError

CASES = yaml.safe_load(Path(__file__).with_name("paddleclas_cases.yaml").read_text("utf-8"))
BASES: dict[str, str] = CASES["bases"]


def changed(base: str, *changes: str) -> str:
    """The base with each old text, where it is first, in its new words."""
    text = BASES[base]
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


for _name, _changes in CASES["derived"].items():
    BASES[_name] = changed(*_changes)
OLD, NEW = BASES["old"], BASES["new"]


def block(base: str, start: str, end: str) -> str:
    """The part of a base from one text to another; without the latter, to its end."""
    text = BASES[base]
    return text[text.index(start) : text.index(end) if end else None]


@pytest.fixture
def load(tmp_path):
    def loaded(text: str | bytes, *overrides: str) -> LoadedConfig:
        path = tmp_path / "old.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config(path, overrides)

    return loaded


def value_of(loaded: LoadedConfig, key: str) -> Any:
    """What stands at a dotted key; None where there is nothing."""
    found: Any = loaded.config.model_dump(mode="json")
    for part in key.split("."):
        if isinstance(found, list):
            found = found[int(part)] if int(part) < len(found) else None
        else:
            found = (found or {}).get(part)
    return pytest.approx(found) if isinstance(found, float) else found


def refused(load: Any, message: str, text: str | bytes, *overrides: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(text, *overrides)
    assert "mistakes:" not in str(caught.value)  # what follows from one is no second


@pytest.mark.parametrize(
    ("base", "key", "value", "changes"), [(*c[:3], c[3:]) for c in CASES["gives"]]
)
def test_what_it_gives(load, base, key, value, changes):
    assert value_of(load(changed(base, *changes)), key) == value


@pytest.mark.parametrize(
    ("base", "message", "changes"), [(*c[:2], c[2:]) for c in CASES["refused"]]
)
def test_what_is_refused_and_why(load, base, message, changes):
    refused(load, message, changed(base, *changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OLD.encode("utf-16"), "is UTF-16"),
        (OLD.replace("photos", "照片").encode("gbk"), r"old.yaml:27: byte 0xd5 is not UTF-8"),
        (f"{OLD}---\n{OLD}", "a second document starts here"),
        ("a: " + "[" * 2000, "nested too deeply"),
        ("just a text", "expected a map with the keys model"),
        ("Global: {inference_model_dir: m}\nPreProcess: {}", "PreProcess: .*config for prediction"),
        ("Global: {inference_model_dir: m, a: 1}", "inference_model_dir: .*config for prediction"),
    ],
)
def test_files_of_other_kinds(load, text, message):
    refused(load, message, text)


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_line_ends_of_any_system(load, end):
    assert load(OLD.replace("\n", end)).config == load(OLD).config


@pytest.mark.parametrize(
    ("base", "changes", "note"),
    [
        ("old", (block("old", "VALID:", ""), ""), "no list of validation photos in VALID"),
        (
            "new",
            (block("new", "  Eval:\n    dataset", "Metric:"), ""),
            "no list of validation photos in DataLoader.Eval",
        ),
        (
            "old",
            ("mode: train", "mode: valid", block("old", "TRAIN:", "VALID:"), ""),
            "nothing says what to train on",
        ),
        ("old", ("shuffle_seed: 0", "shuffle_seed: null"), "without a seed runs differed"),
        ("new", ("  use_amp: False\n  level: O1\n", ""), "off where AMP is empty"),
        ("new", ("momentum: 0.9", "momentum: 0.9\n  multi_precision: True"), "float32 here"),
    ],
)
def test_what_is_said(load, base, changes, note):
    assert any(note in line for line in load(changed(base, *changes)).notes)


@pytest.mark.parametrize(
    ("base", "override", "key", "value"),
    [
        ("old", "use_mix=no", "data.batch_transforms", []),
        ("old", "use_mix=1", "data.batch_transforms.0.name", "Mixup"),
        ("old", 'TRAIN.batch_size="64"', "data.batch_size", 64),
        ("old", "checkpoints=None", "train.epochs", 20),
        ("new", "AMP=None", "train.precision", "float32"),
        ("new", "Arch.use_sync_bn=no", "train.sync_batch_norm", False),
        ("new", 'Global.image_shape="[3, 192, 192]"', "data.image_size", 192),
        ("new", "Metric.Eval.0.TopkAcc.topk=[1,3]", "metrics.0.k", [3]),
        ("new", "Optimizer.regularizer=None", "optimizer.weight_decay", 0.0),
    ],
)
def test_overrides(load, base, override, key, value):
    assert value_of(load(BASES[base], override), key) == value


@pytest.mark.parametrize(
    ("base", "override", "message"),
    [
        ("old", "epochs=None", "-o epochs=None: epochs: expected a value"),
        ("old", "epochs=020", "-o epochs=020: 020 is an octal number"),
        ("old", "LEARNING_RATE.params.lr=0.1*4", "expected a number"),
        ("old", "OPTIMIZER.function=AdamOptimizer", "-o .*: expected one of Momentum"),
        ("old", "OPTIMIZER.regularizer.function=L1", "expected L2, got the text 'L1'"),
        ("old", "validate=0", "-o validate=0: validate: false: a run here"),
        ("new", "Optimizer.lr=0.1", "Optimizer.lr: expected a map, got 0.1"),
        ("new", "Optimizer.lr.name=Cyclic", "lr.name: expected one of .* 'Cyclic'"),
        ("new", "Optimizer.name=AdamW", "Optimizer.momentum: AdamW has no such parameter"),
        ("new", "Arch=None", "Arch: expected a map, got nothing"),
        ("new", "Optimizer.clip_norm=5", "each tensor by itself"),
    ],
)
def test_overrides_that_are_refused(load, base, override, message):
    refused(load, message, BASES[base], override)


def test_the_model_is_checked_beside_all_else(load):
    # Not only when everything else is right.
    text = changed("new", "x0_35", "x0_36", "RandFlipImage", "RandFlipImag")
    with pytest.raises(ConfigError) as caught:
        load(text)
    title, model, operator = str(caught.value).split("\n")
    assert title == "the config has 2 mistakes:"
    assert "Arch.name: Unknown model 'MobileNetV3_small_x0_36'. Did you mean" in model
    assert "Did you mean RandFlipImage" in operator


# Any tree at all: a config, or a mistake with its place.

_TREES = [yaml.safe_load(text) for text in BASES.values()]
_ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2.5, float("nan"), float("inf"), 10**30),
    *("", "no", "None", "1/0", "(1,", "{1: 2}", "b'x'", "2j", "\\d", "0x10", "ResNet50", "Cosine"),
    *([], {}, [None], [1, 2], {"a": 1}, {"name": "x"}, [{"a": None}], [["Student", "Teacher"]]),
]
_CHANGES = ("value", "value", "value", "list", "map", "gone", "renamed")


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Each container of a tree with each of its keys or indices."""
    found = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found


@st.composite
def _mutated(draw: st.DrawFn) -> dict[str, Any]:
    tree = copy.deepcopy(draw(st.sampled_from(_TREES)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(tree)
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(_CHANGES))
        if what == "value":
            container[key] = copy.deepcopy(draw(st.sampled_from(_ODD_VALUES)))
        elif what == "list":
            container[key] = [container[key]]
        elif what == "map":
            container[key] = {"x": container[key]}
        elif what == "gone" or isinstance(container, list):
            del container[key]
        else:
            container[f"{key}s"] = container.pop(key)
    return tree


def _check_any_tree(folder: Path, tree: dict[str, Any]) -> None:
    path = folder / "any.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    try:
        load_config(path)
    except ConfigError as error:
        lines = str(error).split("\n  ")
        assert len(set(lines)) == len(lines)
        assert all(str(path) in line for line in lines if "mistakes:" not in line)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(tree=_mutated())
def test_any_tree_is_a_config_or_a_mistake(tmp_path_factory, tree):
    _check_any_tree(tmp_path_factory.getbasetemp(), tree)


@pytest.mark.sweep
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=_mutated())
def test_ten_thousand_trees(tmp_path_factory, tree):
    _check_any_tree(tmp_path_factory.getbasetemp(), tree)

"""Configs with something wrong in them: each is taken, or refused with a line and a column."""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ppclas_engine
import ppclas_paddleclas
import pytest
import yaml
from ppclas_core.config.load import load_config
from ppclas_core.errors import PpclasError

pytestmark = pytest.mark.sweep

FIRST = int(os.environ.get("CAMPAIGN_SEED", "0"))
"""Other seeds, other files: ``CAMPAIGN_SEED=1000 pytest -m sweep tests``."""

VALUES: list[Any] = [
    None, True, False, 0, -1, 1e30, -1e-30, float("nan"), float("inf"), "", "x", "1e-5", "224",
    "/dev/zero", [], {}, [[]], [None], {"a": 1}, {"name": "x"}, [1, 2, 3], "é" * 50, 10**40,
    "\x1b[2J", 3.5, [0, 0], {1: 2}, [{"name": []}], "off", "1./255.",
]  # fmt: skip
RECIPES = sorted(
    path
    for package in (ppclas_engine, ppclas_paddleclas)
    for path in (Path(package.__file__).parent / "recipes").glob("*.yaml")
)
CASES = Path(__file__).parents[2] / "shared" / "cases" / "paddleclas-configs"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutated(config: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One to three values replaced, taken out, called otherwise, or put where another was."""
    config = copy.deepcopy(config)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *way, last = rng.choice(list(places(config)) or [("a",)])
        parent: Any = config
        for key in way:
            parent = parent[key]
        change = rng.randrange(6)
        if change == 0 and isinstance(parent, dict):
            parent[f"{last}{rng.choice('sx_')}"] = parent.pop(last, None)
        elif change == 1 and config:
            del parent[last]
        elif change == 2:
            node: Any = config
            for key in rng.choice(list(places(config))):
                node = node[key]
            parent[last] = copy.deepcopy(node)
        else:
            parent[last] = copy.deepcopy(rng.choice(VALUES))
    return config


BASES = {"2020": ("base2020.yaml",), "2x": ("base2x.yaml", "pair_2x_without_key.yaml")}
"""Files in each schema of PaddleClas; a pair has other keys."""


def check(config: dict[str, Any], file: Path, rng: random.Random) -> bool:
    """Whether a mutated ``config`` is refused; it must be with a place, and never as a bug."""
    text = yaml.safe_dump(mutated(config, rng), sort_keys=False)
    file.write_text(text)
    try:
        load_config(str(file), [])
    except PpclasError as error:
        if not re.search(r"c\.yaml:\d+", str(error)):
            raise AssertionError(f"{error}\n\n{text}") from error
        return True
    except Exception as error:
        raise AssertionError(text) from error
    return False


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 10))
def test_a_mutated_config_is_taken_or_refused_with_its_place(seed, tmp_path):
    configs = [yaml.safe_load(path.read_text()) for path in RECIPES]
    assert len(configs) > 50
    rng = random.Random(seed)
    refused = sum(check(rng.choice(configs), tmp_path / "c.yaml", rng) for _ in range(1000))
    assert refused > 300


@pytest.mark.parametrize("schema", BASES)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + 10))
def test_ten_thousand_mutated_files_of_each_schema(schema, seed, tmp_path):
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}")
    configs = [yaml.safe_load((CASES / name).read_text()) for name in BASES[schema]]
    rng = random.Random(100 + seed)
    refused = sum(check(rng.choice(configs), tmp_path / "c.yaml", rng) for _ in range(1000))
    assert refused > 300

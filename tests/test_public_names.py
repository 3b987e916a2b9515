"""What is public is written down: the rule stands in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.name.replace("-", "_") for path in (ROOT / "packages").iterdir())
HOOKS = (ROOT / "docs" / "en" / "hooks.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)+", HOOKS)))


def is_ours(value: object) -> bool:
    """Whether it is a class, a function or an object of ours; modules are imported by name."""
    return str(getattr(value, "__module__", "")).partition(".")[0] in PACKAGES


def words_of(value: object) -> str:
    return inspect.getdoc(value) or ""


def imported(package: types.ModuleType) -> set[str]:
    """Every name that the package imports, for type checkers too: a ``__getattr__`` may give it."""
    tree = ast.parse(inspect.getsource(package))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_its_names_and_gives_no_others(name):
    package = importlib.import_module(name)
    listed = set(package.__all__)
    for each in sorted(listed):
        assert words_of(getattr(package, each)), f"{name}.{each} has no docstring"
    possible = {key for key in {*vars(package), *imported(package)} if not key.startswith("_")}
    given = {key for key in possible if is_ours(getattr(package, key, None))}
    assert given <= listed


def test_the_names_of_the_core():
    # Each of these is a promise: think twice before adding one.
    core = importlib.import_module("ppclas_core")
    assert core.__all__ == [
        "Bundle",
        "Config",
        "PpclasError",
        "create_model",
        "hookimpl",
        "list_models",
    ]


def test_the_page_of_hooks_names_something():
    assert len(NAMED) > 15


@pytest.mark.parametrize("name", NAMED)
def test_what_the_page_of_hooks_names_is_there_and_has_words(name):
    value = pkgutil.resolve_name(name)
    assert words_of(value), f"{name} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_module_that_lists_names_has_them(name):
    package = importlib.import_module(name)
    for info in pkgutil.walk_packages(package.__path__, f"{name}."):
        path = Path(package.__path__[0], *info.name.split(".")[1:])
        source = path / "__init__.py" if info.ispkg else path.with_suffix(".py")
        if "\n__all__" not in source.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(info.name)
        for each in module.__all__:
            assert words_of(getattr(module, each)), f"{info.name}.{each} has no docstring"

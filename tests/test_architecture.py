"""The house as it is drawn: floors, circles, sizes, and the modules that docs name."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "en" / "architecture.md"
SOURCES = {path.name: path for path in sorted(ROOT.glob("packages/*/src/ppclas_*"))}


def table_of_packages():
    """Package → what the page says that it imports from."""
    rows = re.findall(
        r"^\| `ppclas-(\w+)` \|[^|]*\| ([^|]*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    every = {name for name, _ in rows}
    allowed = {}
    for name, words in rows:
        allowed[name] = every - {name} if words == "all" else {*words.split(", ")} - {"–"}
    return allowed


@pytest.fixture(scope="module")
def graph():
    # Imports for type checking count: they are what a reader has to follow, too.
    return grimp.build_graph(*SOURCES, cache_dir=None)


def test_no_two_files_import_each_other_in_a_circle(graph):
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_arrows_between_packages_are_those_of_the_page(graph):
    allowed = table_of_packages()
    assert {f"ppclas_{name}" for name in allowed} == SOURCES.keys()
    wrong = [
        f"{module} → {imported}"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if (here := module.split(".")[0]) != (there := imported.split(".")[0])
        and there.removeprefix("ppclas_") not in allowed[here.removeprefix("ppclas_")]
    ]
    assert wrong == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*/*.md")), ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(graph, page):
    for name in sorted(set(re.findall(r"\bppclas_\w+(?:\.\w+)+", page.read_text("utf-8")))):
        module = name
        if name.split(".")[0] not in SOURCES:  # the example plugin's
            continue
        while module not in graph.modules:
            module, dot, _ = module.rpartition(".")
            assert dot, f"{page.name} names {name}"
        missing = name.removeprefix(module).strip(".").split(".")
        assert len(missing) == 1, f"{page.name} names {name}"
        if missing[0]:
            assert defines(module, missing[0]), f"{page.name} names {name}"


def defines(module, name):
    source = SOURCES[module.split(".")[0]].joinpath(*module.split(".")[1:])
    file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    text = file.read_text(encoding="utf-8")
    return bool(re.search(rf"^(class|def) {name}\b|^{name}\b.*=|\"{name}\"", text, re.MULTILINE))


def test_files_and_packages_stay_small():
    for package, folder in SOURCES.items():
        lengths = {
            file: len(file.read_text(encoding="utf-8").splitlines())
            for file in folder.rglob("*.py")
        }
        assert [f"{file}: {count}" for file, count in lengths.items() if count > 400] == []
        limit = {"ppclas_core": 5000, "ppclas_models": 40_000}.get(package, 9000)
        assert sum(lengths.values()) <= limit, package


def test_the_core_knows_nothing_heavy_and_nobody_above():
    known = {"pydantic", "pydantic_core", "pluggy", "yaml", "numpy", "safetensors", "ppclas_core"}
    for file in SOURCES["ppclas_core"].rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        top = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
        }
        outside = top - known - set(sys_names())
        assert outside <= {"paddle"}, f"{file.name} imports {outside}"
        assert "paddleclas" not in file.read_text(encoding="utf-8").lower(), file.name


def sys_names():
    import sys

    return sys.stdlib_module_names

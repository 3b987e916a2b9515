"""Write docs/*/contracts.md: every method of every contract with its types, from the source.

Run it after changing a contract: ``python docs/generate_contracts.py``. A test compares the page.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).parent
CONTRACTS = {
    "register_models": ("image_model", ("ImageModel", "Feature")),
    "register_transforms": ("data", ("Transform",)),
    "register_batch_transforms": ("data", ("BatchTransform",)),
    "register_losses": ("training", ("Loss", "Targets")),
    "register_feature_losses": ("training", ("FeatureLoss",)),
    "register_objectives": (
        "objective",
        ("Objective", "ObjectiveContext", "TrainBatch", "StepLoss"),
    ),
    "register_schedulers": ("training", ("Scheduler",)),
    "register_optimizers": ("training", ("Optimizer",)),
    "register_metrics": ("training", ("Metric",)),
    "register_exporters": ("export", ("Exporter",)),
    "register_engines": ("export", ("Engine",)),
    "register_trackers": ("training", ("Tracker",)),
    "register_datasets": ("data", ("Source", "ImageSet", "Record")),
    "register_readers": ("readers", ("BatchReader", "OpenReader", "Request", "Samples")),
    "register_weight_formats": ("weight_format", ("WeightFormat",)),
    "register_config_formats": ("config_format", ("ConfigFormat", "TranslatedConfig")),
    "on_train_start": ("training", ("TrainContext",)),
}
"""Hook → module of ``ppclas_core.contracts``, and the classes that a plugin meets there."""

_INTRODUCTION = {
    "en": """\
# Contracts, method by method

Generated from the source by `docs/generate_contracts.py`. [Hooks](hooks.md) explains each with
an example; this page has the full signatures. "To write" marks what is yours; the other methods
have a default. Settings of a component are pydantic fields of your subclass.
`ppclas plugins new NAME` starts a package that fulfils some of them.
""",
    "zh": """\
# 接口约定：逐个方法

本页由 `docs/generate_contracts.py` 从源代码生成。[钩子](hooks.md)用例子说明每个接口，
这里列出完整的签名；说明文字是源代码中的英文。
“To write” 标出需要自己实现的方法，其他方法有默认实现。组件的参数是子类中的 pydantic 字段。
`ppclas plugins new NAME` 新建一个实现了其中一部分的软件包。
""",
}


def render(language: str = "en") -> str:
    """The whole page."""
    return _INTRODUCTION[language] + "".join(
        _section(hook, module, names) for hook, (module, names) in CONTRACTS.items()
    )


def _section(hook: str, module: str, names: tuple[str, ...]) -> str:
    spec = find_spec(f"ppclas_core.contracts.{module}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = "".join(_class(module, classes[name]) for name in names)
    return f"\n## `{hook}`\n{parts}"


def _class(module: str, node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    title = f"class {node.name}({bases})" if bases else f"class {node.name}"
    members = "\n\n".join(_members(node))
    body = f"\n{textwrap.indent(members, '    ')}" if members else " ..."
    about = _first_paragraph(ast.get_docstring(node))
    return (
        f"`ppclas_core.contracts.{module}.{node.name}`: {about}\n\n```python\n{title}:{body}\n```\n"
    )


def _members(node: ast.ClassDef) -> Iterator[str]:
    fields = [
        ast.unparse(item)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_")
    ]
    if fields:
        yield "\n".join(fields)
    for item in node.body:
        public = isinstance(item, ast.FunctionDef) and (
            not item.name.startswith("_") or item.name == "__call__"
        )
        if public:
            assert isinstance(item, ast.FunctionDef)
            yield _method(item)


def _method(node: ast.FunctionDef) -> str:
    decorators = "".join(f"@{ast.unparse(each)}\n" for each in node.decorator_list)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = f"{decorators}def {node.name}({ast.unparse(node.args)}){returns}: ..."
    about = _first_paragraph(ast.get_docstring(node))
    words = f"{about} (to write)" if _to_write(node) else about
    comment = textwrap.fill(words, 96, initial_indent="# ", subsequent_indent="# ")
    return f"{comment}\n{signature}" if words else signature


def _to_write(node: ast.FunctionDef) -> bool:
    """Whether the base only describes it."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return not body or ast.unparse(body[0]).startswith("raise NotImplementedError")


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


if __name__ == "__main__":
    for language in _INTRODUCTION:
        file = DOCS / language / "contracts.md"
        file.write_text(render(language), encoding="utf-8")
        print(file)

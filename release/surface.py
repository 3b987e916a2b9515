"""What is promised to stay: ``python release/surface.py`` writes tests/golden/surface.json.

Run it when something public was added. A test compares the file with what exists: names may come,
and leave only by the rules of docs/en/compatibility.md.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import click
from ppclas_cli.main import cli
from ppclas_core import hookspecs
from ppclas_core.bundle import Manifest
from ppclas_core.config.schema import Config
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "golden" / "surface.json"
COMPONENTS = (
    *("transforms", "batch_transforms", "losses", "feature_losses", "objectives", "schedulers"),
    *("optimizers", "metrics", "trackers", "readers", "exporters", "engines"),
)


def surface() -> dict[str, list[str]]:
    """Kind → names, each with what it is called with: ``RandomFlip.probability``."""
    registries = get_registries()
    found: dict[str, list[str]] = {
        "hooks": [
            f"{name}({', '.join(inspect.signature(hook).parameters)})"
            for name, hook in vars(hookspecs).items()
            if getattr(hook, f"{hookspecs.PROJECT}_spec", None) is not None
        ],
        "config keys": list(_keys(Config)),
        "fields of bundle.json": list(_keys(Manifest)),
        "commands": list(_commands(cli, "ppclas")),
        "python names": list(_python_names()),
        "models": [name for name in registries.models.names() if _ours(registries.models, name)],
    }
    for kind in COMPONENTS:
        registry = getattr(registries, kind)
        found[kind] = [
            full
            for name in registry.names()
            if _ours(registry, name)
            for full in (
                name,
                *(f"{name}.{field}" for field in registry.entry(name).params_model().model_fields),
            )
        ]
    return {kind: sorted(names) for kind, names in found.items()}


def _ours(registry: Any, name: str) -> bool:
    return registry.entry(name).owner.startswith("ppclas-") and (
        registry.entry(name).owner != "ppclas-demo"
    )


def _keys(model: type[Params], path: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        found.append(path + name)
        if isinstance(kind, type) and issubclass(kind, Params):
            found += _keys(kind, f"{path}{name}.")
    return found


def _commands(command: click.Command, path: str) -> list[str]:
    context = click.Context(command)
    found = [path]
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        found += [f"{path} {option}" for option in (*parameter.opts, *parameter.secondary_opts)]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inside = command.get_command(context, name)
            if inside is not None:
                found += _commands(inside, f"{path} {name}")
    return found


def _python_names() -> list[str]:
    found = []
    for file in sorted(ROOT.glob("packages/*/src/*/__init__.py")):
        names = re.search(r"^__all__[^=]*= (\[.*?\])", file.read_text("utf-8"), re.S | re.M)
        if names:
            found += [f"{file.parent.name}.{name}" for name in ast.literal_eval(names[1])]
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(FILE)

"""A config as YAML, plain or with the origin of each value beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ppclas_core.config.explain import dotted
from ppclas_core.config.schema import Config
from ppclas_core.config.yaml_source import Dumper, KeyPath, parse_yaml


def dump_config(config: Config) -> str:
    """YAML that loads back as an equal config: every value, defaults too."""
    return yaml.dump(
        config.model_dump(),
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=float("inf"),
    )


def annotate(text: str, origins: Mapping[str, str]) -> str:
    """The YAML of ``dump_config`` with ``# origin`` behind each value that has one in
    ``origins``.
    """
    lines = text.splitlines()
    document = parse_yaml(text, "config")
    comments = {
        document.values[path].line - 1: origins[dotted(path)]
        for path in leaves(document.value)
        if dotted(path) in origins
    }
    width = min(60, max((len(lines[line]) for line in comments), default=0))
    return "".join(
        f"{line:<{width}}  # {comments[number]}\n" if number in comments else f"{line}\n"
        for number, line in enumerate(lines)
    )


def leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every value in a plain tree: scalars, lists of plain values, empty maps."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path

"""Other schemas of configs: how one is recognised, and what its translation says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ppclas_core.config.explain import Problem
from ppclas_core.config.yaml_source import KeyPath


@dataclass(frozen=True)
class TranslatedConfig:
    """A config of another schema in the words of this one."""

    values: dict[str, Any]
    """Plain values in the schema of ``ppclas_core.Config``."""
    origins: Mapping[KeyPath, KeyPath] = field(default_factory=dict)
    """New path → the old one that it came from; an empty one where the old schema implies it."""
    lines: tuple[str, ...] = ()
    """What became of each old key, a line each."""
    problems: tuple[Problem, ...] = ()
    """What could not be translated, with its place in the old tree; then nothing else counts."""


class ConfigFormat:
    """A schema of another program. What is registered is an object of such a class."""

    description: ClassVar[str]
    """What such a file is and how it is told apart, for messages: "a … config (KEY: …)"."""
    keys: ClassVar[frozenset[str]]
    """Its top-level keys. An override of one of them is made before the tree is translated."""
    implied: ClassVar[str]
    """The origin of values that the old schema implies: "as … trains"."""

    def recognises(self, values: Mapping[str, Any]) -> bool:
        """Whether a config's tree of plain values is written in this schema."""
        raise NotImplementedError

    def translate(self, values: dict[str, Any]) -> TranslatedConfig:
        """The translation. It never guesses: what it does not know is a problem."""
        raise NotImplementedError

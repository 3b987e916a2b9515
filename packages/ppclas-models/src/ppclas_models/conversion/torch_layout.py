"""How a torch package builds and names a family: what the tables of layouts are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ppclas_models.conversion.torch_families import Family

Replacement = str | Callable[[re.Match[str]], str]
Rules = tuple[tuple[str, Replacement], ...]
"""Regular expressions and what takes the place of what they find, one after another: they turn a
state-dict name here into torch's."""

LEAVES = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
UNREAD = ""
"""Torch's name of a tensor that no torch model has, and that the answers do not depend on."""

HEAD = (r"^(?:fc|linear|head|out)\.(weight|bias)", r"head.fc.\1")
"""The classifier, as timm calls it where a pool stands before it."""
DROPPED = {r"fc\.weight": 1 / 0.8}
"""A dropout before the classifier that scales in evaluation here: its weights do the opposite."""


@dataclass(frozen=True)
class Layout:
    """A torch package's way to build and name a family."""

    models: tuple[str, ...]
    """Globs of its models' names, each with the package before it: ``timm/resnet*d``."""
    family: Family | None = None
    """Gives the torch module of each layer; None: ``rules`` give each tensor's name."""
    epsilon: float = 1e-5
    """Of its batch norms."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """State-dict name here (a pattern of them with ``rules``) → what its values are multiplied
    by."""
    biased: str = ""
    """Pattern of the units whose convolution has a bias before its batch norm there."""
    dropped: str = ""
    """Pattern of the torch tensors that ``differences`` speaks of, or that hold nothing learned."""
    differences: tuple[str, ...] = ()
    """What no weights can make up for."""
    rules: Rules = ()
    joined: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Pattern of names here → the torch tensors that make it up, one after another along the axis
    in which they differ; None: zeros."""
    folded: Mapping[str, str] = field(default_factory=dict)
    """Pattern of names here → torch's bias that it takes up: a batch norm's mean the one of the
    convolution before it, position embeddings that of the patches."""

    @property
    def title(self) -> str:
        """For example "timm's resnet*d"."""
        packages: dict[str, list[str]] = {}
        for model in self.models:
            package, _, name = model.partition("/")
            packages.setdefault(package, []).append(name)
        return " and ".join(
            f"{package}'s {', '.join(names)}" for package, names in packages.items()
        )

    def fits(self, model: str) -> bool:
        """Whether the torch model called ``model`` (or a file named after it) is one of them."""
        return any(fnmatchcase(model, each.partition("/")[2] + "*") for each in self.models)


def renamed(key: str, rules: Rules) -> str:
    """Torch's name of the tensor ``key``; ``UNREAD`` if there is none."""
    path, _, leaf = key.rpartition(".")
    name = f"{path}.{LEAVES.get(leaf, leaf)}" if path else key
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def matched(key: str, patterns: Mapping[str, str]) -> str | None:
    """What the first of ``patterns`` that ``key`` matches stands for, or None."""
    for pattern, value in patterns.items():
        if match := re.fullmatch(pattern, key):
            return match.expand(value)
    return None


def in_stages(depths: tuple[int, ...], written: str, first: int = 0) -> Replacement:
    """For a pattern whose first group counts blocks through all stages: ``written`` with
    ``{stage}`` and ``{block}`` filled in, and with the other groups of the pattern."""
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]

    def replace(match: re.Match[str]) -> str:
        stage, block = places[int(match[1]) - first]
        return match.expand(written.format(stage=stage, block=block))

    return replace

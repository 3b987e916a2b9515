"""The 1,000 classes of ImageNet-1k, in the order of the logits of every published weight file.

The synsets and their words are WordNet's; the order is that of the 2012 challenge: synset ids
sorted.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple


class ImageNetClass(NamedTuple):
    """One class; its id is its place in ``imagenet_classes()``."""

    wnid: str
    """WordNet's id of the synset, "n02123045"."""
    name: str
    """The synset's first word, or where several classes have the same one, another: unique."""
    words: tuple[str, ...]
    """All words of the synset."""


@functools.lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes: ``imagenet_classes()[281].name`` is "tabby"."""
    text = Path(__file__).with_name("imagenet.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return tuple(
        ImageNetClass(wnid, name, tuple(word.strip() for word in words.split(",")))
        for wnid, name, words in rows
    )


def class_names(name: str) -> tuple[str, ...]:
    """What the classes of the published weights of ``name`` are called: ImageNet's, for all."""
    return tuple(row.name for row in imagenet_classes())

"""What both old schemas say in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ppclas_core.config.paddleclas.translation import Translation
from ppclas_core.config.yaml_source import KeyPath


def drop_data_facts(t: Translation, paths: Iterable[KeyPath]) -> None:
    """Counts that had to be kept right by hand."""
    for path in paths:
        t.drop("counted from the data", *path)


def set_pretrained(t: Translation, weights: Any, *source: str | int) -> None:
    """``model.pretrained`` of a path, or of nothing: random weights."""
    if isinstance(weights, str) and weights:
        t.set("model.pretrained", weights, *source)
    elif weights in (None, "", False):
        t.set("model.pretrained", False, *source, quiet=True)
        t.lines.append("no pretrained weights → model.pretrained: False")
    elif weights is True:
        t.set("model.pretrained", True, *source)
    else:
        t.refuse(source, f"expected the path of one weights file or folder, got {weights!r}.")


def set_image_size(t: Translation, *source: str | int) -> None:
    """``data.image_size`` of [C, H, W]."""
    shape = t.get(*source)
    if shape is None:
        return
    if not isinstance(shape, list) or len(shape) != 3 or shape[0] != 3:
        t.refuse(source, f"expected [3, height, width], got {shape!r}.")
        return
    t.set("data.image_size", shape[1] if shape[1] == shape[2] else shape[1:], *source)


def set_root(t: Translation, train: KeyPath, val: KeyPath) -> None:
    """``data.root``: the folder that both lists start from."""
    of_train, of_val = t.get(*train), t.get(*val)
    if of_train and of_val and _folder(of_train) != _folder(of_val):
        t.refuse(val, f"the lists start from two folders, {of_train!r} and {of_val!r}; here both start from one.")
        return
    root, source = (of_train, train) if of_train else (of_val, val)
    if root:
        t.set("data.root", root, *source)


def set_learning_rates(t: Translation) -> None:
    """One learning rate for all stages where the old config asked for nothing else."""
    if "lr_mult" not in t.new.get("optimizer", {}) and "optimizer" in t.new:
        t.set("optimizer.lr_mult", {}, quiet=True)


def as_published(t: Translation) -> None:
    """Leave out what this project adds to fine-tuning: the old recipes' numbers were reached without."""
    t.set("train.probe_head", False, quiet=True)
    t.set("train.freeze_norm_statistics", False, quiet=True)


def _folder(path: Any) -> str:
    return str(path).removeprefix("./").rstrip("/")

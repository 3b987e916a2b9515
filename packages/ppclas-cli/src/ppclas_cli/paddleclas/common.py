"""What both old schemas say in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ppclas_core.config.explain import dotted
from ppclas_core.config.yaml_source import KeyPath

from ppclas_cli.paddleclas.operators import translate_operators
from ppclas_cli.paddleclas.translation import Translation

_OPTIMIZERS = {
    "Momentum": {"momentum": "momentum", "use_nesterov": "nesterov"},
    "SGD": {},
    "RMSProp": {"momentum": "momentum", "rho": "rho", "epsilon": "epsilon"},
    "Adam": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
    "AdamW": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
}
"""Old name, which is the new one too → old parameter → new one."""


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
        t.refuse(
            val,
            f"the lists start from two folders, {of_train!r} and {of_val!r}; here both start from "
            "one.",
        )
        return
    root, source = (of_train, train) if of_train else (of_val, val)
    if root:
        t.set("data.root", root, *source)


def set_optimizer(t: Translation, name: KeyPath, params: KeyPath) -> bool:
    """``optimizer.name`` of what stands at ``name``, and its parameters, below ``params``."""
    found = t.get(*name)
    if found not in _OPTIMIZERS:
        t.refuse(name, f"expected one of {', '.join(_OPTIMIZERS)}, got {found!r}.")
        return False
    t.set("optimizer.name", found, *name)
    for old, new in _OPTIMIZERS[found].items():
        t.move(f"optimizer.{new}", *params, old)
    return True


def set_transforms(t: Translation, key: str, *source: str | int) -> None:
    """``data.<key>`` of the list of operators at ``source``."""
    if t.has(*source):
        transforms = translate_operators(t, *source)
        t.set(f"data.{key}", transforms, *source, quiet=True)
        t.lines.append(
            f"{dotted(source)} → data.{key}: {', '.join(item['name'] for item in transforms)}"
        )


def set_learning_rates(t: Translation) -> None:
    """One learning rate for all stages where the old config asked for nothing else."""
    if "lr_mult" not in t.new.get("optimizer", {}) and "optimizer" in t.new:
        t.set("optimizer.lr_mult", {}, quiet=True)


def as_published(t: Translation) -> None:
    """Leave out what this project adds to fine-tuning: the old numbers were reached without."""
    t.set("train.probe_head", False, quiet=True)
    t.set("train.freeze_norm_statistics", False, quiet=True)


def _folder(path: Any) -> str:
    return str(path).removeprefix("./").rstrip("/")

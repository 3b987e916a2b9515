"""What both old schemas say in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from ppclas_core.config.explain import describe, dotted
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.plugins import get_registries

from ppclas_paddleclas.operators import translate_operators
from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import is_whole

_OPTIMIZERS = {
    "Momentum": {"momentum": "momentum", "use_nesterov": "nesterov"},
    "SGD": {},
    "RMSProp": {"momentum": "momentum", "rho": "rho", "epsilon": "epsilon"},
    "Adam": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
    "AdamW": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
    "AdamWDL": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
    "Lamb": {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"},
}
"""Old name, which is the new one too → old parameter → new one."""
_LAYERWISE = "AdamWDL"
"""AdamW whose rate falls from each layer to the one before it."""
_FLAGS = ("use_nesterov",)


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
        t.refuse(
            source, f"expected the path of one weights file or folder, got {describe(weights)}."
        )


def ssld_name(t: Translation, name: str, *source: str | int) -> str:
    """The catalogue name of the weights that ``use_ssld`` means for the model ``name``."""
    found = f"{name}_ssld"
    if found in get_registries().models:
        return found
    t.refuse(source, f"true: there are no published weights {found}. Leave the key out.")
    return name


def set_image_size(t: Translation, *source: str | int) -> None:
    """``data.image_size`` of [C, H, W]."""
    shape = t.get(*source)
    if shape is None:
        return
    # A fourth channel is of zeros: some of PaddleClas' files have it because it is faster.
    whole = isinstance(shape, list) and len(shape) == 3 and all(map(is_whole, shape))
    if whole and shape[0] in (3, 4):
        t.set("data.image_size", shape[1] if shape[1] == shape[2] else shape[1:], *source)
    else:
        t.refuse(source, f"expected [3, height, width], got {describe(shape)}.")


def set_root(t: Translation, train: tuple[KeyPath, KeyPath], val: tuple[KeyPath, KeyPath]) -> None:
    """``data.root``, where both lists start from; of each part its folder and its list."""
    folders: dict[KeyPath, str] = {}
    lists: list[Any] = []
    for folder, listed in (train, val):
        found = t.get(*folder)
        if found in (None, ""):
            continue
        if not isinstance(found, str):
            t.refuse(folder, f"expected the path of a folder, got {describe(found)}.")
            return
        folders[folder] = found
        lists.append(t.get(*listed))
    if len({_folder(folder) for folder in folders.values()}) == 1:
        source, root = next(iter(folders.items()))
        t.set("data.root", root, *source)
    elif folders and not all(
        isinstance(listed, str) and _folder(str(PurePath(listed).parent)) == _folder(folder)
        for listed, folder in zip(lists, folders.values(), strict=True)
    ):
        # Else each list lies in its folder, which is where its paths start from without a root.
        t.set("data.root", list(folders.values()), *val[0])


def set_optimizer(t: Translation, name: KeyPath, params: KeyPath, block: str) -> bool:
    """``optimizer.name`` of what stands at ``name``, and its parameters, below ``params``."""
    found = t.get(*name)
    if not isinstance(found, str) or found not in _OPTIMIZERS:
        t.refuse(
            name,
            f"expected one of {', '.join(_OPTIMIZERS)}, got {describe(found)}.",
            covers=(block,),
        )
        return False
    t.set("optimizer.name", "AdamW" if found == _LAYERWISE else found, *name)
    if found == _LAYERWISE:
        t.move_number("optimizer.layer_decay", *map(str, (*params, "layerwise_decay")))
        t.lines.append(f"{_LAYERWISE}: the rate falls from stage to stage of the model here")
    for old, new in _OPTIMIZERS[found].items():
        source = (*params, old)
        if old not in _FLAGS:
            t.move_number(f"optimizer.{new}", *map(str, source))
        elif t.has(*source):
            t.set(f"optimizer.{new}", t.flag(*source), *source)
    others = {old for known in _OPTIMIZERS.values() for old in known} - {*_OPTIMIZERS[found]}
    for old in sorted(others):
        if t.has(*params, old):
            t.refuse((*params, old), f"{found} has no such parameter. Leave the key out.")
    if found == "Momentum":
        t.require(*map(str, (*params, "momentum")))
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


def set_seed(t: Translation, *source: str) -> None:
    """``train.seed``; without one PaddleClas draws another each time."""
    if t.is_null(*source):
        t.get(*source)
        t.lines.append(f"{dotted(source)}: without a seed runs differed; here it is train.seed: 0")
    else:
        t.move("train.seed", *source)


def set_top_k(t: Translation, ks: Iterable[int], *source: str | int) -> None:
    """``metrics`` of the k that are not measured anyway."""
    others = sorted(set(ks) - {1, 5})
    if others:
        t.set("metrics", [{"name": "TopK", "k": others}], *source)
    else:
        t.drop("top-1 and top-5 are always measured", *source)


def say_split(t: Translation, block: str) -> None:
    """That there are no validation photos, so that some of training are held out."""
    if "val" not in t.new.get("data", {}):
        t.lines.append(
            f"no list of validation photos in {block} → data.val_fraction: 0.2 of the training "
            "photos are held out"
        )


def as_published(t: Translation) -> None:
    """Leave out what this project adds to fine-tuning: the old numbers were reached without."""
    t.set("train.probe_head", False, quiet=True)
    t.set("train.freeze_norm_statistics", False, quiet=True)


def _folder(path: str) -> str:
    return path.removeprefix("./").rstrip("/") or "."

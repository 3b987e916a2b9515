"""What a run's curves say to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppclas_core.config.schema import Config
from ppclas_core.plugins import get_registries

_FAR, _BELOW, _RISE = 0.1, 0.05, 0.005
"""Training above validation, below it, and what the last third of the epochs must bring, in 0..1.
Augmentation alone puts training a little below."""
_COSTLIER, _BETTER = 2.0, 0.03
"""How much more a model may cost than the one at hand to be named, and what it must bring, in
0..1."""


def advice(
    history: Sequence[Mapping[str, Any]], best_epoch: int, config: Config, run: Path
) -> Iterator[tuple[str, str]]:
    """What the rows of ``metrics.jsonl`` say, each with the command to try next."""

    def again(*options: str) -> str:
        start = ("ppclas", "train", "-c", str(run / "config.yaml"), "--output", f"{run}-next")
        return shlex.join([*start, *options])

    name = "map" if any("map" in row for row in history) else "top1"
    rows = {int(row["epoch"]): row for row in history if row.get(name) is not None}
    last = max(rows, default=0)
    if not last:
        return
    lr, decay = config.schedule.params.get("lr"), config.optimizer.weight_decay
    if best_epoch == 0 and lr is not None:
        yield (
            "No epoch beat the classifier that was fitted first: a smaller rate changes less.",
            again("--lr", f"{lr / 3:.2g}"),
        )
    before = [float(row[name]) for epoch, row in rows.items() if epoch <= last * 2 / 3]
    if best_epoch == last and before and rows[last][name] - max(before) > _RISE:
        yield "The last epochs still rise: train longer.", again("--epochs", str(2 * last))
    row = rows[best_epoch if best_epoch in rows and best_epoch else last]
    if row.get("train_top1") is None or name != "top1":
        return
    train, val = row["train_top1"], row["top1"]
    both = f"top-1 is {train:.1%} in training and {val:.1%} in validation"
    if train - val > _FAR:
        mix = again("-o", "data.batch_transforms=[{name: Mixup}]")
        more = again("-o", f"optimizer.weight_decay={max(10 * decay, 1e-4):g}")
        yield f"It knows its photos by heart ({both}): mix them,", mix
        yield f"or let the weights decay more (now {decay:g}).", more
    elif val - train > _BELOW and config.data.batch_transforms:
        yield (
            f"It is held back ({both}): do not mix photos.",
            again("-o", "data.batch_transforms=[]"),
        )
    elif val - train > _BELOW:
        less = again("-o", f"optimizer.weight_decay={decay / 10:g}")
        yield f"It is held back ({both}): augment less, or let weights decay less.", less


def stronger_model(config: Config) -> str | None:
    """A sentence that names the catalogue's best model with published weights at no more than twice
    the cost of the one trained; None where that is no better, or trained from random weights."""
    models = get_registries().models
    own = models.entry(config.model.name).metadata
    if not config.model.pretrained or not own.get("top1") or not own.get("macs_g"):
        return None
    found = [
        (facts["top1"], name, facts)
        for name in models
        if (facts := models.entry(name).metadata).get("top1")
        and facts.get("weights_url")
        and facts.get("params")
        and 0 < (facts.get("macs_g") or 0) <= _COSTLIER * own["macs_g"]
    ]
    top1, name, facts = max(found, default=(0.0, "", {}), key=lambda model: model[:2])
    if top1 < own["top1"] + _BETTER:
        return None
    return (
        f"A stronger model is {name} ({facts['params'] / 1e6:.1f} M parameters, "
        f"{facts['macs_g'] / own['macs_g']:.1f} times the operations, {top1:.1%} on ImageNet "
        f"where {config.model.name} has {own['top1']:.1%}): --model {name}"
    )

"""What a run's curves say to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppclas_core.config.schema import Config

_FAR, _BELOW, _RISE = 0.1, 0.05, 0.005
"""Training above validation, below it, and what the last third of the epochs must bring, in 0..1.
Augmentation alone puts training a little below."""


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
    if best_epoch == 0 and lr is not None and rows.get(0, rows[last])[name] < 1:
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
    both = f"top-1 is {train:.2%} in training and {val:.2%} in validation"
    if train - val > _FAR:
        mix = again("--mixup")
        more = again("--weight-decay", f"{max(10 * decay, 1e-4):g}")
        yield f"It knows its photos by heart ({both}): mix them,", mix
        yield f"or let the weights decay more (now {decay:g}).", more
    elif val - train > _BELOW and config.data.batch_transforms:
        yield (
            f"It is held back ({both}): do not mix photos.",
            again("-o", "data.batch_transforms=[]"),
        )
    elif val - train > _BELOW:
        less = again("--weight-decay", f"{decay / 10:g}")
        yield f"It is held back ({both}): augment less, or let weights decay less.", less

"""``ppclas train --fix SIZE --from RUN``: fit the classifier of a run to larger images.

Paper: "Fixing the train-test resolution discrepancy", Touvron et al. 2019,
https://arxiv.org/abs/1906.06423. Training shows things larger than evaluation does, so that a model
sees more at a larger size than it was trained with; its classifier then fits no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import ComponentConfig, Config
from ppclas_core.errors import ConfigError
from ppclas_data.transforms.basic import size_pair
from ppclas_engine.console import Console
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.session import run_config

_EPOCHS = 10
_RATE = 0.1
"""Of the run's rate: the classifier is fitted already, at another size."""


@dataclass(frozen=True)
class Before:
    """What the run reaches on its validation photos, without training."""

    monitor: str
    own: float
    """At the size it was trained with."""
    larger: float
    """At the new one."""


def fix_config(run: Path, size: int) -> Config:
    """The config that trains the classifier of ``run`` alone, at ``size`` pixels.

    Photos look as in evaluation, but for being mirrored; the rest of the network, its batch norms
    included, stays as it is.

    Raises:
        CheckpointError: ``run`` is no run.
        ConfigError: it has photos of that size already.
    """
    config, bundle = run_config(run), Bundle.load(run)
    own = size_pair(config.data.image_size or bundle.image_size)
    if max(own) >= size:
        raise ConfigError(
            f"--fix {size}: expected a larger size than that of {run}, which is "
            f"{own[0]}x{own[1]}. About 1.15 to 1.5 times as much is usual."
        )
    seen = at_size(bundle, size)
    schedule = ComponentConfig(name="Cosine", lr=_rate(config) * _RATE)
    data = config.data.replace(
        image_size=size,
        resize_short=None,
        interpolation=None,
        train_transforms=(*seen, ComponentConfig(name="RandomFlip")),
        eval_transforms=seen,
        batch_transforms=(),
    )
    train = config.train.replace(
        output=None,
        epochs=_EPOCHS,
        freeze=("backbone",),
        freeze_norm_statistics=True,
        probe_head=False,
        lr_batch_size=None,
        patience=None,
        average_last=None,
        ema_decay=None,
    )
    weights = str((bundle.folder / "model.safetensors").absolute())
    return config.replace(
        data=data,
        train=train,
        schedule=schedule,
        model=config.model.replace(pretrained=weights),
        optimizer=config.optimizer.replace(lr_mult={}, layer_decay=None),
    )


def _rate(config: Config) -> float:
    return float(config.schedule.params.get("lr", 0.001))


def at_size(bundle: Bundle, size: int) -> tuple[ComponentConfig, ...]:
    """The preprocessing of ``bundle`` with a resize and a crop to ``size`` pixels.

    Raises:
        ConfigError: it is put together in another way.
    """
    found, done = [], 0
    for transform in bundle.manifest.preprocessing.transforms:
        if transform.name == "Resize" and transform.params.get("short") is not None:
            found.append(transform.replace(short=size))
            done += 1
        elif transform.name == "CenterCrop":
            found.append(transform.replace(size=size))
            done += 1
        else:
            found.append(transform)
    if done != 2:
        raise ConfigError(
            "--fix needs a run whose photos are resized by their short side and cropped in the "
            "middle (resize mode center); this one does it otherwise."
        )
    return tuple(found)


def measure_before(run: Path, size: int, console: Console) -> Before:
    """Evaluate ``run`` at its own size and at ``size``."""
    bundle = Bundle.load(run)
    monitor = run_config(run).train.monitor or "top1"
    preprocessing = bundle.manifest.preprocessing
    manifest = bundle.manifest.replace(
        preprocessing=preprocessing.replace(transforms=at_size(bundle, size))
    )
    found = []
    for seen in (bundle, replace(bundle, manifest=manifest)):
        scoring = plan_scoring(seen, str(run), None)
        found.append(evaluate_bundle(seen, scoring, console).metrics[monitor])
    return Before(monitor, *found)

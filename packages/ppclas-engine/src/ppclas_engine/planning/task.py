"""What a run does differently where images may have several labels, and who can take part in it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ppclas_core.config.schema import ComponentConfig, Config, Task
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import Registry, resolve

_SAID = {
    "classification": "one label per image",
    "multilabel": "images that may have several labels",
}
_ONE_LABEL_LOSS, _SEVERAL_LABELS_LOSS = "CrossEntropy", "BinaryCrossEntropy"
_WEIGHTS_APART = 1e6


def plan_loss(config: ComponentConfig, train: ImageSet, notes: list[str]) -> ComponentConfig:
    """The loss for ``train``: binary where images may have several labels, class weights as
    numbers.

    Raises:
        ConfigError: the loss is not for such labels, or has no class weights or not one per class.
    """
    if train.task == "multilabel" and config.name == _ONE_LABEL_LOSS:
        config = ComponentConfig(name=_SEVERAL_LABELS_LOSS, **config.params)
        notes.append(
            f"loss {_SEVERAL_LABELS_LOSS}: images may have several labels, each class is a "
            "question of its own"
        )
    _check("loss", get_registries().losses, config, train.task)
    weights = config.params.get("class_weights")
    if weights is None:
        return config
    if weights == "balanced":
        weights = balanced_weights(train)
        lightest, heaviest = min(weights), max(weights)
        notes.append(
            f"class weights {lightest:g} to {heaviest:g}, from the numbers of training photos"
        )
        config = config.replace(class_weights=weights)
    if len(weights) != len(train.class_names):
        raise ConfigError(
            f"loss.class_weights: expected one value for each of {len(train.class_names)} classes, "
            f"got {len(weights)}."
        )
    if max(weights) > _WEIGHTS_APART * min(weights):
        raise ConfigError(
            f"loss.class_weights go from {min(weights):g} to {max(weights):g}: the classes of the "
            f"lowest would not be learned. Expected less than {_WEIGHTS_APART:g} times apart."
        )
    return config


def balanced_weights(train: ImageSet) -> tuple[float, ...]:
    """Weights that make up for unequal numbers of images; 1 for a class that no image has.

    One label per image: images over (classes times images of the class). Several: images without
    the class over images with it.
    """
    counts = Counter(label for record in train.records for label in record.class_ids if label >= 0)
    labelled = sum(bool(record.class_ids) and record.class_ids[0] >= 0 for record in train.records)
    weights = []
    for label in range(len(train.class_names)):
        count = counts[label]
        if not count:
            weights.append(1.0)
        elif train.task == "multilabel":
            # Never 0: that would tell the loss to forget a class that every image has.
            weights.append(float(f"{max(len(train) - count, 1) / count:.6g}"))
        else:
            weights.append(float(f"{labelled / (len(train.class_names) * count):.6g}"))
    return tuple(weights)


def check_task(config: Config, task: Task) -> None:
    """Refuse what cannot take part in a run of this task.

    Raises:
        ConfigError: it names what, and what would do instead.
    """
    registries = get_registries()
    _check("objective", registries.objectives, config.objective, task)
    if config.train.thresholds == "tuned" and task == "classification":
        raise ConfigError(
            f"train.thresholds: tuned is for {_SAID['multilabel']}, and these photos are "
            f"{_SAID[task]}: the most probable class is the answer. Leave it out, or say "
            "data.task: multilabel."
        )
    for index, metric in enumerate(config.metrics):
        _check(f"metrics.{index}", registries.metrics, metric, task)


def _check(field: str, registry: Registry, config: ComponentConfig, task: Task) -> None:
    builder: Any = resolve(registry.entry(config.name).builder)
    tasks: tuple[Task, ...] = getattr(builder, "tasks", ("classification",))
    if task in tasks:
        return
    fitting = [
        name
        for name in registry
        if task in getattr(resolve(registry.entry(name).builder), "tasks", ("classification",))
    ]
    raise ConfigError(
        f"{field}: {config.name} is for {_SAID[tasks[0]]}, and these photos are {_SAID[task]} "
        f"(data.task: {task}). For them there is: {', '.join(fitting)}."
    )

"""Whether what a plugin registered can be called as ppclas calls it, known before training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ppclas_core.config.schema import Config
from ppclas_core.contracts.data import BatchTransform, Transform
from ppclas_core.contracts.objective import Objective
from ppclas_core.contracts.readers import BatchReader
from ppclas_core.contracts.training import Loss, Metric, Optimizer, Scheduler, Tracker
from ppclas_core.errors import PluginError
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries
from ppclas_core.registry import Registry, resolve

if TYPE_CHECKING:
    from paddle import Tensor


def check_signatures(config: Config) -> None:
    """Compare the methods of every component that ``config`` names with those of its base class.

    Raises:
        PluginError: one lacks a method, or its method takes other arguments; the message names the
            package, the method and the signature expected.
        UnknownNameError: nobody registered a name.
    """
    for registry, base, name in _named(config):
        entry = registry.entry(name)
        found = resolve(entry.builder)
        if not isinstance(found, type):  # a function that makes one
            continue
        who = f"{registry.kind} {entry.name!r} of the plugin package {entry.owner}"
        if not issubclass(found, base):
            raise PluginError(
                f"{who}: expected a subclass of {base.__module__}.{base.__name__}, got "
                f"{found.__module__}.{found.__qualname__}. Mend the plugin."
            )
        for method, contract in methods_of(base):
            wrong = _difference(getattr(found, method), contract)
            if wrong:
                raise PluginError(
                    f"{who}: expected {found.__name__}.{method}{signature_text(contract)}, got "
                    f"{wrong}. Mend the plugin."
                )


def methods_of(base: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Name and function of each method that the contract ``base`` describes."""
    for name, value in vars(base).items():
        if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_")):
            yield name, value


def signature_text(method: Callable[..., Any]) -> str:
    """``(self, row: Mapping[str, Any], step: int) -> None``."""
    return str(inspect.signature(method)).replace("'", "")


def checked_numbers(metric: Metric, value: Any) -> Mapping[str, float]:
    """What ``metric`` gave, if it is what a metric must give.

    Raises:
        PluginError: it is no mapping from names to numbers.
    """
    if isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(number, int | float) for key, number in value.items()
    ):
        return value
    raise PluginError(
        f"metric {type(metric).__name__} ({type(metric).__module__}): expected a dict of names and "
        f"numbers from {type(metric).__name__}.__call__, got {value!r:.80}. Mend the plugin."
    )


def checked_scalar(loss: Loss, value: Any) -> Tensor:
    """What ``loss`` gave, if it is what a loss must give.

    Raises:
        PluginError: it is no tensor with one value.
    """
    shape = getattr(value, "shape", None)
    if shape is not None and prod(shape) == 1:
        scalar: Tensor = value
        return scalar
    got = f"a tensor {list(shape)}" if shape is not None else f"{value!r:.80}"
    raise PluginError(
        f"loss {type(loss).__name__} ({type(loss).__module__}): expected a scalar tensor from "
        f"{type(loss).__name__}.__call__ (the mean over the batch), got {got}. Mend the plugin."
    )


def _named(config: Config) -> Iterator[tuple[Registry, type[Params], str]]:
    registries, data = get_registries(), config.data
    yield registries.losses, Loss, config.loss.name
    yield registries.objectives, Objective, config.objective.name
    yield registries.optimizers, Optimizer, config.optimizer.name
    yield registries.schedulers, Scheduler, config.schedule.name
    yield registries.readers, BatchReader, data.reader.name
    for registry, base, components in (
        (registries.metrics, Metric, config.metrics),
        (registries.trackers, Tracker, config.trackers),
        (registries.transforms, Transform, data.train_transforms or ()),
        (registries.transforms, Transform, data.eval_transforms or ()),
        (registries.batch_transforms, BatchTransform, data.batch_transforms),
    ):
        for component in components:
            yield registry, base, component.name


def _difference(own: Any, contract: Callable[..., Any]) -> str:
    """What a method is that does not fit ``contract``; empty where it does."""
    if own is contract:
        # The base's own: right where it does something.
        return "no such method" if "NotImplementedError" in contract.__code__.co_names else ""
    arguments = list(inspect.signature(contract).parameters.values())
    given = [argument.name for argument in arguments if argument.kind is not argument.KEYWORD_ONLY]
    named = [argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY]
    try:
        signature = inspect.signature(own)
    except (TypeError, ValueError):  # not a function of Python's
        return ""
    try:
        signature.bind(*given, **dict.fromkeys(named))
    except TypeError as error:
        return f"{own.__name__}{signature_text(own)} ({error})"
    return ""

"""Every hook that ppclas calls: add-only, with keyword arguments, of which any may be left out.

A plugin is a module (or object) with functions marked ``@hookimpl``, named by an entry point of the
group ``ppclas``. The ``register_*`` hooks run once, when the registries are filled: keep them and
the plugin module light (no Paddle, no NumPy) by registering ``"module:attribute"`` strings. The
``on_*`` hooks run during training, on rank 0 alone where several processes train together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ppclas_core.contracts.training import TrainContext
    from ppclas_core.registry import Registry

PROJECT = "ppclas"
API_VERSION = 1
"""Raised when a hook changes in a way that breaks plugins; a plugin states the one it was written
for as ``ppclas_api_version`` (module attribute, default 1)."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_models(registry: Registry) -> None:
    """Add models: ``params`` is a ``ModelConfig``, what is built a ``paddle.nn.Layer``."""


@hookspec
def register_transforms(registry: Registry) -> None:
    """Add image transforms: subclasses of ``ppclas_core.contracts.data.Transform``."""


@hookspec
def register_batch_transforms(registry: Registry) -> None:
    """Add transforms of batches: subclasses of ``ppclas_core.contracts.data.BatchTransform``."""


@hookspec
def register_losses(registry: Registry) -> None:
    """Add losses: subclasses of ``ppclas_core.contracts.training.Loss``."""


@hookspec
def register_feature_losses(registry: Registry) -> None:
    """Add losses of features: subclasses of ``ppclas_core.contracts.training.FeatureLoss``."""


@hookspec
def register_objectives(registry: Registry) -> None:
    """Add what a step minimises: subclasses of ``ppclas_core.contracts.objective.Objective``."""


@hookspec
def register_schedulers(registry: Registry) -> None:
    """Add learning-rate schedules: subclasses of ``ppclas_core.contracts.training.Scheduler``."""


@hookspec
def register_optimizers(registry: Registry) -> None:
    """Add optimizers: subclasses of ``ppclas_core.contracts.training.Optimizer``."""


@hookspec
def register_metrics(registry: Registry) -> None:
    """Add metrics: subclasses of ``ppclas_core.contracts.training.Metric``."""


@hookspec
def register_exporters(registry: Registry) -> None:
    """Add export targets: subclasses of ``ppclas_core.contracts.export.Exporter``."""


@hookspec
def register_engines(registry: Registry) -> None:
    """Add engines that run an export: subclasses of ``ppclas_core.contracts.export.Engine``."""


@hookspec
def register_trackers(registry: Registry) -> None:
    """Add experiment trackers: subclasses of ``ppclas_core.contracts.training.Tracker``."""


@hookspec
def register_datasets(registry: Registry) -> None:
    """Add data sources: subclasses of ``ppclas_core.contracts.data.Source``."""


@hookspec
def register_readers(registry: Registry) -> None:
    """Add ways to read batches: subclasses of ``ppclas_core.contracts.readers.BatchReader``."""


@hookspec
def register_config_formats(registry: Registry) -> None:
    """Add schemas of other programs that configs may be written in: the builder takes nothing and
    returns a ``ppclas_core.contracts.config_format.ConfigFormat``.
    """


@hookspec
def register_weight_formats(registry: Registry) -> None:
    """Add kinds of weight files beside ``.safetensors``: the builder takes nothing and returns a
    ``ppclas_core.contracts.weight_format.WeightFormat``.
    """


@hookspec
def register_recipes(registry: Registry) -> None:
    """Add recipes: the builder takes nothing and returns the path of a YAML file."""


@hookspec
def register_commands(registry: Registry) -> None:
    """Add subcommands of ``ppclas``: the builder is a ``click.Command``, or where one is."""


@hookspec
def on_train_start(context: TrainContext) -> None:
    """Before the first step, after a resume has been applied."""


@hookspec
def on_step_end(context: TrainContext) -> None:
    """After each optimizer step; ``context.step`` and ``context.last_loss`` are this step's."""


@hookspec
def on_epoch_end(context: TrainContext) -> None:
    """After an epoch's evaluation, before the checkpoint; ``context.metrics`` is its row."""


@hookspec
def on_train_end(context: TrainContext) -> None:
    """After the last epoch; the best weights are in the bundle."""

"""A plugin that uses every hook, and a way to have a plugin in this process for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl
from ppclas_core.plugins import get_plugin_manager

if TYPE_CHECKING:
    from ppclas_core.contracts.context import TrainContext
    from ppclas_core.registry import Registry

Plugin = TypeVar("Plugin")

_COMPONENTS = "ppclas_core.testing.fake_components"


@contextmanager
def use_plugin(plugin: Plugin, name: str = "test-plugin") -> Iterator[Plugin]:
    """Add a plugin (a module or object with ``@hookimpl`` functions) to this process's plugins
    inside the block.

    Raises:
        PluginError: it cannot be added; see ``PluginManager.add``.
    """
    manager = get_plugin_manager()
    manager.add(plugin, name)
    try:
        yield plugin
    finally:
        manager.remove(plugin, name)


class FakePlugin:
    """Implements every hook of ppclas and notes in ``calls`` which were called, in order.

    It registers one component of each kind: the model ``FakeNet``, the transform ``FakeTransform``,
    and so on.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def register_models(self, registry: Registry) -> None:
        self.calls.append("register_models")
        register_variants(registry, "ppclas_core.testing.tiny_net:models", "FakeNet")

    @hookimpl
    def register_transforms(self, registry: Registry) -> None:
        self._register("register_transforms", registry, "FakeTransform")

    @hookimpl
    def register_batch_transforms(self, registry: Registry) -> None:
        self._register("register_batch_transforms", registry, "FakeBatchTransform")

    @hookimpl
    def register_losses(self, registry: Registry) -> None:
        self._register("register_losses", registry, "FakeLoss")

    @hookimpl
    def register_feature_losses(self, registry: Registry) -> None:
        self._register("register_feature_losses", registry, "FakeFeatureLoss")

    @hookimpl
    def register_objectives(self, registry: Registry) -> None:
        self._register("register_objectives", registry, "FakeObjective")

    @hookimpl
    def register_schedulers(self, registry: Registry) -> None:
        self._register("register_schedulers", registry, "FakeScheduler")

    @hookimpl
    def register_optimizers(self, registry: Registry) -> None:
        self._register("register_optimizers", registry, "FakeOptimizer")

    @hookimpl
    def register_metrics(self, registry: Registry) -> None:
        self._register("register_metrics", registry, "FakeMetric")

    @hookimpl
    def register_exporters(self, registry: Registry) -> None:
        self._register("register_exporters", registry, "FakeExporter")

    @hookimpl
    def register_engines(self, registry: Registry) -> None:
        self._register("register_engines", registry, "FakeEngine")

    @hookimpl
    def register_trackers(self, registry: Registry) -> None:
        self._register("register_trackers", registry, "FakeTracker")

    @hookimpl
    def register_datasets(self, registry: Registry) -> None:
        self._register("register_datasets", registry, "FakeSource")

    @hookimpl
    def register_readers(self, registry: Registry) -> None:
        self._register("register_readers", registry, "FakeReader")

    @hookimpl
    def register_config_formats(self, registry: Registry) -> None:
        self._register("register_config_formats", registry, "FakeConfigFormat")

    @hookimpl
    def register_recipes(self, registry: Registry) -> None:
        self._register("register_recipes", registry, "fake_recipe")

    @hookimpl
    def register_commands(self, registry: Registry) -> None:
        self.calls.append("register_commands")
        target = "ppclas_core.testing.fake_command:fake_command"
        registry.register("fake-command", target, summary="say that the fake plugin is there")

    @hookimpl
    def on_train_start(self, context: TrainContext) -> None:
        self.calls.append("on_train_start")

    @hookimpl
    def on_step_end(self, context: TrainContext) -> None:
        self.calls.append("on_step_end")

    @hookimpl
    def on_epoch_end(self, context: TrainContext) -> None:
        self.calls.append("on_epoch_end")

    @hookimpl
    def on_train_end(self, context: TrainContext) -> None:
        self.calls.append("on_train_end")

    def _register(self, hook: str, registry: Registry, name: str) -> None:
        self.calls.append(hook)
        registry.register(name, f"{_COMPONENTS}:{name}", summary="of the fake plugin")

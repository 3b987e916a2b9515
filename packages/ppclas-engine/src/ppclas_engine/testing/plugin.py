"""A plugin that uses every hook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import FakeNetPlugin

if TYPE_CHECKING:
    from ppclas_core.contracts.training import TrainContext
    from ppclas_core.registry import Registry

_COMPONENTS = "ppclas_engine.testing.components"


class FakePlugin(FakeNetPlugin):
    """Implements every hook of ppclas and notes in ``calls`` which were called, in order.

    It registers one component of each kind: the model ``FakeNet``, the transform ``FakeTransform``,
    and so on.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def register_models(self, registry: Registry) -> None:
        self.calls.append("register_models")
        super().register_models(registry)

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
    def register_weight_formats(self, registry: Registry) -> None:
        self._register("register_weight_formats", registry, "FakeWeightFormat")

    @hookimpl
    def register_recipes(self, registry: Registry) -> None:
        self._register("register_recipes", registry, "fake_recipe")

    @hookimpl
    def register_commands(self, registry: Registry) -> None:
        self.calls.append("register_commands")
        target = "ppclas_engine.testing.command:fake_command"
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

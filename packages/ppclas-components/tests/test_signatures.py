"""A plugin's mistakes are named before training: package, method, and the signature expected."""

import re

import numpy as np
import paddle
import pytest
from ppclas_components.signatures import check_signatures, checked_numbers, checked_scalar
from ppclas_core.config.schema import ComponentConfig, Config
from ppclas_core.contracts.training import Loss, Metric, Tracker
from ppclas_core.errors import PluginError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin


class OneArgument(Tracker):
    """A tracker that forgot the step."""

    def log(self, row):
        pass


class Silent(Tracker):
    """A tracker without log."""


class More(Tracker):
    """A tracker that takes more than it must."""

    def log(self, row, step, *, tag=None):
        pass


class NoBase:
    """Not a metric of ppclas."""

    def __call__(self, probabilities, labels):
        return {}


class BadLoss(Loss):
    """A loss without targets."""

    def __call__(self, outputs):
        return outputs.mean()


class Plugin:
    @hookimpl
    def register_trackers(self, registry):
        for tracker in (OneArgument, Silent, More):
            registry.register(tracker.__name__, tracker)

    @hookimpl
    def register_metrics(self, registry):
        registry.register("NoBase", NoBase)

    @hookimpl
    def register_losses(self, registry):
        registry.register("BadLoss", BadLoss)


def component(name):
    return ComponentConfig(name=name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            Config(trackers=(component("OneArgument"),)),
            "expected OneArgument.log(self, row: Mapping[str, Any], step: int) -> None, got "
            "log(self, row)",
        ),
        (Config(trackers=(component("Silent"),)), "step: int) -> None, got no such method"),
        (
            Config(metrics=(component("NoBase"),)),
            "expected a subclass of ppclas_core.contracts.training.Metric",
        ),
        (
            Config(loss=component("BadLoss")),
            "expected BadLoss.__call__(self, outputs: Any, targets: Targets) -> Tensor, got",
        ),
    ],
)
def test_a_method_of_the_wrong_form_is_named(config, words):
    with use_plugin(Plugin()), pytest.raises(PluginError, match=re.escape(words)) as caught:
        check_signatures(config)
    assert "of the plugin package" in str(caught.value)


def test_what_fits_is_taken():
    with use_plugin(Plugin()):
        check_signatures(Config(trackers=(component("More"),)))


def test_what_a_metric_and_a_loss_give():
    assert checked_numbers(Metric(), {"a": 1.0, "b": np.float64(2)}) == {"a": 1.0, "b": 2.0}
    with pytest.raises(PluginError, match=r"expected a dict of names and numbers .* got None"):
        checked_numbers(Metric(), None)
    scalar = paddle.to_tensor(1.0)
    assert checked_scalar(Loss(), scalar) is scalar
    with pytest.raises(PluginError, match=r"expected a scalar tensor .* got a tensor \[3\]"):
        checked_scalar(Loss(), paddle.zeros([3]))
    with pytest.raises(PluginError, match="got 'no'"):
        checked_scalar(Loss(), "no")

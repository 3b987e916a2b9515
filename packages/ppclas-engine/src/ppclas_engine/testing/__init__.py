"""A plugin that uses every hook, and the checks of what a training run is made of."""

from ppclas_engine.testing.checks import check_loss, check_metric, check_optimizer, check_scheduler
from ppclas_engine.testing.plugin import FakePlugin

__all__ = ["FakePlugin", "check_loss", "check_metric", "check_optimizer", "check_scheduler"]

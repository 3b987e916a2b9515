"""Contract checks for plugins, ours and yours: functions that raise AssertionError in words.

``check_<kind>`` takes one component and tries what ppclas will do with it. ``make_tiny_bundle``
gives something to try it on, ``use_plugin`` adds a plugin to this process for a while. What needs
photos is in ``ppclas_data.testing``: ``make_tiny_dataset`` and ``check_reader``. A plugin that uses
every hook is ``ppclas_engine.testing.FakePlugin``.
"""

from ppclas_core.testing.components import check_params
from ppclas_core.testing.exporters import check_exporter, make_tiny_bundle
from ppclas_core.testing.models import check_model
from ppclas_core.testing.plugins import FakeNetPlugin, use_plugin
from ppclas_core.testing.training import check_loss, check_metric, check_optimizer, check_scheduler
from ppclas_core.testing.transforms import check_batch_transform, check_transform

__all__ = [
    "FakeNetPlugin",
    "check_batch_transform",
    "check_exporter",
    "check_loss",
    "check_metric",
    "check_model",
    "check_optimizer",
    "check_params",
    "check_scheduler",
    "check_transform",
    "make_tiny_bundle",
    "use_plugin",
]

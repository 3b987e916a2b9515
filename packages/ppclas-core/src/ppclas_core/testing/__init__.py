"""Contract checks for plugins, ours and yours: functions that raise AssertionError in words.

``check_<kind>`` takes one component and tries what ppclas will do with it. ``make_tiny_bundle``
gives something to try it on, ``use_plugin`` adds a plugin to this process for a while. Checks of
batches are in ``ppclas_data.testing``, of losses, schedules, optimizers and
metrics in ``ppclas_engine.testing``, which also has a plugin that uses every hook, of export
targets in ``ppclas_deploy.testing``.
"""

from ppclas_core.testing.bundles import make_tiny_bundle
from ppclas_core.testing.components import check_params
from ppclas_core.testing.models import check_model
from ppclas_core.testing.plugins import FakeNetPlugin, use_plugin
from ppclas_core.testing.transforms import check_transform

__all__ = [
    "FakeNetPlugin",
    "check_model",
    "check_params",
    "check_transform",
    "make_tiny_bundle",
    "use_plugin",
]

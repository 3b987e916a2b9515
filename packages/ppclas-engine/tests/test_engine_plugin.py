"""What this package registers, next to strangers."""

import pytest
from ppclas_core import hookimpl
from ppclas_core.errors import PluginError
from ppclas_core.plugins import PluginManager
from ppclas_engine import plugin


class Taker:
    @hookimpl
    def register_metrics(self, registry):
        registry.register("TopK", dict)


def test_a_stranger_cannot_take_a_name_that_ships():
    manager = PluginManager()
    manager.add(plugin, "engine", "ppclas-engine")
    with pytest.raises(PluginError, match="registered twice: by ppclas-engine and by stranger"):
        manager.add(Taker(), "taker", "stranger")
    assert manager.registries.metrics.entry("TopK").owner == "ppclas-engine"

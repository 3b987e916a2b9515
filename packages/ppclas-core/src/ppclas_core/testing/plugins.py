"""A plugin in this process for a while, and one that brings a model to try things on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl
from ppclas_core.plugins import get_plugin_manager

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

Plugin = TypeVar("Plugin")


@contextmanager
def use_plugin(plugin: Plugin, name: str = "test-plugin") -> Iterator[Plugin]:
    """Add ``plugin``, a module or object with hooks, to this process inside the block.

    Raises:
        PluginError: it cannot be added; see ``PluginManager.add``.
    """
    manager = get_plugin_manager()
    manager.add(plugin, name)
    try:
        yield plugin
    finally:
        manager.remove(plugin, name)


class FakeNetPlugin:
    """Registers the model ``FakeNet``: three convolutions, about 6000 parameters."""

    @hookimpl
    def register_models(self, registry: Registry) -> None:
        register_variants(registry, "ppclas_core.testing.tiny_net:models", "FakeNet")

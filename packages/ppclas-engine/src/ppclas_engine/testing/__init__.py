"""A plugin that uses every hook, for the tests of what runs plugins."""

from ppclas_engine.testing.plugin import FakePlugin

__all__ = ["FakePlugin"]

"""A hook is finished when a plugin uses it, a page describes it, and asking for it is cheap."""

import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from ppclas_core import hookspecs
from ppclas_core.plugins import PluginManager
from ppclas_core.testing import use_plugin
from ppclas_engine.testing import FakePlugin

HOOKS = [name for name in dir(hookspecs) if hasattr(getattr(hookspecs, name), "ppclas_spec")]


def test_every_register_hook_is_called_once_when_a_plugin_is_added():
    with use_plugin(FakePlugin()) as plugin:
        assert sorted(plugin.calls) == [name for name in HOOKS if name.startswith("register_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_plugin_that_uses_it(hook):
    plugin = FakePlugin()
    assert PluginManager()._pluggy.parse_hookimpl_opts(plugin, hook) is not None
    manager = PluginManager()
    manager.add(plugin, "fake")
    if hook.startswith("register_"):
        registry = manager.registries.all()[hook.removeprefix("register_")]
        assert {registry.entry(name).owner for name in registry} == {"fake"}
    else:
        getattr(manager.hook, hook)(context=types.SimpleNamespace())
    assert hook in plugin.calls


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section_with_an_example(hook):
    page = Path(__file__).parents[1] / "docs" / "en" / "hooks.md"
    section = re.search(
        rf"^### `{hook}\((.*?)\)`\n(.*?)(?=^##|\Z)", page.read_text(encoding="utf-8"), re.M | re.S
    )
    assert section, f"docs/en/hooks.md has no section '### `{hook}(...)`'"
    assert section[1] == ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"def {hook}(" in section[2]


def test_filling_the_registries_imports_nothing_heavy():
    code = (
        "import sys; from ppclas_core.plugins import get_registries; get_registries(); "
        "print({'numpy', 'paddle', 'cv2', 'pydantic'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )

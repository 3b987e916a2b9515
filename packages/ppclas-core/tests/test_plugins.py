"""Plugins that are broken in every way: each is left out with a line, and the others work."""

import importlib.metadata
import re
import sys
from dataclasses import fields

import pytest
from ppclas_core import hookimpl, hookspecs, list_models
from ppclas_core.errors import PluginError
from ppclas_core.plugins import PluginManager, Registries, get_plugin_manager, make_plugin_manager
from ppclas_core.testing import use_plugin

REGISTER = [name for name in dir(hookspecs) if name.startswith("register_")]


class Distribution(importlib.metadata.Distribution):
    """An installed package of which only the name and version matter."""

    def __init__(self, name, version="1.2"):
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename):
        return self._text if filename == "METADATA" else None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.fixture
def entry_point(tmp_path, monkeypatch):
    """Make an entry point of a module with the given source."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(module, source, distribution="stranger", name=None):
        (tmp_path / f"{module}.py").write_text(
            f"from ppclas_core import hookimpl\n{source}", encoding="utf-8"
        )
        monkeypatch.delitem(sys.modules, module, raising=False)
        found = importlib.metadata.EntryPoint(name or module, module, "ppclas")
        vars(found)["dist"] = Distribution(distribution)
        return found

    return make


GOOD = """
@hookimpl
def register_transforms(registry):
    registry.register({name!r}, "builtins:dict")
"""


def load(*entry_points):
    manager = make_plugin_manager(discover=False)
    manager.load_entry_points(entry_points)
    return manager


def refused(manager):
    return [info for info in manager.plugins if info.reason]


def test_a_good_plugin_is_listed_with_its_package(entry_point, capsys):
    manager = load(entry_point("good_one", GOOD.format(name="Swirl")))
    info = manager.plugins[-1]
    assert (info.name, info.distribution, info.version, info.module, not info.reason) == (
        "good_one",
        "stranger",
        "1.2",
        "good_one",
        True,
    )
    assert manager.registries.transforms.entry("Swirl").owner == "stranger"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('out of order\\nsecond line')", "RuntimeError: out of order"),
        (
            "import not_installed_anywhere",
            "ModuleNotFoundError: No module named 'not_installed_anywhere'",
        ),
        ("def broken(:", "SyntaxError: "),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_plugin_that_fails_on_import_is_left_out_in_one_line(entry_point, capsys, source, reason):
    manager = load(
        entry_point("broken_import", source),
        entry_point("good_two", GOOD.format(name="Swirl"), "other"),
    )
    (info,) = refused(manager)
    assert info.reason.startswith(reason)
    assert "Traceback" in info.error
    assert "Swirl" in manager.registries.transforms
    error = capsys.readouterr().err
    assert error.startswith(f"warning: plugin 'broken_import' of stranger is left out: {reason}")
    assert error.endswith("(see 'ppclas plugins')\n")
    assert error.count("\n") == 1


def test_a_plugin_that_fails_in_a_hook_is_rolled_back(entry_point):
    source = (
        GOOD.format(name="Swirl") + "\n@hookimpl\ndef register_trackers(registry):\n    1 / 0\n"
    )
    source += (
        "\n@hookimpl\ndef on_train_end(context):\n    raise AssertionError('must not be called')\n"
    )
    manager = load(entry_point("broken_hook", source))
    (info,) = refused(manager)
    assert info.reason == "ZeroDivisionError: division by zero"
    assert "broken_hook.py" in info.error
    assert "Swirl" not in manager.registries.transforms
    assert manager.hook.on_train_end(context=None) == []


def test_of_two_that_register_one_name_the_stranger_loses(entry_point, capsys):
    ours = entry_point(
        "ours", "ppclas_load_order = 0\n" + GOOD.format(name="Swirl"), "zz-first-party"
    )
    manager = load(entry_point("theirs", GOOD.format(name="Swirl"), "aa-stranger"), ours)
    assert manager.registries.transforms.entry("Swirl").owner == "zz-first-party"
    (info,) = refused(manager)
    assert info.distribution == "aa-stranger"
    assert (
        "transform 'Swirl' is registered twice: by zz-first-party and by aa-stranger."
        in capsys.readouterr().err
    )


def test_two_packages_may_give_their_entry_points_one_name(entry_point):
    first = entry_point("module_a", GOOD.format(name="A"), "package-a", name="models")
    second = entry_point("module_b", GOOD.format(name="B"), "package-b", name="models")
    manager = load(first, second)
    assert not refused(manager)
    assert manager.registries.transforms.names()[-2:] == ["A", "B"]


def test_one_module_named_by_two_entry_points_is_loaded_once(entry_point):
    first = entry_point("module_c", GOOD.format(name="C"))
    again = importlib.metadata.EntryPoint("again", "module_c", "ppclas")
    vars(again)["dist"] = first.dist
    manager = load(first, again)
    assert "is loaded already. Name it in one entry point only" in refused(manager)[0].reason
    assert "C" in manager.registries.transforms


def test_another_api_version_is_refused_with_both_versions(entry_point):
    manager = load(
        entry_point("from_the_future", "ppclas_api_version = 99\n" + GOOD.format(name="Swirl"))
    )
    assert refused(manager)[0].reason == (
        "plugin 'from_the_future' was written for ppclas plugin API 99; this ppclas-core has 1. "
        "Install the release of stranger that fits."
    )
    assert "Swirl" not in manager.registries.transforms


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "@hookimpl\ndef register_tranforms(registry): ...",
            r"implements the hook 'register_tranforms', which this ppclas-core does not call\. "
            r"Did you mean 'register_transforms'\?",
        ),
        (
            "def register_models(registry): ...",
            "defines register_models without marking it: put @hookimpl",
        ),
        (
            "@hookimpl\ndef register_models(registry, colour): ...",
            "has a hook of the wrong form: .*colour",
        ),
    ],
)
def test_a_hook_that_would_never_be_called_is_refused(entry_point, source, reason):
    assert re.search(reason, refused(load(entry_point("misspelt", source)))[0].reason)


def test_a_hook_of_a_newer_core_can_be_marked_optional(entry_point):
    source = "@hookimpl(optionalhook=True)\ndef register_thoughts(registry): ..."
    assert not refused(load(entry_point("newer", source)))


def test_a_hook_may_leave_its_argument_out(entry_point):
    assert not refused(load(entry_point("modest", "@hookimpl\ndef register_models(): ...")))


@pytest.mark.parametrize(("value", "fatal"), [("1", True), ("0", False), ("", False)])
def test_strict_mode_makes_a_failure_fatal(entry_point, monkeypatch, value, fatal):
    monkeypatch.setenv("PPCLAS_STRICT_PLUGINS", value)
    broken = entry_point("broken_import", "raise RuntimeError('out of order')")
    if fatal:
        with pytest.raises(
            PluginError,
            match=r"plugin 'broken_import' \(stranger\) failed: RuntimeError: out of order",
        ):
            load(broken)
    else:
        assert len(refused(load(broken))) == 1


class Swirling:
    """A plugin that is an object."""

    def __init__(self):
        self.trained = False

    @hookimpl
    def register_transforms(self, registry):
        registry.register("Swirl", dict)

    @hookimpl
    def on_train_end(self, context):
        self.trained = True


def test_removing_a_plugin_leaves_no_trace():
    manager, plugin = PluginManager(), Swirling()
    manager.add(plugin, "swirling")
    assert "Swirl" in manager.registries.transforms
    manager.remove(plugin, "swirling")
    assert all(len(registry) == 0 for registry in manager.registries.all().values())
    assert manager.plugins == []
    manager.hook.on_train_end(context=None)
    assert not plugin.trained


def test_use_plugin_is_seen_by_the_whole_process_and_taken_back():
    with use_plugin(Swirling()):
        assert "Swirl" in get_plugin_manager().registries.transforms
    assert "Swirl" not in get_plugin_manager().registries.transforms


def test_every_register_hook_fills_the_registry_of_its_name():
    assert {name.removeprefix("register_") for name in REGISTER} == {
        field.name for field in fields(Registries)
    }


class Zoo:
    @hookimpl
    def register_models(self, registry):
        registry.register("SwirlNet18", dict, aliases=("s18",), metadata={"pretrained": "m:locate"})
        registry.register("SwirlNet50", dict)
        facts = {"pretrained": "m:locate", "weights_url": None}
        registry.register("Twist", dict, metadata=facts)


@pytest.mark.parametrize(
    ("pattern", "pretrained", "names"),
    [
        ("*", None, ["SwirlNet18", "SwirlNet50", "Twist"]),
        ("swirlnet*", None, ["SwirlNet18", "SwirlNet50"]),
        ("SWIRLNET?8", None, ["SwirlNet18"]),
        ("s18", None, []),
        ("*", True, ["SwirlNet18"]),
        ("*", False, ["SwirlNet50", "Twist"]),
        ("swirlnet*", False, ["SwirlNet50"]),
    ],
)
def test_models_are_listed_by_a_glob_and_by_their_weights(pattern, pretrained, names):
    with use_plugin(Zoo()):
        ours = {"SwirlNet18", "SwirlNet50", "Twist"}
        assert [
            name for name in list_models(pattern, pretrained=pretrained) if name in ours
        ] == names

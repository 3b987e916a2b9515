"""Find plugins, load each in isolation, and fill the registries.

One plugin that fails takes nothing else down: what it registered is taken back, one line says so on
stderr, and ``ppclas plugins`` shows its traceback. ``PPCLAS_STRICT_PLUGINS=1`` makes it fatal.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any

import pluggy

from ppclas_core import hookspecs
from ppclas_core.errors import PluginError
from ppclas_core.registry import Registry
from ppclas_core.wording import near_names

GROUP = hookspecs.PROJECT


@dataclass
class Registries:
    """One registry a hook; the field name is the hook's name without ``register_``."""

    models: Registry = field(
        default_factory=lambda: Registry("model", "ppclas models list", loose=True)
    )
    transforms: Registry = field(default_factory=lambda: Registry("transform"))
    batch_transforms: Registry = field(default_factory=lambda: Registry("batch transform"))
    losses: Registry = field(default_factory=lambda: Registry("loss"))
    feature_losses: Registry = field(default_factory=lambda: Registry("feature loss"))
    objectives: Registry = field(default_factory=lambda: Registry("objective"))
    schedulers: Registry = field(default_factory=lambda: Registry("scheduler"))
    optimizers: Registry = field(default_factory=lambda: Registry("optimizer"))
    metrics: Registry = field(default_factory=lambda: Registry("metric"))
    exporters: Registry = field(default_factory=lambda: Registry("export target"))
    engines: Registry = field(default_factory=lambda: Registry("engine"))
    trackers: Registry = field(default_factory=lambda: Registry("tracker"))
    datasets: Registry = field(default_factory=lambda: Registry("data source"))
    readers: Registry = field(default_factory=lambda: Registry("reader"))
    config_formats: Registry = field(default_factory=lambda: Registry("config format"))
    weight_formats: Registry = field(default_factory=lambda: Registry("weight format"))
    recipes: Registry = field(default_factory=lambda: Registry("recipe", "ppclas recipes list"))
    commands: Registry = field(default_factory=lambda: Registry("command", "ppclas --help"))

    def all(self) -> dict[str, Registry]:
        """Every registry under its field name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class PluginInfo:
    """What became of one plugin: ``reason`` and ``error``, a traceback, are empty if it loaded."""

    name: str
    distribution: str
    version: str
    module: str
    reason: str = ""
    error: str = ""


class PluginManager:
    """Loaded plugins, their registries and their run-time hooks."""

    def __init__(self) -> None:
        self.registries = Registries()
        self.plugins: list[PluginInfo] = []
        self._pluggy = pluggy.PluginManager(GROUP)
        self._pluggy.add_hookspecs(hookspecs)

    @property
    def hook(self) -> Any:
        """The run-time hooks (``on_train_start`` …), called with keyword arguments."""
        return self._pluggy.hook

    def add(self, plugin: object, name: str, distribution: str = "", version: str = "") -> None:
        """Register a plugin module or object and let it fill the registries.

        Raises:
            PluginError: it was written for another API version, implements a hook that is not there
                or registers a taken name. Nothing of it stays.
        """
        owner = distribution or name
        self._check(plugin, name, owner)
        try:
            # Two distributions may give their entry points the same name.
            self._pluggy.register(plugin, f"{owner}:{name}")
            others = [other for other in self._pluggy.get_plugins() if other is not plugin]
            with ExitStack() as stack:
                for kind, registry in self.registries.all().items():
                    stack.enter_context(registry.owned_by(owner))
                    self._pluggy.subset_hook_caller(f"register_{kind}", others)(registry=registry)
        except BaseException as error:  # Ctrl-C too: nothing of the plugin stays
            # Before pluggy 1.7 also a plugin that it refused.
            if self._pluggy.is_registered(plugin):
                self._pluggy.unregister(plugin)
            if not isinstance(error, pluggy.PluginValidationError):
                raise
            said = " ".join(str(error).split())
            raise PluginError(f"plugin {name!r} has a hook of the wrong form: {said}") from error
        module = getattr(plugin, "__name__", type(plugin).__module__)
        self.plugins.append(PluginInfo(name, owner, version, module))

    def remove(self, plugin: object, name: str, distribution: str = "") -> None:
        """Take out what ``add`` put in with the same arguments, for tests."""
        owner = distribution or name
        self._pluggy.unregister(plugin)
        for registry in self.registries.all().values():
            registry.drop(owner)
        self.plugins = [p for p in self.plugins if (p.name, p.distribution) != (name, owner)]

    def load_entry_points(self, entry_points: Iterable[metadata.EntryPoint] | None = None) -> None:
        """Load every installed plugin, first-party ones first, each on its own.

        Raises:
            PluginError: a plugin failed and ``PPCLAS_STRICT_PLUGINS`` is set.
        """
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        loaded = []
        for entry_point in found:
            with self._isolated(entry_point):
                loaded.append((entry_point, entry_point.load()))
        for entry_point, plugin in sorted(loaded, key=_order):
            with self._isolated(entry_point):
                self.add(plugin, entry_point.name, *_distribution(entry_point))

    def _check(self, plugin: object, name: str, owner: str) -> None:
        """Refuse what pluggy would take in silence or word for its own developers."""
        wanted = getattr(plugin, "ppclas_api_version", 1)
        if wanted != hookspecs.API_VERSION:
            raise PluginError(
                f"plugin {name!r} was written for ppclas plugin API {wanted}; this ppclas-core has "
                f"{hookspecs.API_VERSION}. Install the release of {owner} that fits."
            )
        if self._pluggy.is_registered(plugin) or self._pluggy.has_plugin(f"{owner}:{name}"):
            raise PluginError(
                f"plugin {name!r} of {owner} is loaded already. Name it in one entry point only."
            )
        known = [name for name in dir(hookspecs) if name.startswith(("register_", "on_"))]
        for attribute in dir(plugin):
            options = self._pluggy.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                if attribute in known and callable(getattr(plugin, attribute)):
                    raise PluginError(
                        f"plugin {name!r} defines {attribute} without marking it: put @hookimpl "
                        f"(from ppclas_core import hookimpl) above it, or rename it."
                    )
                continue
            hook = options["specname"] or attribute
            if hook not in known and not options["optionalhook"]:
                near = near_names(hook, known)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise PluginError(
                    f"plugin {name!r} implements the hook {hook!r}, which this ppclas-core does "
                    f"not call.{hint} If a newer ppclas-core does, upgrade it, or mark the "
                    "function @hookimpl(optionalhook=True)."
                )

    @contextmanager
    def _isolated(self, entry_point: metadata.EntryPoint) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever a stranger's module or hook raises
            self._refuse(entry_point, error)

    def _refuse(self, entry_point: metadata.EntryPoint, error: BaseException) -> None:
        import traceback  # deferred: every command loads plugins, few of them fail

        name, (distribution, version) = entry_point.name, _distribution(entry_point)
        text = str(error).splitlines()[0] if str(error) else ""
        reason = text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
        if os.environ.get("PPCLAS_STRICT_PLUGINS", "0") not in ("", "0"):
            raise PluginError(f"plugin {name!r} ({distribution}) failed: {reason}") from error
        said = traceback.format_exc()
        info = PluginInfo(name, distribution, version, entry_point.value, reason, said)
        self.plugins.append(info)
        print(
            f"warning: plugin {name!r} of {distribution or 'an unknown package'} is "
            f"left out: {reason} (see 'ppclas plugins')",
            file=sys.stderr,
        )


def _order(loaded: tuple[metadata.EntryPoint, object]) -> tuple[int, str, str]:
    # Where two plugins register one name the later one is refused: what ships with ppclas sets
    # ``ppclas_load_order = 0`` and so wins over a stranger.
    entry_point, plugin = loaded
    order = getattr(plugin, "ppclas_load_order", 100)
    return (order, _distribution(entry_point)[0], entry_point.name)


def _distribution(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the package that has the entry point; empty where none is known."""
    found = entry_point.dist
    return (found.name, found.version) if found else ("", "")


def make_plugin_manager(*, discover: bool = True) -> PluginManager:
    """A fresh plugin manager, with every installed plugin if ``discover``."""
    manager = PluginManager()
    if discover:
        manager.load_entry_points()
    return manager


@functools.lru_cache(maxsize=1)
def get_plugin_manager() -> PluginManager:
    """The process's plugin manager: every installed plugin, loaded once."""
    return make_plugin_manager()


def get_registries() -> Registries:
    """The registries of the process's plugin manager."""
    return get_plugin_manager().registries

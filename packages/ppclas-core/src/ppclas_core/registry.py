"""Names, and how to build what they stand for.

A registry holds entries, not objects: listing names imports nothing. What an entry needs is given
as the thing itself or as a ``"module:attribute"`` string that is imported on first use.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import PluginError, UnknownNameError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.wording import first_few, near_names

if TYPE_CHECKING:
    from ppclas_core.params import Params

Lazy = Callable[..., Any] | str
"""A callable, or the ``"module:attribute"`` where one will be found."""


def resolve(target: Any) -> Any:
    """``target`` itself, or the attribute that a ``"module:attribute"`` string names.

    Raises:
        PluginError: there is no such module or attribute.
        MissingDependencyError: the module needs Paddle, which is not installed.
    """
    if not isinstance(target, str):
        return target
    module_name, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        if error.name == "paddle":
            require_paddle(target)
        raise PluginError(
            f"{target!r} is registered and cannot be imported ({error}). Install what it needs, or "
            "mend the plugin."
        ) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise PluginError(
                f"{target!r} is registered and {module_name} has no {attribute!r}. Mend the plugin."
            )
        value = getattr(value, part)
    return value


@dataclass(frozen=True)
class Entry:
    """One registered name.

    ``builder`` makes the object from keyword arguments. ``params`` is the pydantic model that these
    arguments must fit; where it is not given, ``builder`` is such a model itself (a *component*:
    parameters with behaviour) or has a ``params_model()`` that gives it.
    """

    name: str
    builder: Lazy
    owner: str
    params: type[Params] | str | None = None
    summary: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def params_model(self) -> type[Params]:
        """The pydantic model of the parameters; may import the owner's module."""
        target = resolve(self.builder if self.params is None else self.params)
        # A LazyModel knows its parameters only when its family is imported, and is asked then.
        model: type[Params] = target.params_model() if hasattr(target, "params_model") else target
        return model


class Registry:
    """The names of one kind of component ("model", …), each registered once.

    Names are case-sensitive; with ``loose`` case, ``-``, ``_``, ``.`` and spaces make no difference
    where no registered name is exactly the one asked for.
    """

    def __init__(self, kind: str, list_command: str | None = None, *, loose: bool = False) -> None:
        self.kind = kind
        self._loose = loose
        self._list_command = list_command
        self._entries: dict[str, Entry] = {}
        self._aliases: dict[str, str] = {}
        self._owner = "ppclas-core"

    def register(
        self,
        name: str,
        builder: Lazy,
        *,
        params: type[Params] | str | None = None,
        aliases: tuple[str, ...] = (),
        summary: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Add ``name``.

        Raises:
            PluginError: the name or an alias is taken; the message names both owners.
        """
        for new in (name, *aliases):
            taken = self._entries.get(self._aliases.get(new, new))
            if taken is not None:
                raise PluginError(
                    f"{self.kind} {new!r} is registered twice: by {taken.owner} and by "
                    f"{self._owner}. Uninstall one of the two, or rename it there."
                )
        facts = dict(metadata or {})
        self._entries[name] = Entry(name, builder, self._owner, params, summary, facts)
        self._aliases.update(dict.fromkeys(aliases, name))

    @contextmanager
    def owned_by(self, owner: str) -> Iterator[None]:
        """Note ``owner`` on what is registered inside; take it back if the block raises."""
        before, self._owner = (self._owner, dict(self._entries), dict(self._aliases)), owner
        try:
            yield
        except BaseException:  # Ctrl-C too
            _, self._entries, self._aliases = before
            raise
        finally:
            self._owner = before[0]

    def drop(self, owner: str) -> None:
        """Forget every name that ``owner`` registered."""
        entries, aliases = self._entries.items(), self._aliases.items()
        self._entries = {name: entry for name, entry in entries if entry.owner != owner}
        self._aliases = {alias: name for alias, name in aliases if name in self._entries}

    def names(self) -> list[str]:
        """Every name in registration order, without aliases."""
        return list(self._entries)

    def aliases(self, name: str) -> list[str]:
        """The other spellings of a registered name."""
        return [alias for alias, target in self._aliases.items() if target == name]

    def entry(self, name: str) -> Entry:
        """The entry behind a name or an alias.

        Raises:
            UnknownNameError: nobody registered it; the message suggests near names.
        """
        found = self._find(name)
        if found is None:
            raise UnknownNameError(self._unknown(name))
        return found

    def _find(self, name: object) -> Entry | None:
        if not isinstance(name, str):
            return None
        exact = self._entries.get(self._aliases.get(name, name))
        if exact is not None or not self._loose:
            return exact
        same = {
            self._aliases.get(known, known)
            for known in (*self._entries, *self._aliases)
            if _folded(known) == _folded(name)
        }
        return self._entries[same.pop()] if len(same) == 1 else None

    def _meant(self, name: str) -> list[str]:
        """Names that have all of ``name`` in them, lightest first."""
        part = _folded(name) or "no such part"
        # "resnet5" is a slip for ResNet50, and no word for all of its kind.
        whole = re.compile(re.escape(part) + (r"(?!\d)" if part[-1].isdigit() else ""))
        fits = [known for known in self._entries if whole.search(_folded(known))]
        return sorted(fits, key=lambda known: self._entries[known].metadata.get("params") or 1e12)

    def build(self, name: str, *args: Any, **params: Any) -> Any:
        """Call the builder behind ``name`` with ``args`` and ``params``."""
        return resolve(self.entry(name).builder)(*args, **params)

    def _unknown(self, name: str) -> str:
        several = self._meant(name) if self._loose else []
        near = near_names(str(name), (*self._entries, *self._aliases), 3)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        if len(several) > 1:
            hint = f" Several have it in their name, lightest first: {first_few(several, 8)}."
        if not self._entries:
            hint = f" No installed package registers any {self.kind}."
            if self.kind == "model":
                hint += " Try: pip install ppclas-models"
        elif self._list_command:
            hint += f" Run '{self._list_command}' to see all {len(self._entries)}."
        else:
            hint += f" Known: {', '.join(sorted(self._entries))}."
        return f"Unknown {self.kind} {name!r}.{hint}"

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _folded(name: str) -> str:
    return re.sub("[-_. ]", "", name.casefold())

"""What holds for every component, and how a check says what it found."""

from __future__ import annotations

from typing import NoReturn

from ppclas_core.params import Params


def fail(message: str) -> NoReturn:
    """Say what does not keep its contract."""
    raise AssertionError(message)


def expect(condition: bool, message: str) -> None:
    """``fail`` unless ``condition``: an ``assert`` that ``python -O`` keeps."""
    if not condition:
        fail(message)


def check_params(component: Params, documented: bool = True) -> None:
    """A component's parameters survive being written to a config and read again.

    With ``documented`` its own fields must also have docstrings, which is what users see.
    """
    kind = type(component)
    expect(isinstance(component, Params), f"{kind.__name__} is not a ppclas_core.params.Params")
    expect(bool(kind.__doc__), f"{kind.__name__} has no docstring; it is what users see of it")
    own = vars(kind).get("__annotations__", {})
    silent = [
        name for name, field in kind.model_fields.items() if name in own and not field.description
    ]
    if documented and silent:
        fail(f"{kind.__name__}: fields without a docstring below them: {', '.join(silent)}")
    again = kind(**component.model_dump(mode="json"))
    if again != component:
        fail(f"{kind.__name__}: {component!r} reads back from a config as {again!r}")

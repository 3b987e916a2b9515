"""Unpickle arrays without running anything, and without allocating what the file does not hold.

A reader of our own for the opcodes that weights are written with. It calls nothing but the
functions it is given, keys of maps are plain values, and its memory grows with the file alone.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from mmap import mmap
from pickle import UnpicklingError
from typing import Any

from ppclas_core.limits import PICKLE_STEPS

_INTS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4")
_TEXTS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_LITERALS = frozenset((*_INTS, *_TEXTS, *_BYTES, "BINFLOAT"))
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, int, float, bool, type(None))


class RefusedGlobalError(Exception):
    """The pickle asks for a global that no array needs; the message is its name."""


def unpickle(
    file: mmap | BytesIO, known: Mapping[str, Any], refer: Callable[[Any], Any] | None = None
) -> Any:
    """What the next pickle in ``file`` holds; the file is left where that ends.

    A global must be in ``known``: the function to call for it, or a value that stands for it. What
    that gives may have ``take_state(state)``. ``refer`` gives what a persistent id stands for.

    Raises:
        RefusedGlobalError: a global is not ``known``.
        Exception: whatever a broken stream makes of it.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []
    memo: dict[int, Any] = {}
    functions = [each for each in known.values() if callable(each)]
    opcodes: Any = pickletools.genops(file)  # type: ignore[arg-type]
    for step, (code, value, _) in enumerate(opcodes):
        name = code.name
        if step >= PICKLE_STEPS:
            raise UnpicklingError(f"more than {PICKLE_STEPS:,} steps")
        if name in _LITERALS:
            stack.append(value)
        elif name in _MADE:
            stack.append(_MADE[name]())
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("TUPLE", "APPENDS", "SETITEMS", "POP_MARK"):
            items, stack = stack, below.pop()
            _with_items(name, stack, items)
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[i] for i in range(-_TUPLES[name], 0))]
        elif name == "APPEND":
            _with_items("APPENDS", stack, [stack.pop()])
        elif name == "SETITEM":
            item = stack.pop()
            _with_items("SETITEMS", stack, [stack.pop(), item])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = value.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            if (wanted := ".".join(parts)) not in known:
                raise RefusedGlobalError(wanted)
            stack.append(known[wanted])
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not any(function is each for each in functions) or type(arguments) is not tuple:
                raise UnpicklingError("a call of what is no function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if hasattr(type(stack[-1]), "take_state"):
                stack[-1].take_state(state)
            elif type(stack[-1]) is not dict:  # torch hangs metadata on those
                raise UnpicklingError(f"state for a {type(stack[-1]).__name__}")
        elif name == "BINPERSID" and refer is not None:
            stack.append(refer(stack.pop()))
        elif name == "POP":
            stack.pop()
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise UnpicklingError(f"{name}, which arrays are not written with")
    raise UnpicklingError("no end")


def _with_items(name: str, stack: list[Any], items: Sequence[Any]) -> None:
    """Do with ``items``, which stood above the mark, what the opcode ``name`` says."""
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "APPENDS" and type(stack[-1]) is list:
        stack[-1].extend(items)
    elif name == "SETITEMS" and type(stack[-1]) is dict:
        # Hashing nested tuples that share their parts takes time without bound.
        if any(type(key) not in _KEYS for key in items[::2]):
            raise UnpicklingError("a key that is neither text nor a number")
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name != "POP_MARK":
        raise UnpicklingError(f"{name} for a {type(stack[-1]).__name__}")

"""What is wrong with a config, in a user's words. Pydantic's errors in, sentences out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.wording import near_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a map (key: value)",
    "model_type": "a map (key: value)",
    "none_required": "null",
}
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "{} or less"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
    "too_short": ("min_length", "at least {} items"),
    "too_long": ("max_length", "at most {} items"),
}


@dataclass(frozen=True)
class Problem:
    """One mistake at ``path``; ``about_key`` when the key itself is the mistake, not its value."""

    path: KeyPath
    message: str
    about_key: bool = False


def problems_of(
    error: ValidationError, model: type[BaseModel], tree: Any, elsewhere: Iterable[str] = ()
) -> list[Problem]:
    """Each mistake that pydantic found in ``tree``, the value that ``model`` was validated with.

    ``elsewhere`` are dotted keys of other places, to be suggested for a misplaced key.
    """
    grouped: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_real_path(details, tree), []).append(details)
    # A union reports every branch: one that fails deeper inside than the others was meant.
    above = {path[:depth] for path in grouped for depth in range(len(path))}
    deepest = [path for path in grouped if path not in above]
    return [_problem(path, grouped[path], model, elsewhere) for path in deepest]


def unknown_key(key: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The sentence about a key that is not expected where it stands."""
    known = list(known)
    near = near_names(key, known)
    near = near or [dotted for dotted in elsewhere if dotted.rpartition(".")[2] == key][:1]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    expected = f" Expected one of: {', '.join(known)}." if known else " Nothing is expected here."
    return f"unknown key {key!r}.{hint}{expected}"


def dotted(path: Iterable[str | int]) -> str:
    """``data.train_transforms.0.size``."""
    return ".".join(str(part) for part in path)


def describe(value: Any) -> str:
    """``value`` as a user wrote it, with its kind where that is not plain to see."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {_short(repr(value))}"
    if isinstance(value, Mapping):
        return f"a map ({_short(', '.join(map(str, value)))})" if value else "an empty map"
    if isinstance(value, list | tuple):
        return f"a list ({_short(str(list(value)))})"
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _problem(
    path: KeyPath, errors: list[ErrorDetails], model: type[BaseModel], elsewhere: Iterable[str]
) -> Problem:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        parent = model_at(model, path[:-1])
        known = parent.model_fields if parent else ()
        return Problem(path, unknown_key(str(path[-1]), known, elsewhere), about_key=True)
    if first["type"] == "missing" and isinstance(path[-1], int):
        got = describe(first["input"])
        return Problem(path[:-1], f"expected {path[-1] + 1} values or more, got {got}.")
    if first["type"] == "missing":
        return Problem(path[:-1], f"the key {path[-1]!r} is missing.")
    if first["type"] == "value_error":
        return Problem(path, f"{first['ctx']['error']}.")
    expected = " or ".join(dict.fromkeys(_expected(details) for details in errors))
    value = first["input"]
    return Problem(path, f"expected {expected}, got {describe(value)}.{_hint(errors, value)}")


def _expected(details: ErrorDetails) -> str:
    kind = details["type"]
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = details["ctx"][name]
        return words.format(f"{limit:g}" if isinstance(limit, float) else limit)
    if kind == "literal_error":
        return str(details["ctx"]["expected"])
    return details["msg"][:1].lower() + details["msg"][1:]


def _hint(errors: list[ErrorDetails], value: Any) -> str:
    kinds = {details["type"] for details in errors}
    if isinstance(value, str):
        if "bool_type" in kinds and value.lower() in ("yes", "no", "on", "off", "y", "n"):
            return " Write true or false; yes, no, on and off are text."
        if "model_type" in kinds:
            return f" Write {{name: {value}}}."
        if "literal_error" in kinds:
            options = str(errors[0]["ctx"]["expected"]).replace(" or ", ", ").split(", ")
            near = near_names(value, [option.strip("'") for option in options])
            return f" Did you mean {near[0]!r}?" if near else ""
    if "string_type" in kinds and isinstance(value, int | float):
        return " Put it in quotes to make it text."
    return ""


def _real_path(details: ErrorDetails, tree: Any) -> KeyPath:
    """The error's place in ``tree``: pydantic's, without its names of union branches."""
    path: list[str | int] = []
    location = details["loc"]
    for depth, part in enumerate(location):
        is_key = isinstance(tree, dict) and part in tree
        is_index = isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree)
        if is_key or is_index:
            path.append(part)
            tree = tree[part]
        elif details["type"] == "missing" and depth == len(location) - 1:
            path.append(part)
    return tuple(path)


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The pydantic model that a value at ``path`` has to fit, or None where it is not one."""
    for part in path:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            found = next(_models_in(field.annotation), None) if field else None
            if found is None:
                return None
            model = found
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)

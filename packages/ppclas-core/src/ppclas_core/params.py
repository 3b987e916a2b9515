"""The pydantic base of everything with parameters, and how a config becomes such an object."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

Self = TypeVar("Self", bound="Params")


class Params(BaseModel):
    """Typed parameters of a component, frozen and strict.

    An unknown key or a value of another type is an error, never a conversion; an ``int`` where a
    ``float`` is wanted is the one exception. Sequences are tuples; a list, as YAML gives it, is
    taken for one. Give each field a docstring with unit and range: the JSON Schema shows it.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: _tuples(value) for key, value in data.items()}

    def replace(self: Self, **changes: Any) -> Self:
        """A validated copy with ``changes``."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **(self.model_extra or {}), **changes})


def _tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value

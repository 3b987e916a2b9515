"""The pydantic base of everything with parameters, and how a config becomes such an object."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from ppclas_core.errors import ConfigError

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
        return {key: _tuples(data[key]) for key in data} if isinstance(data, dict) else data

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise ConfigError(
                f"{type(self).__name__} is frozen: .replace({name}={value!r}) gives a changed "
                "copy, as in config = config.replace(train=config.train.replace(epochs=3))"
            )
        super().__setattr__(name, value)

    def replace(self: Self, **changes: Any) -> Self:
        """A validated copy with ``changes``."""
        return type(self)(**{**dict(self), **changes})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value

"""From a config's component to the object that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ppclas_core.errors import ConfigError
from ppclas_core.registry import Registry, resolve

if TYPE_CHECKING:
    from ppclas_core.config.schema import ComponentConfig
    from ppclas_core.params import Params


def build_component(registry: Registry, config: ComponentConfig) -> Any:
    """The object that a config names in ``registry``, built from its checked parameters.

    Raises:
        UnknownNameError: nobody registered the name.
        ConfigError: a parameter is unknown, missing or of the wrong type.
    """
    entry = registry.entry(config.name)
    model = entry.params_model()
    try:
        params = model(**config.params)
    except ValidationError as error:
        raise wrong_params(f"{registry.kind} {config.name}", error, model) from error
    builder = resolve(entry.builder)
    return params if builder is model else builder(**config.params)


def wrong_params(what: str, error: ValidationError, model: type[Params]) -> ConfigError:
    """What parameters of ``what`` that do not fit its ``model`` are told as."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "its parameters"
    return ConfigError(
        f"{what}: {where}: {first['msg']} (got {first['input']!r}). It takes: "
        f"{', '.join(model.model_fields) or 'no parameters'}."
    )

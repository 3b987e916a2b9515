"""From a config's component to the object that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ppclas_core.errors import ConfigError
from ppclas_core.registry import Registry, resolve

if TYPE_CHECKING:
    from ppclas_core.config.schema import ComponentConfig


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
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its parameters"
        raise ConfigError(
            f"{registry.kind} {config.name}: {where}: {first['msg']} (got {first['input']!r}). "
            f"It takes: {', '.join(model.model_fields) or 'no parameters'}."
        ) from error
    builder = resolve(entry.builder)
    return params if builder is model else builder(**config.params)

"""Build a model by name. Importing this module does not import Paddle; building does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from ppclas_core.component import Params
from ppclas_core.errors import ConfigError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.plugins import get_registries
from ppclas_core.registry import Registry, resolve

if TYPE_CHECKING:
    from ppclas_core.image_model import ImageModel

Model = TypeVar("Model", bound="type[ImageModel]")


class ModelConfig(Params):
    """What every architecture takes. A family adds its own fields; a variant fixes them."""

    in_channels: PositiveInt = 3
    """Channels of the input images."""
    num_classes: NonNegativeInt = 1000
    """Width of the logits; 0 leaves the classifier out, the model then gives pooled features."""


@dataclass(frozen=True)
class Variant:
    """A named, fixed configuration of an architecture."""

    config: ModelConfig
    layer: type[ImageModel]


class Variants(dict[str, Variant]):
    """The variants of one family file: ``models = Variants()``, then ``@models.register(Name=Config(...), ...)``."""

    def register(self, **configs: ModelConfig) -> Callable[[Model], Model]:
        """Decorate the layer class that these configurations build."""

        def decorate(layer: Model) -> Model:
            self.update({name: Variant(config, layer) for name, config in configs.items()})
            return layer

        return decorate


@dataclass(frozen=True)
class LazyModel:
    """A registry builder: the variant ``name`` of the ``Variants`` found at ``table`` ("module:attribute")."""

    table: str
    name: str

    def variant(self) -> Variant:
        """Import the family (and with it Paddle) and look the variant up."""
        require_paddle(f"the model {self.name}")
        variants: Variants = resolve(self.table)
        return variants[self.name]

    def params_model(self) -> type[Params]:
        """The family's configuration class."""
        return type(self.variant().config)

    def __call__(self, **params: Any) -> ImageModel:
        variant = self.variant()
        return variant.layer(variant.config.replace(**params))


def register_variants(registry: Registry, table: str, *names: str, **entry: Any) -> None:
    """Register variants of the ``Variants`` at ``table`` without importing it; ``entry`` goes to ``register``."""
    for name in names:
        registry.register(name, LazyModel(table, name), **entry)


def create_model(name: str, num_classes: int = 1000, **params: Any) -> ImageModel:
    """Build the model ``name`` with fresh weights.

    The layer maps images [N, in_channels, H, W] (float32, normalised) to logits [N, num_classes], never softmaxed.

    Raises:
        UnknownNameError: no installed package has that model.
        ConfigError: ``params`` does not fit the model; the message names the field.
        MissingDependencyError: Paddle is not installed.
    """
    entry = get_registries().models.entry(name)
    try:
        model: ImageModel = resolve(entry.builder)(num_classes=num_classes, **params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(entry.params_model().model_fields)
        raise ConfigError(
            f"model {name}: parameter {where!r}: {first['msg']} (got {first['input']!r}). It takes: {known}."
        ) from error
    return model

"""Named variants of a model family, and how they are registered without importing it.

Importing it imports neither Paddle nor pydantic: plugins use it while names are listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.registry import Registry, resolve

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel
    from ppclas_core.contracts.model_config import ModelConfig
    from ppclas_core.params import Params

Model = TypeVar("Model", bound="type[ImageModel]")


@dataclass(frozen=True)
class Variant:
    """A named, fixed configuration of an architecture."""

    config: ModelConfig
    layer: type[ImageModel]


class Variants(dict[str, Variant]):
    """A family's variants: ``models = Variants()``, ``@models.register(Name=Config(...))``."""

    def register(self, **configs: ModelConfig) -> Callable[[Model], Model]:
        """Decorate the layer class that these configurations build."""

        def decorate(layer: Model) -> Model:
            self.update({name: Variant(config, layer) for name, config in configs.items()})
            return layer

        return decorate


@dataclass(frozen=True)
class LazyModel:
    """A registry builder: the variant ``name`` of the ``Variants`` at ``table``.

    Several registered names may stand for one variant, as those of published weights do.
    """

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
    """Register variants of ``table`` without importing it; ``entry`` goes to ``register``."""
    for name in names:
        registry.register(name, LazyModel(table, name), **entry)

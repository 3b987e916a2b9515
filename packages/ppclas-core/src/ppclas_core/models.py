"""List models and build one by name. Importing this module imports no Paddle; building does."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import ValidationError

from ppclas_core.component import wrong_params
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve

if TYPE_CHECKING:
    from ppclas_core.contracts.feature_extractor import FeatureExtractor
    from ppclas_core.contracts.image_model import ImageModel


def list_models(pattern: str = "*", *, pretrained: bool | None = None) -> list[str]:
    """Names of the installed models that fit a glob in any case: ``list_models("resnet50*")``.

    With ``pretrained`` those with published weights, with False those without. Nothing is built.
    """
    models = get_registries().models
    names = [name for name in models if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
    if pretrained is None:
        return names
    return [name for name in names if _is_published(models.entry(name).metadata) == pretrained]


def _is_published(facts: Mapping[str, Any]) -> bool:
    return "pretrained" in facts and facts.get("weights_url", "") is not None


@overload
def create_model(name: str, num_classes: int = 1000, **params: Any) -> ImageModel: ...


@overload
def create_model(
    name: str,
    *,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
    **params: Any,
) -> FeatureExtractor: ...


def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    **params: Any,
) -> ImageModel | FeatureExtractor:
    """Build the model ``name`` with fresh weights.

    The layer maps images [N, in_channels, H, W] (float32, normalised) to logits [N, num_classes],
    never softmaxed; with ``num_classes=0`` to pooled features [N, C]. With ``features_only`` it
    gives the feature maps instead, finest first: ``out_indices`` of ``feature_info()``, or all.

    Raises:
        UnknownNameError: no installed package has that model.
        ConfigError: ``params`` does not fit the model; the message names the field.
        MissingDependencyError: Paddle is not installed.
    """
    if out_indices is not None and not features_only:
        raise ConfigError("out_indices picks feature maps: give features_only=True with it")
    entry = get_registries().models.entry(name)
    classes = 0 if features_only else num_classes
    try:
        model: ImageModel = resolve(entry.builder)(num_classes=classes, **params)
    except ValidationError as error:
        raise wrong_params(f"model {name}", error, entry.params_model()) from error
    if not features_only:
        return model
    from ppclas_core.contracts.feature_extractor import FeatureExtractor  # imports Paddle

    return FeatureExtractor(model, out_indices)

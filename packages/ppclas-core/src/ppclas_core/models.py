"""List models and build one by name. Importing this module does not import Paddle; building does.

What ppclas reads from the ``metadata`` of a registered model, where it is given:

``image_size``, ``resize_short`` (pixels), ``interpolation`` ("bilinear", "bicubic")
    How the published accuracy was measured; what ``eval`` of this name uses.
``pretrained``
    A ``"module:function"``. ``function(name, *, download, folder, mirror)`` returns the path of the
    published weights of the registered name, or raises ``WeightsError`` with a message that says
    how to get them. Only with ``download`` may it use the network; then ``folder`` (a path; None: a
    cache) and ``mirror`` (an address; None: the published one) say where to and where from.
    ``ppclas_engine.bundles.pretrained_path`` calls it.
``weights_url``
    Where these weights are published; None: nowhere, and ``pretrained`` says why.
``class_names``
    A ``"module:function"``. ``function(name)`` returns the names of the classes of these weights,
    in the order of the logits; without it they are called 0, 1, 2 ….
``about``
    A ``"module:function"``. ``function(name)`` returns more facts, by name: those that are too long
    for a listing. ``ppclas models info`` prints them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import ValidationError

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
    facts = {name: models.entry(name).metadata for name in names}
    return [name for name in names if _is_published(facts[name]) == pretrained]


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
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(entry.params_model().model_fields)
        raise ConfigError(
            f"model {name}: parameter {where!r}: {first['msg']} (got {first['input']!r}). It "
            f"takes: {known}."
        ) from error
    if not features_only:
        return model
    from ppclas_core.contracts.feature_extractor import FeatureExtractor  # imports Paddle

    return FeatureExtractor(model, out_indices)

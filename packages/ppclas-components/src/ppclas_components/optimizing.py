"""The optimizer of a run: which parameter learns at which rate, and what decays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ppclas_core.component import build_component
from ppclas_core.config.schema import OptimizerSection
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import ImageModel

HEAD, BACKBONE, EARLY = "head", "backbone", "early"
"""The classifier's stage, and the words for every other one and for the first half of those."""


def expand_stages(model: ImageModel, stages: Sequence[str]) -> list[str]:
    """``stages`` with ``backbone`` and ``early`` (the first half of the backbone) spelt out."""
    backbone = [stage for stage in model.stages() if stage != HEAD]
    words = {BACKBONE: backbone, EARLY: backbone[: len(backbone) // 2]}
    return [expanded for stage in stages for expanded in words.get(stage, [stage])]


def trained_parameters(
    model: ImageModel, layers: Mapping[str, nn.Layer]
) -> Iterator[tuple[str, Tensor]]:
    """Every parameter that trains, with its name: the model's and those of ``layers``."""
    yield from model.trainable()
    for prefix, layer in layers.items():
        for name, parameter in layer.named_parameters():
            if not parameter.stop_gradient:
                yield f"{prefix}.{name}", parameter


def build_optimizer(
    section: OptimizerSection,
    model: ImageModel,
    rate: float,
    layers: Mapping[str, nn.Layer] | None = None,
    clip: type[nn.ClipGradByGlobalNorm] | None = None,
) -> paddle.optimizer.Optimizer:
    """The optimizer over everything in ``model`` that trains, and the objective's ``layers``.

    ``rate`` is the first step's; the layers learn at all of it, as the classifier does. ``clip`` is
    for where no rank sees all gradients.

    Raises:
        ConfigError: a stage of ``lr_mult`` is unknown, or nothing is left to train.
    """
    from paddle import nn

    said = _stage_factors(section.lr_mult, model)
    for name in said:
        if name not in model.stages() and name != BACKBONE:
            raise ConfigError(
                f"optimizer.lr_mult: {type(model).__name__} has no stage {name!r}. "
                f"It has: {BACKBONE}, {', '.join(model.stages())}."
            )
    factors = {
        **(model.layer_decay(section.layer_decay) if section.layer_decay is not None else {}),
        **said,
    }
    optimizer = build_component(get_registries().optimizers, section)
    spared = getattr(optimizer, "no_decay_names", ())
    groups: dict[tuple[float, float], list[Tensor]] = {}
    of_model = {name for name, _ in model.trainable()}
    for name, parameter in trained_parameters(model, layers or {}):
        stage = model.stage_of(name) if name in of_model else HEAD
        factor = factors.get(stage, 1.0 if stage == HEAD else factors.get(BACKBONE, 1.0))
        # A model can leave parameters out of weight decay itself, as MobileNetV3 does with its
        # batch norms.
        exempt = (
            parameter.regularizer is not None
            or (section.no_decay_norm_bias and parameter.ndim == 1)
            or any(part in name for part in spared)
        )
        groups.setdefault((factor, 0.0 if exempt else section.weight_decay), []).append(parameter)
    if not groups:
        raise ConfigError(
            "Every stage is frozen, so there is nothing to train. Leave one out of train.freeze."
        )
    clipping = (clip or nn.ClipGradByGlobalNorm)(section.clip_norm) if section.clip_norm else None
    built: paddle.optimizer.Optimizer = optimizer.build(
        [
            {"params": p, "learning_rate": factor, "weight_decay": decay}
            for (factor, decay), p in groups.items()
        ],
        rate,
        section.weight_decay,
        clipping,
    )
    return built


def _stage_factors(
    lr_mult: Mapping[str, float] | Sequence[float] | None, model: ImageModel
) -> Mapping[str, float]:
    """Stage → factor; a list has one for each stage but the head, from the input on."""
    if lr_mult is None or isinstance(lr_mult, Mapping):
        return lr_mult or {}
    backbone = [stage for stage in model.stages() if stage != HEAD]
    if len(lr_mult) != len(backbone):
        raise ConfigError(
            f"optimizer.lr_mult: {type(model).__name__} has {len(backbone)} stages before its head "
            f"({', '.join(backbone)}); got {len(lr_mult)} factors."
        )
    return dict(zip(backbone, lr_mult, strict=True))

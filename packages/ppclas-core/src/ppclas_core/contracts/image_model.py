"""The base class of every model. Importing it imports Paddle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from paddle import Tensor, nn

from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.errors import ConfigError


@dataclass(frozen=True)
class Feature:
    """One feature map of a backbone."""

    layer: str
    """Path of the sublayer whose output it is, as in ``named_sublayers()``."""
    channels: int
    stride: int
    """Input pixels per feature pixel, along height and width."""


def _begins(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


class ImageModel(nn.Layer):
    """Classify images [N, in_channels, H, W] (float32, normalised) as logits [N, num_classes].

    A family implements ``forward_features``, ``forward_head``, ``feature_info`` and ``stages``.
    Attribute names end up as state-dict keys: they are those of the published checkpoints.
    """

    head: ClassVar[tuple[str, ...]] = ("fc",)
    """Prefixes of the classifier's state-dict keys: re-initialised for other numbers of classes."""

    config: ModelConfig

    keeps_norm_statistics: bool = False
    """Whether batch norms use and keep their running statistics in training mode too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward_features(self, images: Tensor) -> Tensor:
        """The last feature map [N, C, h, w]."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [N, num_classes]; pooled [N, C] if ``pre_logits`` or without classes."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def feature_info(self) -> list[Feature]:
        """Maps for detectors, fine to coarse, one a stride; the last is the last stage's."""
        raise NotImplementedError

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage name → prefixes of its parameters' names, from input to output, ``head`` last.

        Every parameter is in one stage. Learning rates, freezing and layer decay go by it.
        """
        raise NotImplementedError

    def stage_of(self, key: str) -> str:
        """The stage of the parameter or buffer ``key``; the longest matching prefix wins."""
        prefixes = ((prefix, stage) for stage, group in self.stages().items() for prefix in group)
        matches = [(len(prefix), stage) for prefix, stage in prefixes if _begins(key, prefix)]
        if not matches:
            raise ConfigError(f"{type(self).__name__}: no stage holds the parameter {key!r}")
        return max(matches)[1]

    def is_head(self, key: str) -> bool:
        """Whether a state-dict key belongs to the classifier."""
        return any(_begins(key, prefix) for prefix in self.head)

    def trainable(self) -> Iterator[tuple[str, Tensor]]:
        """Name and parameter of everything that takes gradients (batch-norm statistics do not)."""
        return ((name, p) for name, p in self.named_parameters() if not p.stop_gradient)

    def train(self) -> None:
        """Training mode, except for batch norms that are frozen or all keep their statistics."""
        super().train()
        for layer in self.sublayers():
            if isinstance(layer, nn.BatchNorm2D | nn.BatchNorm) and (
                self.keeps_norm_statistics or layer.weight.stop_gradient
            ):
                layer.eval()

    def layer_decay(self, decay: float) -> dict[str, float]:
        """Stage name → factor on the learning rate: 1 for the head, ``decay`` less for each before.

        For fine-tuning: early layers, which are of use everywhere, change least.
        """
        stages = list(self.stages())
        return {stage: decay ** (len(stages) - 1 - index) for index, stage in enumerate(stages)}

    def freeze(self, stages: Sequence[str]) -> None:
        """Take the parameters of these stages out of training.

        Raises:
            ConfigError: a stage is unknown; the message lists the known ones.
        """
        known = self.stages()
        for stage in stages:
            if stage not in known:
                name, listed = type(self).__name__, ", ".join(known)
                raise ConfigError(f"{name} has no stage {stage!r} to freeze. It has: {listed}.")
        for name, parameter in self.named_parameters():
            if self.stage_of(name) in stages:
                parameter.stop_gradient = True

"""The objective ``Mutual``: several networks learn together, each from labels and the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.config.schema import ModelSection
from ppclas_core.contracts.objective import Objective, ObjectiveContext, StepLoss, TrainBatch
from ppclas_core.contracts.training import FeatureLoss, Loss, split_outputs
from ppclas_core.errors import ConfigError
from ppclas_core.models import create_model
from ppclas_engine.bundles import pretrained_path
from ppclas_engine.loop.channels import load_fitting
from pydantic import Field, NonNegativeFloat, PrivateAttr, field_validator

from ppclas_distill.attention import AFD
from ppclas_distill.maps import MapRecorder, find_map
from ppclas_distill.objective import (
    LogitTerm,
    LossTerm,
    build_loss,
    check_losses,
    no_compiled_maps,
    on_labelled,
    unique,
)

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import ImageModel


class Mutual(Objective):
    """Every network i minimises ``ground_truth · loss(i) + Σ weight · mean_j D(i; j)`` over the
    other networks j, whose answers are taken as given: deep mutual learning.

    The networks are the run's model and its ``peers``, which see the same batch. With ``kl`` of
    temperature 1 these are equations 5 to 8 of the paper. PaddleClas' DML adds one symmetric loss
    that moves both networks: the gradients are those of ``ssld`` here, the number printed counts
    it for each of the two.

    The run's bundle holds the model; each peer gets one of its own beside it, from the same epoch:
    ``peer1``, ``peer2`` …

    Paper: "Deep Mutual Learning", Zhang et al. 2018, https://arxiv.org/abs/1706.00384
    """

    peers: tuple[ModelSection, ...] = Field(min_length=1)
    """The networks that learn beside the model, as in the section ``model``."""
    losses: tuple[LossTerm, ...] = Field(
        default=(LossTerm.model_validate({"name": "kl", "temperature": 1.0}),), min_length=1
    )
    """Between a network's answers, or feature maps, and those of another one. The names are those
    of ``Distill``."""
    ground_truth: NonNegativeFloat = 1.0
    """Weight of the config's ``loss`` against the labels, for each network and photo with one."""

    learns_without_labels = True

    _networks: list[ImageModel] = PrivateAttr(default_factory=list)
    _sections: list[ModelSection] = PrivateAttr(default_factory=list)
    _terms: list[LogitTerm] = PrivateAttr(default_factory=list)
    _maps: list[_MapTerm] = PrivateAttr(default_factory=list)
    _recorders: list[MapRecorder] = PrivateAttr(default_factory=list)
    _loss: Loss = PrivateAttr()

    _known_losses = field_validator("losses")(check_losses)

    def resolved(self) -> Mutual:
        def absolute(section: ModelSection) -> ModelSection:
            given = section.pretrained
            return section.replace(
                pretrained=str(Path(given).absolute()) if isinstance(given, str) else given
            )

        return self.model_copy(update={"peers": tuple(map(absolute, self.peers))})

    def prepare(self, context: ObjectiveContext) -> None:
        config, model, self._loss = context.config, context.model, context.loss
        self._networks = [model, *(self._build(section, context) for section in self.peers)]
        names = ", ".join(section.name for section in self.peers)
        context.note(
            f"{config.model.name} and {names} learn together: the bundle holds the former; "
            f"{', '.join(self.classifiers())} in the run's folder {_hold(len(self.peers))}"
        )
        rates = config.optimizer
        if rates.lr_mult or rates.layer_decay is not None:
            context.note("the learning rates of stages are the model's; a peer learns at all of it")
        for term in self.losses:
            loss = build_loss(term)
            if isinstance(loss, AFD):
                raise ConfigError(
                    f"objective.losses: {term.name} learns from the maps of a teacher that stays "
                    "as it is. Take the objective Distill, or another loss."
                )
            if isinstance(loss, FeatureLoss):
                self._maps += self._map_terms(term, loss)
            else:
                self._terms.append(LogitTerm(unique(term.name, self._terms), loss, term.weight))
        no_compiled_maps(self._maps, config)
        if self._maps:
            self._recorders = [
                MapRecorder(
                    network, [t.layer(n) for t in self._maps if n in t.pair], training_only=True
                )
                for n, network in enumerate(self._networks)
            ]

    def step(self, batch: TrainBatch, forward: Callable[..., Any]) -> StepLoss:
        outputs = [forward(batch.images), *(forward(batch.images, n) for n in self._networks[1:])]
        answers = [split_outputs(output)[0].detach() for output in outputs]
        shares = 1.0 / (len(outputs) - 1)
        parts: dict[str, Tensor] = {}
        total: Any = 0.0

        def add(name: str, number: int, value: Tensor, weight: float) -> None:
            nonlocal total
            title = f"{name}.peer{number}" if number else name
            parts[title] = parts[title] + value if title in parts else value
            total = total + weight * value

        for number, output in enumerate(outputs):
            for term in self._terms:
                for other, answer in enumerate(answers):
                    if other != number:
                        targets = dataclasses.replace(batch.targets, teacher_logits=answer)
                        add(term.name, number, term.loss(output, targets) * shares, term.weight)
            if self.ground_truth:
                value = on_labelled(self._loss, output, batch.targets)
                add("ground_truth", number, value, self.ground_truth)
        maps = [recorder.take() for recorder in self._recorders]
        for t in self._maps:
            number, other = t.pair
            theirs = maps[other][t.their_layer].detach()
            value = t.loss.between(maps[number][t.our_layer], theirs, t.layers) * shares
            add(t.name, number, value, t.weight)
        return StepLoss(total, outputs[0], parts)

    def layers(self) -> Mapping[str, nn.Layer]:
        projections = {
            f"{t.name}.{t.pair[0]}{t.pair[1]}.{name}": layer
            for t in self._maps
            for name, layer in t.layers.items()
        }
        return {**{_title(n): net for n, net in enumerate(self._networks) if n}, **projections}

    def classifiers(self) -> Mapping[str, tuple[ModelSection, ImageModel]]:
        built = zip(self._sections, self._networks[1:], strict=True)
        return {_title(number + 1): pair for number, pair in enumerate(built)}

    def _build(self, section: ModelSection, context: ObjectiveContext) -> ImageModel:
        """A peer for the data's classes and channels, with the weights that it is to start from."""
        model = context.model
        params = {"in_channels": model.config.in_channels, **section.params}
        peer = create_model(section.name, len(context.train.class_names), **params)
        self._sections.append(section.replace(params=params))
        if section.pretrained is not False:
            given = section.pretrained
            path = (
                Path(given)
                if isinstance(given, str)
                else pretrained_path(section.name, download=True)
            )
            context.note(f"peer {section.name}: {load_fitting(peer, path)[1]}")
        peer.keeps_norm_statistics = model.keeps_norm_statistics
        peer.train()
        return peer

    def _map_terms(self, term: LossTerm, loss: FeatureLoss) -> list[_MapTerm]:
        name = unique(term.name, self._maps)
        made = []
        for number, network in enumerate(self._networks):
            for other, peer in enumerate(self._networks):
                if other == number:
                    continue
                ours = find_map(network, loss, loss.student_map, f"{term.name}.student_map")
                theirs = find_map(peer, loss, loss.teacher_map, f"{term.name}.teacher_map")
                made.append(
                    _MapTerm(
                        name,
                        loss,
                        term.weight,
                        (number, other),
                        ours.layer,
                        theirs.layer,
                        loss.layers(ours, theirs),
                    )
                )
        return made


@dataclasses.dataclass(frozen=True)
class _MapTerm:
    """What network ``pair[0]`` learns from the maps of ``pair[1]``."""

    name: str
    loss: FeatureLoss
    weight: float
    pair: tuple[int, int]
    our_layer: str
    their_layer: str
    layers: Mapping[str, nn.Layer]

    def layer(self, number: int) -> str:
        """Of which layer the map of network ``number`` is."""
        return self.our_layer if number == self.pair[0] else self.their_layer


def _title(number: int) -> str:
    return f"peer{number}"


def _hold(count: int) -> str:
    return "holds the other" if count == 1 else "hold the others"

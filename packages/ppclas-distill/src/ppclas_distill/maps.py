"""Find feature maps of a model, and record them while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_distill.attention import AFD

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import Feature, ImageModel


def find_map(model: ImageModel, loss: FeatureLoss, which: int | str, where: str) -> Feature:
    """The map of ``model`` that ``which`` stands for: a place in ``feature_info()``, or a path.

    A path of several numbered layers (``blocks5`` of ``blocks5.0``, ``blocks5.1``) is the last of
    them. ``where`` is the parameter, for messages.

    Raises:
        ConfigError: there is no such map, or ``loss`` needs to know its channels and nobody does.
    """
    from ppclas_core.contracts.image_model import Feature

    info, title = model.feature_info(), f"objective.losses: {where}"
    if isinstance(which, int):
        if -len(info) <= which < len(info):
            return info[which]
        raise ConfigError(
            f"{title}: expected a number from {-len(info)} to {len(info) - 1}, got {which}."
        )
    paths = _paths(model)
    numbered = [path for path in paths if _parent(path) == which]
    if which not in paths and not numbered:
        near = near_names(which, paths) or [feature.layer for feature in info]
        raise ConfigError(
            f"{title}: {type(model).__name__} has no layer {which!r}. Near ones: "
            f"{', '.join(near[:5])}."
        )
    layer = which if which in paths else numbered[-1]
    for feature in info:
        if feature.layer == layer:
            return feature
    if type(loss).layers is not FeatureLoss.layers:
        raise ConfigError(
            f"{title}: {type(loss).__name__} trains a layer that needs to know the map's channels. "
            f"Take one of {', '.join(feature.layer for feature in info)}."
        )
    return Feature(layer, 0, 0)


def find_both(
    model: ImageModel, teacher: ImageModel, name: str, loss: FeatureLoss, size: tuple[int, int]
) -> tuple[list[str], list[str], Mapping[str, nn.Layer]]:
    """The layers of the student's and of the teacher's maps that the loss called ``name`` compares,
    and what it trains; ``size`` is that of the images, (height, width).
    """
    at_ours, at_theirs = (f"{name}.{side}_map" for side in ("student", "teacher"))
    if isinstance(loss, AFD):
        ours = find_maps(model, loss.student_map, size, at_ours)
        theirs = find_maps(teacher, loss.teacher_map, size, at_theirs)
        layers = loss.layers_of(ours, theirs)
    else:
        ours = [find_map(model, loss, loss.student_map, at_ours)]
        theirs = [find_map(teacher, loss, loss.teacher_map, at_theirs)]
        layers = loss.layers(ours[0], theirs[0])
    return [each.layer for each in ours], [each.layer for each in theirs], layers


def find_maps(
    model: ImageModel, which: int | str, size: tuple[int, int], where: str
) -> list[Feature]:
    """The maps of ``model`` that ``which`` stands for: paths with a space between them, of which
    one of a list of layers stands for each of its layers; or those of ``feature_info()`` up to a
    place in it.

    ``size`` (height, width) is that of the images: a pass of an empty one tells the channels.

    Raises:
        ConfigError: there is no such map.
    """
    if isinstance(which, int):
        last = find_map(model, FeatureLoss(), which, where)
        info = list(model.feature_info())
        return info[: info.index(last) + 1]
    known, found = _paths(model), []
    for path in which.split():
        numbered = [each for each in known if _parent(each) == path and path not in known]
        found += numbered or [find_map(model, FeatureLoss(), path, where).layer]
    return _measured(model, found, size, where)


def _measured(
    model: ImageModel, layers: Sequence[str], size: tuple[int, int], where: str
) -> list[Feature]:
    """``layers`` with the channels and strides of what they give for images of ``size``."""
    import paddle
    from ppclas_core.contracts.image_model import Feature

    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    recorder = MapRecorder(model, layers)
    try:
        for layer, _ in modes:  # no statistics move, no layer is left out by chance
            layer.training = False
        with paddle.no_grad():
            model(paddle.zeros([1, model.config.in_channels, *size]))
    finally:
        recorder.stop()
        for layer, training in modes:
            layer.training = training
    features = []
    for path, found in recorder.take().items():
        if len(found.shape) != 4:
            raise ConfigError(
                f"objective.losses: {where}: expected layers that give maps [N, C, H, W]; "
                f"{path} gives {list(found.shape)}."
            )
        features.append(Feature(path, found.shape[1], max(size[0] // found.shape[2], 1)))
    order = {path: place for place, path in enumerate(layers)}
    return sorted(features, key=lambda feature: order[feature.layer])


def _paths(model: ImageModel) -> list[str]:
    """Of all layers that give something: not of lists of layers."""
    from paddle import nn

    layers = model.named_sublayers()
    return [path for path, layer in layers if not isinstance(layer, nn.LayerList)]


def _parent(path: str) -> str:
    """What a numbered layer belongs to; empty for others."""
    parent, _, last = path.rpartition(".")
    return parent if last.isdigit() else ""


class MapRecorder:
    """The outputs of some layers of ``model``, by their path in ``named_sublayers()``, since the
    last ``take``.

    Evaluation of a student would keep its last batch in memory for nothing: with ``training_only``,
    passes in eval mode are not recorded.
    """

    def __init__(
        self, model: nn.Layer, layers: Sequence[str], *, training_only: bool = False
    ) -> None:
        self._model, self._training_only = model, training_only
        self._maps: dict[str, Tensor] = {}
        sublayers = dict(model.named_sublayers())
        self._hooks = [
            sublayers[path].register_forward_post_hook(self._keeper(path)) for path in layers
        ]

    def take(self) -> dict[str, Tensor]:
        """Layer → map [N, C, h, w] float32 of the last pass; they are forgotten here."""
        maps = {path: output.astype("float32") for path, output in self._maps.items()}
        self._maps.clear()
        return maps

    def stop(self) -> None:
        """Record nothing from now on."""
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, path: str) -> Callable[[nn.Layer, object, Tensor], None]:
        def keep(layer: nn.Layer, _inputs: object, output: Tensor) -> None:
            if self._model.training or not self._training_only:
                self._maps[path] = output

        return keep


@dataclasses.dataclass(frozen=True)
class MapTerm:
    """A loss between maps of the student and of a teacher, under its name in the log."""

    name: str
    loss: FeatureLoss
    weight: float
    student_layers: Sequence[str]
    teacher_layers: Sequence[str]
    recorder: MapRecorder
    layers: Mapping[str, nn.Layer]

    def value(self, recorded: Mapping[str, Tensor]) -> Tensor:
        """The loss of the student's ``recorded`` maps and the teacher's last ones."""
        ours = [recorded[layer] for layer in self.student_layers]
        taken = self.recorder.take()
        theirs = [taken[layer] for layer in self.teacher_layers]
        if isinstance(self.loss, AFD):
            return self.loss.between_maps(ours, theirs, self.layers)
        return self.loss.between(ours[0], theirs[0], self.layers)

"""Teachers: what answers for a batch beside the student, without gradient.

A teacher is a catalogue model with its weights, a run folder, bundle or export, or any ONNX
classifier. It sees what the student sees, turned into what it was trained on: normalised by its own
constants and resized to its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import NormalizeConfig, Size, Task
from ppclas_core.errors import ConfigError
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries

from ppclas_distill.maps import MapRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from paddle import Tensor
    from ppclas_core.contracts.image_model import ImageModel


class TeacherConfig(Params):
    """Which teacher, and how it looks at the photos."""

    source: str
    """A name of ``ppclas models list``, a run folder, bundle or export, or an .onnx file (images
    [N, 3, H, W] to logits or probabilities [N, C])."""
    weights: str | None = None
    """Weights file of a catalogue name. Nothing: the published ones, downloaded where they are not
    on this machine."""
    image_size: Size | None = None
    """(height, width) or a side of what it sees, in pixels. Nothing: what it was made for; an .onnx
    file that takes any size sees the student's."""
    normalize: NormalizeConfig | None = None
    """Its own constants. Nothing: those of its bundle, ImageNet's for published weights and .onnx
    files."""

    @property
    def normalize_or_default(self) -> NormalizeConfig:
        """The constants of a source that does not bring its own."""
        return self.normalize or NormalizeConfig()

    def resolved(self) -> TeacherConfig:
        """The same with absolute paths."""
        changes = {}
        if Path(self.source).exists():  # else: a name, or a mistake that is told as it was written
            changes["source"] = str(Path(self.source).absolute())
        if self.weights is not None:
            changes["weights"] = str(Path(self.weights).absolute())
        return self.model_copy(update=changes)

    @property
    def is_name(self) -> bool:
        """Whether ``source`` is a catalogue name; a file or folder called so comes first."""
        return self.source in get_registries().models and not Path(self.source).exists()


@dataclass(frozen=True)
class Student:
    """What a teacher has to fit."""

    class_names: tuple[str, ...]
    normalize: NormalizeConfig
    image_size: tuple[int, int]
    """(height, width), in pixels."""
    task: Task = "classification"
    """Whether its images have one label or several."""


class View:
    """From the student's images to the teacher's: other constants, another size."""

    def __init__(
        self, student: Student, normalize: NormalizeConfig, image_size: tuple[int, int]
    ) -> None:
        ours, theirs = student.normalize, normalize
        scale = np.asarray(ours.std) / np.asarray(theirs.std)
        shift = (np.asarray(ours.mean) - np.asarray(theirs.mean)) / np.asarray(theirs.std)
        self._affine = (
            None if ours == theirs else (scale.astype(np.float32), shift.astype(np.float32))
        )
        self._size = None if image_size == student.image_size else image_size
        self.words = self._describe(student, image_size)
        self.fingerprint = f"{student.image_size} {image_size} {theirs.mean} {theirs.std}"

    def __call__(self, images: Tensor) -> Tensor:
        """Student's images [N, 3, H, W] to the teacher's [N, 3, height, width], both normalised."""
        import paddle
        from paddle.nn import functional

        if self._affine is not None:
            scale, shift = (
                paddle.to_tensor(values).reshape([1, -1, 1, 1]) for values in self._affine
            )
            images = images * scale + shift
        if self._size is not None:
            images = functional.interpolate(images, size=list(self._size), mode="bilinear")
        return images

    def _describe(self, student: Student, image_size: tuple[int, int]) -> str:
        height, width = student.image_size
        size = (
            f"{height}x{width}"
            if self._size is None
            else f"{height}x{width} resized to {_x(image_size)}"
        )
        return (
            f"sees {size}{', normalised by its own constants' if self._affine is not None else ''}"
        )


class Teacher:
    """A frozen classifier; subclasses say how it answers."""

    batch_norms: bool = False
    """Whether it has batch norms that could normalise by the batch."""
    batch_statistics: bool = False
    """Whether they do."""
    assumed: str = ""
    """What had to be assumed about it, for the console."""

    def __init__(
        self, name: str, view: View, columns: Sequence[int] | None, fingerprint: str
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        """Changes when its weights or what it sees do."""
        self._view = view
        self._columns = columns

    @property
    def words(self) -> str:
        """One line for the console."""
        order = "; its classes are put into the data's order" if self._columns is not None else ""
        norm = "; its batch norms go by the batch" if self.batch_statistics else ""
        assumed = f"; {self.assumed}" if self.assumed else ""
        return f"teacher {self.name} {self._view.words}{norm}{order}{assumed}"

    def answer(self, images: Tensor) -> Tensor:
        """Logits [N, C] float32, classes in the student's order, of the student's [N, 3, H, W]."""
        import paddle

        with paddle.no_grad():
            logits = self._logits(self._view(images)).astype("float32")
            if self._columns is not None:
                logits = logits.index_select(paddle.to_tensor(self._columns), axis=1)
        return logits

    def _logits(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def network(self) -> ImageModel:
        """The model that answers, for its feature maps.

        Raises:
            ConfigError: there is none in Paddle.
        """
        raise ConfigError(
            f"teacher {self.name} gives logits alone; feature losses need a teacher in Paddle."
        )

    def record(self, layers: Sequence[str]) -> MapRecorder:
        """Keep the outputs of these layers of every ``answer`` from now on."""
        raise NotImplementedError

    def state(self) -> dict[str, NDArray[Any]]:
        """What changes in it: running statistics, where its batch norms are in train mode."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of ``state``."""


class PaddleTeacher(Teacher):
    """A model of a registry. Its parameters get no gradient; dropout is off.

    With ``batch_statistics`` its batch norms stay in train mode: they normalise by the batch and
    their running statistics move. SSLD found its students better for it (76.00 % against 75.84 %).
    """

    def __init__(
        self,
        name: str,
        view: View,
        columns: Sequence[int] | None,
        fingerprint: str,
        model: ImageModel,
        batch_statistics: bool,
    ) -> None:
        from paddle import nn

        super().__init__(name, view, columns, fingerprint)
        self._model = model
        for parameter in model.parameters():
            parameter.stop_gradient = True
        model.eval()
        self._norms = {
            key: layer
            for key, layer in model.named_sublayers()
            if isinstance(layer, nn.BatchNorm2D | nn.BatchNorm)
        }
        self.batch_norms = bool(self._norms)
        self.batch_statistics = batch_statistics and self.batch_norms
        if self.batch_statistics:
            for layer in self._norms.values():
                layer.train()

    def _logits(self, images: Tensor) -> Tensor:
        outputs = self._model(images)
        return outputs[0] if isinstance(outputs, list | tuple) else outputs

    def network(self) -> ImageModel:
        return self._model

    def record(self, layers: Sequence[str]) -> MapRecorder:
        return MapRecorder(self._model, layers)

    def state(self) -> dict[str, NDArray[Any]]:
        if not self.batch_statistics:
            return {}
        return {key: tensor.numpy() for key, tensor in self._statistics().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for key, array in arrays.items():
            self._statistics()[key].set_value(array)

    def _statistics(self) -> dict[str, Tensor]:
        return {
            f"{key}.{name}": getattr(layer, name)
            for key, layer in self._norms.items()
            for name in ("_mean", "_variance")
        }


class ArrayTeacher(Teacher):
    """Arrays [N, 3, H, W] to answers [N, C]: an export in its engine, or an ONNX file."""

    def __init__(
        self,
        name: str,
        view: View,
        columns: Sequence[int] | None,
        fingerprint: str,
        run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        probabilities: bool = False,
    ) -> None:
        super().__init__(name, view, columns, fingerprint)
        self._run = run
        self._probabilities = probabilities

    @property
    def words(self) -> str:
        return f"{super().words}; its batch norms go by running statistics, as exported"

    def _logits(self, images: Tensor) -> Tensor:
        import paddle

        answers = self._run(np.ascontiguousarray(images.numpy()))
        if self._probabilities:
            answers = np.log(np.maximum(answers, np.finfo(np.float32).tiny))
        return paddle.to_tensor(answers, place=images.place)


def _x(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"

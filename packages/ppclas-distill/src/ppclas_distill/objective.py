"""The objective ``Distill``: a student learns from teachers, and from labels if there are any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_components.losses import log_softmax
from ppclas_core.component import build_component
from ppclas_core.config.schema import ComponentConfig, Config
from ppclas_core.contracts.objective import Objective, ObjectiveContext, StepLoss, TrainBatch
from ppclas_core.contracts.training import BOTH_TASKS, FeatureLoss, Loss, Targets
from ppclas_core.errors import ConfigError, PpclasError
from ppclas_core.plugins import get_registries
from ppclas_engine.planning.task import balanced_weights
from ppclas_engine.ranks.distributed import current
from pydantic import Field, NonNegativeFloat, PrivateAttr, field_validator

from ppclas_distill.cache import LogitCache, pixel_digests
from ppclas_distill.maps import MapRecorder, MapTerm, find_both
from ppclas_distill.opening import open_teacher
from ppclas_distill.teacher import Student, Teacher, TeacherConfig

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import ImageModel

_ENOUGH = 32
"""Images in a device's batch from which on a teacher's batch norms can go by it. The 192 photos of
produce8 in batches of 16: the student fell from 92.7 % to 66.7 % in eight epochs, and stayed where
it was with ``running`` (docs/en/distillation.md)."""


class LossTerm(ComponentConfig):
    """A loss between student and teacher, and its share of the sum."""

    weight: NonNegativeFloat = 1.0
    """Factor on the loss."""


def check_losses(losses: tuple[LossTerm, ...]) -> tuple[LossTerm, ...]:
    """``losses``, each of which can be built.

    Raises:
        ValueError: one cannot.
    """
    for term in losses:
        try:
            build_loss(term)
        except PpclasError as error:
            raise ValueError(str(error)) from error
    return losses


class Distill(Objective):
    """Minimise the weighted sum of losses between the model and its teachers, and of the config's
    ``loss``.

    Photos without a label (``data.train_extra``) count in the former alone. Teachers see the batch
    that the student sees, after the batch transforms. They are no part of the model, the optimizer
    or the bundle.
    """

    teachers: tuple[TeacherConfig, ...] = Field(min_length=1)
    """Who is learnt from. The answers of several are averaged."""
    losses: tuple[LossTerm, ...] = Field(default=(LossTerm(name="ssld"),), min_length=1)
    """Between the student's answers, or feature maps, and the teachers'. The names are those of
    losses: ssld, js, kl, soft_ce, dkd, dist, skd, wsl; of feature maps fitnet, similarity,
    distance, mgd, pefd, rkd, afd."""
    ground_truth: NonNegativeFloat = 0.0
    """Weight of the config's ``loss`` against the labels, for photos that have one. 0: labels are
    not learnt from, as in SSLD."""
    average: Literal["probabilities", "logits"] = "probabilities"
    """How several teachers make one answer. Probabilities: their mean, to which each contributes
    the same whatever the scale of its logits. Logits: the normalised geometric mean, in which one
    teacher's certainty that a class is absent decides."""
    teacher_norm: Literal["batch", "running"] | None = None
    """What the teachers' batch norms normalise by: the statistics of the batch (train mode; the
    running ones move), or their running statistics (eval mode). None: of the batch, from 32 images
    per device on."""
    cache: str | None = None
    """Folder that keeps the teachers' logits, so that crops that come again cost no pass of the
    teachers. It needs teacher_norm running and data.repeat_draws_after."""

    tasks = BOTH_TASKS
    learns_without_labels = True

    _teachers: list[Teacher] = PrivateAttr(default_factory=list)
    _terms: list[LogitTerm] = PrivateAttr(default_factory=list)
    _maps: list[MapTerm] = PrivateAttr(default_factory=list)
    _loss: Loss = PrivateAttr()
    _cache: LogitCache | None = PrivateAttr(None)
    _student_maps: MapRecorder | None = PrivateAttr(None)
    _size: tuple[int, int] = PrivateAttr()
    _by_batch: bool = PrivateAttr(True)
    _images: int = PrivateAttr(0)
    _draws: int = PrivateAttr(1)

    _known_losses = field_validator("losses")(check_losses)

    def resolved(self) -> Distill:
        changes: dict[str, Any] = {
            "teachers": tuple(teacher.resolved() for teacher in self.teachers)
        }
        if self.cache is not None:
            changes["cache"] = str(Path(self.cache).absolute())
        return self.model_copy(update=changes)

    def prepare(self, context: ObjectiveContext) -> None:
        config = context.config
        self._size = _pair(config.data.image_size)
        task = context.train.task
        student = Student(context.train.class_names, config.data.normalize, self._size, task)
        if any(transform.name == "Normalize" for transform in config.data.train_transforms or ()):
            raise ConfigError(
                "objective Distill: data.train_transforms has a Normalize, so what the teachers "
                "see is not known. Leave it out and set data.normalize: it is done once a batch."
            )
        batch = (config.data.batch_size or 0) // current().size
        few = batch < _ENOUGH
        self._by_batch = self.teacher_norm == "batch" or (self.teacher_norm is None and not few)
        for teacher_config in self.teachers:
            teacher = open_teacher(teacher_config, student, self._by_batch)
            context.note(teacher.words)
            self._teachers.append(teacher)
        if few and self.teacher_norm is None and any(each.batch_norms for each in self._teachers):
            context.note(
                f"batch norms of teachers go by running statistics: {batch} images are too few"
            )
        elif few and any(teacher.batch_statistics for teacher in self._teachers):
            context.note(
                f"warning: a teacher whose batch norms go by only {batch} images can answer much "
                "worse than it does alone; --teacher-norm running lets it answer as in evaluation"
            )
        if len(self._teachers) > 1:
            if task == "multilabel":
                raise ConfigError(
                    "objective.teachers: of images with several labels, expected one teacher."
                )
            context.note(f"the {self.average} of {len(self._teachers)} teachers are averaged")
        self._loss = context.loss
        smoothing = getattr(context.loss, "label_smoothing", 0.0)
        if self.ground_truth and smoothing:
            context.note(
                f"loss.label_smoothing {smoothing:g} on top of a teacher: SSLD found it harmful, 0 "
                "turns it off"
            )
        for term in self.losses:
            loss = build_loss(term)
            if isinstance(loss, Loss):
                loss = _for_task(loss, term.name, context)
            if isinstance(loss, FeatureLoss):
                self._maps += self._map_terms(term, loss, context.model)
            else:
                self._terms.append(LogitTerm(unique(term.name, self._terms), loss, term.weight))
        no_compiled_maps(self._maps, config)
        self._record_maps(context.model)
        self._images = len(context.train)
        if self.cache is not None:
            self._cache = self._open_cache(config, context)

    def step(self, batch: TrainBatch, forward: Callable[[Tensor], Any]) -> StepLoss:
        outputs = forward(batch.images)
        targets = dataclasses.replace(batch.targets, teacher_logits=self._answers(batch))
        parts: dict[str, Tensor] = {}
        total: Any = 0.0
        for term in self._terms:
            parts[term.name] = term.loss(outputs, targets)
            total = total + term.weight * parts[term.name]
        if self._student_maps is not None:
            ours = self._student_maps.take()
            for map_term in self._maps:
                value = map_term.value(ours)
                parts[map_term.name] = value
                total = total + map_term.weight * value
        if self.ground_truth:
            parts["ground_truth"] = on_labelled(self._loss, outputs, batch.targets)
            total = total + self.ground_truth * parts["ground_truth"]
        return StepLoss(total, outputs, parts)

    def layers(self) -> Mapping[str, nn.Layer]:
        return {
            f"{term.name}.{name}": layer
            for term in self._maps
            for name, layer in term.layers.items()
        }

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            f"teacher{number}/{key}": array
            for number, teacher in enumerate(self._teachers)
            for key, array in teacher.state().items()
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for number, teacher in enumerate(self._teachers):
            prefix = f"teacher{number}/"
            teacher.restore(
                {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
            )

    # Teachers' answers

    def _answers(self, batch: TrainBatch) -> Tensor:
        """The averaged logits [N, C] float32 of the teachers."""
        import paddle

        if self._cache is None:
            return self._ask(batch.images)
        rows = batch.indices * self._draws + batch.epoch % self._draws
        digests = pixel_digests(batch.pixels)
        logits, known = self._cache.look_up(rows, digests)
        missing = np.flatnonzero(~known)
        if len(missing):
            images = (
                batch.images
                if len(missing) == len(rows)
                else batch.images[paddle.to_tensor(missing)]
            )
            logits[missing] = self._ask(images).numpy()
            self._cache.store(rows[missing], digests[missing], logits[missing])
        return paddle.to_tensor(logits, place=batch.images.place)

    def _ask(self, images: Tensor) -> Tensor:
        import paddle

        with paddle.no_grad():
            answers = [teacher.answer(images) for teacher in self._teachers]
            if len(answers) == 1:
                return answers[0]
            stacked = paddle.stack([log_softmax(answer) for answer in answers])
            if self.average == "logits":
                return stacked.mean(axis=0)
            return stacked.logsumexp(axis=0) - float(np.log(len(answers)))

    # Parts

    def _map_terms(self, term: LossTerm, loss: FeatureLoss, model: ImageModel) -> list[MapTerm]:
        made: list[MapTerm] = []
        for number, teacher in enumerate(self._teachers):
            name = term.name if len(self._teachers) == 1 else f"{term.name}.{number}"
            ours, theirs, layers = find_both(model, teacher.network(), term.name, loss, self._size)
            made.append(
                MapTerm(
                    unique(name, [*self._maps, *made]),
                    loss,
                    term.weight / len(self._teachers),
                    ours,
                    theirs,
                    teacher.record(theirs),
                    layers,
                )
            )
        return made

    def _record_maps(self, model: ImageModel) -> None:
        if self._maps:
            wanted = dict.fromkeys(layer for term in self._maps for layer in term.student_layers)
            self._student_maps = MapRecorder(model, list(wanted), training_only=True)

    def _open_cache(self, config: Config, context: ObjectiveContext) -> LogitCache:
        draws = config.data.repeat_draws_after
        reason = ""
        if self._by_batch:
            reason = (
                "a teacher's answers then depend on the whole batch; set objective.teacher_norm "
                "to running"
            )
        elif draws is None:
            reason = (
                "no crop would ever come again; set data.repeat_draws_after to the number of "
                "different crops per photo (1 if the transforms are not random)"
            )
        elif config.data.batch_transforms:
            mixing = ", ".join(transform.name for transform in config.data.batch_transforms)
            reason = f"mixed photos never come again; leave out data.batch_transforms ({mixing})"
        elif self._maps:
            reason = f"it keeps logits, and {self._maps[0].name} needs feature maps"
        if draws is None or reason:
            raise ConfigError(f"objective.cache cannot be used here: {reason}.")
        self._draws = draws
        names = context.train.class_names
        # Another seed has other crops: in one file the two would take each other's rows.
        which = f"{draws} draws of seed {config.train.seed}"
        fingerprint = " ".join(
            [*(teacher.fingerprint for teacher in self._teachers), self.average, which, *names]
        )
        rows = self._images * draws
        cache = LogitCache(
            self.cache or "",
            fingerprint,
            rows,
            len(names),
            lambda words: context.note(f"warning: {words}"),
        )
        context.note(
            f"the teachers' logits are kept in {cache.path}, for {draws} crop(s) of {self._images} "
            "photos"
        )
        return cache


@dataclasses.dataclass(frozen=True)
class LogitTerm:
    """A loss between answers, under the name that the log has it by."""

    name: str
    loss: Loss
    weight: float


def build_loss(term: LossTerm) -> Loss | FeatureLoss:
    """What ``term`` names: a loss between answers, or between feature maps."""
    registries = get_registries()
    built: Loss | FeatureLoss = build_component(
        registries.feature_losses if term.name in registries.feature_losses else registries.losses,
        term,
    )
    return built


def _for_task(loss: Loss, name: str, context: ObjectiveContext) -> Loss:
    """``loss`` with class weights from the training photos.

    Raises:
        ConfigError: it is for images with other kinds of labels.
    """
    if context.train.task not in loss.tasks:
        raise ConfigError(
            f"objective.losses: {name} compares answers of which one is right, and these photos "
            "may have several labels. AttributeDML is for them."
        )
    if getattr(loss, "class_weights", None) == "balanced":
        return loss.model_copy(update={"class_weights": balanced_weights(context.train)})
    return loss


def no_compiled_maps(maps: Sequence[Any], config: Config) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: feature maps are read of a model that is compiled.
    """
    if maps and config.train.compile:
        raise ConfigError(
            f"objective.losses: {maps[0].name} reads feature maps, which a compiled model does not "
            "show. Set train.compile to false."
        )


def unique(name: str, terms: Sequence[Any]) -> str:
    """``name``, with a number where a loss is named twice."""
    taken = [term.name for term in terms]
    return (
        name
        if name not in taken
        else f"{name}_{sum(other.startswith(name) for other in taken) + 1}"
    )


def on_labelled(loss: Loss, outputs: Any, targets: Targets) -> Tensor:
    """``loss`` of the photos with labels, times their share of the batch.

    So a label weighs the same whatever else is in its batch.
    """
    import paddle

    known = (targets.labels >= 0).numpy()
    known = known if known.ndim == 1 else known.all(axis=1)
    if targets.mixed_labels is not None:
        known &= (targets.mixed_labels >= 0).numpy().reshape(len(known), -1).all(axis=1)
    if known.all():
        return loss(outputs, targets)
    if not known.any():
        return paddle.zeros([])
    rows = paddle.to_tensor(np.flatnonzero(known))

    def pick(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(pick(item) for item in value)
        return None if value is None else value.index_select(rows, axis=0)

    chosen = Targets(
        **{f.name: pick(getattr(targets, f.name)) for f in dataclasses.fields(targets)}
    )
    return loss(pick(outputs), chosen) * (len(rows) / len(known))


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size

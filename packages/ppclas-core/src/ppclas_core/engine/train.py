"""Train a classifier: one loop, from a plan to a run folder with checkpoints, metrics, pictures and a bundle."""

from __future__ import annotations

import csv
import io
import math
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.builtin.base import Metric, Scheduler, Targets, Tracker
from ppclas_core.builtin.losses import split_outputs
from ppclas_core.bundle import Manifest, Preprocessing, architecture_of, versions, write_bundle
from ppclas_core.checkpoint import (
    Checkpoint,
    keep_copy,
    layer_arrays,
    optimizer_arrays,
    restore_layers,
    restore_optimizer,
    save_checkpoint,
)
from ppclas_core.component import build_component
from ppclas_core.data.base import BatchTransform, ImageSet, sample_draw
from ppclas_core.data.loader import Batch, Loader
from ppclas_core.data.pipeline import Pipeline, build_transforms
from ppclas_core.engine.console import Console
from ppclas_core.engine.context import TrainContext
from ppclas_core.engine.ema import Ema
from ppclas_core.engine.evaluate import Evaluation, evaluate
from ppclas_core.engine.optimizing import build_optimizer, expand_stages, trained_parameters
from ppclas_core.engine.pictures import draw_confusion, draw_curves
from ppclas_core.engine.plan import Plan
from ppclas_core.engine.precision import MixedPrecision
from ppclas_core.engine.predictors import model_predictor
from ppclas_core.engine.probe import MAX_CLASSES, fit_linear_head, linear_head, probe_set
from ppclas_core.engine.run import RunFolder
from ppclas_core.errors import CheckpointError, ConfigError, TrainingError
from ppclas_core.files import write_json, write_text
from ppclas_core.models import create_model
from ppclas_core.normalize import normalize_on_device
from ppclas_core.objective import Objective, ObjectiveContext, StepLoss, TrainBatch
from ppclas_core.plugins import get_plugin_manager, get_registries
from ppclas_core.weights import fit_state, load_weights, model_state

if TYPE_CHECKING:
    from paddle import Tensor, nn

    from ppclas_core.image_model import ImageModel

_BATCH_STREAM = 1 << 32
"""Keeps the draws of batch transforms apart from those of samples, whose index is smaller."""


@dataclass
class _Totals:
    """Sums over the training images of an epoch so far."""

    images: int = 0
    loss: float = 0.0
    counted: int = 0
    """Images with one label, for which right and wrong mean something."""
    correct: int = 0
    seconds: float = 0.0
    wait: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    """Sums of the loss's named parts."""

    def row(self) -> dict[str, Any]:
        """The epoch's training columns of ``metrics.jsonl``."""
        return {
            "train_loss": self.loss / self.images if self.images else None,
            "train_top1": self.correct / self.counted if self.counted else None,
            "images_per_second": round(self.images / self.seconds, 2) if self.seconds else None,
            "wait_share": round(self.wait / self.seconds, 4) if self.seconds else None,
            **{f"train_{name}": total / self.images for name, total in self.parts.items()},
        }


@dataclass
class _Progress:
    """Where a run stands; what a checkpoint holds beside arrays."""

    epoch: int = 0
    """Epochs done."""
    step_in_epoch: int = 0
    """Steps done in the epoch after those."""
    totals: _Totals = field(default_factory=_Totals)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """Epoch, metrics and kind (``weights``: raw or ema) of the best weights."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        return {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "totals": asdict(self.totals),
            "history": self.history,
            "best": self.best,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> _Progress:
        """The inverse of ``to_json``."""
        return cls(
            int(state["epoch"]),
            int(state["step_in_epoch"]),
            _Totals(**state["totals"]),
            list(state["history"]),
            state["best"],
        )


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run: RunFolder
    best: Mapping[str, Any]
    """``epoch``, metrics and ``weights`` (raw, or ema: their moving average) of what the bundle holds."""
    history: Sequence[Mapping[str, Any]]
    evaluation: Evaluation | None
    """The best epoch's evaluation, where this process made it (not after a resume that improved nothing)."""


class Trainer:
    """Train what ``plan`` describes into ``run``; going on from ``checkpoint`` where one is given."""

    def __init__(self, plan: Plan, run: RunFolder, console: Console, checkpoint: Checkpoint | None = None) -> None:
        import paddle

        self._plan, self._run, self._console = plan, run, console
        config = plan.config
        self._epochs = _given(config.train.epochs)
        self._seed = config.train.seed
        paddle.seed(self._seed)
        self._new_head: nn.Linear | None = None
        self._model = self._build_model(checkpoint)
        registries = get_registries()
        self._objective: Objective = build_component(registries.objectives, config.objective)
        self._objective.prepare(
            ObjectiveContext(
                self._model, config, plan.train, build_component(registries.losses, config.loss), console.line
            )
        )
        self._schedule: Scheduler = build_component(registries.schedulers, config.schedule)
        self._batch_transforms: list[BatchTransform] = [
            build_component(registries.batch_transforms, component) for component in config.data.batch_transforms
        ]
        self._metrics: list[Metric] = [build_component(registries.metrics, metric) for metric in config.metrics]
        self._trackers: list[Tracker] = [build_component(registries.trackers, tracker) for tracker in config.trackers]
        self._train_loader = self._loader(plan.train, train=True)
        self._val_loader = self._loader(plan.val, train=False)
        first_rate = self._schedule.value(0, self._steps, self._epochs)
        self._optimizer = build_optimizer(config.optimizer, self._model, first_rate, self._objective.layers())
        self._precision = MixedPrecision(config.train.precision)
        self._ema = Ema(self._model, config.train.ema_decay) if config.train.ema_decay else None
        self._progress = _Progress()
        self._evaluation: Evaluation | None = None
        self._last_picture = 0.0
        if checkpoint is not None:
            restore_layers(self._objective.layers(), checkpoint.part("layers"))
            self._objective.restore(checkpoint.part("objective"))
            restore_optimizer(self._trained(), self._optimizer, checkpoint.part("optimizer"))
            self._precision.restore(checkpoint.state["precision"])
            if self._ema is not None:
                self._ema.restore(checkpoint.part("ema"))
            self._progress = _Progress.from_json(checkpoint.state)
            _check_same_data(checkpoint.state["data"], plan)
        self._context = TrainContext(config, run.path, self._model, self._steps, self._epochs)

    @property
    def _steps(self) -> int:
        return self._train_loader.batches_per_epoch

    def fit(self) -> RunResult:
        """Train to the last epoch.

        Raises:
            TrainingError: the loss is no longer finite, or the run was asked to stop (a checkpoint is written).
            DataError: too many photos cannot be read.
            CheckpointError: a checkpoint cannot be written.
        """
        hook, context = get_plugin_manager().hook, self._context
        context.epoch, context.step = self._progress.epoch, self._global_step()
        self._repair_best()
        hook.on_train_start(context=context)
        with self._train_loader, self._val_loader, self._tracking(), _stop_signals() as stop:
            if self._new_head is not None and not self._progress.history:
                self._probe_head(self._new_head)
            while self._progress.epoch < self._epochs and not context.stop:
                self._train_epoch(stop)
                self._finish_epoch()
        self._draw(force=True)
        hook.on_train_end(context=context)
        best = _given(self._progress.best)
        write_json(self._run.finished, {"best": best, "epochs": self._progress.epoch, "bundle": "bundle"})
        return RunResult(self._run, best, self._progress.history, self._evaluation)

    @contextmanager
    def _tracking(self) -> Iterator[None]:
        """Trackers get the rows so far (of a resumed run), then each new one, and are told of any end."""
        plain = self._plan.config.model_dump(mode="json")
        try:
            for tracker in self._trackers:
                tracker.start(self._run.path, plain)
                for row in self._progress.history:
                    tracker.log(row, row["step"])
            yield
        finally:
            for tracker in self._trackers:
                tracker.finish()

    def _probe_head(self, head: nn.Linear) -> None:
        """Fit the new classifier to the frozen features, and keep the result as epoch 0."""
        plan, config = self._plan, self._plan.config
        loader = self._loader(probe_set(plan.train), train=False)
        with loader, self._console.bar("fitting the new classifier", loader.batches_per_epoch) as bar:
            fit_linear_head(self._model, head, loader.epoch(0), config.data.normalize, bar.advance)
        if self._ema is not None:
            self._ema.restore({name: parameter.numpy() for name, parameter in self._model.trainable()})
        evaluations = {_RAW: self._score()}
        row = {"epoch": 0, "step": 0, "lr": 0.0, **_Totals().row(), **_columns(evaluations)}
        self._keep_epoch(row, evaluations)

    # One epoch

    def _train_epoch(self, stop: threading.Event) -> None:
        progress, context = self._progress, self._context
        config, console = self._plan.config, self._console
        self._model.train()
        title = f"epoch {progress.epoch + 1}/{self._epochs}"
        saved = time.monotonic()
        with console.bar(title, self._steps, progress.step_in_epoch, config.train.log_every) as bar:
            started = time.perf_counter()
            for batch in self._train_loader.epoch(progress.epoch, progress.step_in_epoch):
                rate = self._train_step(batch)
                now = time.perf_counter()
                progress.totals.seconds += now - started
                progress.totals.wait += batch.wait_seconds
                started = now
                progress.step_in_epoch = batch.position + 1
                context.step, context.epoch = self._global_step(), progress.epoch
                get_plugin_manager().hook.on_step_end(context=context)
                bar.advance(self._facts(rate))
                if stop.is_set():
                    self._interrupt()
                if time.monotonic() - saved > 60.0 * config.train.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
        progress.step_in_epoch = self._steps

    def _train_step(self, batch: Batch) -> float:
        import paddle

        progress, config = self._progress, self._plan.config
        step = self._global_step()
        rate = self._schedule.value(step, self._steps, self._epochs)
        self._optimizer.set_lr(rate)
        # Dropout draws from here: the same for a resumed run, with no generator state to save.
        paddle.seed(_step_seed(self._seed, step))
        images = normalize_on_device(batch.images, config.data.normalize)
        targets = Targets(paddle.to_tensor(batch.labels))
        draw = sample_draw(self._seed, progress.epoch, _BATCH_STREAM + progress.step_in_epoch, self._epochs)
        for transform in self._batch_transforms:
            images, targets = transform(images, targets, draw)
        result = self._objective.step(
            TrainBatch(images, targets, batch.images, batch.indices, progress.epoch), self._forward
        )
        self._precision.step(result.loss, self._optimizer)
        self._optimizer.clear_grad()
        if self._ema is not None:
            self._ema.update(step)
        self._count(result, targets, len(batch.labels))
        return rate

    def _forward(self, images: Tensor) -> Any:
        with self._precision.forward():
            outputs = self._model(images)
        return _in_float32(outputs)

    def _trained(self) -> dict[str, Tensor]:
        """Every parameter that trains, by a name that stays the same when the run is resumed."""
        return dict(trained_parameters(self._model, self._objective.layers()))

    def _count(self, result: StepLoss, targets: Targets, images: int) -> None:
        totals = self._progress.totals
        value = result.loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss is {value} at step {self._global_step() + 1} (epoch {self._progress.epoch + 1}). "
                f"Nothing after the last checkpoint is kept. Try a smaller learning rate (--lr) or clipping "
                f"(-o optimizer.clip_norm=1.0)."
            )
        self._context.last_loss = value
        totals.images += images
        totals.loss += value * images
        for name, part in result.parts.items():
            totals.parts[name] = totals.parts.get(name, 0.0) + part.item() * images
        if targets.mixed_labels is None and targets.soft is None:
            logits, _ = split_outputs(result.outputs)
            totals.counted += images
            totals.correct += int((logits.argmax(axis=1) == targets.labels).sum().item())

    def _finish_epoch(self) -> None:
        progress, config, context = self._progress, self._plan.config, self._context
        rate = self._schedule.value(max(self._global_step() - 1, 0), self._steps, self._epochs)
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": self._global_step(), "lr": rate}
        row |= progress.totals.row()
        last = progress.epoch + 1 == self._epochs or context.stop
        evaluations = {}
        if last or (progress.epoch + 1) % config.train.eval_every == 0:
            evaluations = self._evaluate()
            row |= _columns(evaluations)
        context.metrics = row
        get_plugin_manager().hook.on_epoch_end(context=context)
        if context.stop and not evaluations:  # a hook has just made this epoch the last one
            evaluations = self._evaluate()
            row |= _columns(evaluations)
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.totals = _Totals()
        self._keep_epoch(row, evaluations)

    def _keep_epoch(self, row: dict[str, Any], evaluations: Mapping[str, Evaluation]) -> None:
        """Save an epoch that is done.

        A kill before the checkpoint is written makes the epoch again, with the same tables of its evaluation; what
        comes after the checkpoint can be made again from it.
        """
        progress = self._progress
        progress.history.append(row)
        better = None
        for weights, evaluation in evaluations.items():
            candidate = {"weights": weights, "epoch": row["epoch"], **evaluation.summary()}
            if _is_better(candidate, progress.best):
                progress.best, better = candidate, evaluation
        if better is not None:
            self._evaluation = better
            _write_evaluation(self._run, better)
        self._save()
        if better is not None:
            self._keep_best()
        self._run.write_history(progress.history)
        for tracker in self._trackers:
            tracker.log(row, row["step"])
        self._console.line(_epoch_line(row, self._epochs, better is not None))
        self._draw()

    def _evaluate(self) -> dict[str, Evaluation]:
        """The weights as they are, and their moving average where there is one."""
        evaluations = {_RAW: self._score()}
        if self._ema is not None:
            with self._ema.applied():
                evaluations[_EMA] = self._score()
        return evaluations

    def _score(self) -> Evaluation:
        self._model.eval()
        predictor = model_predictor(self._model, self._plan.config.data.normalize)
        with self._console.bar("evaluating", self._val_loader.batches_per_epoch) as bar:
            batches, names = self._val_loader.epoch(0), self._plan.train.class_names
            return evaluate(predictor, batches, names, lambda _: bar.advance(), self._metrics)

    # Keeping

    def _save(self) -> None:
        arrays = {f"model/{key}": value for key, value in model_state(self._model).items()}
        arrays |= {f"layers/{key}": value for key, value in layer_arrays(self._objective.layers()).items()}
        arrays |= {f"objective/{key}": value for key, value in self._objective.state().items()}
        arrays |= {f"optimizer/{k}": v for k, v in optimizer_arrays(self._trained(), self._optimizer).items()}
        if self._ema is not None:
            arrays |= {f"ema/{key}": value for key, value in self._ema.arrays().items()}
        state = {"data": _describe_data(self._plan), "precision": self._precision.state()}
        save_checkpoint(self._run.last, arrays, {**self._progress.to_json(), **state})

    def _keep_best(self) -> None:
        """Write ``checkpoints/best`` and the bundle from the weights as they are, which ``checkpoints/last`` holds."""
        plan = self._plan
        data, model, best = plan.config.data, plan.config.model, _given(self._progress.best)
        size = _given(data.image_size)
        manifest = Manifest(
            architecture=architecture_of(model.name, len(plan.train.class_names), model.params),
            preprocessing=Preprocessing(
                image_size=(size, size) if isinstance(size, int) else size,
                transforms=_given(data.eval_transforms),
                normalize=data.normalize,
            ),
            labels=plan.train.class_names,
            metrics={key: value for key, value in best.items() if key != "weights"},
            versions=versions(),
        )
        try:
            keep_copy(self._run.last, self._run.best)
            with self._ema.applied() if self._ema is not None and best["weights"] == _EMA else nullcontext():
                write_bundle(self._run.bundle, manifest, model_state(self._model))
        except OSError as error:
            raise CheckpointError(
                f"The bundle {self._run.bundle} cannot be written ({error.strerror or error}). The checkpoint "
                f"{self._run.last} is complete: free some space and go on with "
                f"--resume {shlex.quote(str(self._run.path))}"
            ) from error

    def _repair_best(self) -> None:
        """After a kill between a checkpoint and its bundle: write what is missing."""
        best = self._progress.best
        if best is not None and best["epoch"] == self._progress.epoch and self._progress.step_in_epoch == 0:
            self._keep_best()
        self._run.write_history(self._progress.history)

    def _interrupt(self) -> None:
        self._save()
        raise TrainingError(
            f"Stopped on request after step {self._global_step()}; the checkpoint is written. "
            f"Go on with: ppclas train --resume {shlex.quote(str(self._run.path))}"
        )

    def _draw(self, *, force: bool = False) -> None:
        if not force and time.monotonic() - self._last_picture < _SECONDS_BETWEEN_PICTURES:
            return
        self._last_picture = time.monotonic()
        draw_curves(self._progress.history, self._run.path / "curves.png")
        table = self._run.path / "confusion.csv"
        if table.exists():
            names = self._plan.train.class_names
            draw_confusion(_read_confusion(table, len(names)), names, self._run.path / "confusion.png")

    # Parts

    def _build_model(self, checkpoint: Checkpoint | None) -> ImageModel:
        config, plan = self._plan.config, self._plan
        model = create_model(config.model.name, len(plan.train.class_names), **config.model.params)
        if checkpoint is not None:
            fit_state(model, checkpoint.part("model"))
        elif plan.weights is not None:
            report = load_weights(model, plan.weights)
            self._console.line(f"{plan.weights.name}: {report}")
            self._new_head = self._head_to_probe(model) if not report.head_loaded else None
        model.freeze(expand_stages(model, config.train.freeze))
        model.keeps_norm_statistics = bool(config.train.freeze_norm_statistics)
        return model

    def _head_to_probe(self, model: ImageModel) -> nn.Linear | None:
        """The classifier to fit before training; None where the config or the model does not allow it."""
        wanted, name = self._plan.config.train.probe_head, self._plan.config.model.name
        if wanted is False:
            return None
        head = linear_head(model)
        if head is None and wanted:
            raise ConfigError(f"train.probe_head: the classifier of {name} is not one linear layer. Set it to false.")
        if head is None:
            self._console.line(f"the classifier of {name} is not one linear layer: it starts from random weights")
        elif wanted is None and len(self._plan.train.class_names) > MAX_CLASSES:
            self._console.line(f"more than {MAX_CLASSES} classes: the new classifier starts from random weights")
            return None
        return head

    def _loader(self, images: ImageSet, *, train: bool) -> Loader:
        data = self._plan.config.data
        transforms = data.train_transforms if train else data.eval_transforms
        return Loader(
            images,
            Pipeline(build_transforms(_given(transforms))),
            _given(data.batch_size if train else data.eval_batch_size),
            shuffle=train,
            seed=self._seed,
            epochs=self._epochs,
            workers=_given(data.workers),
            max_bad_fraction=data.max_bad_fraction,
            on_bad=lambda bad: self._console.warn(f"{bad.where}: {bad.reason} (left out)"),
        )

    def _global_step(self) -> int:
        return self._progress.epoch * self._steps + self._progress.step_in_epoch

    def _facts(self, rate: float) -> str:
        totals = self._progress.totals
        speed = totals.images / totals.seconds if totals.seconds else 0.0
        left = (
            (self._epochs * self._steps - self._global_step()) * totals.seconds / max(self._progress.step_in_epoch, 1)
        )
        wait = totals.wait / totals.seconds if totals.seconds else 0.0
        return (
            f"loss {totals.loss / max(totals.images, 1):.4f}  lr {rate:.2e}  {speed:.1f} img/s  "
            f"wait {wait:.0%}  {_duration(left)} left"
        )


_RAW, _EMA = "raw", "ema"
"""The weights as they are, and their moving average."""
_SECONDS_BETWEEN_PICTURES = 30.0


def _describe_data(plan: Plan) -> dict[str, Any]:
    return {"train": len(plan.train), "val": len(plan.val), "classes": list(plan.train.class_names)}


def _check_same_data(before: Mapping[str, Any], plan: Plan) -> None:
    now = _describe_data(plan)
    if now != before:
        raise CheckpointError(
            f"The photos have changed since the checkpoint: it was trained on {before['train']} photos in "
            f"{len(before['classes'])} classes ({before['val']} for validation), now there are {now['train']} in "
            f"{len(now['classes'])} ({now['val']}). Restore them, or start a new run."
        )


def _is_better(row: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    return best is None or (row["top1"], -row["loss"]) > (best["top1"], -best["loss"])


def _columns(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Their metrics for a row of ``metrics.jsonl``; those of the moving average as ``ema_…``."""
    row = evaluations[_RAW].summary()
    if _EMA in evaluations:
        row |= {f"ema_{key}": value for key, value in evaluations[_EMA].metrics.items()}
    return row


def _in_float32(outputs: Any) -> Any:
    """Logits, or a tuple of them, in the precision that losses are computed in."""
    if isinstance(outputs, list | tuple):
        return tuple(_in_float32(output) for output in outputs)
    return outputs.astype("float32")


def _epoch_line(row: Mapping[str, Any], epochs: int, better: bool) -> str:
    parts = [f"epoch {row['epoch']}/{epochs}" if row["epoch"] else "classifier fitted to the frozen features"]
    if row["train_loss"] is not None:
        parts.append(f"train loss {row['train_loss']:.4f}")
    if row["train_top1"] is not None:
        parts.append(f"train top-1 {row['train_top1']:.1%}")
    if "top1" in row:
        parts += [f"loss {row['loss']:.4f}", f"top-1 {row['top1']:.2%}{' (best)' if better else ''}"]
    if "ema_top1" in row:
        parts.append(f"top-1 of the average {row['ema_top1']:.2%}")
    if row["images_per_second"] is not None:
        parts.append(f"{row['images_per_second']:.1f} img/s, {row['wait_share']:.0%} waiting for data")
    return "  ".join(parts)


def _write_evaluation(run: RunFolder, evaluation: Evaluation) -> None:
    """``per_class.csv`` and ``confusion.csv`` of the best epoch."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(evaluation.per_class[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(evaluation.per_class)
    write_text(run.path / "per_class.csv", table.getvalue())
    table = io.StringIO()
    names = [str(row["class"]) for row in evaluation.per_class]
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["true \\ predicted", *names])
    rows.writerows([name, *counts] for name, counts in zip(names, evaluation.confusion.tolist(), strict=True))
    write_text(run.path / "confusion.csv", table.getvalue())


def _read_confusion(path: Any, num_classes: int) -> NDArray[np.int64]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([row[1:] for row in rows], dtype=np.int64).reshape(num_classes, num_classes)


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _given(value: Any) -> Any:
    """A value that the plan has filled in."""
    assert value is not None
    return value


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Set on SIGINT or SIGTERM, so that the step at hand ends and a checkpoint is written; a second one is not held."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

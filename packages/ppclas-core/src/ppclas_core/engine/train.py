"""Train a classifier: one loop, from a plan to a run folder with checkpoints, metrics, pictures and a bundle."""

from __future__ import annotations

import math
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ppclas_core.builtin.base import Metric, Scheduler, Targets, Tracker
from ppclas_core.builtin.losses import split_outputs
from ppclas_core.checkpoint import Checkpoint
from ppclas_core.component import build_component
from ppclas_core.data.base import BatchTransform, ImageSet, sample_draw
from ppclas_core.data.loader import Batch, Loader
from ppclas_core.data.pipeline import Pipeline, build_transforms
from ppclas_core.data.sampling import count_batches
from ppclas_core.engine.console import Console
from ppclas_core.engine.context import TrainContext
from ppclas_core.engine.evaluate import Evaluation, evaluate
from ppclas_core.engine.keeping import Keeper
from ppclas_core.engine.parts import build_parts
from ppclas_core.engine.plan import Plan
from ppclas_core.engine.predictors import model_predictor
from ppclas_core.engine.probe import fit_linear_head, probe_set
from ppclas_core.engine.progress import Totals
from ppclas_core.engine.reporting import EMA, RAW, Pictures, columns, epoch_line, is_better, step_facts, write_tables
from ppclas_core.engine.run import RunFolder
from ppclas_core.engine.stopping import stop_signals
from ppclas_core.errors import TrainingError
from ppclas_core.normalize import normalize_on_device
from ppclas_core.objective import StepLoss, TrainBatch
from ppclas_core.plugins import get_plugin_manager, get_registries

if TYPE_CHECKING:
    from paddle import Tensor, nn

T = TypeVar("T")

_BATCH_STREAM = 1 << 32
"""Keeps the draws of batch transforms apart from those of samples, whose index is smaller."""


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
        registries = get_registries()
        self._schedule: Scheduler = build_component(registries.schedulers, config.schedule)
        self._batch_transforms: list[BatchTransform] = [
            build_component(registries.batch_transforms, component) for component in config.data.batch_transforms
        ]
        self._metrics: list[Metric] = [build_component(registries.metrics, metric) for metric in config.metrics]
        self._trackers: list[Tracker] = [build_component(registries.trackers, tracker) for tracker in config.trackers]
        self._steps = count_batches(len(plan.train), _given(config.data.batch_size), drop_last=False)
        first_rate = self._schedule.value(0, self._steps, self._epochs)
        self._trained = build_parts(plan, console, first_rate, checkpoint)
        self._progress = self._trained.progress
        self._keeper = Keeper(plan, run, self._trained)
        self._pictures = Pictures(run, plan.train.class_names)
        self._train_loader = self._loader(plan.train, train=True)
        self._val_loader = self._loader(plan.val, train=False)
        self._evaluation: Evaluation | None = None
        self._context = TrainContext(config, run.path, self._trained.model, self._steps, self._epochs)

    def fit(self) -> RunResult:
        """Train to the last epoch.

        Raises:
            TrainingError: the loss is no longer finite, or the run was asked to stop (a checkpoint is written).
            DataError: too many photos cannot be read.
            CheckpointError: a checkpoint cannot be written.
        """
        hook, context = get_plugin_manager().hook, self._context
        context.epoch, context.step = self._progress.epoch, self._global_step()
        self._keeper.repair()
        hook.on_train_start(context=context)
        with self._train_loader, self._val_loader, self._tracking(), stop_signals() as stop:
            if self._trained.new_head is not None and not self._progress.history:
                self._probe_head(self._trained.new_head)
            while self._progress.epoch < self._epochs and not context.stop:
                self._train_epoch(stop)
                self._finish_epoch()
        self._pictures.draw(self._progress.history, force=True)
        hook.on_train_end(context=context)
        self._keeper.finish()
        return RunResult(self._run, _given(self._progress.best), self._progress.history, self._evaluation)

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
        plan, model, ema = self._plan, self._trained.model, self._trained.ema
        loader = self._loader(probe_set(plan.train), train=False)
        with loader, self._console.bar("fitting the new classifier", loader.batches_per_epoch) as bar:
            fit_linear_head(model, head, loader.epoch(0), plan.config.data.normalize, bar.advance)
        if ema is not None:
            ema.restore({name: parameter.numpy() for name, parameter in model.trainable()})
        evaluations = {RAW: self._score()}
        row = {"epoch": 0, "step": 0, "lr": 0.0, **Totals().row(), **columns(evaluations)}
        self._keep_epoch(row, evaluations)

    # One epoch

    def _train_epoch(self, stop: threading.Event) -> None:
        progress, context = self._progress, self._context
        config, console = self._plan.config, self._console
        self._trained.model.train()
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
                left = self._epochs * self._steps - self._global_step()
                bar.advance(step_facts(progress.totals, rate, progress.step_in_epoch, left))
                if stop.is_set():
                    self._interrupt()
                if time.monotonic() - saved > 60.0 * config.train.checkpoint_minutes:
                    self._keeper.save()
                    saved = time.monotonic()
        progress.step_in_epoch = self._steps

    def _train_step(self, batch: Batch) -> float:
        import paddle

        progress, trained, config = self._progress, self._trained, self._plan.config
        step = self._global_step()
        rate = self._schedule.value(step, self._steps, self._epochs)
        trained.optimizer.set_lr(rate)
        # Dropout draws from here: the same for a resumed run, with no generator state to save.
        paddle.seed(_step_seed(self._seed, step))
        images = normalize_on_device(batch.images, config.data.normalize)
        targets = Targets(paddle.to_tensor(batch.labels))
        draw = sample_draw(self._seed, progress.epoch, _BATCH_STREAM + progress.step_in_epoch, self._epochs)
        for transform in self._batch_transforms:
            images, targets = transform(images, targets, draw)
        result = trained.objective.step(
            TrainBatch(images, targets, batch.images, batch.indices, progress.epoch), self._forward
        )
        trained.precision.step(result.loss, trained.optimizer)
        trained.optimizer.clear_grad()
        if trained.ema is not None:
            trained.ema.update(step)
        self._count(result, targets, len(batch.labels))
        return rate

    def _forward(self, images: Tensor) -> Any:
        with self._trained.precision.forward():
            outputs = self._trained.model(images)
        return _in_float32(outputs)

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
            row |= columns(evaluations)
        context.metrics = row
        get_plugin_manager().hook.on_epoch_end(context=context)
        if context.stop and not evaluations:  # a hook has just made this epoch the last one
            evaluations = self._evaluate()
            row |= columns(evaluations)
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.totals = Totals()
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
            if is_better(candidate, progress.best):
                progress.best, better = candidate, evaluation
        if better is not None:
            self._evaluation = better
            write_tables(self._run, better)
        self._keeper.save()
        if better is not None:
            self._keeper.keep_best()
        self._run.write_history(progress.history)
        for tracker in self._trackers:
            tracker.log(row, row["step"])
        self._console.line(epoch_line(row, self._epochs, better is not None))
        self._pictures.draw(progress.history)

    def _evaluate(self) -> dict[str, Evaluation]:
        """The weights as they are, and their moving average where there is one."""
        evaluations = {RAW: self._score()}
        if self._trained.ema is not None:
            with self._trained.ema.applied():
                evaluations[EMA] = self._score()
        return evaluations

    def _score(self) -> Evaluation:
        self._trained.model.eval()
        predictor = model_predictor(self._trained.model, self._plan.config.data.normalize)
        with self._console.bar("evaluating", self._val_loader.batches_per_epoch) as bar:
            batches, names = self._val_loader.epoch(0), self._plan.train.class_names
            return evaluate(predictor, batches, names, lambda _: bar.advance(), self._metrics)

    def _interrupt(self) -> None:
        self._keeper.save()
        raise TrainingError(
            f"Stopped on request after step {self._global_step()}; the checkpoint is written. "
            f"Go on with: ppclas train --resume {shlex.quote(str(self._run.path))}"
        )

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


def _in_float32(outputs: Any) -> Any:
    """Logits, or a tuple of them, in the precision that losses are computed in."""
    if isinstance(outputs, list | tuple):
        return tuple(_in_float32(output) for output in outputs)
    return outputs.astype("float32")


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _given(value: T | None) -> T:
    """A value that the plan has filled in."""
    assert value is not None
    return value

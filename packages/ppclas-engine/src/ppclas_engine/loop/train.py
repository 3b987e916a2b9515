"""The training loop: from a plan to a run folder with checkpoints, metrics, pictures, a bundle."""

from __future__ import annotations

import itertools
import math
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppclas_core.component import build_component
from ppclas_core.contracts.training import Scheduler, Tracker, TrainContext
from ppclas_core.errors import TrainingError
from ppclas_core.plugins import get_plugin_manager, get_registries
from ppclas_data.loading.sampling import count_batches

from ppclas_engine.console import Console
from ppclas_engine.loop.averaging import LastWeights, StartWeights
from ppclas_engine.loop.evaluating import Evaluator
from ppclas_engine.loop.keeping import Keeper
from ppclas_engine.loop.loaders import Loaders
from ppclas_engine.loop.parts import build_parts
from ppclas_engine.loop.probe import fit_head, probe_class_weights, probe_set
from ppclas_engine.loop.progress import Totals
from ppclas_engine.loop.reporting import RAW, Pictures, columns, epoch_line, step_facts
from ppclas_engine.loop.step import Stepper
from ppclas_engine.loop.stopping import stop_signals
from ppclas_engine.loop.sums import StepSums
from ppclas_engine.planning.plan import Plan, given
from ppclas_engine.ranks.distributed import current
from ppclas_engine.results.tables import write_tables
from ppclas_engine.runs.checkpoint import Checkpoint
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.scoring.evaluate import Evaluation
from ppclas_engine.scoring.monitor import TITLES, format_metric, height, is_better

if TYPE_CHECKING:
    from ppclas_engine.loop.probe import Head


@dataclass(frozen=True)
class RunResult:
    """How a run ended; a path to its folder wherever one is taken: ``load(result)``."""

    run: RunFolder
    best: Mapping[str, Any]
    """``epoch``, metrics and ``weights`` (raw, or ema: their moving average) of what the bundle
    holds."""
    history: Sequence[Mapping[str, Any]]
    evaluation: Evaluation | None
    """The best epoch's evaluation, where this process made it (not after a resume that improved
    nothing)."""

    def __fspath__(self) -> str:
        return str(self.run.path)

    def __repr__(self) -> str:
        shown = [key for key in ("top1", "map", "loss") if key in self.best]
        numbers = ", ".join(format_metric(key, self.best[key]) for key in shown)
        return f"<RunResult {self.run.path}: epoch {self.best['epoch']}, {numbers}>"


class Trainer:
    """Train what ``plan`` describes into ``run``; going on from ``checkpoint`` where one is given.

    Under a launcher every rank makes one. All of them go through the same steps and evaluations;
    rank 0 alone writes files, calls the run-time hooks and speaks to the person.
    """

    def __init__(
        self, plan: Plan, run: RunFolder, console: Console, checkpoint: Checkpoint | None = None
    ) -> None:
        import paddle

        self._plan, self._run, self._console = plan, run, console
        self._ranks = ranks = current()
        config = plan.config
        self._epochs = given(config.train.epochs)
        self._seed = config.train.seed
        self._monitor = given(config.train.monitor)
        paddle.seed(self._seed)
        registries = get_registries()
        self._schedule: Scheduler = build_component(registries.schedulers, config.schedule)
        self._trackers: list[Tracker] = (
            [build_component(registries.trackers, tracker) for tracker in config.trackers]
            if ranks.first
            else []
        )
        batches = count_batches(len(plan.train), given(config.data.batch_size), drop_last=False)
        self._accumulate = config.train.accumulate
        self._steps = math.ceil(batches / self._accumulate)
        first_rate = self._schedule.value(0, self._steps, self._epochs)
        self._trained = build_parts(plan, console, first_rate, checkpoint)
        if config.train.sync_batch_norm:
            self._synchronize_norms()
        self._progress = self._trained.progress
        averaged = config.train.average_last
        last_weights = LastWeights(run.last.parent, averaged) if averaged is not None else None
        self._start_weights = StartWeights(run.last.parent)
        self._keeper = Keeper(plan, run, self._trained, last_weights, self._start_weights)
        self._pictures = Pictures(run, plan, self._trained.model)
        self._stepper = Stepper(plan, self._trained, ranks, console.line)
        self._loaders = Loaders(plan, ranks, console)
        self._train_loader = self._loaders.make(plan.train, train=True)
        self._val_loader = self._loaders.make(plan.val, train=False)
        self._evaluator = Evaluator(
            plan,
            self._trained,
            self._val_loader,
            last_weights,
            self._start_weights,
            ranks,
            console,
        )
        self._evaluation: Evaluation | None = None
        self._began = time.monotonic() - self._progress.seconds
        self._context = TrainContext(
            config, run.path, self._trained.model, self._steps, self._epochs
        )

    def fit(self) -> RunResult:
        """Train to the last epoch.

        Raises:
            TrainingError: the loss is no longer finite, or the run was asked to stop (a checkpoint
                is written).
            DataError: too many photos cannot be read.
            CheckpointError: a checkpoint cannot be written.
        """
        context, ranks = self._context, self._ranks
        context.epoch, context.step, context.stop = (
            self._progress.epoch,
            self._global_step(),
            self._progress.ended,
        )
        if ranks.first:
            self._keeper.repair()
            get_plugin_manager().hook.on_train_start(context=context)
        with self._train_loader, self._val_loader, self._tracking(), stop_signals() as stop:
            if self._trained.new_head is not None and not self._progress.history:
                self._probe_head(self._trained.new_head)
            ranks.share_state(self._trained.all_layers())
            while self._progress.epoch < self._epochs and not context.stop:
                self._train_epoch(stop)
                self._finish_epoch()
        if ranks.first:
            self._pictures.draw(self._progress, force=True)
            get_plugin_manager().hook.on_train_end(context=context)
            self._keeper.finish()
        return RunResult(
            self._run, given(self._progress.best), self._progress.history, self._evaluation
        )

    @contextmanager
    def _tracking(self) -> Iterator[None]:
        """Trackers get the rows so far (of a resumed run), each new one, and word of any end."""
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

    def _probe_head(self, head: Head) -> None:
        """Fit the new classifier to the frozen features, and keep the result as epoch 0."""
        plan, model = self._plan, self._trained.model
        if self._ranks.first:
            loader = self._loaders.make(probe_set(plan.train), train=False, alone=True)
            with (
                loader,
                self._console.bar("fitting the new classifier", loader.batches_per_epoch) as bar,
            ):
                data = plan.config.data
                weights = probe_class_weights(
                    plan.train, plan.config.loss.params.get("class_weights")
                )
                flips = any(
                    transform.name == "RandomFlip"
                    and transform.params.get("axis", "horizontal") == "horizontal"
                    for transform in given(data.train_transforms)
                )
                batches = loader.epoch(0)
                fit_head(model, head, batches, data.normalize, bar.advance, weights, flips=flips)
            self._start_weights.keep(model)
        self._ranks.share_state([head])
        if self._trained.ema is not None:
            self._trained.ema.start_again()
        evaluations = {RAW: self._evaluator.raw()}
        row = {"epoch": 0, "step": 0, "lr": 0.0, **Totals().row(), **columns(evaluations)}
        self._keep_epoch(row, evaluations)

    # One epoch

    def _train_epoch(self, stop: threading.Event) -> None:
        progress, context, console = self._progress, self._context, self._console
        self._trained.model.train()
        title = f"epoch {progress.epoch + 1}/{self._epochs}"
        saved = time.monotonic()
        first_batch = progress.step_in_epoch * self._accumulate
        batches = self._train_loader.epoch(progress.epoch, first_batch)
        with console.bar(
            title, self._steps, progress.step_in_epoch, self._plan.config.train.log_every
        ) as bar:
            started = time.perf_counter()
            for step_in_epoch, group in itertools.groupby(
                batches, lambda batch: batch.position // self._accumulate
            ):
                progress.step_in_epoch = step_in_epoch
                rate = self._schedule.value(self._global_step(), self._steps, self._epochs)
                self._trained.optimizer.set_lr(rate)
                sums = self._stepper.step(
                    group,
                    self._global_step(),
                    progress.epoch,
                    stop=stop.is_set(),
                    time_over=self._time_is_over(),
                )
                self._check(sums)
                now = time.perf_counter()
                progress.add(sums, now - started)
                started = now
                progress.step_in_epoch += 1
                context.step, context.epoch = self._global_step(), progress.epoch
                if sums.images:
                    context.last_loss = sums.loss / sums.images
                if self._ranks.first:
                    get_plugin_manager().hook.on_step_end(context=context)
                left = self._epochs * self._steps - self._global_step()
                bar.advance(step_facts(progress.totals, rate, progress.step_in_epoch, left))
                if sums.stop or (self._ranks.alone and stop.is_set()):
                    self._interrupt()
                if self._save_is_due(saved):
                    self._save()
                    saved = time.monotonic()
                if sums.time_over:
                    minutes = self._plan.config.train.max_minutes
                    console.line(
                        f"the run's time is over (train.max_minutes {minutes:g}): it ends with "
                        "this step"
                    )
                    context.stop = True
                    return
        progress.step_in_epoch = self._steps

    def _check(self, sums: StepSums) -> None:
        """Tolerate a few steps that are not finite, each with a line; then stop and say why."""
        progress, allowed = self._progress, self._plan.config.train.bad_steps
        if not sums.bad:
            progress.bad_in_a_row = 0
            return
        progress.bad_in_a_row += 1
        mean = sums.loss / max(sums.images, 1)
        what = f"the loss is {mean}" if not math.isfinite(mean) else "a gradient is not finite"
        poisoned = self._stepper.poisoned()
        if progress.bad_in_a_row > allowed or poisoned:
            reason = (
                "weights or batch-norm statistics are spoilt"
                if poisoned
                else f"{allowed} in a row are tolerated"
            )
            place = self._stepper.explain_bad(loss_is_finite=math.isfinite(mean))
            raise TrainingError(
                f"At step {self._global_step() + 1} (epoch {progress.epoch + 1}) {what}, and "
                f"{reason}: {place}. Nothing after the last checkpoint is kept. Try a smaller "
                "learning rate (--lr) or clipping (-o optimizer.clip_norm=1.0)."
            )
        self._stepper.forget_bad()
        self._console.warn(f"step {self._global_step() + 1}: {what}; the step is left out")

    def _finish_epoch(self) -> None:
        progress, config, context = self._progress, self._plan.config, self._context
        self._loaders.report_bad_images(self._train_loader)
        rate = self._schedule.value(max(self._global_step() - 1, 0), self._steps, self._epochs)
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": self._global_step(), "lr": rate}
        row |= progress.totals.row()
        last = progress.epoch + 1 == self._epochs or context.stop
        evaluations: dict[str, Evaluation] = {}
        if last or (progress.epoch + 1) % config.train.eval_every == 0:
            evaluations = self._evaluator.evaluate()
            row |= columns(evaluations)
            self._lose_patience(row)
        context.metrics = row
        if self._ranks.first:
            get_plugin_manager().hook.on_epoch_end(context=context)
        context.stop = self._ranks.share(context.stop)
        last = last or context.stop
        if last and not evaluations:  # a hook has just made this epoch the last one
            evaluations = self._evaluator.evaluate()
        evaluations |= self._evaluator.mean_of_last(progress.epoch + 1, last=last)
        evaluations |= self._evaluator.halfway() if last else {}
        if evaluations:
            row |= columns(evaluations)
        progress.epoch += 1
        progress.ended = context.stop
        progress.step_in_epoch = 0
        progress.totals = Totals()
        self._keep_epoch(row, evaluations)

    def _keep_epoch(self, row: dict[str, Any], evaluations: Mapping[str, Evaluation]) -> None:
        """Save an epoch that is done.

        A kill before the checkpoint is written makes the epoch again, with the same tables of its
        evaluation; what comes after the checkpoint can be made again from it.
        """
        progress = self._progress
        progress.history.append(row)
        better = None
        for weights, evaluation in evaluations.items():
            candidate = {"weights": weights, "epoch": row["epoch"], **evaluation.summary()}
            if evaluation.thresholds is not None:
                candidate["thresholds"] = evaluation.thresholds.tolist()
            if is_better(candidate, progress.best, self._monitor):
                progress.best, better = candidate, evaluation
        if better is not None:
            self._evaluation = better
        if better is not None and self._ranks.first:
            write_tables(self._run.path, better, self._plan.val)
        self._save()
        if not self._ranks.first:
            return
        if better is not None:
            self._keeper.keep_best()
        self._run.write_history(progress.history)
        for tracker in self._trackers:
            tracker.log(row, row["step"])
        self._console.line(epoch_line(row, self._epochs, better is not None, self._monitor))
        self._pictures.draw(progress)

    def _lose_patience(self, row: Mapping[str, Any]) -> None:
        train = self._plan.config.train
        if train.patience is None:
            return
        value = height(row, self._monitor)
        waited = self._progress.epochs_without_rise(row["epoch"], value, train.min_delta)
        if waited >= train.patience:
            epochs = "an epoch" if waited == 1 else f"{waited} epochs"
            what = TITLES.get(self._monitor, self._monitor)
            self._console.line(
                f"{what} has not improved for {epochs} (train.patience): the run ends here"
            )
            self._context.stop = True

    def _time_is_over(self) -> bool:
        minutes = self._plan.config.train.max_minutes
        return (
            minutes is not None
            and self._ranks.first
            and time.monotonic() - self._began > 60.0 * minutes
        )

    def _save(self) -> None:
        self._progress.seconds = round(time.monotonic() - self._began, 3)
        if self._ranks.first or self._trained.shards is not None:
            self._keeper.save()

    def _save_is_due(self, saved: float) -> bool:
        due = time.monotonic() - saved > 60.0 * self._plan.config.train.checkpoint_minutes
        # Where all ranks take part in a checkpoint, the clock of rank 0 counts.
        return due if self._trained.shards is None else self._ranks.share(due)

    def _interrupt(self) -> None:
        self._save()
        raise TrainingError(
            f"Stopped on request after step {self._global_step()}; the checkpoint is written. "
            f"Go on with: ppclas train --resume {shlex.quote(str(self._run.path))}"
        )

    def _synchronize_norms(self) -> None:
        if self._ranks.alone:
            self._console.line("sync_batch_norm: one device sees the whole batch as it is")
            return
        from ppclas_engine.loop.sync_norm import synchronize_norms

        count = sum(map(synchronize_norms, self._trained.all_layers()))
        self._console.line(f"{count} batch norms are computed over all {self._ranks.size} devices")

    def _global_step(self) -> int:
        return self._progress.epoch * self._steps + self._progress.step_in_epoch

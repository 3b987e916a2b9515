"""One optimizer step: forward and backward, gradients summed over batches and ranks, the update."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from ppclas_components.objectives import Supervised
from ppclas_core.component import build_component
from ppclas_core.contracts.data import BatchTransform, sample_draw
from ppclas_core.contracts.objective import StepLoss, TrainBatch
from ppclas_core.contracts.training import Targets, split_outputs
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.device import normalize_on_device
from ppclas_data.loading.loader import Batch
from ppclas_data.loading.sampling import count_batches
from ppclas_data.sources.unlabelled import UNLABELLED

from ppclas_engine.loop.diagnose import first_nonfinite
from ppclas_engine.loop.sums import StepSums
from ppclas_engine.loop.trained import Trained
from ppclas_engine.planning.plan import Plan
from ppclas_engine.ranks.distributed import Ranks

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.contracts.image_model import ImageModel

    from ppclas_engine.loop.data_parallel import DataParallelStep, GradientsToOwners

_BATCH_STREAM = 1 << 32
"""Keeps the draws of batch transforms apart from those of samples, whose index is smaller."""


class Stepper:
    """Moves the weights of ``trained``, a step at a time."""

    def __init__(
        self, plan: Plan, trained: Trained, ranks: Ranks, note: Callable[[str], None]
    ) -> None:
        import paddle

        config = plan.config
        assert config.train.epochs is not None
        assert config.data.batch_size is not None
        assert config.data.image_size is not None
        self._trained, self._ranks, self._config = trained, ranks, config
        self._seed, self._epochs = config.train.seed, config.train.epochs
        self._accumulate = config.train.accumulate
        self._images = config.data.batch_size * self._accumulate
        self._batches = count_batches(len(plan.train), config.data.batch_size, drop_last=False)
        self._whole = ranks.alone and self._accumulate == 1
        self._parallel: DataParallelStep | GradientsToOwners | None = None
        size = config.data.image_size
        self._size = (size, size) if isinstance(size, int) else size
        self._batch_transforms: list[BatchTransform] = [
            build_component(get_registries().batch_transforms, component)
            for component in config.data.batch_transforms
        ]
        # A method of the model, so that the model itself stays what it is for evaluation,
        # checkpoints and exports.
        if config.train.compile and not isinstance(trained.objective, Supervised):
            raise ConfigError(
                f"train.compile works with the objective Supervised; {config.objective.name} may "
                "look into the model's layers, which a compiled graph does not have. Leave one of "
                "them out."
            )
        self._compiling, self._note = config.train.compile, note
        self._model = (
            paddle.jit.to_static(trained.model.forward) if config.train.compile else trained.model
        )
        self._parameters = list(trained.parameters().values())
        self._statistics: list[Tensor] | None = None
        self._last_images: Tensor | None = None
        self._measured = False

    def step(
        self,
        batches: Iterable[Batch],
        step: int,
        epoch: int,
        *,
        stop: bool = False,
        time_over: bool = False,
    ) -> StepSums:
        """Train on ``batches`` (this rank's part of them); ``step`` counts from the start of the
        run.

        The caller has set the learning rate. ``stop`` and ``time_over`` are what this rank tells
        the others.
        """
        import paddle

        trained = self._trained
        sums = StepSums(stop=stop, time_over=time_over)
        for number, batch in enumerate(batches):
            # Dropout draws from here: the same for a resumed run, with no generator state to save.
            paddle.seed(self._draw_seed(step, number))
            self._train_on(batch, epoch, sums)
        if self._ranks.alone:
            correction = self._images / sums.images if self._accumulate > 1 and sums.images else 1.0
        else:
            sums = sums.with_numbers(
                self._ranks.sum_step(self._moving_statistics(), sums.numbers())
            )
            correction = self._images / sums.images if sums.images else 1.0
        if correction != 1.0:  # fewer images than planned: the last step of an epoch, or bad photos
            with paddle.no_grad():
                for parameter in self._parameters:
                    if parameter.grad is not None:
                        parameter.grad = parameter.grad * correction
        sums.taken = sums.images > 0 and math.isfinite(sums.loss) and self._move()
        sums.bad = (
            sums.images > 0
            and not sums.taken
            and not (trained.precision.may_overflow and math.isfinite(sums.loss))
        )
        if not sums.bad:
            # Kept otherwise, for ``explain_bad``.
            trained.optimizer.clear_grad()
        if sums.taken and trained.ema is not None:
            trained.ema.update(step)
        return sums

    def _move(self) -> bool:
        """The optimizer's step; False where a gradient is not finite."""
        trained = self._trained
        if trained.shards is None:
            return trained.precision.step(trained.optimizer, self._parameters)
        with trained.shards.moving():
            return trained.precision.step(
                trained.optimizer, self._parameters, lambda good: all(self._ranks.gather(good))
            )

    def poisoned(self) -> bool:
        """Whether weights or batch-norm statistics are no longer finite, so none can be saved."""
        import paddle

        return any(
            not paddle.isfinite(tensor).all().item()
            for layer in self._trained.all_layers()
            for tensor in layer.state_dict().values()
            if paddle.is_floating_point(tensor)
        )

    def explain_bad(self, *, loss_is_finite: bool) -> str:
        """After a bad step: where the first number is that is not finite."""
        if self._last_images is None:
            return "this rank had no images; see the other ranks' logs"
        model = self._trained.model
        return first_nonfinite(model, self._last_images, model, loss_is_finite=loss_is_finite)

    def forget_bad(self) -> None:
        """After a bad step that is tolerated: drop its gradients."""
        self._trained.optimizer.clear_grad()

    def _train_on(self, batch: Batch, epoch: int, sums: StepSums) -> None:
        import paddle

        trained, config, count = self._trained, self._config, len(batch.labels)
        if not count:
            self._keep_step(batch, epoch, sums)
            return
        images = normalize_on_device(batch.images, config.data.normalize)
        targets = Targets(paddle.to_tensor(batch.labels))
        stream = _BATCH_STREAM * (1 + self._ranks.rank) + batch.position
        draw = sample_draw(self._seed, epoch, stream, self._epochs)
        for transform in self._batch_transforms:
            images, targets = transform(images, targets, draw)
        if not self._measured:
            self._measured = True
            if said := trained.precision.measure(trained.model, images):
                self._note(said)
        train_batch = TrainBatch(images, targets, batch.images, batch.indices, epoch)
        share = 1.0 if self._whole else count / self._images
        result = self._backward(train_batch, share, batch.position)
        self._last_images = images
        self._count(result, targets, batch, sums)

    def _keep_step(self, batch: Batch, epoch: int, sums: StepSums) -> None:
        """Without images of its own, take part in what the ranks do together, with weight 0."""
        import paddle

        from ppclas_engine.loop.sync_norm import SyncBatchNorm2D

        channels = len(self._config.data.normalize.mean)
        pixels = np.zeros((1, *self._size, channels), np.uint8)
        labels = np.zeros((1, *batch.labels.shape[1:]), batch.labels.dtype)
        images = normalize_on_device(pixels, self._config.data.normalize)
        SyncBatchNorm2D.counts = False
        try:
            targets = Targets(paddle.to_tensor(labels))
            nothing = TrainBatch(images, targets, pixels, np.zeros(1, np.int64), epoch)
            result = self._backward(nothing, 0.0, batch.position)
        finally:
            SyncBatchNorm2D.counts = True
        sums.wait += batch.wait_seconds
        for name in result.parts:
            sums.parts.setdefault(name, 0.0)

    def _backward(self, batch: TrainBatch, share: float, position: int) -> StepLoss:
        """Add the gradients of ``batch``, which is ``share`` of the step's images."""
        trained = self._trained
        if self._ranks.alone:
            result = trained.objective.step(batch, self._forward)
            trained.precision.backward(result.loss if share == 1.0 else result.loss * share)
            return result
        from ppclas_engine.loop.data_parallel import (
            DataParallelStep,
            GradientsToOwners,
            peers_of_backward,
        )

        if self._parallel is None:
            self._parallel = (
                GradientsToOwners(trained, self._ranks, trained.shards.owners)
                if trained.shards is not None and self._config.train.shard == "gradients"
                else DataParallelStep(trained, self._ranks)
            )
        last = (position + 1) % self._accumulate == 0 or position + 1 == self._batches
        result = self._parallel(batch, self._forward, sums=last)
        with peers_of_backward():
            trained.precision.backward(result.loss * (share * self._parallel.scale))
            self._parallel.finish()
        return result

    def _forward(self, images: Tensor, other: ImageModel | None = None) -> Any:
        began = time.perf_counter()
        with self._trained.precision.forward(), warnings.catch_warnings():
            if self._config.train.compile:  # Paddle warns of calls of its own while it traces
                warnings.simplefilter("ignore")
            outputs = (self._model if other is None else other)(images)
        if self._compiling:
            self._compiling = False
            self._note(f"the model was compiled in {time.perf_counter() - began:.1f} s")
        return _in_float32(outputs)

    def _count(self, result: StepLoss, targets: Targets, batch: Batch, sums: StepSums) -> None:
        count = len(batch.labels)
        sums.images += count
        sums.wait += batch.wait_seconds
        sums.loss += result.loss.item() * count
        for name, part in result.parts.items():
            sums.parts[name] = sums.parts.get(name, 0.0) + part.item() * count
        # A batch of one is not mixed: where the others are, its photo would stand for the whole
        # epoch.
        left_over = bool(self._batch_transforms) and count == 1
        if (
            targets.mixed_labels is None
            and targets.soft is None
            and batch.labels.ndim == 1
            and not left_over
        ):
            logits, _ = split_outputs(result.outputs)
            sums.counted += int((batch.labels != UNLABELLED).sum())
            sums.correct += int((logits.argmax(axis=1) == targets.labels).sum().item())

    def _moving_statistics(self) -> list[Tensor]:
        """The statistics of batch norms that the ranks moved apart in this step."""
        from paddle import nn

        from ppclas_engine.loop.sync_norm import SyncBatchNorm2D

        if self._statistics is None:
            moving = [
                layer
                for trained in self._trained.all_layers()
                for layer in trained.sublayers()
                if isinstance(layer, nn.BatchNorm2D | nn.BatchNorm)
                and layer.training
                and not isinstance(layer, SyncBatchNorm2D)
            ]
            self._statistics = [
                tensor for layer in moving for tensor in (layer._mean, layer._variance)
            ]
        return self._statistics

    def _draw_seed(self, step: int, number: int) -> int:
        """Of dropout in batch ``number`` of ``step``; it differs between ranks, and so do masks."""
        key = (number, self._ranks.rank) if number or self._ranks.rank else ()
        sequence = np.random.SeedSequence((self._seed, step), spawn_key=key)
        return int(sequence.generate_state(1)[0])


def _in_float32(outputs: Any) -> Any:
    """Logits, or a tuple of them, in the precision that losses are computed in."""
    if isinstance(outputs, list | tuple):
        return tuple(_in_float32(output) for output in outputs)
    return outputs.astype("float32")

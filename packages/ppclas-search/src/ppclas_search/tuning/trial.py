"""Steps of a training that leave nothing behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ppclas_core.component import build_component
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.loader import Batch, Loader
from ppclas_data.loading.sampling import count_batches
from ppclas_engine.console import Console
from ppclas_engine.loop.loaders import Loaders
from ppclas_engine.loop.parts import build_parts
from ppclas_engine.loop.probe import fit_head, probe_set
from ppclas_engine.loop.step import Stepper
from ppclas_engine.loop.sums import StepSums
from ppclas_engine.loop.trained import Trained
from ppclas_engine.planning.plan import Plan, given
from ppclas_engine.ranks.distributed import current


@dataclass
class Trial:
    """What takes steps as the training of a plan would, from its weights on."""

    plan: Plan
    trained: Trained
    _stepper: Stepper
    _loaders: Loaders

    def step(self, batch: Batch, rate: float, number: int) -> StepSums:
        """Step ``number`` of the trial, on ``batch`` at the learning rate ``rate``."""
        self.trained.optimizer.set_lr(rate)
        sums = self._stepper.step([batch], number, 0)
        if sums.bad:
            self._stepper.forget_bad()
        return sums

    def batches(self, count: int) -> Iterator[Batch]:
        """So many batches of the training photos, epoch after epoch."""
        loader: Loader = self._loaders.make(self.plan.train, train=True)
        with loader:
            epochs = itertools.chain.from_iterable(map(loader.epoch, itertools.count()))
            yield from itertools.islice(epochs, count)

    def fit_head(self, console: Console) -> None:
        """Fit a new classifier to the frozen features first, where training would."""
        head, data = self.trained.new_head, self.plan.config.data
        if head is None:
            return
        loader = self._loaders.make(probe_set(self.plan.train), train=False, alone=True)
        with loader, console.bar("fitting the classifier", loader.batches_per_epoch) as bar:
            fit_head(self.trained.model, head, loader.epoch(0), data.normalize, bar.advance)


@contextmanager
def trial_of(plan: Plan, console: Console, option: str) -> Iterator[Trial]:
    """A trial of ``plan``, whose files stay as they are; its model is in training mode.

    Raises:
        ConfigError: the plan is for several devices.
    """
    import paddle

    config = plan.config
    if config.train.devices is not None or not current().alone:
        raise ConfigError(f"{option} measures on one device: leave --devices out.")
    batches = count_batches(len(plan.train), given(config.data.batch_size), drop_last=False)
    schedule = build_component(get_registries().schedulers, config.schedule)
    first = schedule.value(0, batches, given(config.train.epochs))
    paddle.seed(config.train.seed)
    # Parameters of this model leave no trace in the names of the real one's.
    with paddle.utils.unique_name.guard():
        trained = build_parts(plan, Console(quiet=True), first, None)
        stepper = Stepper(plan, trained, current(), lambda _: None)
        loaders = Loaders(plan, current(), console)
        trained.model.train()
        yield Trial(plan, trained, stepper, loaders)

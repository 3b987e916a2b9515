"""Evaluations during a run: of the weights as they are, and of their averages."""

from __future__ import annotations

from contextlib import nullcontext

from ppclas_core.component import build_component
from ppclas_core.contracts.training import Metric
from ppclas_core.plugins import get_registries
from ppclas_core.weights import model_state
from ppclas_data.loading.loader import Loader

from ppclas_engine.console import Console
from ppclas_engine.loop.averaging import LastWeights, StartWeights
from ppclas_engine.loop.reporting import EMA, HALFWAY, MEAN, RAW
from ppclas_engine.loop.trained import Trained
from ppclas_engine.planning.plan import Plan
from ppclas_engine.ranks.distributed import Ranks
from ppclas_engine.scoring.evaluate import Evaluation, evaluate
from ppclas_engine.scoring.predictors import model_predictor


class Evaluator:
    """Evaluates what is being trained on the validation photos, which ``loader`` reads."""

    def __init__(
        self,
        plan: Plan,
        trained: Trained,
        loader: Loader,
        last_weights: LastWeights | None,
        start_weights: StartWeights,
        ranks: Ranks,
        console: Console,
    ) -> None:
        self._plan, self._trained, self._loader = plan, trained, loader
        self._last_weights, self._start_weights = last_weights, start_weights
        self._ranks, self._console = ranks, console
        registry = get_registries().metrics
        self._metrics: list[Metric] = [
            build_component(registry, metric) for metric in plan.config.metrics
        ]

    def raw(self) -> Evaluation:
        """Of the weights that the model has."""
        self._trained.model.eval()
        predictor = model_predictor(self._trained.model, self._plan.config.data.normalize)
        with self._console.bar("evaluating", self._loader.batches_per_epoch) as bar:
            return evaluate(
                predictor,
                self._loader.epoch(0),
                self._plan.train.class_names,
                lambda _: bar.advance(),
                self._metrics,
                self._ranks.gather,
                thresholds="tuned" if self._plan.config.train.thresholds == "tuned" else None,
            )

    def evaluate(self) -> dict[str, Evaluation]:
        """Of the weights as they are, and of their moving average where there is one."""
        evaluations = {RAW: self.raw()}
        if self._trained.ema is not None:
            with self._trained.ema.applied():
                evaluations[EMA] = self.raw()
        return evaluations

    def mean_of_last(self, epoch: int, *, last: bool) -> dict[str, Evaluation]:
        """Keep the weights of ``epoch`` for ``train.average_last``; if ``last``, score the mean."""
        last_weights, model = self._last_weights, self._trained.model
        if last_weights is None:
            return {}
        if self._ranks.first:
            last_weights.keep(model, epoch)
        if not last:
            return {}
        if self._ranks.share(last_weights.count(epoch)) < 2:
            self._console.line("train.average_last: one epoch has nothing to average")
            return {}
        with last_weights.applied(model, epoch) if self._ranks.first else nullcontext():
            return {MEAN: self._shared()}

    def halfway(self) -> dict[str, Evaluation]:
        """Of the weights half way back to those that fine-tuning started from."""
        start, model = self._start_weights, self._trained.model
        if not self._ranks.share(start.kept):
            return {}
        with start.applied(model) if self._ranks.first else nullcontext():
            return {HALFWAY: self._shared()}

    def _shared(self) -> Evaluation:
        """Of the weights that rank 0 has at the moment; the others get their own back."""
        model = self._trained.model
        own = model_state(model)
        self._ranks.share_state([model])
        evaluation = self.raw()
        model.set_state_dict(own)
        return evaluation

"""Evaluations during a run: of the weights as they are, and of their averages."""

from __future__ import annotations

from contextlib import nullcontext

from ppclas_core.component import build_component
from ppclas_core.contracts.training import Metric
from ppclas_core.plugins import get_registries
from ppclas_core.weights import model_state
from ppclas_data.loading.loader import Loader

from ppclas_engine.console import Console
from ppclas_engine.loop.averaging import LastWeights
from ppclas_engine.loop.reporting import EMA, MEAN, RAW
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
        ranks: Ranks,
        console: Console,
    ) -> None:
        self._plan, self._trained, self._loader = plan, trained, loader
        self._last_weights, self._ranks, self._console = last_weights, ranks, console
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
        own = model_state(model)
        with last_weights.applied(model, epoch) if self._ranks.first else nullcontext():
            self._ranks.share_state([model])
            evaluation = self.raw()
        model.set_state_dict(own)
        return {MEAN: evaluation}

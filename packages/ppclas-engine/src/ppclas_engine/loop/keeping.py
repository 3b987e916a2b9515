"""What a run keeps: checkpoints, the best weights as a bundle, the history."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppclas_core.bundle import Manifest, Preprocessing, architecture_of, versions, write_bundle
from ppclas_core.errors import CheckpointError
from ppclas_core.files import write_json
from ppclas_core.weights import model_state
from ppclas_data.loading.pipeline import Pipeline, build_transforms, with_all_parameters

from ppclas_engine.loop.averaging import LastWeights, StartWeights
from ppclas_engine.loop.reporting import EMA, HALFWAY, MEAN
from ppclas_engine.loop.trained import Trained
from ppclas_engine.planning.plan import Plan
from ppclas_engine.ranks.distributed import current
from ppclas_engine.runs.checkpoint import keep_copy, save_checkpoint
from ppclas_engine.runs.run import RunFolder


class Keeper:
    """Writes what ``trained`` is into the run folder."""

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        trained: Trained,
        last_weights: LastWeights | None,
        start_weights: StartWeights,
    ) -> None:
        self._plan, self._run, self._trained = plan, run, trained
        self._last_weights, self._start_weights = last_weights, start_weights

    def save(self) -> None:
        """Write ``checkpoints/last``; on other ranks than the first, take part in it."""
        arrays = self._trained.arrays()
        if current().first:
            save_checkpoint(self._run.last, arrays, self._trained.state(self._plan))

    def keep_best(self) -> None:
        """Write ``checkpoints/best`` and the bundle from the weights in ``checkpoints/last``."""
        plan, trained = self._plan, self._trained
        data, model, best = plan.config.data, plan.config.model, trained.progress.best
        assert best is not None
        assert data.eval_transforms is not None
        # Of what evaluation shows: a list of one's own may give another size than training's.
        height, width, _ = Pipeline(
            build_transforms(data.eval_transforms, "data.eval_transforms")
        ).output_shape()
        several = plan.train.task == "multilabel"
        manifest = Manifest(
            task=plan.train.task,
            activation="sigmoid" if several else "softmax",
            thresholds=tuple(best["thresholds"]) if "thresholds" in best else None,
            architecture=architecture_of(model.name, len(plan.train.class_names), model.params),
            preprocessing=Preprocessing(
                image_size=(height, width),
                transforms=with_all_parameters(data.eval_transforms),
                normalize=data.normalize,
            ),
            labels=plan.train.class_names,
            metrics={
                key: value for key, value in best.items() if key not in ("weights", "thresholds")
            },
            versions=versions(),
        )
        try:
            keep_copy(self._run.last, self._run.best)
            with self._best_weights(best):
                write_bundle(self._run.bundle, manifest, model_state(trained.model))
            for name, (section, peer) in trained.objective.classifiers().items():
                built = architecture_of(section.name, len(manifest.labels), section.params)
                write_bundle(
                    self._run.path / name,
                    manifest.replace(architecture=built, metrics={}, thresholds=None),
                    model_state(peer),
                )
        except OSError as error:
            raise CheckpointError(
                f"The bundle {self._run.bundle} cannot be written ({error.strerror or error}). The "
                f"checkpoint {self._run.last} is complete: free some space and go on with --resume "
                f"{shlex.quote(str(self._run.path))}"
            ) from error

    def _best_weights(self, best: Mapping[str, Any]) -> AbstractContextManager[None]:
        """The model has the weights that were the best inside the block."""
        trained = self._trained
        if best["weights"] == EMA and trained.ema is not None:
            return trained.ema.applied()
        if best["weights"] == MEAN and self._last_weights is not None:
            return self._last_weights.applied(trained.model, best["epoch"])
        if best["weights"] == HALFWAY:
            return self._start_weights.applied(trained.model)
        return nullcontext()

    def repair(self) -> None:
        """After a kill between a checkpoint and its bundle: write what is missing."""
        progress = self._trained.progress
        if (
            progress.best is not None
            and progress.best["epoch"] == progress.epoch
            and progress.step_in_epoch == 0
        ):
            self.keep_best()
        self._run.write_history(progress.history)

    def finish(self) -> None:
        """Write the summary that marks a run as finished."""
        progress = self._trained.progress
        write_json(
            self._run.finished,
            {"best": progress.best, "epochs": progress.epoch, "bundle": "bundle"},
        )
        if self._last_weights is not None:
            self._last_weights.remove()
        self._start_weights.remove()

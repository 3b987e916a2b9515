"""One process of ``shards``: ``python -m ppclas_cli.shard``, with its job on stdin."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from ppclas_core.errors import PpclasError, TrainingError
from ppclas_core.paddle_runtime import require_paddle

from ppclas_cli.bundles import Opened, open_source

if TYPE_CHECKING:
    from ppclas_distill.select import Answers
    from ppclas_engine.results.predict import Prediction


def main() -> None:
    """Answer batch after batch on what was stdout; what else is printed there goes to stderr."""
    # The terminal sends Ctrl-C to all; the process that started this one then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = pickle.load(sys.stdin.buffer)
    try:
        for answer in _WORKS[job["work"]](job):
            _send(answers, "answer", answer)
        _send(answers, "done", None)
    except PpclasError as error:
        _send(answers, type(error).__name__, str(error))


def _send(answers: IO[bytes], kind: str, value: Any) -> None:
    pickle.dump((kind, value), answers)
    answers.flush()


def _predict(job: Mapping[str, Any]) -> Iterator[list[Prediction]]:
    from ppclas_deploy.engine_choice import load_engine
    from ppclas_engine.results.predict import predict

    bundle, loaded = _open(job).bundle, None
    if job["engine"] is not None or (job["threads"] is not None and not job["gpu"]):
        bundle, loaded = load_engine(bundle, job["engine"], threads=job["threads"])
    size = job["how"]["batch_size"]
    batch: list[Prediction] = []
    for prediction in predict(bundle, job["files"], engine=loaded, **job["how"]):
        batch.append(prediction)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _evaluate(job: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any, list[str]]]:
    from ppclas_engine.ranks.distributed import Ranks
    from ppclas_engine.results.score import plan_scoring, scoring_loader
    from ppclas_engine.scoring.predictors import bundle_predictor

    opened, (data, root, labels) = _open(job), job["photos"]
    bundle, unreadable = opened.bundle, list[str]()
    scoring = plan_scoring(bundle, opened.path, data, root=root, labels=labels)
    predictor = bundle_predictor(bundle, job["threads"])
    loader = scoring_loader(
        bundle,
        replace(scoring, batch_size=job["batch_size"]),
        job["workers"],
        on_bad=lambda bad: unreadable.append(f"{bad.where}: {bad.reason} (left out)"),
        part=Ranks(*job["part"]).batches_of,
    )
    with loader:
        for batch in loader.epoch(0):
            logits = predictor(batch.images) if len(batch.labels) else None
            yield logits, batch.labels, batch.indices, unreadable[:]
            unreadable.clear()


def _score(job: Mapping[str, Any]) -> Iterator[Answers]:
    """The teacher's answers to the batches that come after the job, until no more come."""
    from ppclas_distill.scorer import open_scorer
    from ppclas_distill.teacher import TeacherConfig

    _check_gpu(job)
    scorer = open_scorer(TeacherConfig.model_validate(job["teacher"]))
    with contextlib.suppress(EOFError):
        while True:
            yield scorer.answer(pickle.load(sys.stdin.buffer))


_WORKS = {"predict": _predict, "evaluate": _evaluate, "score": _score}


def _open(job: Mapping[str, Any]) -> Opened:
    """What the job names, once it is clear that Paddle has the GPU where it is to use one."""
    opened = open_source(*job["source"])
    if opened.bundle.manifest.kind != "export" and not job.get("engine"):
        _check_gpu(job)
    return opened


def _check_gpu(job: Mapping[str, Any]) -> None:
    if not job["gpu"]:
        return
    paddle = require_paddle("--devices")
    if not paddle.device.is_compiled_with_cuda() or not paddle.device.cuda.device_count():
        raise TrainingError("Paddle cannot use it: run 'ppclas doctor', or use --devices cpu:2.")


if __name__ == "__main__":
    main()

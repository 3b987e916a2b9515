"""Answers of several processes, each on a device of its own, joined in the order of the photos.

Whole batches are dealt out in turns, so that each is made of the photos that one process would put
into it: its answers are then the same, to the last digit.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ppclas_core import errors
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import ConfigError, DataError, PpclasError
from ppclas_data.loading.loader import Batch, auto_workers, available_cpus
from ppclas_engine.ranks.gpus import allotted_gpu
from ppclas_engine.ranks.launch import Devices
from ppclas_engine.results.score import MAX_BAD_FRACTION, score_batches

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_distill.select import Answers
    from ppclas_distill.teacher import TeacherConfig
    from ppclas_engine.console import Console
    from ppclas_engine.results.predict import Prediction
    from ppclas_engine.results.score import Scoring
    from ppclas_engine.scoring.evaluate import Evaluation

Source = tuple[str | None, ...]
"""What ``open_source`` takes: each process opens it for itself."""
_ON_CPU = ("dygraph", "lite", "onnxruntime", "openvino", "paddle_inference")
"""Engines that have no use for a GPU."""


def predict_in_shards(
    devices: str,
    source: Source,
    bundle: Bundle,
    files: Sequence[str],
    top_k: int,
    batch_size: int,
    engine: str | None,
    threads: int | None,
    console: Console,
) -> Iterator[Prediction]:
    """The predictions of ``ppclas_engine.results.predict`` for ``files``, in their order.

    Raises:
        ConfigError: ``devices`` is not understood, or the engine does not run on a GPU.
        PpclasError: a process failed; its own words.
    """
    from ppclas_deploy.engine_choice import choose, readers

    used, is_export = _parse(devices), bundle.manifest.kind == "export"
    _check_engine(used, engine)
    if engine is not None:
        # Once, here: measuring and exporting side by side would disturb each other.
        engine = choose(bundle, engine, threads=threads, console=console).engine
    _check_engine(used, engine or (export_facts(bundle)["engine"] if is_export else None))
    share = _cpus_each(used)
    if threads is None and used.kind == "cpu" and (engine is not None or is_export):
        threads = share
    job = {
        "work": "predict",
        "source": source,
        "engine": engine,
        "threads": threads,
        "how": {"top_k": top_k, "batch_size": batch_size, "threads": readers(threads, share)},
    }
    chunks = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    size = len(used.names)
    own = [{"files": [file for chunk in chunks[n::size] for file in chunk]} for n in range(size)]
    with _processes(used, job, own) as running:
        for answers in _in_turns(running):
            yield from answers


def evaluate_in_shards(
    devices: str,
    source: Source,
    photos: Source,
    bundle: Bundle,
    scoring: Scoring,
    console: Console,
    workers: int | None,
) -> Evaluation:
    """What ``ppclas_engine.results.score.evaluate_bundle`` gives; ``photos`` is what
    ``plan_scoring`` takes beside the bundle: data, root and labels.

    Raises:
        ConfigError: ``devices`` is not understood, or the engine does not run on a GPU.
        DataError: more photos are unreadable than may be.
        PpclasError: a process failed; its own words.
    """
    used, is_export = _parse(devices), bundle.manifest.kind == "export"
    _check_engine(used, export_facts(bundle)["engine"] if is_export else None)
    size, bad = len(used.names), 0
    readers = auto_workers("cpu") if workers is None else workers
    job = {
        "work": "evaluate",
        "source": source,
        "photos": photos,
        "batch_size": scoring.batch_size,
        "workers": math.ceil(readers / size),
        "threads": _cpus_each(used) if used.kind == "cpu" and is_export else None,
    }

    def batches() -> Iterator[Batch]:
        nonlocal bad
        for position, (logits, labels, indices, unreadable) in enumerate(_in_turns(running)):
            for line in unreadable:
                console.warn(line)
            bad += len(unreadable)
            if bad > MAX_BAD_FRACTION * len(scoring.images):
                raise DataError(
                    f"expected at most {MAX_BAD_FRACTION:.1%} unreadable images in "
                    f"{scoring.images.origin}, got {bad} of {len(scoring.images)} so far. Run "
                    "'ppclas data check' to list them."
                )
            yield Batch(logits, labels, indices, position, 0.0)

    count = math.ceil(len(scoring.images) / scoring.batch_size)
    own = [{"part": (number, size)} for number in range(size)]
    with _processes(used, job, own) as running, console.bar("evaluating", count) as bar:
        return score_batches(
            bundle, scoring, lambda logits: logits, batches(), lambda _: bar.advance()
        )


@contextlib.contextmanager
def scoring_in_shards(
    devices: str, teacher: TeacherConfig
) -> Iterator[tuple[int, Callable[[list[str]], Answers]]]:
    """How many threads may ask ``teacher``, which a process on each device answers for, and how.

    Raises:
        ConfigError: ``devices`` is not understood, or the teacher does not run on a GPU.
        PpclasError: a process failed; its own words.
    """
    from ppclas_distill.opening import ONNX_SUFFIX

    used = _parse(devices)
    _check_engine(used, "onnxruntime" if teacher.source.endswith(ONNX_SUFFIX) else None)
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def answer(paths: list[str]) -> Answers:
        each = idle.get()
        assert each.process.stdin is not None
        try:
            with contextlib.suppress(OSError):  # gone: said below
                pickle.dump(paths, each.process.stdin)
                each.process.stdin.flush()
            found: Answers = _answer(each)
        finally:
            idle.put(each)
        return found

    job = {"work": "score", "teacher": teacher.model_dump(mode="json")}
    with _processes(used, job, [{}] * len(used.names)) as running:
        for each in running:
            idle.put(each)
        yield len(running), answer


@dataclass(frozen=True)
class _Process:
    device: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    """Its stderr."""


def _parse(devices: str) -> Devices:
    try:
        return Devices.parse(devices)
    except ConfigError as error:
        raise ConfigError(str(error).replace("train.devices", "--devices")) from error


def _check_engine(devices: Devices, engine: str | None) -> None:
    if devices.kind == "gpu" and engine in _ON_CPU:
        raise ConfigError(
            f"--devices {','.join(devices.names)}: the engine {engine} runs on the CPU. Use "
            "--devices cpu:2, a run or bundle without --engine, or --engine onnxruntime_cuda."
        )


def _cpus_each(devices: Devices) -> int:
    return max(1, available_cpus() // len(devices.names))


@contextlib.contextmanager
def _processes(
    devices: Devices, job: Mapping[str, Any], own: Sequence[Mapping[str, Any]]
) -> Iterator[list[_Process]]:
    """A process on each device, which has ``job`` and its ``own`` part; all end with the block."""
    running: list[_Process] = []
    try:
        for name, part in zip(devices.names, own, strict=True):
            environment = {**os.environ, "PYTHONSAFEPATH": "1"}
            device = f"GPU {name}" if devices.kind == "gpu" else f"cpu:{name}"
            if devices.kind == "gpu":
                environment["CUDA_VISIBLE_DEVICES"] = allotted_gpu(name)[1]
            else:
                environment["CUDA_VISIBLE_DEVICES"] = ""
                environment.setdefault("OMP_NUM_THREADS", str(_cpus_each(devices)))
            said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            process = subprocess.Popen(
                [sys.executable, "-m", "ppclas_cli.shard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
            )
            running.append(_Process(device, process, said))
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # gone already: that is said below
                pickle.dump({**job, **part, "gpu": devices.kind == "gpu"}, process.stdin)
                process.stdin.flush()
        yield running
    finally:
        for each in running:
            each.process.kill()
            each.process.wait()
            for stream in (each.process.stdin, each.process.stdout, each.said):
                with contextlib.suppress(OSError):
                    assert stream is not None
                    stream.close()


def _in_turns(running: Sequence[_Process]) -> Iterator[Any]:
    """One answer of each process after the other, until all have said that there is no more."""
    waiting = list(running)
    while waiting:
        for each in tuple(waiting):
            kind, value = _receive(each)
            if kind == "answer":
                yield value
            elif kind == "done":
                waiting.remove(each)
            else:
                raise _failure(each, kind, value)


def _answer(each: _Process) -> Any:
    kind, value = _receive(each)
    if kind != "answer":
        raise _failure(each, kind, value)
    return value


def _failure(each: _Process, kind: str, message: str) -> PpclasError:
    found: PpclasError = getattr(errors, kind, PpclasError)(f"{each.device}: {message}")
    return found


def _receive(each: _Process) -> tuple[str, Any]:
    assert each.process.stdout is not None
    try:
        kind, value = pickle.load(each.process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        code = each.process.wait()
        each.said.seek(0)
        lines = each.said.read().decode("utf-8", "replace").strip().splitlines()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last = f": {lines[-1]}" if lines else ""
        raise PpclasError(
            f"The process on {each.device} {how}{last}. Run again, with fewer --devices if memory "
            "ran out."
        ) from error
    return str(kind), value

"""The step ``quantize``: calibrate, find what hurts, hold the guard, measure; in a process of its
own.
"""

from __future__ import annotations

import csv
import functools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import LABELS, Bundle, versions, write_manifest
from ppclas_core.contracts.data import ImageSet
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import ExportError
from ppclas_core.files import write_json
from ppclas_core.normalize import normalize_batch
from ppclas_data.loading.pipeline import (
    Pipeline,
    build_transforms,
    bundle_pipeline,
    default_train_transforms,
)
from ppclas_engine.console import Console

from ppclas_deploy.cpus import has_vnni
from ppclas_deploy.dependencies import load
from ppclas_deploy.engines.onnxruntime import OnnxRuntimeEngine, make_session
from ppclas_deploy.isolate import bundle_of
from ppclas_deploy.marks import checked_file
from ppclas_deploy.progress import Teller
from ppclas_deploy.quantize import photos as choosing
from ppclas_deploy.quantize.judge import Judge, Verdict, relative_error
from ppclas_deploy.quantize.network import FloatNetwork
from ppclas_deploy.quantize.photos import Photos
from ppclas_deploy.quantize.ptq import Quantized, Sensitivity, quantize_guarded, sensitivities
from ppclas_deploy.quantize.receipt import RECEIPT, PhotoCount, Receipt, report, to_plain
from ppclas_deploy.quantize.training import Training, train
from ppclas_deploy.timing import measure

TABLE = "sensitivity.csv"
MODEL = "model.onnx"
BATCHES = (1, 8)
"""Photos in the batches whose latency is measured."""
_CALIBRATION_BATCH = 8
_CROPS = (0.25, 1.0)
"""Share of a photo's area that a crop in training covers."""


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fill ``job["folder"]`` with the INT8 export and return its receipt as plain values.

    Raises:
        DataError: the photos cannot be read.
        ExportError: the guard cannot be held.
    """
    started = time.monotonic()
    os.chdir(job["started_in"])  # paths of photos may be relative, also inside lists
    console, threads, folder = Teller(Path(job["progress"])), job["threads"], Path(job["folder"])
    bundle, export = bundle_of(job["bundle"]), Bundle.load(job["export"])
    # The same choice as the command's: image sets of plugins are no plain values, what they are
    # made of is.
    chosen = choosing.choose(
        bundle, job["calibrate"], job["data"], count=job["num_photos"], judged=job["judged"]
    )
    source = checked_file(export)
    narrow = not has_vnni() if job["reduce_range"] is None else job["reduce_range"]
    network = FloatNetwork(source, reduce_range=narrow)
    normalize = bundle.manifest.preprocessing.normalize
    pixels, _ = _read(chosen.calibrate, bundle, console, "reading photos to calibrate on")
    console.line(f"Calibrating on {len(pixels)} photos of {chosen.calibrate.origin}")
    batches = (normalize_batch(part, normalize) for part in _batches(pixels, _CALIBRATION_BATCH))
    network.calibrate(batches, job["ranges"])
    shown, labels = _read(chosen.judge, bundle, console, "reading photos to judge by")
    judge = Judge(
        shown,
        labels if chosen.labelled else None,
        normalize,
        network.model,
        threads,
        _limits(bundle),
    )
    if judge.labelled and judge.is_guessing():
        console.warn(
            f"the float network is right on {judge.float_accuracy:.2%} of {chosen.judge.origin}, "
            "which is chance: are its labels this model's? Judged by agreement with the float "
            "network instead."
        )
        judge.without_labels()
    what = judge.measure
    console.line(
        f"Float network: {what} {judge.float_accuracy:.2%} on {len(shown)} photos of "
        f"{chosen.judge.origin}"
    )
    with console.bar("layer by layer", len(network.nodes())) as bar:
        table = sensitivities(network, judge, bar.advance)

    def tried(count: int, verdict: Verdict) -> None:
        console.line(f"INT8 with {count} layers left float: {what} {verdict.accuracy:.2%}")

    if job["method"] == "ptq":
        quantized = quantize_guarded(
            network, judge, [row.node.name for row in table], job["guard"], tried
        )
    else:
        training = Training(**job["training"])
        quantized = _train(network, judge, chosen, bundle, training, threads, console)
        _require_guard(judge, quantized.verdict, job["guard"])
    _write(folder, quantized, table, export)
    receipt = Receipt(
        folder=folder,
        method=job["method"],
        calibrated_on=PhotoCount(chosen.calibrate.origin, len(pixels)),
        judged_by=PhotoCount(chosen.judge.origin, len(shown)),
        labelled=judge.labelled,
        measure=judge.measure,
        float_accuracy=judge.float_accuracy,
        verdict=quantized.verdict,
        stay_float=quantized.stay_float,
        tried=quantized.tried,
        sensitivities=tuple(table),
        sizes=(source.stat().st_size, (folder / MODEL).stat().st_size),
        latencies=_measure(folder / MODEL, source, shown, bundle, threads),
        weight_bits=7 if narrow else 8,
        threads=threads,
        versions={
            **versions(),
            "onnxruntime": load("onnxruntime", "quantisation", "onnx").__version__,
        },
        seconds=time.monotonic() - started,
    )
    write_json(folder / RECEIPT, report(receipt))
    _write_manifest(folder, receipt, export)
    _check_written(folder, judge, quantized.model, shown)
    return to_plain(receipt)


def _limits(bundle: Bundle) -> NDArray[np.float64] | None:
    """Logits from which a label counts, of a model for several labels per photo."""
    if bundle.manifest.task != "multilabel":
        return None
    share = np.clip(np.asarray(bundle.thresholds, np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(share) - np.log1p(-share))


def _train(
    network: FloatNetwork,
    judge: Judge,
    photos: Photos,
    bundle: Bundle,
    training: Training,
    threads: int | None,
    console: Console,
) -> Quantized:
    """All layers in INT8, trained against the float network; as they were where training makes them
    worse.
    """
    model, untrained = network.quantized(), network.quantized()
    before = judge.judge(model)
    console.line(
        f"INT8 before training: {before.accuracy:.2%}, same class as float on "
        f"{before.agreement:.2%}"
    )
    preprocessing = bundle.manifest.preprocessing
    crops = default_train_transforms(preprocessing.image_size, "bilinear", scale=_CROPS)
    pipeline = Pipeline(build_transforms(crops))
    training = training.replace(batch_size=min(training.batch_size, len(photos.pool)))
    with console.bar("training in INT8", training.steps) as bar:
        train(
            model,
            network.model,
            photos.pool,
            pipeline,
            preprocessing.normalize,
            training,
            threads,
            lambda loss: bar.advance(f"loss {loss:.4f}"),
        )
    after = judge.judge(model)
    console.line(
        f"INT8 after training: {after.accuracy:.2%}, same class as float on {after.agreement:.2%}"
    )
    tried = ((0, before.accuracy), (0, after.accuracy))
    if (after.accuracy, after.agreement) < (before.accuracy, before.agreement):
        console.warn(
            "training made it worse, so the network from before is kept. Try a smaller --lr or "
            "more photos."
        )
        return Quantized(untrained, before, (), tried)
    return Quantized(model, after, (), tried)


def _require_guard(judge: Judge, verdict: Verdict, guard: float) -> None:
    if judge.float_accuracy - verdict.accuracy > guard + 1e-9:
        raise ExportError(
            f"training in INT8 ends at {verdict.accuracy:.2%}, more than the guard of {guard:.2%} "
            f"below the float network's {judge.float_accuracy:.2%}. Train longer (--steps), or "
            "leave layers float: --method ptq"
        )


def _read(
    images: ImageSet, bundle: Bundle, console: Console, title: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    with console.bar(title, -(-len(images) // choosing.BATCH)) as bar:
        return choosing.read(images, bundle_pipeline(bundle), bar.advance)


def _batches(pixels: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def _write(
    folder: Path, quantized: Quantized, table: Sequence[Sensitivity], export: Bundle
) -> None:
    """The model, the table of layers and the labels."""
    import onnx

    onnx.save(quantized.model, str(folder / MODEL))
    shutil.copyfile(export.folder / LABELS, folder / LABELS)
    with open(folder / TABLE, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "layer", "op", "weights", "error", "agreement", "stays"])
        for rank, row in enumerate(table, start=1):
            shape = "x".join(map(str, row.node.shape))
            stays = "float" if row.node.name in quantized.stay_float else "int8"
            writer.writerow(
                [
                    rank,
                    row.node.name,
                    row.node.op,
                    shape,
                    f"{row.error:.6f}",
                    f"{row.agreement:.4f}",
                    stays,
                ]
            )


def _measure(
    written: Path, source: Path, pixels: NDArray[Any], bundle: Bundle, threads: int | None
) -> dict[int, tuple[float, float]]:
    """Median milliseconds of the float and of the INT8 model on real photos, in turns."""
    sessions = {"float": make_session(source, threads), "int8": make_session(written, threads)}
    found = {}
    for batch in BATCHES:
        images = bundle.normalize(pixels[np.arange(batch) % len(pixels)])
        runs = {
            name: functools.partial(session.run, None, {"images": images})
            for name, session in sessions.items()
        }
        taken = measure(runs, batch)
        found[batch] = (taken["float"].milliseconds(50), taken["int8"].milliseconds(50))
    return found


def _write_manifest(folder: Path, receipt: Receipt, export: Bundle) -> None:
    """``bundle.json``: the float export's, with what quantisation changed."""
    name = {"top-1": "top1", "exact match": "exact_match"}.get(receipt.measure)
    accuracy = {} if name is None else {name: receipt.verdict.accuracy}
    quantization = {
        "method": receipt.method,
        "weight_bits": receipt.weight_bits,
        "stay_float": list(receipt.stay_float),
        "agreement": receipt.verdict.agreement,
    }
    facts = {**export_facts(export), "model": MODEL, "quantization": quantization}
    manifest = export.manifest.replace(
        export=facts, metrics=accuracy, versions=versions(), files={}
    )
    write_manifest(folder, manifest)


def _check_written(folder: Path, judge: Judge, model: Any, pixels: NDArray[Any]) -> None:
    """What was written must answer, in the engine that users run, as what was judged did."""
    engine = OnnxRuntimeEngine()
    engine.load(Bundle.load(folder))
    places = judge.places(16)
    answers = engine.logits(engine.prepare(pixels[places]))
    error = relative_error(answers, judge.logits(model, len(places)))
    if error > 1e-3:
        raise ExportError(
            "the file that was written answers otherwise than the network that was judged "
            f"({error:.2g})."
        )

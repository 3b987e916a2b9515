"""Quantise a bundle or an ONNX export: calibrate, find what hurts, hold the guard, measure, and write the proof."""

from __future__ import annotations

import csv
import functools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle, versions, write_manifest
from ppclas_core.data.base import ImageSet
from ppclas_core.data.pipeline import Pipeline, build_transforms, default_train_transforms
from ppclas_core.engine.console import Console
from ppclas_core.errors import BundleError, ExportError
from ppclas_core.export import export_facts, export_file
from ppclas_core.files import building_folder, write_json
from ppclas_core.normalize import normalize_batch
from ppclas_core.paddle_runtime import has_paddle, require_paddle

from ppclas_deploy.cpus import has_vnni
from ppclas_deploy.dependencies import load, need
from ppclas_deploy.engines.onnxruntime import OnnxRuntimeEngine, make_session
from ppclas_deploy.export import LABELS, check_output, export_bundle
from ppclas_deploy.quantize import photos as choosing
from ppclas_deploy.quantize.judge import Judge, Verdict, relative_error
from ppclas_deploy.quantize.network import FloatNetwork, Ranges
from ppclas_deploy.quantize.photos import Photos
from ppclas_deploy.quantize.ptq import Quantized, Sensitivity, quantize_guarded, sensitivities
from ppclas_deploy.quantize.training import Training, train
from ppclas_deploy.timing import Latency, measure

RECEIPT = "quantization.json"
TABLE = "sensitivity.csv"
MODEL = "model.onnx"
BATCHES = (1, 8)
"""Photos in the batches whose latency is measured."""
_CALIBRATION_BATCH = 8
_CROPS = (0.25, 1.0)
"""Share of a photo's area that a crop in training covers."""


@dataclass(frozen=True)
class Receipt:
    """What quantisation came to."""

    folder: Path
    method: Literal["ptq", "qat"]
    photos: Photos
    float_accuracy: float
    """Share of right answers of the float network, 0..1; 1 where there are no labels."""
    verdict: Verdict
    stay_float: tuple[str, ...]
    tried: tuple[tuple[int, float], ...]
    """Every network that was judged: (layers left float, accuracy); of ``qat`` before and after training."""
    sensitivities: tuple[Sensitivity, ...]
    """Most sensitive first."""
    sizes: tuple[int, int]
    """Bytes of the float and of the INT8 model."""
    latencies: Mapping[int, tuple[Latency, Latency]]
    """Batch → of the float and of the INT8 model, measured in turns."""
    weight_bits: int
    threads: int | None
    seconds: float

    def speedup(self, batch: int) -> float:
        """How many times faster than the float model; below 1: slower."""
        before, after = self.latencies[batch]
        return before.milliseconds(50) / after.milliseconds(50)


def quantize_bundle(
    bundle: Bundle,
    output: Path,
    *,
    method: Literal["ptq", "qat"] = "ptq",
    calibrate: str | None = None,
    data: str | None = None,
    guard: float = 0.01,
    num_photos: int = 200,
    judged: int = 1000,
    ranges: Ranges = "minmax",
    reduce_range: bool | None = None,
    training: Training | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Receipt:
    """Write an INT8 export of ``bundle`` to ``output``, if it loses at most ``guard`` of the accuracy.

    Args:
        bundle: a run's or a bundle (exported to ONNX on the way, with proof), or an ONNX export (needs no Paddle).
        output: a folder that does not exist yet, or an older export and ``overwrite``.
        method: ``ptq``: from calibrated ranges; ``qat``: all layers, then trained with their rounding in Paddle.
        calibrate: photos for the ranges (and the training); see ``photos.choose``.
        data: labelled photos to judge by; see ``photos.choose``.
        guard: largest accepted loss of accuracy, a share in 0..1.
        num_photos: how many photos to calibrate on.
        judged: how many photos to judge by, at most.
        ranges: how a tensor's range is found: its extremes, the 99.999th percentile, or least entropy.
        reduce_range: 7-bit weights, for x86 CPUs without VNNI. Nothing: as this CPU needs it.
        training: how ``qat`` trains.
        threads: CPU threads of the measurements. Nothing: all of this process.
        overwrite: replace an export that is there.
        console: where progress goes.

    Raises:
        BundleError: an export that is not a plain float ONNX model.
        DataError: there are no photos to calibrate on or to judge by.
        MissingDependencyError: onnx or onnxruntime (of a bundle: Paddle, paddle2onnx) is not installed.
        ExportError: the guard cannot be held, or ``output`` cannot be written.
    """
    started = time.monotonic()
    console = console or Console(quiet=True)
    need("ml_dtypes", "onnx", "onnxruntime", purpose="quantisation", extra="onnx")
    if method == "qat" and not has_paddle():
        require_paddle("training in INT8")
    check_output(output, overwrite)
    chosen = choosing.choose(bundle, calibrate, data, count=num_photos, judged=judged)
    for line in chosen.notes:
        console.line(line)
    with _float_export(bundle, console) as export:
        source = export_file(export, "model")
        narrow = not has_vnni() if reduce_range is None else reduce_range
        network = FloatNetwork(source, reduce_range=narrow)
        normalize = bundle.manifest.preprocessing.normalize
        pixels, _ = _read(chosen.calibrate, bundle, console, "reading photos to calibrate on")
        console.line(f"Calibrating on {len(pixels)} photos of {chosen.calibrate.origin}")
        network.calibrate((normalize_batch(part, normalize) for part in _batches(pixels, _CALIBRATION_BATCH)), ranges)
        shown, labels = _read(chosen.judge, bundle, console, "reading photos to judge by")
        judge = Judge(shown, labels if chosen.labelled else None, normalize, network.model, threads)
        what = "top-1" if chosen.labelled else "agreement"
        console.line(
            f"Float network: {what} {judge.float_accuracy:.2%} on {len(shown)} photos of {chosen.judge.origin}"
        )
        with console.bar("layer by layer", len(network.nodes())) as bar:
            table = sensitivities(network, judge, bar.advance)

        def tried(count: int, verdict: Verdict) -> None:
            console.line(f"INT8 with {count} layers left float: {what} {verdict.accuracy:.2%}")

        if method == "ptq":
            quantized = quantize_guarded(network, judge, [row.node.name for row in table], guard, tried)
        else:
            quantized = _train(network, judge, chosen, bundle, training or Training(), threads, console)
            _require_guard(judge, quantized.verdict, guard)
        with _writing(output) as folder:
            _write(folder, quantized, table, export)
            receipt = Receipt(
                folder=output,
                method=method,
                photos=chosen,
                float_accuracy=judge.float_accuracy,
                verdict=quantized.verdict,
                stay_float=quantized.stay_float,
                tried=quantized.tried,
                sensitivities=tuple(table),
                sizes=(source.stat().st_size, (folder / MODEL).stat().st_size),
                latencies=_measure(folder / MODEL, source, shown, bundle, threads),
                weight_bits=7 if narrow else 8,
                threads=threads,
                seconds=time.monotonic() - started,
            )
            write_json(folder / RECEIPT, report(receipt))
            _write_manifest(folder, receipt, export)
            _check_written(folder, judge, quantized.model, shown)
    return receipt


def _train(
    network: FloatNetwork,
    judge: Judge,
    photos: Photos,
    bundle: Bundle,
    training: Training,
    threads: int | None,
    console: Console,
) -> Quantized:
    """All layers in INT8, trained against the float network; as they were where training makes them worse."""
    model, untrained = network.quantized(), network.quantized()
    before = judge.judge(model)
    console.line(f"INT8 before training: {before.accuracy:.2%}, same class as float on {before.agreement:.2%}")
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
    console.line(f"INT8 after training: {after.accuracy:.2%}, same class as float on {after.agreement:.2%}")
    tried = ((0, before.accuracy), (0, after.accuracy))
    if (after.accuracy, after.agreement) < (before.accuracy, before.agreement):
        console.warn("training made it worse, so the network from before is kept. Try a smaller --lr or more photos.")
        return Quantized(untrained, before, (), tried)
    return Quantized(model, after, (), tried)


def _require_guard(judge: Judge, verdict: Verdict, guard: float) -> None:
    if judge.float_accuracy - verdict.accuracy > guard + 1e-9:
        raise ExportError(
            f"training in INT8 ends at {verdict.accuracy:.2%}, more than the guard of {guard:.2%} below the float "
            f"network's {judge.float_accuracy:.2%}. Train longer (--steps), or leave layers float: --method ptq"
        )


def report(receipt: Receipt) -> dict[str, Any]:
    """The content of ``quantization.json``."""
    before, after = receipt.sizes
    return {
        "method": receipt.method,
        "photos": {
            "calibrated_on": {"origin": receipt.photos.calibrate.origin, "count": len(receipt.photos.calibrate)},
            "judged_by": {"origin": receipt.photos.judge.origin, "count": len(receipt.photos.judge)},
            "labelled": receipt.photos.labelled,
        },
        "accuracy": {"float": receipt.float_accuracy, "int8": receipt.verdict.accuracy},
        "drop": receipt.float_accuracy - receipt.verdict.accuracy,
        "agreement": receipt.verdict.agreement,
        "lost": receipt.verdict.lost,
        "won": receipt.verdict.won,
        "bytes": {"float": before, "int8": after, "ratio": after / before},
        "latency_ms": {
            str(batch): {
                "float": pair[0].milliseconds(50),
                "int8": pair[1].milliseconds(50),
                "speedup": receipt.speedup(batch),
            }
            for batch, pair in receipt.latencies.items()
        },
        "threads": receipt.threads,
        "weight_bits": receipt.weight_bits,
        "layers": len(receipt.sensitivities),
        "stay_float": list(receipt.stay_float),
        "judged": [{"float_layers": count, "accuracy": accuracy} for count, accuracy in receipt.tried],
        "versions": {**versions(), "onnxruntime": load("onnxruntime", "quantisation", "onnx").__version__},
        "seconds": round(receipt.seconds, 1),
    }


def default_output(bundle: Bundle, model: str | None = None) -> Path:
    """``<run>/export-int8`` of a run, ``<bundle>-int8`` beside another, ``<model>-int8`` of published weights."""
    from ppclas_deploy.export import default_output as of_target

    return of_target(bundle, "int8", model)


@contextmanager
def _writing(output: Path) -> Iterator[Path]:
    try:
        with building_folder(output) as folder:
            yield folder
    except OSError as error:
        raise ExportError(
            f"{error.filename or output} cannot be written ({error.strerror}). Choose another folder with -o."
        ) from error


@contextmanager
def _float_export(bundle: Bundle, console: Console) -> Iterator[Bundle]:
    """The float network as an ONNX export: ``bundle`` itself if it is one, else a proven one that goes afterwards."""
    if bundle.manifest.kind == "export":
        _check_export(bundle)
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="ppclas-") as folder:
        console.line("Exporting to ONNX first")
        receipt = export_bundle(bundle, "onnx", Path(folder) / "onnx")
        console.line(f"Float export: {receipt.parity.summary()}")
        yield Bundle.load(receipt.folder)


def _check_export(export: Bundle) -> None:
    facts = export_facts(export)
    reasons = {
        "is no ONNX export": facts.get("target") != "onnx",
        "is quantised already": "quantization" in facts,
        "is in half precision": bool(facts.get("fp16")),
        "has its preprocessing inside": facts.get("input", "images") != "images",
        "has a fixed batch size": facts.get("batch") is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise BundleError(
                f"{export.folder} {reason}, so it is not quantised. Give the run or bundle that it was made from, or "
                f"an export with: ppclas export RUN --target onnx"
            )


def _read(images: ImageSet, bundle: Bundle, console: Console, title: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    with console.bar(title, -(-len(images) // choosing.BATCH)) as bar:
        return choosing.read(images, bundle.pipeline(), bar.advance)


def _batches(pixels: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def _write(folder: Path, quantized: Quantized, table: Sequence[Sensitivity], export: Bundle) -> None:
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
                [rank, row.node.name, row.node.op, shape, f"{row.error:.6f}", f"{row.agreement:.4f}", stays]
            )


def _measure(
    written: Path, source: Path, pixels: NDArray[Any], bundle: Bundle, threads: int | None
) -> dict[int, tuple[Latency, Latency]]:
    """Latencies of the float and of the INT8 model on real photos, in turns."""
    sessions = {"float": make_session(source, threads), "int8": make_session(written, threads)}
    found = {}
    for batch in BATCHES:
        images = bundle.normalize(pixels[np.arange(batch) % len(pixels)])
        runs = {name: functools.partial(session.run, None, {"images": images}) for name, session in sessions.items()}
        taken = measure(runs, batch)
        found[batch] = (taken["float"], taken["int8"])
    return found


def _write_manifest(folder: Path, receipt: Receipt, export: Bundle) -> None:
    """``bundle.json``: the float export's, with what quantisation changed."""
    accuracy = {"top1": receipt.verdict.accuracy} if receipt.photos.labelled else {}
    quantization = {
        "method": receipt.method,
        "weight_bits": receipt.weight_bits,
        "stay_float": list(receipt.stay_float),
        "agreement": receipt.verdict.agreement,
    }
    facts = {**export_facts(export), "model": MODEL, "quantization": quantization}
    manifest = export.manifest.replace(export=facts, metrics=accuracy, versions=versions(), files={})
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
            f"the file that was written answers otherwise than the network that was judged ({error:.2g})."
        )

"""Quantise a bundle or an ONNX export: check what is asked for, and let the step ``quantize`` do
it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import BundleError, ExportError, PpclasError
from ppclas_core.files import building_folder
from ppclas_core.paddle_runtime import has_paddle, require_paddle
from ppclas_data.leftovers import temporary_folder
from ppclas_engine.console import Console

from ppclas_deploy.dependencies import need
from ppclas_deploy.export import check_output, export_bundle
from ppclas_deploy.isolate import LOG, bundle_job, keep_log, run_isolated
from ppclas_deploy.quantize import photos as choosing
from ppclas_deploy.quantize.network import Ranges
from ppclas_deploy.quantize.receipt import Receipt, from_plain
from ppclas_deploy.quantize.training import Training

TIMEOUT = 3600.0
"""Seconds that quantisation may take unless told otherwise."""


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
    timeout: float = TIMEOUT,
    overwrite: bool = False,
    console: Console | None = None,
) -> Receipt:
    """Write an INT8 export of ``bundle`` to ``output``, if it loses at most ``guard`` of the
    accuracy.

    The work is done in a process of its own, without network; what it said is ``export.log`` of the
    export, or ``<output>.log`` where there is none in the end.

    Args:
        bundle: a run's or a bundle (exported to ONNX on the way, with proof), or an ONNX export
            (needs no Paddle).
        output: a folder that does not exist yet, or an older export and ``overwrite``.
        method: ``ptq``: from calibrated ranges; ``qat``: all layers, then trained with their
            rounding in Paddle.
        calibrate: photos for the ranges (and the training); see ``photos.choose``.
        data: labelled photos to judge by; see ``photos.choose``.
        guard: largest accepted loss of accuracy, a share in 0..1.
        num_photos: how many photos to calibrate on.
        judged: how many photos to judge by, at most.
        ranges: how a tensor's range is found: its extremes, the 99.999th percentile, or least
            entropy.
        reduce_range: 7-bit weights, for x86 CPUs without VNNI. Nothing: as this CPU needs it.
        training: how ``qat`` trains.
        threads: CPU threads of the measurements. Nothing: all of this process.
        timeout: seconds that it may take, without the export to ONNX.
        overwrite: replace an export that is there.
        console: where progress goes.

    Raises:
        BundleError: an export that is not a plain float ONNX model.
        DataError: there are no photos to calibrate on or to judge by.
        MissingDependencyError: onnx or onnxruntime (of a bundle: Paddle, paddle2onnx) is not
            installed.
        ExportError: the guard cannot be held, it crashed or took too long, or ``output`` cannot be
            written.
    """
    started = time.monotonic()
    console = console or Console(quiet=True)
    need("ml_dtypes", "onnx", "onnxruntime", purpose="quantisation", extra="onnx")
    if method == "qat" and not has_paddle():
        require_paddle("training in INT8")
    check_output(output, overwrite)
    for line in choosing.choose(bundle, calibrate, data, count=num_photos, judged=judged).notes:
        console.line(line)
    with (
        _float_export(bundle, console) as export,
        _writing(output) as folder,
        temporary_folder() as work,
    ):
        # Outside: the export's files must not change between their hashes and the check.
        log = Path(work) / LOG
        job = {
            "bundle": bundle_job(bundle),
            "export": str(export.folder.resolve()),
            "folder": str(folder.resolve()),
            "started_in": str(Path.cwd()),
            "method": method,
            "calibrate": calibrate,
            "data": data,
            "guard": guard,
            "num_photos": num_photos,
            "judged": judged,
            "ranges": ranges,
            "reduce_range": reduce_range,
            "training": (training or Training()).model_dump(mode="json"),
            "threads": threads,
        }
        try:
            receipt = from_plain(run_isolated("quantize", job, log, timeout, console))
        except PpclasError as error:
            raise type(error)(f"{error}{keep_log(log, output)}") from error
        shutil.copyfile(log, folder / LOG)
        write_manifest(folder, Bundle.load(folder).manifest)
    return replace(receipt, folder=output, seconds=time.monotonic() - started)


def default_output(bundle: Bundle, model: str | None = None) -> Path:
    """``<run>/export-int8`` of a run, ``<bundle>-int8`` beside another, ``<model>-int8`` of
    published weights.
    """
    from ppclas_deploy.export import default_output as of_target

    return of_target(bundle, "int8", model)


@contextmanager
def _writing(output: Path) -> Iterator[Path]:
    try:
        with building_folder(output) as folder:
            yield folder
    except OSError as error:
        raise ExportError(
            f"{error.filename or output} cannot be written ({error.strerror}). Choose another "
            "folder with -o."
        ) from error


@contextmanager
def _float_export(bundle: Bundle, console: Console) -> Iterator[Bundle]:
    """The float network as an ONNX export: ``bundle`` itself if it is one, else a proven one that
    goes afterwards.
    """
    if bundle.manifest.kind == "export":
        _check_export(bundle)
        yield bundle
        return
    with temporary_folder() as folder:
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
                f"{export.folder} {reason}, so it is not quantised. Give the run or bundle that it "
                "was made from, or an export with: ppclas export RUN --target onnx"
            )

"""Export a bundle: convert, prove, and only then give the folder its name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from ppclas_core.bundle import (
    LABELS,
    MANIFEST,
    Bundle,
    Manifest,
    labels_text,
    versions,
    write_manifest,
)
from ppclas_core.contracts.export import Exporter
from ppclas_core.errors import BundleError, ConfigError, ExportError, PpclasError
from ppclas_core.files import building_folder, sha256, write_json, write_text
from ppclas_core.paddle_runtime import has_paddle, require_paddle
from ppclas_core.plugins import get_registries
from ppclas_data.leftovers import clear_leftovers, temporary_folder
from pydantic import ValidationError

from ppclas_deploy import parity
from ppclas_deploy.heat import TOLERANCE, check_heat
from ppclas_deploy.isolate import LOG, keep_log
from ppclas_deploy.marks import mark_of
from ppclas_deploy.parity import Answers, Parity
from ppclas_deploy.photos import DEFAULT_COUNT, Photos, choose_photos
from ppclas_deploy.proof import Proof, is_provable, proof_names, proof_photos, write_proof
from ppclas_deploy.sizes import at_size

_MARGIN = 2.0
"""Times the difference seen here that the built-in photos may show on another machine."""


@dataclass(frozen=True)
class Receipt:
    """What an export came to; a path to its folder wherever one is taken."""

    folder: Path
    target: str
    engine_versions: Mapping[str, str]
    """What ran the export for the check."""
    files: Mapping[str, int]
    """Name → bytes."""
    photos: Photos
    parity: Parity
    verified: str
    """What it was that gave the answers, where the target's engine cannot run here; else empty."""
    seconds: float

    def __fspath__(self) -> str:
        return str(self.folder)


def _silent(line: str) -> None:
    """Nobody listens."""


def export_bundle(
    bundle: Bundle,
    target: str,
    output: Path,
    *,
    options: Mapping[str, Any] | None = None,
    photos: str | None = None,
    num_photos: int = DEFAULT_COUNT,
    overwrite: bool = False,
    say: Callable[[str], None] = _silent,
) -> Receipt:
    """Write the export of ``bundle`` for ``target`` to the folder ``output``.

    It is built beside ``output`` and renamed once its answers on real photos have been compared
    with the model's. When anything fails nothing is left but the log, ``<output>.log``.

    Args:
        bundle: what was trained.
        target: a registered exporter.
        output: a folder that does not exist yet, or an older export and ``overwrite``.
        options: the exporter's own parameters.
        photos: file, folder, list or glob to prove it on; see ``choose_photos``.
        num_photos: how many of them, 1 or more.
        overwrite: replace an export that is there.
        say: called with a line on each step as it begins.

    Raises:
        UnknownNameError: no such target.
        ConfigError: the target does not take one of the options.
        MissingDependencyError: Paddle or a package of the target is not installed.
        ExportError: the conversion failed, or ``output`` cannot be written.
        ParityError: the export's answers differ.
    """
    started = time.monotonic()
    exporter = make_exporter(target, options or {})
    if not has_paddle():
        # Here, as the steps' own processes could not offer to install it.
        require_paddle("an export")
    exporter.check()
    _check_source(bundle)
    check_output(output, overwrite)
    if exporter.image_size is not None:
        bundle = at_size(bundle, exporter.image_size)
    chosen = choose_photos(bundle, photos, num_photos)
    try:
        with building_folder(output) as folder:
            try:
                result, export = _build(
                    bundle,
                    target,
                    exporter,
                    chosen,
                    folder,
                    say,
                    strictly="tolerance" in (options or {}),
                )
            except PpclasError as error:
                raise type(error)(f"{error}{keep_log(folder / LOG, output)}") from error
            manifest = _read_manifest(folder)
    except OSError as error:
        raise ExportError(
            f"{error.filename or output} cannot be written ({error.strerror}). Choose another "
            "folder with -o."
        ) from error
    files = {name: entry.bytes for name, entry in manifest.files.items()}
    return Receipt(
        folder=output,
        target=target,
        engine_versions=export.versions,
        files=files,
        photos=chosen,
        parity=result,
        verified=str((manifest.export or {}).get("verified", "")),
        seconds=time.monotonic() - started,
    )


def make_exporter(target: str, options: Mapping[str, Any]) -> Exporter:
    """The exporter of ``target`` with ``options``.

    Raises:
        UnknownNameError: no such target.
        ConfigError: an option is unknown to it or has a wrong value.
    """
    registry = get_registries().exporters
    fields = registry.entry(target).params_model().model_fields
    unknown = [name for name in options if name not in fields]
    if unknown:
        raise ConfigError(
            f"The target {target} has no option {unknown[0]!r}. It takes: "
            f"{', '.join(sorted(fields))}."
        )
    try:
        exporter: Exporter = registry.build(target, **options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"target {target}: option {where!r}: {first['msg']} (got {first['input']!r})."
        ) from error
    return exporter


def default_output(bundle: Bundle, target: str, model: str | None = None) -> Path:
    """Where an export goes that was not told.

    ``<run>/export-<target>`` for a run, ``<bundle>-<target>`` beside a bundle that stands alone,
    and ``<model>-<target>`` in the working folder for published weights of ``model``.
    """
    if model is not None:
        return Path(f"{model}-{target}")
    if (bundle.folder.parent / "config.yaml").is_file():
        return bundle.folder.parent / f"export-{target}"
    folder = bundle.folder.resolve()
    return folder.parent / f"{folder.name}-{target}"


def export_manifest(bundle: Bundle, target: str, facts: Mapping[str, Any]) -> Manifest:
    """The manifest of an export: the bundle's own, and ``facts`` of the export."""
    export = {"target": target, "weights_sha256": sha256(bundle.weights_file), **facts}
    return bundle.manifest.replace(kind="export", export=export, versions=versions(), files={})


def _build(
    bundle: Bundle,
    target: str,
    exporter: Exporter,
    photos: Photos,
    folder: Path,
    say: Callable[[str], None],
    *,
    strictly: bool,
) -> tuple[Parity, Answers]:
    """Convert into ``folder``, compare, and complete the folder if the answers agree.

    A narrow miss is judged again in double precision, unless ``strictly`` a tolerance is to be
    kept.
    """
    limit = exporter.timeout
    with temporary_folder() as name, ThreadPoolExecutor(1) as pool:
        # Logs of their own: the export's files must not change between their hashes and the check.
        logs = [Path(name) / "model.log", Path(name) / "engine.log"]
        stop, doubt = threading.Event(), ""
        try:
            proof = proof_photos() if is_provable(bundle) else []
            both = Photos((*photos.paths, *proof), photos.origin)
            # Most of the time goes into starting Paddle: the model answers while the converter
            # works.
            asked = pool.submit(parity.ask_model, bundle, both, logs[0], limit, stop)
            say(f"writing the {target} model")
            facts = exporter.export(bundle, folder)
            write_text(
                folder / LABELS,
                labels_text(bundle.labels),
            )
            manifest = write_manifest(folder, export_manifest(bundle, target, facts))
            model, model_proof = _split(asked.result(), len(photos.paths))
            say(f"comparing its answers on {len(photos.paths)} photos with the trained model's")
            export, export_proof = _split(
                parity.ask_export(folder, both, logs[1], limit), len(photos.paths)
            )
            activate = bundle.probabilities if facts.get("output") == "probabilities" else None
            tolerance, names = exporter.accepted(facts), photos.names()
            result = parity.compare(model.logits, export.logits, names, tolerance, activate)
            if result.is_narrow and not strictly:
                try:
                    exact = parity.ask_model_exactly(bundle, photos, logs[0], limit)
                    result = parity.compare_exactly(
                        exact, model.logits, export.logits, names, tolerance, activate
                    )
                except ExportError as error:
                    # A plugin's layer may know single precision alone: the first answer stands.
                    doubt = str(error)
        finally:
            # who interrupts the command, or whose converter fails, need not wait for the model
            stop.set()
            _append(logs, folder / LOG)
    parity.require_agreement(result, doubt)
    heat = None
    if facts.get("heatmap"):
        say("comparing its heat maps with Paddle's")
        heat = check_heat(
            bundle, folder, photos, folder / LOG, limit, max(TOLERANCE, exporter.accepted(facts))
        )
    if proof:
        on_proof = parity.compare(model_proof, export_proof, proof_names(), tolerance, activate)
        mark = mark_of(manifest, manifest.export or {})
        accepted = max(result.tolerance, _MARGIN * on_proof.max_rel_diff)
        write_proof(folder, Proof.of(manifest, model_proof, accepted, mark))
    report = parity.report(result, manifest, photos, model, export)
    if heat is not None:
        report["heatmap_max_abs_diff"] = heat
    write_json(folder / parity.REPORT, report)
    write_manifest(folder, manifest)
    return result, export


def _split(answers: Answers, count: int) -> tuple[Answers, NDArray[Any]]:
    """The answers for the first ``count`` photos, and the logits of the others."""
    return replace(answers, logits=answers.logits[:count]), answers.logits[count:]


def _check_source(bundle: Bundle) -> None:
    if bundle.manifest.kind == "export":
        raise BundleError(
            f"{bundle.folder} is an export already. Give the run or the bundle that it was made "
            "from."
        )


def check_output(output: Path, overwrite: bool) -> None:
    """Need a name that is free, or an older export's and ``overwrite``.

    Raises:
        ExportError: something else is there.
    """
    clear_leftovers(output.parent)
    if not output.exists() and not output.is_symlink():
        return
    if output.is_dir() and not any(output.iterdir()):
        return
    if not (output / MANIFEST).is_file() or _read_manifest(output).kind != "export":
        raise ExportError(
            f"{output} exists and is no export, so it is not replaced. Choose another folder with "
            "-o."
        )
    if not overwrite:
        raise ExportError(
            f"{output} holds an export already. Replace it with --overwrite, or choose another "
            "folder with -o."
        )


def _read_manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        raise ExportError(
            f"{folder / MANIFEST} is no bundle of this version, so it is not touched."
        ) from error


def _append(logs: Sequence[Path], whole: Path) -> None:
    with open(whole, "ab") as file:
        for log in logs:
            if log.is_file():
                file.write(log.read_bytes())

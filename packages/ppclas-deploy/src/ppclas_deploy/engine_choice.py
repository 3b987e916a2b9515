"""Which engine runs a model here: the one that is asked for, or the fastest that gives the right
answers.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ppclas_core.bundle import Bundle
from ppclas_core.contracts.export import Engine, export_facts
from ppclas_core.errors import BundleError, ExportError, ParityError, PpclasError
from ppclas_core.files import write_json
from ppclas_core.plugins import get_registries
from ppclas_data.loading.loader import available_cpus
from ppclas_engine.console import Console
from ppclas_engine.scoring.predictors import open_engine

from ppclas_deploy import parity
from ppclas_deploy.export import export_bundle
from ppclas_deploy.home import home
from ppclas_deploy.measuring import Measurement, measure_engine
from ppclas_deploy.photos import choose_photos

AUTO = "auto"
PHOTOS = 8
"""Real photos that every engine answers; also the batch that is timed."""
TOLERANCE = 1e-4
"""Largest accepted difference of a logit, as a share of the root mean square of the logits."""
_TARGETS = ("onnx", "paddle")
"""What a bundle is exported to when engines are compared; other targets add files and no speed."""
_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "paddlepaddle",
    "paddlepaddle-gpu",
    "ppclas-deploy",
)


@dataclass(frozen=True)
class Choice:
    """An engine and what it is to load."""

    engine: str
    bundle: Bundle
    """The bundle itself, or an export of it in the cache."""
    reason: str
    """A sentence: why this one."""


def choose(
    bundle: Bundle, engine: str, *, threads: int | None = None, console: Console | None = None
) -> Choice:
    """``engine`` with something that it can run; for ``auto``, the fastest that answers right,
    measured once.

    A run or bundle is exported on the way where the engine needs it, into ``$PPCLAS_HOME/exports``,
    with proof; the next call finds it there. What ``auto`` found is remembered for this model,
    machine, thread count and versions in ``$PPCLAS_HOME/engines.json``.

    Raises:
        UnknownNameError: there is no such engine.
        BundleError: it cannot run this export.
        ExportError: the export fails, or no engine runs the model.
    """
    console = console or Console(quiet=True)
    if engine != AUTO:
        return Choice(engine, runnable(bundle, engine, console), "as asked")
    key = _key(bundle, threads)
    known = _read_choices().get(key)
    if known is not None and known["engine"] in get_registries().engines:
        try:
            found = runnable(bundle, known["engine"], console)
            return Choice(known["engine"], found, f"{known['reason']} (measured {known['date']})")
        except PpclasError as error:
            console.line(
                f"The engine that was fastest cannot be used any more ({error}); measuring again."
            )
    choice = _measure(bundle, threads, console)
    _remember(key, choice)
    return choice


def load_engine(
    bundle: Bundle,
    engine: str | None = None,
    *,
    threads: int | None = None,
    console: Console | None = None,
) -> tuple[Bundle, Engine]:
    """The engine that ``choose`` finds for ``bundle``, loaded, and what it has loaded: ``bundle``
    or an export of it.

    Without a name it is an export's own engine, and Paddle's layers for a run or bundle.

    Raises:
        PpclasError: as ``choose``, or the engine is not installed.
    """
    if engine is None:
        return bundle, open_engine(
            bundle, None if bundle.manifest.kind == "export" else "dygraph", threads
        )
    console = console or Console(quiet=True)
    choice = choose(bundle, engine, threads=threads, console=console)
    if engine == AUTO:
        console.line(f"Engine {choice.engine}: {choice.reason}")
    return choice.bundle, open_engine(choice.bundle, choice.engine, threads)


def runnable(bundle: Bundle, engine: str, console: Console) -> Bundle:
    """What ``engine`` loads to run ``bundle``: itself, or its export in the cache, made now if need
    be.

    Raises:
        UnknownNameError: there is no such engine.
        BundleError: ``bundle`` is an export that the engine cannot read.
        ExportError: the export fails.
    """
    runs = get_registries().engines.entry(engine).metadata.get("runs", ())
    if bundle.manifest.kind == "export":
        facts = export_facts(bundle)
        if facts.get("engine") != engine and facts.get("target") not in runs:
            raise BundleError(
                f"the engine {engine} runs "
                f"{' and '.join(_called(target) for target in runs) or 'its own exports'}; "
                f"{bundle.folder} is an export for {facts.get('target')}. Its own engine is "
                f"{facts.get('engine')}."
            )
        return bundle
    if "bundle" in runs:
        return bundle
    targets = [target for target in runs if target in get_registries().exporters]
    if not targets:
        raise BundleError(
            f"no target writes what the engine {engine} runs ({', '.join(runs) or 'not said'})."
        )
    return cached_export(bundle, "onnx" if "onnx" in targets else targets[0], console)


def cached_export(bundle: Bundle, target: str, console: Console) -> Bundle:
    """The export of ``bundle`` in ``$PPCLAS_HOME/exports``; made and proven now if it is not there
    or damaged.
    """
    folder = home() / "exports" / f"{fingerprint(bundle)[:16]}-{target}"
    if folder.is_dir():
        try:
            return Bundle.load(folder)
        except BundleError as error:
            console.line(f"Exporting again: {error}")
    console.line(f"Exporting to {target} once, into {folder}")
    export_bundle(bundle, target, folder, overwrite=True)
    return Bundle.load(folder)


def readers(threads: int | None, cpus: int | None = None) -> int:
    """How many photos to read at a time beside an engine with ``threads``: on the CPUs that it
    leaves of ``cpus`` (nothing: of this process), 1 to 8.

    Where it takes all, two: they run while it waits.
    """
    cpus = cpus or available_cpus()
    left = cpus - (threads or cpus)
    return min(8, left) if left > 0 else 2


def candidates(bundle: Bundle) -> list[str]:
    """Registered engines that could run ``bundle``."""
    registry = get_registries().engines
    if bundle.manifest.kind == "export":
        facts = export_facts(bundle)
        return [
            name
            for name in registry
            if name == facts.get("engine")
            or facts.get("target") in registry.entry(name).metadata.get("runs", ())
        ]
    wanted = {"bundle", *_TARGETS}
    return [
        name for name in registry if wanted & set(registry.entry(name).metadata.get("runs", ()))
    ]


def _measure(bundle: Bundle, threads: int | None, console: Console) -> Choice:
    """Time every candidate on real photos, and compare its answers with the reference's."""
    photos = choose_photos(bundle, None, PHOTOS)
    reference = export_facts(bundle)["engine"] if bundle.manifest.kind == "export" else "dygraph"
    names = candidates(bundle)
    names.sort(key=lambda name: name != reference)  # what the others are compared with comes first
    console.line(f"Measuring engines on {len(photos.paths)} photos: {', '.join(names)}")
    found: list[tuple[Bundle, Measurement]] = []
    for name in names:
        try:
            ready = runnable(bundle, name, console)
            one = measure_engine(ready, name, photos.paths, batches=[PHOTOS], threads=threads)
        except PpclasError as error:
            console.line(f"  {name}: not used: {error}")
            continue
        console.line(f"  {name}: {_speed(one):.1f} photos/s")
        found.append((ready, one))
    return fastest(found, photos.names(), console)


def fastest(
    found: Sequence[tuple[Bundle, Measurement]], photos: Sequence[str], console: Console
) -> Choice:
    """The fastest of the engines whose logits are those of the first.

    Args:
        found: what each engine loaded and how it did in batches of ``PHOTOS``, the reference first.
        photos: names of the photos that were answered.
        console: where it is said which answers were others.

    Raises:
        ExportError: there is none.
    """
    right: list[tuple[Bundle, Measurement]] = []
    for bundle, one in found:
        try:
            same = parity.compare(found[0][1].logits, one.logits, photos, TOLERANCE)
            why = "" if same.agrees else f"other answers: {same.summary()}"
        except ParityError as error:  # a logit that is not finite, or another number of classes
            why = str(error)
        if why:
            console.line(f"  {one.engine}: not used: {why}")
        else:
            right.append((bundle, one))
    if not right:
        raise ExportError(
            "no engine here runs this model. Run 'ppclas doctor' to see what is missing."
        )
    right.sort(key=lambda each: -_speed(each[1]))
    (bundle, best), *slower = right
    others = ", ".join(f"{one.engine} {_speed(one):.0f}" for _, one in slower)
    reason = f"{_speed(best):.0f} photos/s in batches of {PHOTOS}" + (
        f" ({others})" if others else ""
    )
    return Choice(
        best.engine, bundle, f"{reason}; all give the same answers on {len(photos)} photos"
    )


def _speed(found: Measurement) -> float:
    return found.latencies[PHOTOS].images_per_second


def _called(target: str) -> str:
    return "runs and bundles" if target == "bundle" else f"exports for {target}"


def fingerprint(bundle: Bundle) -> str:
    """SHA-256 of everything that decides about the model's answers."""
    manifest = bundle.manifest.model_dump(mode="json", exclude={"metrics", "versions", "seals"})
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _key(bundle: Bundle, threads: int | None) -> str:
    parts = [
        fingerprint(bundle),
        platform.node(),
        platform.machine(),
        _cpu(),
        str(threads or available_cpus()),
    ]
    parts += [f"{name}={version}" for name in _PACKAGES if (version := _version(name))]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _choices_file() -> Path:
    return home() / "engines.json"


def _read_choices() -> dict[str, Mapping[str, str]]:
    try:
        known = json.loads(_choices_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or cut short: measured again
        return {}
    fields = {"engine", "reason", "date"}
    return {
        key: value
        for key, value in (known.items() if isinstance(known, dict) else ())
        if isinstance(value, dict) and fields <= value.keys()
    }


def _remember(key: str, choice: Choice) -> None:
    entry = {"engine": choice.engine, "reason": choice.reason, "date": time.strftime("%Y-%m-%d")}
    home().mkdir(parents=True, exist_ok=True)
    write_json(_choices_file(), {**_read_choices(), key: entry})

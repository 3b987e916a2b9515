"""Does an export give the trained model's answers? Asked on real photos, each side with its own
preprocessing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import PARITY, Bundle, Manifest
from ppclas_core.errors import ParityError
from ppclas_data.leftovers import temporary_folder

from ppclas_deploy.isolate import bundle_job, run_isolated
from ppclas_deploy.photos import Photos

REPORT = PARITY
Activation = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Logits [N, C] → probabilities."""
_NARROW = 10.0
"""Times the tolerance up to which a miss may be rounding, and double precision is asked."""
_SAME_PRECISION = 2.0
"""Times the trained model's own rounding error that an export's may come to: it adds up in another
order."""
_IMPOSSIBLE = 1e-30
"""Probabilities below this are one: some engines flush the smallest float32 numbers to zero."""


@dataclass(frozen=True)
class Row:
    """One photo."""

    file: str
    reference_top1: int
    """Class index of the trained model's largest logit."""
    export_top1: int
    max_abs_diff: float
    """Largest difference of a logit, or of the logarithm of a probability."""


@dataclass(frozen=True)
class Parity:
    """Differences between two sets of answers [N, C]. "Relative" means divided by the model's
    logits' RMS.
    """

    agrees: bool
    compared: Literal["logits", "log-probabilities"]
    """``log-probabilities`` where the activation is inside the export: its logits, less a constant
    an image."""
    tolerance: float
    """Largest accepted ``max_rel_diff``."""
    max_abs_diff: float
    mean_abs_diff: float
    logits_rms: float
    max_rel_diff: float
    mean_rel_diff: float
    top1_agreement: float
    """Share of photos on which both give the same class, 0..1."""
    images: tuple[Row, ...]
    own_rounding: float | None = None
    """Where the reference is the trained model in double precision: how far from that the model
    itself is in single precision, as ``max_rel_diff`` has it. None: the reference is the model in
    single precision."""

    @property
    def is_narrow(self) -> bool:
        """Whether a miss is so small that the model's own rounding may be the cause."""
        return not self.agrees and self.max_rel_diff <= _NARROW * self.tolerance

    def summary(self) -> str:
        """One line of numbers."""
        same = sum(row.reference_top1 == row.export_top1 for row in self.images)
        what = "logit" if self.compared == "logits" else "log-probability"
        exact = ""
        if self.own_rounding is not None:
            exact = f" from double precision, where the model's own is {self.own_rounding:.2g}"
        return (
            f"largest {what} difference {self.max_abs_diff:.3g}, {self.max_rel_diff:.2g} of the "
            f"logits' RMS {self.logits_rms:.3g}{exact} (tolerance {self.tolerance:.2g}); same "
            f"top-1 on {same} of {len(self.images)} photos"
        )


def compare(
    reference: NDArray[Any],
    exported: NDArray[Any],
    files: Sequence[str],
    tolerance: float,
    activate: Activation | None = None,
) -> Parity:
    """Compare logits [N, C] of the photos ``files``.

    Where the export gives probabilities ``activate`` makes them of the reference's logits, and
    their logarithms are
    compared: an error of a logit shows there undiminished, in unlikely classes as in likely ones.

    They agree when no logit differs by more than ``tolerance`` times the root mean square of the
    reference. A class that then still changes was tied within twice that; ``top1_agreement`` says
    so, it is no condition of its own.

    Raises:
        ParityError: the shapes differ, or a logit is not finite.
    """
    if reference.shape != exported.shape:
        raise ParityError(
            f"the trained model gives logits {list(reference.shape)} for {len(files)} photos and "
            f"the export {list(exported.shape)}."
        )
    for name, logits in (("trained model", reference), ("export", exported)):
        if not np.isfinite(logits).all():
            row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
            raise ParityError(f"the {name} gives a logit that is not finite for {files[row]}.")
    rms = float(np.sqrt(np.mean(reference.astype(np.float64) ** 2)))
    exact, given = reference.astype(np.float64), exported.astype(np.float64)
    if activate is not None:
        exact, given = logarithm(activate(reference.astype(np.float32))), logarithm(exported)
    diff = np.abs(given - exact)
    # Logits that are all zero (a classifier that was never trained) have no scale; absolute
    # differences count then.
    scale = rms or 1.0
    largest, mean = diff.max().item(), diff.mean().item()
    rows = tuple(
        Row(file, int(a), int(b), d)
        for file, a, b, d in zip(
            files,
            reference.argmax(axis=1).tolist(),
            exported.argmax(axis=1).tolist(),
            diff.max(axis=1).tolist(),
            strict=True,
        )
    )
    return Parity(
        agrees=largest <= tolerance * scale,
        compared="logits" if activate is None else "log-probabilities",
        tolerance=tolerance,
        max_abs_diff=largest,
        mean_abs_diff=mean,
        logits_rms=rms,
        max_rel_diff=largest / scale,
        mean_rel_diff=mean / scale,
        top1_agreement=sum(row.reference_top1 == row.export_top1 for row in rows) / len(rows),
        images=rows,
    )


def compare_exactly(
    exact: NDArray[np.float64],
    model: NDArray[np.float32],
    exported: NDArray[np.float32],
    files: Sequence[str],
    tolerance: float,
    activate: Activation | None = None,
) -> Parity:
    """Compare with the trained model in double precision: logits [N, C] ``exact``.

    The export may be as far from it as ``tolerance`` allows, or twice as far as the model in single
    precision is: in an ill-conditioned network (weights that were never trained, mostly) both are
    far from it, each in a way of its own.
    """
    own = compare(exact, model, files, tolerance).max_rel_diff
    accepted = max(tolerance, _SAME_PRECISION * own)
    return replace(compare(exact, exported, files, accepted, activate), own_rounding=own)


def logarithm(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Natural logarithm; what float32 cannot tell from impossible counts as that."""
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), _IMPOSSIBLE)))


@dataclass(frozen=True)
class Answers:
    """Logits [N, C] of photos (probabilities where an export gives those), and the versions of what
    computed them.
    """

    logits: NDArray[Any]
    versions: Mapping[str, str]


def ask_model(
    source: Bundle, photos: Photos, log: Path, timeout: float, stop: threading.Event | None = None
) -> Answers:
    """The trained model's answers, in Paddle on the CPU, by the source's preprocessing; ``stop``
    ends it.

    Raises:
        ExportError: it crashed or took longer than ``timeout`` seconds; the message has its last
            words.
    """
    return _ask("reference", {"bundle": bundle_job(source)}, photos, log, timeout, stop)


def ask_model_exactly(
    source: Bundle, photos: Photos, log: Path, timeout: float
) -> NDArray[np.float64]:
    """The trained model's logits [N, C], computed in double precision from the same pixels.

    Raises:
        ExportError: as ``ask_model``; layers of a plugin may know single precision alone.
    """
    job = {"bundle": bundle_job(source), "dtype": "float64"}
    return np.asarray(_ask("reference", job, photos, log, timeout).logits, np.float64)


def ask_export(folder: Path, photos: Photos, log: Path, timeout: float) -> Answers:
    """The answers of the export in ``folder``, in its own engine, by the preprocessing that its
    ``bundle.json`` says.

    Raises:
        ExportError: it crashed or took longer than ``timeout`` seconds; the message has its last
            words.
    """
    return _ask("engine", {"folder": str(folder.resolve())}, photos, log, timeout)


def report(
    parity: Parity, manifest: Manifest, photos: Photos, model: Answers, export: Answers
) -> dict[str, Any]:
    """The content of ``parity.json``."""
    facts = manifest.export or {}
    return {
        "verdict": "agrees" if parity.agrees else "differs",
        "meaning": manifest.meaning(),
        "target": facts.get("target"),
        "engine": facts.get("verified_with", facts.get("engine")),
        "verified": facts.get("verified", "the exported files, in their own engine"),
        "versions": {"engine": dict(export.versions), "reference": dict(model.versions)},
        "photos": {"origin": photos.origin, "count": len(photos.paths)},
        "files": {name: entry.sha256 for name, entry in manifest.files.items()},
        **{key: value for key, value in asdict(parity).items() if key != "agrees"},
    }


def require_agreement(parity: Parity, doubt: str = "") -> None:
    """Raise if the answers differ; ``doubt`` is why a narrow miss could not be judged in double
    precision.

    Raises:
        ParityError: they do; the message has the numbers and the photo that differs most.
    """
    if not parity.agrees:
        worst = max(parity.images, key=lambda row: row.max_abs_diff)
        hint = (
            f" It is a narrow miss: --option tolerance={_NARROW * parity.tolerance:.1g} accepts it."
        )
        why = f" (In double precision: {doubt})" if doubt else ""
        raise ParityError(
            f"the export does not give the trained model's answers: {parity.summary()}; worst on "
            f"{worst.file}.{hint if parity.is_narrow else ''}{why}"
        )


def _ask(
    step: str,
    job: dict[str, Any],
    photos: Photos,
    log: Path,
    timeout: float,
    stop: threading.Event | None = None,
) -> Answers:
    with temporary_folder() as work:
        logits = Path(work) / "logits.npy"
        asked = {
            **job,
            "photos": [str(path.resolve()) for path in photos.paths],
            "logits": str(logits),
        }
        versions = run_isolated(step, asked, log, timeout, stop=stop)
        return Answers(np.load(logits, allow_pickle=False), versions)

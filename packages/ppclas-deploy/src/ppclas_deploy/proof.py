"""What the trained model answers to the built-in photos: kept in every export, so that whoever runs
it, anywhere, can ask the same questions again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle, Manifest
from ppclas_core.errors import BundleError
from ppclas_data.builtin import builtin_photos
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_data.sources.photo_files import image_files

PROOF = "proof.safetensors"
"""Name of the file, in the export's folder."""
_COUNT = 8


@dataclass(frozen=True)
class Proof:
    """The trained model's answers, and how they were to be named."""

    photos: tuple[str, ...]
    """Folder and file of each built-in photo."""
    logits: NDArray[np.float32]
    """[photos, classes]."""
    labels: tuple[str, ...]
    activation: str
    preprocessing: Mapping[str, Any]
    """As ``bundle.json`` has it."""
    tolerance: float
    """Largest accepted difference of a logit, as a share of the root mean square of the logits."""
    mark: str = ""
    """Of the export that it stands in."""

    @classmethod
    def of(
        cls, manifest: Manifest, logits: NDArray[Any], tolerance: float, mark: str = ""
    ) -> Proof:
        """For the model of ``manifest``, which gives ``logits`` [N, C] for ``proof_photos``."""
        return cls(
            photos=tuple(proof_names()),
            logits=np.asarray(logits, np.float32),
            labels=manifest.labels,
            activation=manifest.activation,
            preprocessing=manifest.preprocessing.model_dump(mode="json"),
            tolerance=tolerance,
            mark=mark,
        )


def is_provable(bundle: Bundle) -> bool:
    """Whether the model takes photos: one of pictures with five bands has no use for them."""
    return bundle_pipeline(bundle).channels == 3


def proof_photos() -> list[Path]:
    """Eight of the photos that come with ppclas-data, spread over their kinds."""
    files = image_files(builtin_photos() / "val")
    return [Path(files[len(files) * part // _COUNT]) for part in range(_COUNT)]


def proof_names() -> list[str]:
    """Folder and file of each, without where they lie on this machine."""
    return [f"{path.parent.name}/{path.name}" for path in proof_photos()]


def write_proof(folder: Path, proof: Proof) -> None:
    """Write ``proof`` beside the export's files."""
    from safetensors.numpy import save

    facts = {
        "photos": proof.photos,
        "labels": proof.labels,
        "activation": proof.activation,
        "preprocessing": proof.preprocessing,
        "tolerance": proof.tolerance,
        "mark": proof.mark,
    }
    content = save(
        {"logits": np.ascontiguousarray(proof.logits)},
        metadata={"proof": json.dumps(facts, ensure_ascii=False)},
    )
    (folder / PROOF).write_bytes(content)


def read_proof(bundle: Bundle) -> Proof | None:
    """The proof in an export; None where there is none (an INT8 export, an older one, a bundle).

    Raises:
        BundleError: it cannot be read, or is about other photos than the installed ones.
    """
    if PROOF not in bundle.manifest.files:
        return None
    file = bundle.folder / PROOF
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as content:
            logits = content.get_tensor("logits")
            facts = json.loads((content.metadata() or {})["proof"])
        proof = Proof(
            photos=tuple(facts["photos"]),
            logits=logits,
            labels=tuple(facts["labels"]),
            activation=facts["activation"],
            preprocessing=dict(facts["preprocessing"]),
            tolerance=float(facts["tolerance"]),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{file} cannot be read ({error}). Export the model again.") from error
    if logits.shape != (len(proof.photos), len(proof.labels)):
        raise BundleError(
            f"{file} has logits {list(logits.shape)} for {len(proof.photos)} photos and "
            f"{len(proof.labels)} classes. Export the model again."
        )
    if proof.photos != tuple(proof_names()):
        raise BundleError(
            f"{file} is about other photos than this ppclas-data has. Export the model again."
        )
    return proof


def first_difference(expected: Sequence[str], got: Sequence[str]) -> str:
    """Where two lists of class names part, for a message; empty where they are the same."""
    if tuple(expected) == tuple(got):
        return ""
    if len(expected) != len(got):
        return f"{len(got)} class names where the proof has {len(expected)}"
    index = next(i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b)
    return f"class {index} is {got[index]!r} where the proof has {expected[index]!r}"

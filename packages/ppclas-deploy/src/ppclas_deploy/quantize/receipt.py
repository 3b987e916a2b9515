"""What quantisation came to, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from ppclas_deploy.quantize.judge import Measure, Verdict
from ppclas_deploy.quantize.ptq import Sensitivity

RECEIPT = "quantization.json"


@dataclass(frozen=True)
class PhotoCount:
    """Where photos came from, and how many could be read."""

    origin: str
    count: int


@dataclass(frozen=True)
class Receipt:
    """What quantisation came to."""

    folder: Path
    method: Literal["ptq", "qat"]
    calibrated_on: PhotoCount
    judged_by: PhotoCount
    labelled: bool
    """Whether the photos judged by have labels; if not, accuracies are agreement with the float
    network."""
    measure: Measure
    """What accuracies are."""
    float_accuracy: float
    """Share of right answers of the float network, 0..1; 1 where there are no labels."""
    verdict: Verdict
    stay_float: tuple[str, ...]
    tried: tuple[tuple[int, float], ...]
    """Every network that was judged: (layers left float, accuracy); of ``qat`` before and after
    training."""
    sensitivities: tuple[Sensitivity, ...]
    """Most sensitive first."""
    sizes: tuple[int, int]
    """Bytes of the float and of the INT8 model."""
    latencies: Mapping[int, tuple[float, float]]
    """Batch → median milliseconds of the float and of the INT8 model, measured in turns."""
    weight_bits: int
    threads: int | None
    versions: Mapping[str, str]
    seconds: float

    def speedup(self, batch: int) -> float:
        """How many times faster than the float model; below 1: slower."""
        before, after = self.latencies[batch]
        return before / after


def report(receipt: Receipt) -> dict[str, Any]:
    """The content of ``quantization.json``."""
    before, after = receipt.sizes
    calibrated, judged = receipt.calibrated_on, receipt.judged_by
    return {
        "method": receipt.method,
        "photos": {
            "calibrated_on": {"origin": calibrated.origin, "count": calibrated.count},
            "judged_by": {"origin": judged.origin, "count": judged.count},
            "labelled": receipt.labelled,
        },
        "measure": receipt.measure,
        "accuracy": {"float": receipt.float_accuracy, "int8": receipt.verdict.accuracy},
        "drop": receipt.float_accuracy - receipt.verdict.accuracy,
        "agreement": receipt.verdict.agreement,
        "lost": receipt.verdict.lost,
        "won": receipt.verdict.won,
        "bytes": {"float": before, "int8": after, "ratio": after / before},
        "latency_ms": {
            str(batch): {"float": slow, "int8": fast, "speedup": receipt.speedup(batch)}
            for batch, (slow, fast) in receipt.latencies.items()
        },
        "threads": receipt.threads,
        "weight_bits": receipt.weight_bits,
        "layers": len(receipt.sensitivities),
        "stay_float": list(receipt.stay_float),
        "judged": [
            {"float_layers": count, "accuracy": accuracy} for count, accuracy in receipt.tried
        ],
        "versions": dict(receipt.versions),
        "seconds": round(receipt.seconds, 1),
    }


def to_plain(receipt: Receipt) -> dict[str, Any]:
    """As JSON values."""
    plain: dict[str, Any] = TypeAdapter(Receipt).dump_python(receipt, mode="json")
    return plain


def from_plain(values: Mapping[str, Any]) -> Receipt:
    """What ``to_plain`` made."""
    return TypeAdapter(Receipt).validate_python(dict(values))

"""Post-training quantisation under an accuracy guard: layers that hurt stay float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ppclas_core.errors import ExportError

from ppclas_deploy.quantize.judge import Judge, Verdict, relative_error
from ppclas_deploy.quantize.network import FloatNetwork, Node

PHOTOS_A_LAYER = 32


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to quantise one node and nothing else."""

    node: Node
    error: float
    """Root mean square of the change of the logits, as a share of their own."""
    agreement: float
    """Share of photos whose answer stays the same, 0..1."""


@dataclass(frozen=True)
class Quantized:
    """An INT8 network that holds the guard."""

    model: Any
    verdict: Verdict
    stay_float: tuple[str, ...]
    """Names of nodes left as they were, the most sensitive first."""
    tried: tuple[tuple[int, float], ...]
    """Every network that was judged: (nodes left float, accuracy)."""


def sensitivities(
    network: FloatNetwork, judge: Judge, on_node: Callable[[], None] = lambda: None
) -> list[Sensitivity]:
    """Quantise one node at a time; the most sensitive first."""
    places = judge.places(PHOTOS_A_LAYER)
    reference = judge.reference[places]
    found = []
    for node in network.nodes():
        logits = judge.logits(network.quantized(only=[node.name]), PHOTOS_A_LAYER)
        found.append(
            Sensitivity(node, relative_error(logits, reference), judge.agreement(logits, reference))
        )
        on_node()
    return sorted(found, key=lambda one: -one.error)


def quantize_guarded(
    network: FloatNetwork,
    judge: Judge,
    order: Sequence[str],
    guard: float,
    on_try: Callable[[int, Verdict], None] = lambda *_: None,
) -> Quantized:
    """The network with the fewest of ``order`` (most sensitive first) left float that loses at most
    ``guard``.

    Their number is doubled until the guard holds, then bisected: accuracy is taken to grow with it.

    Raises:
        ExportError: not even a single node can be quantised within the guard.
    """
    tried: dict[int, tuple[Any, Verdict]] = {}

    def holds(count: int) -> bool:
        model = network.quantized(stay_float=order[:count])
        verdict = judge.judge(model)
        tried[count] = (model, verdict)
        on_try(count, verdict)
        return judge.float_accuracy - verdict.accuracy <= guard + 1e-9

    low, high = -1, 0
    while not holds(high):
        low, high = high, min(max(1, 2 * high), len(order))
        if low == high:
            raise ExportError(
                f"no INT8 network holds the guard of {guard:.2%}: with all of {len(order)} layers "
                f"float but what moves data, {tried[high][1].accuracy:.2%} is left of "
                f"{judge.float_accuracy:.2%}. Widen it with --guard, calibrate on more photos "
                "(--calibrate, --num-photos), or train it in: --method qat"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    model, verdict = tried[high]
    judged = tuple((count, verdict.accuracy) for count, (_, verdict) in tried.items())
    return Quantized(model, verdict, tuple(order[:high]), judged)

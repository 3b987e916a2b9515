"""``ppclas models suggest``: three models within limits, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from ppclas_core.errors import DataError
from ppclas_core.plugins import get_registries

from ppclas_cli import output
from ppclas_cli.commands.models.catalogue import Limits, Model, latencies, model_of
from ppclas_cli.commands.models.listing import LATENCY_OPTION

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

_CLOSE = 0.02
"""Top-1 that the second suggestion may lose for less computing; the third twice as much."""


@dataclass(frozen=True)
class Suggestion:
    """A model, and what speaks for it."""

    model: Model
    reason: str


@click.command("suggest")
@click.option(
    "--latency-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="At most so many milliseconds for one image, by --latency.",
)
@LATENCY_OPTION
@click.option(
    "--size-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    help="At most so many megabytes of float32 weights.",
)
@click.option(
    "--flops-g",
    type=click.FloatRange(min=0, min_open=True),
    metavar="G",
    help="At most so many 10⁹ operations; a multiply-add counts as two.",
)
@click.option(
    "--licence", metavar="TEXT", help="Weights under a licence that has TEXT in its name."
)
@click.option(
    "--task",
    type=click.Choice(["classification", "multilabel"]),
    default="classification",
    show_default=True,
    help="What it will be trained for: the command to start with is printed.",
)
@click.option("--here", is_flag=True, help="Only models whose weights are on this machine.")
@output.JSON_OPTION
def suggest_command(
    latency_ms: float | None,
    table: str | None,
    size_mb: float | None,
    flops_g: float | None,
    licence: str | None,
    task: str,
    here: bool,
    as_json: bool,
) -> None:
    """Name three models with published weights that keep the limits, and say why.

    The first is the most accurate on ImageNet; the second loses up to 2 points of that for much
    less computing; the third, of another family, loses up to 4 for the fewest parameters.

    \b
    Examples:
      ppclas models suggest --size-mb 20
      ppclas models suggest --latency-ms 2 --latency t4_fp16
      ppclas models suggest --latency-ms 30 --latency measured.csv --licence apache
    """
    registry = get_registries().models
    speed = latencies(registry, table) if table or latency_ms is not None else None
    known = None if speed is None else speed.milliseconds
    models = [model_of(registry.entry(name), known) for name in registry]
    if speed is not None:
        count = sum(model.latency_ms is not None for model in models)
        output.note(
            f"latency: {speed.title}, which {count} of {len(models)} models have; others are left "
            "out. To measure yours: ppclas benchmark NAME... --batch 1 --csv measured.csv"
        )
    limits = Limits(
        max_params_m=None if size_mb is None else size_mb / 4,
        max_flops_g=flops_g,
        max_latency_ms=latency_ms,
        licence=licence,
        here=here,
    )
    fitting = candidates(models, limits)
    if not fitting:
        raise DataError(_none_fits(models, limits))
    found = suggest(fitting)
    command = _command(registry, found[0].model.name, task)
    if as_json:
        rows = [
            {
                "name": each.model.name,
                "reason": each.reason,
                "top1": each.model.top1,
                "size_mb": each.model.size_mb,
                "flops_g": each.model.flops_g,
                "latency_ms": each.model.latency_ms,
                "licence": each.model.licence,
                "weights_here": each.model.here,
            }
            for each in found
        ]
        output.print_json({"suggestions": rows, "fitting": len(fitting), "command": command})
        return
    for number, each in enumerate(found, 1):
        output.say(click.style(f"{number}. {each.model.name}", bold=True))
        output.say(f"   {_costs(each.model)}")
        output.say(f"   {each.reason}")
    output.note(f"{len(fitting)} of {len(models)} models keep the limits")
    click.echo(f"Start with:\n  {command}")


def candidates(models: Sequence[Model], limits: Limits) -> list[Model]:
    """Those within ``limits`` that have published weights and an accuracy, best first."""
    fitting = [
        model
        for model in models
        if model.top1 is not None
        and model.params_m is not None
        and (model.published or model.here)
        and limits.passes(model)
    ]
    return sorted(fitting, key=lambda model: (-(model.top1 or 0), model.params_m))


def suggest(fitting: Sequence[Model]) -> list[Suggestion]:
    """Up to three of ``fitting``, which is sorted by accuracy."""
    best = fitting[0]
    found = [Suggestion(best, f"The most accurate of the {len(fitting)} that fit.")]
    close = [
        model for model in fitting[1:] if _lost(best, model) <= _CLOSE and _cheaper(model, best)
    ]
    if close:
        cheap = min(close, key=_cost)
        found.append(Suggestion(cheap, f"{_than(cheap, best)} for {_share(cheap, best)}."))
    taken = {each.model.series for each in found}
    small = [
        model
        for model in fitting
        if model.series not in taken
        and _lost(best, model) <= 2 * _CLOSE
        and (model.params_m or 0) < min(each.model.params_m or 0 for each in found)
    ]
    if small:
        least = min(small, key=lambda model: model.params_m or 0)
        reason = f"{_than(least, best)} for {_ratio(least.params_m, best.params_m)} of the weights."
        found.append(Suggestion(least, reason))
    others = [model for model in fitting if all(model.name != each.model.name for each in found)]
    others.sort(key=lambda model: model.series in {each.model.series for each in found})
    for model in others[: 3 - len(found)]:
        again = any(model.series == each.model.series for each in found)
        which = "The next most accurate" if again else "The most accurate of another family"
        found.append(Suggestion(model, f"{which}: {_than(model, best).lower()}."))
    return found


def _cost(model: Model) -> float:
    """What a run takes: the measured time where all have one, else operations."""
    if model.latency_ms is not None:
        return model.latency_ms
    return model.flops_g if model.flops_g is not None else float("inf")


def _cheaper(model: Model, than: Model) -> bool:
    return _cost(model) < 0.7 * _cost(than)


def _lost(best: Model, model: Model) -> float:
    return (best.top1 or 0) - (model.top1 or 0)


def _than(model: Model, best: Model) -> str:
    points = 100 * _lost(best, model)
    return f"{points:.1f} points below the first" if points >= 0.05 else "As accurate as the first"


def _share(model: Model, than: Model) -> str:
    if model.latency_ms is not None:
        return f"{_ratio(model.latency_ms, than.latency_ms)} of its time"
    return f"{_ratio(model.flops_g, than.flops_g)} of its operations"


def _ratio(value: float | None, of: float | None) -> str:
    return f"{(value or 0) / (of or 1):.0%}"


def _costs(model: Model) -> str:
    parts = [f"{100 * (model.top1 or 0):.2f}% top-1", f"{model.size_mb:.3g} MB"]
    if model.flops_g is not None:
        parts.append(f"{model.flops_g:.3g} GFLOPs")
    if model.latency_ms is not None:
        parts.append(f"{model.latency_ms:.3g} ms")
    parts.append(model.licence or "licence not known")
    parts.append("weights here" if model.here else "weights to fetch")
    return ", ".join(parts)


def _command(registry: Registry, name: str, task: str) -> str:
    if task == "multilabel":
        return f"ppclas train labels.csv --model {name} -o data.task=multilabel"
    return f"ppclas train photos/ --model {name}"


def _none_fits(models: Sequence[Model], limits: Limits) -> str:
    """What the limit is that rules out most, and what would do."""
    every = candidates(models, Limits())
    if limits.max_params_m is not None:
        least = min(every, key=lambda model: model.params_m or 0)
        if (least.params_m or 0) > limits.max_params_m:
            return (
                f"No model has weights of at most {4 * limits.max_params_m:g} MB; the smallest is "
                f"{least.name} with {least.size_mb:.3g} MB."
            )
    timed = [model for model in every if model.latency_ms is not None]
    if limits.max_latency_ms is not None and timed:
        least = min(timed, key=_cost)
        if _cost(least) > limits.max_latency_ms:
            return (
                f"No model takes at most {limits.max_latency_ms:g} ms; the fastest is {least.name} "
                f"with {_cost(least):.3g} ms."
            )
    return (
        f"None of {len(every)} models with published weights and accuracy keeps all of these "
        "limits. Leave one out, or look at them with: ppclas models list --sort top1"
    )

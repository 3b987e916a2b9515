"""What a person sees before and after a training: the settings, the time, the result."""

from __future__ import annotations

import re
import shlex
import time
import unicodedata
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_cli.next_steps import next_steps
from ppclas_cli.output import FEW

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_engine.console import Console
    from ppclas_engine.loop.train import RunResult
    from ppclas_engine.planning.plan import Plan

_SAID = re.compile(
    r"(Training|Validation) set: |Class names come from |\d+ training and \d+ validation photos |"
    r"\S+ starts from the published |image size \d|evaluation resizes |training crops cover |"
    r"training photos also change |"
    r"\d+ images per step$|\d+ worker process|JPEGs are decoded |\d+ epochs for |"
    r"learning rate \S+ for \w+ at |the learning rate warms |the backbone learns |"
    r"early stages, |labels are smoothed |"
    r"training on the CPU|batch norms"
)
"""Notes of a plan that the settings say, or that matter to few: ``--verbose`` has them."""
_TRIED = 4
"""Photos of the steps that the time is measured by."""


def print_plan(plan: Plan, console: Console, *, verbose: bool, estimate: bool) -> None:
    """The settings of a training, the most important first; warnings and what else was noted."""
    settings = _settings(plan)
    if estimate or console.is_terminal:
        seconds = estimated_seconds(plan)
        if seconds is not None:
            settings["time"] = f"about {spoken(seconds)} on this machine"
    width = max(map(len, settings))
    for title, value in settings.items():
        console.line(f"  {title:<{width}}  {value}")
    for note in plan.notes:
        if note.startswith("warning: "):
            console.warn(note.removeprefix("warning: "))
        elif verbose or not _SAID.match(note):
            console.line(f"  {note}")
    if not verbose and console.is_terminal:
        console.line("  --verbose says all that was inferred, and why")


def _settings(plan: Plan) -> dict[str, str]:
    config = plan.config
    data, optimizer, schedule = config.data, config.optimizer, config.schedule
    height, width = (
        data.image_size if isinstance(data.image_size, tuple) else (data.image_size,) * 2
    )
    weights = f"weights {plan.weights.name}" if plan.weights is not None else "random weights"
    stages = ["early stages" if stage == "early" else stage for stage in config.train.freeze]
    frozen = f", {' and '.join(stages)} frozen" if stages else ""
    step = plan.images_per_step
    return {
        "model": f"{config.model.name}, {weights}, {height}x{width} pixels{frozen}",
        "data": f"{len(plan.train)} training and {len(plan.val)} validation photos in "
        f"{len(plan.train.class_names)} classes, {plan.train.origin}",
        "schedule": f"{config.train.epochs} epoch{'s' * (config.train.epochs != 1)}, {step} images "
        f"per step, {optimizer.name}, learning rate {schedule.params.get('lr', 0):g}, weight decay "
        f"{optimizer.weight_decay:g}, on {str(config.train.device).upper()}",
    }


def spoken(seconds: float) -> str:
    """A time as people say it: two digits at most are known.

    >>> [spoken(value) for value in (3, 80, 300, 9000, 400_000)]
    ['5 seconds', '80 seconds', '5 minutes', '2.5 hours', '4.6 days']
    """
    if seconds < 100:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    for size, unit in ((86400, "days"), (3600, "hours")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{round(seconds / 60)} minutes"


def estimated_seconds(plan: Plan) -> float | None:
    """How long a training takes, by a step on a few of its photos; None where several devices or
    another model than this one take part, or a step cannot be made.
    """
    config = plan.config
    if config.train.devices is not None or config.objective.name != "Supervised":
        return None
    import paddle
    from ppclas_components.optimizing import expand_stages
    from ppclas_core.errors import PpclasError
    from ppclas_core.models import create_model

    try:
        reading = _reading_seconds(plan)
        # Parameters of this model leave no trace in the names of the real one's.
        with paddle.utils.unique_name.guard():
            classes = len(plan.train.class_names)
            model = create_model(config.model.name, num_classes=classes, **config.model.params)
            model.freeze(expand_stages(model, config.train.freeze))
            learning, asking = _step_seconds(model, plan)
    except (PpclasError, OSError, RuntimeError, ValueError):  # training says what is wrong
        return None
    assert config.train.epochs is not None
    epochs, train, val = config.train.epochs, len(plan.train), len(plan.val)
    learning, asking = max(learning, reading), max(asking, reading)
    first = (train + val) * asking if plan.weights is not None else 0.0
    return first + epochs * (train * learning + val * asking / config.train.eval_every)


def _reading_seconds(plan: Plan) -> float:
    """For each photo, by all workers together."""
    from ppclas_core.contracts.data import sample_draw
    from ppclas_data.loading.pipeline import Pipeline, build_transforms

    pipeline = Pipeline(build_transforms(plan.config.data.train_transforms or ()))
    began = time.perf_counter()
    for index in range(min(_TRIED, len(plan.train))):
        pipeline(plan.train.read(index), sample_draw(0, 0, index), plan.train.records[index].where)
    return (time.perf_counter() - began) / _TRIED / max(1, plan.config.data.workers or 1)


def _step_seconds(model: Any, plan: Plan) -> tuple[float, float]:
    """For each photo: of a step with its gradients, and of an answer."""
    import paddle
    from ppclas_core.contracts.training import split_outputs

    size = plan.config.data.image_size
    assert size is not None
    height, width = size if isinstance(size, tuple) else (size, size)
    images = paddle.zeros([_TRIED, model.config.in_channels, height, width])
    times = []
    for learns in (True, True, True, False):  # the first one pays for much that comes once
        began = time.perf_counter()
        model.train() if learns else model.eval()
        with paddle.set_grad_enabled(learns):
            loss = split_outputs(model(images))[0].mean()
            if learns:
                loss.backward()
        loss.item()
        times.append((time.perf_counter() - began) / _TRIED)
    return min(times[1:3]), times[3]


def print_result(result: RunResult | None, test_data: str | None = None) -> None:
    """What the best epoch reached, what a held-out set says of it, and what to do next."""
    if result is None:
        return
    from ppclas_core.bundle import Bundle
    from ppclas_engine.console import Console

    best, run = result.best, result.run.path
    bundle = Bundle.load(run)
    console = Console()
    console.line()
    fitted = "" if best["epoch"] else " (the fitted classifier)"
    console.line(
        f"Best epoch {best['epoch']}{fitted}: {_numbers(best, len(bundle.labels))} on "
        f"{best['num_images']} validation photos."
    )
    if test_data is not None:
        _print_test(bundle, run, test_data, console)
    missing = about_fonts(bundle.labels)
    if missing:
        console.warn(missing)
    add_heat_maps(run, bundle)
    console.line(
        f"Everything is in {run}: bundle/, report.html, metrics.csv, per_class.csv, "
        "predictions.csv, log.txt"
    )
    for line in next_steps(result):
        console.line(line)


def add_heat_maps(folder: Path, bundle: Bundle) -> None:
    """Show in a report what the model looked at, where the package for that is installed."""
    if find_spec("ppclas_search") is not None:
        from ppclas_search.heat import mistakes

        mistakes.add_heat_maps(folder, bundle)


def _numbers(metrics: Mapping[str, Any], classes: int) -> str:
    from ppclas_engine.scoring.monitor import format_metric

    shown = ["top1", *(["top5"] if classes > FEW else []), "map", "macro_f1", "auroc", "loss"]
    if "top1" in metrics:
        shown = [name for name in shown if name in ("top1", "top5", "loss")]
    return ", ".join(format_metric(name, metrics[name]) for name in shown if name in metrics)


def _print_test(bundle: Bundle, run: Path, test_data: str, console: Console) -> None:
    """Measure photos that no epoch was chosen by; the report of it goes into the run."""
    from ppclas_engine.results.score import evaluate_bundle, plan_scoring, report_scoring

    scoring = plan_scoring(bundle, None, test_data)
    evaluation = evaluate_bundle(bundle, scoring, console)
    numbers = _numbers(evaluation.metrics, len(bundle.labels))
    console.line(f"Test: {numbers} on {evaluation.num_images} photos of {test_data}.")
    line = shlex.join(["ppclas", "eval", str(run), "--data", test_data])
    report_scoring(run / "test", bundle, evaluation, scoring, str(run), line)
    add_heat_maps(run / "test", bundle)
    console.line(f"  its report: {run / 'test' / 'report.html'}")


def about_fonts(names: Iterable[str]) -> str:
    """A line on what pictures cannot show of ``names``, and which fonts would; empty: all shown."""
    text = "".join(names)
    if text.isascii():
        return ""
    from ppclas_engine.results.fonts import lacking

    signs = sorted(lacking(text))
    if not signs:
        return ""
    fonts = sorted({_font_for(sign) for sign in signs})
    return (
        f"no font of this system draws {' '.join(signs[:5])}{' …' if len(signs) > 5 else ''} in "
        f"pictures. Install {' and '.join(fonts)}. Until then emoji are written as words, and "
        "others are boxes"
    )


def _font_for(sign: str) -> str:
    if unicodedata.category(sign) == "So":
        return "Noto Emoji (the one without colour)"
    script = unicodedata.name(sign, "").partition(" ")[0].capitalize()
    return f"Noto Sans {'CJK' if script in ('Cjk', 'Hiragana', 'Katakana', 'Hangul') else script}"

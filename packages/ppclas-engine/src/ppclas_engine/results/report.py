"""``report.html``: everything about a run or an evaluation on one page that needs no network.

What the page looks like is in ``report.html.j2``, with its styles and script; here is what it says.
"""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ppclas_components.metrics import wilson
from ppclas_core.bundle import Bundle, versions
from ppclas_core.contracts.data import ImageSet
from ppclas_core.files import write_text
from ppclas_data.inspection.thumbnails import data_uri, jpeg_uri, thumbnail
from ppclas_data.loading.loader import available_cpus

from ppclas_engine.profile import cost_facts
from ppclas_engine.results.advice import advice
from ppclas_engine.results.pictures import (
    MATRIX_CLASSES,
    about,
    draw_confusion,
    draw_curves,
    draw_mistakes,
    draw_reliability,
    top_confusions,
)
from ppclas_engine.results.tables import Answer, Tables
from ppclas_engine.scoring.evaluate import Evaluation
from ppclas_engine.scoring.monitor import TITLES, format_metric

if TYPE_CHECKING:
    from ppclas_engine.planning.plan import Plan
    from ppclas_engine.runs.run import RunFolder

NAME = "report.html"
_TEMPLATE = "report.html.j2"
_LAST = ("loss", "ece")
"""Metrics that come after all others."""
_ROWS = 2_000
"""Of the table of classes: with 100,000 the page would be 24 MB, and no browser's to scroll."""
_CLASS_TITLES = {"images": "photos", "average_precision": "average precision", "auroc": "AUROC"}
"""Headings of ``per_class.csv`` that are not the name of the column."""
_SHARES = ("precision", "recall", "f1", "average_precision", "auroc")
"""Its columns in 0..1, which the page has in per cent."""


@dataclass(frozen=True)
class Page:
    """What a report says beside the tables and pictures."""

    title: str
    subtitle: str
    metrics: Mapping[str, float]
    commands: Sequence[tuple[str, str]]
    """What for, and the shell line."""
    facts: Mapping[str, Mapping[str, str]]
    """Title of a table → name → value."""
    history: Sequence[Mapping[str, Any]] = ()
    """Rows of ``metrics.jsonl``."""
    best_epoch: int | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Title → text to unfold: the config, the notes."""
    advice: Sequence[tuple[str, str]] = ()
    """What the curves say, and the shell line to try next."""


def write_report(folder: Path, page: Page, tables: Tables, images: ImageSet) -> None:
    """Draw the pictures of an evaluation of ``images`` into ``folder`` and write the page."""
    several = tables.confusion is None
    if page.history:
        draw_curves(page.history, folder / "curves.png", page.best_epoch)
    if tables.confusion is not None:
        draw_confusion(tables.confusion, tables.class_names, folder / "confusion.png")
    draw_reliability(tables.reliability, folder / "reliability.png", several=several)
    worst = draw_mistakes(tables.answers, images.read, folder / "mistakes.png", several=several)
    write_text(folder / NAME, render(folder, page, tables, images, worst))


def render(
    folder: Path, page: Page, tables: Tables, images: ImageSet, worst: Sequence[Answer]
) -> str:
    """The page as HTML, by ``report.html.j2``; pictures come from ``folder``."""
    several = tables.confusion is None
    history_columns = dict.fromkeys(key for row in page.history for key in row)
    right, total = sum(answer.right for answer in tables.answers), len(tables.answers)
    confusions = None
    if tables.confusion is not None and len(tables.class_names) > MATRIX_CLASSES:
        confusions = top_confusions(tables.confusion, tables.class_names, 50)
    shown = {
        "title": page.title,
        "subtitle": page.subtitle,
        "tiles": [
            {"value": format_metric(key, value).rpartition(" ")[2], "title": TITLES.get(key, key)}
            # What people ask for first.
            for key, value in sorted(page.metrics.items(), key=lambda item: item[0] in _LAST)
        ],
        "several": several,
        "right": [right, total, *(100 * share for share in wilson(right, total))],
        "advice": [{"purpose": purpose, "line": line} for purpose, line in page.advice],
        "commands": [{"purpose": purpose, "line": line} for purpose, line in page.commands],
        "curves": _picture(folder / "curves.png") if page.history else None,
        "classes": _sortable(
            {key: _CLASS_TITLES.get(key, key) for key in tables.per_class[0]},
            sorted(tables.per_class, key=lambda row: (not row["images"], row["f1"]))[:_ROWS],
        ),
        "num_classes": len(tables.per_class),
        "confusions": confusions,
        "confusion": None
        if several or confusions is not None
        else _picture(folder / "confusion.png"),
        "mistakes": {
            "wrong": total - right,
            "total": total,
            "shown": sum(not answer.right for answer in worst),
            "photos": [_card(answer, images, several) for answer in worst],
        },
        "reliability": _picture(folder / "reliability.png"),
        "facts": page.facts,
        "history": _sortable({key: key for key in history_columns}, page.history)
        if page.history
        else None,
        "texts": page.texts,
    }
    templates = Environment(
        loader=PackageLoader("ppclas_engine", "results"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return templates.get_template(_TEMPLATE).render(shown)


def run_page(
    run: RunFolder,
    plan: Plan,
    history: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    seconds: float,
    costs: Mapping[str, str],
) -> Page:
    """The page of a training run; ``costs`` are those of ``cost_facts``."""
    config = plan.config
    data, train = config.data, config.train
    which = {
        "raw": "",
        "ema": ", the moving average of the weights",
        "mean": ", the mean of the last epochs' weights",
        "halfway": ", the mean of its weights and the first",
    }
    metrics = {
        key: value
        for key, value in best.items()
        if key not in ("epoch", "weights", "thresholds", "num_images")
    }
    size = str(data.image_size or "").strip("()").replace(", ", "x")
    started_from = Path(plan.weights).name if plan.weights is not None else "random weights"
    schedule = config.schedule.params
    loss = ", ".join(
        [config.loss.name, *(f"{key} {value}" for key, value in config.loss.params.items())]
    )
    facts = {
        "Data": {
            "training": f"{len(plan.train)} photos, {plan.train.origin}",
            "validation": f"{len(plan.val)} photos, {plan.val.origin}",
            "classes": f"{len(plan.train.class_names)}"
            + (", several labels per image" if plan.train.task == "multilabel" else ""),
            "photos per class (training)": _class_counts(plan.train),
            "image size": f"{size} pixels",
        },
        "Model": {"architecture": config.model.name, **costs},
        "Training": {
            "started from": started_from,
            "epochs": f"{max((int(row['epoch']) for row in history), default=0)} of {train.epochs}",
            "images per step": str(plan.images_per_step),
            "optimizer": f"{config.optimizer.name}, weight decay {config.optimizer.weight_decay:g}",
            "schedule": f"{config.schedule.name}, peak learning rate {schedule.get('lr', 0):g}",
            "loss": loss if len(loss) < 200 else f"{loss[:200]}…",
            "best by": f"{TITLES.get(train.monitor or '', train.monitor or '')}: epoch "
            f"{best['epoch']}" + which.get(str(best.get("weights")), ""),
            "time": f"{seconds / 60:.1f} minutes on {train.device}, {train.precision}",
            "seed": str(train.seed),
        },
        "Environment": {
            **versions(),
            "system": platform.platform(),
            "CPU cores": str(available_cpus()),
        },
    }
    command = run.path / "command.txt"
    texts = {
        "What was inferred": "\n".join(plan.notes),
        "config.yaml": run.config.read_text(encoding="utf-8") if run.config.is_file() else "",
    }
    return Page(
        title=f"{config.model.name} on {Path(plan.train.origin).name}",
        subtitle=command.read_text(encoding="utf-8").strip() if command.is_file() else "",
        metrics=metrics,
        commands=use_commands(run.path),
        facts=facts,
        history=history,
        best_epoch=int(best["epoch"]),
        texts={title: text for title, text in texts.items() if text},
        advice=[*advice(history, int(best["epoch"]), config, run.path)],
    )


def bundle_page(
    bundle: Bundle, evaluation: Evaluation, images: ImageSet, name: str, command: str
) -> Page:
    """The page of an evaluation of a run, bundle or export."""
    manifest = bundle.manifest
    height, width = bundle.image_size
    is_export = manifest.kind == "export"
    costs = {} if is_export else cost_facts(bundle.build_model(), bundle.image_size)
    facts = {
        "Data": {"photos": f"{len(images)}, {images.origin}", "read": str(evaluation.num_images)},
        "Model": {
            "architecture": manifest.architecture.name,
            "classes": str(len(bundle.labels)),
            "task": manifest.task,
            "image size": f"{height}x{width} pixels",
            "kind": manifest.kind
            + (f", engine {manifest.export.get('engine')}" if manifest.export else ""),
            "written by": ", ".join(
                f"{package} {version}" for package, version in manifest.versions.items()
            ),
            **costs,
        },
        "Environment": {**versions(), "system": platform.platform()},
    }
    return Page(
        title=f"{manifest.architecture.name} on {Path(images.origin).name}",
        subtitle=command,
        metrics=evaluation.metrics,
        commands=use_commands(name),
        facts=facts,
    )


def _class_counts(images: ImageSet) -> str:
    counts = Counter(label for record in images.records for label in record.class_ids if label >= 0)
    numbers = sorted(counts[label] for label in range(len(images.class_names)))
    if numbers[0] == numbers[-1]:
        return str(numbers[0])
    return f"{numbers[0]} to {numbers[-1]}, half of the classes up to {numbers[len(numbers) // 2]}"


def use_commands(run: Path | str) -> list[tuple[str, str]]:
    """What to do with a run, bundle or export."""
    name = shlex.quote(str(run))
    return [
        ("Name what is in a photo", f"ppclas predict PHOTO -m {name}"),
        ("Score it on other photos", f"ppclas eval {name} --data DATA --report DIR"),
        ("Write it for ONNX Runtime, with proof", f"ppclas export {name} --target onnx"),
    ]


def _sortable(titles: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A table of the columns in ``titles`` (key → heading) for the template."""
    cells = [[_cell(row.get(key), key in _SHARES) for key in titles] for row in rows]
    columns = [
        {"title": title, "numeric": all(row[place]["numeric"] for row in cells)}
        for place, title in enumerate(titles.values())
    ]
    return {"columns": columns, "rows": cells}


def _cell(value: Any, share: bool) -> dict[str, Any]:
    """What a cell says, what it is sorted by, and whether that is a number."""
    if value is None:
        return {"text": "–", "value": "", "numeric": True}
    if isinstance(value, int | float):
        text = str(value) if isinstance(value, int) else f"{value:.4g}"
        text = f"{value:.2%}" if share else text
        return {"text": text, "value": str(value), "numeric": True}
    return {"text": str(value), "value": str(value), "numeric": False}


def _card(answer: Answer, images: ImageSet, several: bool) -> dict[str, Any]:
    return {
        "path": answer.path,
        "name": Path(answer.path).name,
        "source": jpeg_uri(thumbnail(partial(images.read, answer.image), answer.path)),
        "lines": [{"text": text, "kind": kind} for text, kind in about(answer, several=several)],
    }


def _picture(path: Path) -> str:
    return data_uri(path.read_bytes(), "png")

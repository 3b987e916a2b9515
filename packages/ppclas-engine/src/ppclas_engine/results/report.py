"""``report.html``: everything about a run or an evaluation on one page that needs no network.

The page holds its pictures, styles and the few lines of script that sort its tables.
"""

from __future__ import annotations

import base64
import html
import platform
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from ppclas_core.bundle import Bundle, versions
from ppclas_core.contracts.data import ImageSet
from ppclas_core.files import write_text
from ppclas_data.loading.loader import available_cpus

from ppclas_engine.planning.monitor import TITLES, format_metric
from ppclas_engine.results.evaluate import Evaluation
from ppclas_engine.results.pictures import (
    about,
    draw_confusion,
    draw_curves,
    draw_mistakes,
    draw_reliability,
    thumbnail,
)
from ppclas_engine.results.tables import Answer, Tables

if TYPE_CHECKING:
    from ppclas_engine.planning.plan import Plan
    from ppclas_engine.runs.run import RunFolder

NAME = "report.html"


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
    """The page as HTML; pictures come from ``folder``."""
    several = tables.confusion is None
    wrong = sum(not answer.right for answer in tables.answers)
    sections = [
        _section("Use it", "".join(_command(what, line) for what, line in page.commands)),
        _section(
            "Curves", _picture(folder / "curves.png", "loss, accuracy and learning rate by epoch")
        )
        if page.history
        else "",
        _section("Classes", _class_table(tables.per_class)),
        _section("Confusions", _picture(folder / "confusion.png", "confusion matrix"))
        if not several
        else "",
        _section(
            f"Mistakes ({wrong} of {len(tables.answers)})",
            "<p>The worst first: wrong answers by how sure they were, then right ones by how unsure.</p>"
            f'<div class="cards">{"".join(_card(answer, images, several) for answer in worst)}</div>',
        ),
        _section(
            "Can its probabilities be trusted?",
            "<p>Bars on the dashed line: of all answers given with 80 %, 80 % are right. Below it "
            "the model is too sure, above it not sure enough.</p>"
            + _picture(folder / "reliability.png", "reliability curve"),
        ),
        *(_section(title, _facts(facts)) for title, facts in page.facts.items()),
        _section("Epochs", _details("Every epoch", _history_table(page.history)))
        if page.history
        else "",
        "".join(
            _details(title, f"<pre>{html.escape(text)}</pre>") for title, text in page.texts.items()
        ),
    ]
    tiles = "".join(
        f'<div class="tile"><b>{html.escape(format_metric(name, value).rpartition(" ")[2])}</b>'
        f"<span>{html.escape(TITLES.get(name, name))}</span></div>"
        # What people ask for first.
        for name, value in sorted(page.metrics.items(), key=lambda item: item[0] in ("loss", "ece"))
    )
    title = html.escape(page.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<header><h1>{title}</h1><p>{html.escape(page.subtitle)}</p>"
        f'<div class="tiles">{tiles}</div></header>\n<main>\n{"".join(sections)}</main>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def run_page(
    run: RunFolder,
    plan: Plan,
    history: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    seconds: float,
) -> Page:
    """The page of a training run."""
    config = plan.config
    data, train = config.data, config.train
    which = {
        "raw": "",
        "ema": ", the moving average of the weights",
        "mean": ", the mean of the last epochs' weights",
    }
    metrics = {
        key: value
        for key, value in best.items()
        if key not in ("epoch", "weights", "thresholds", "num_images")
    }
    size = (
        data.image_size
        if isinstance(data.image_size, int)
        else "x".join(map(str, data.image_size or ()))
    )
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
            + (", several labels an image" if plan.train.task == "multilabel" else ""),
            "photos a class (training)": _class_counts(plan.train),
            "image size": f"{size} pixels",
        },
        "Training": {
            "model": config.model.name,
            "started from": started_from,
            "epochs": f"{max((int(row['epoch']) for row in history), default=0)} of {train.epochs}",
            "images a step": str(plan.images_per_step),
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
    )


def bundle_page(
    bundle: Bundle, evaluation: Evaluation, images: ImageSet, name: str, command: str
) -> Page:
    """The page of an evaluation of a run, bundle or export."""
    manifest = bundle.manifest
    height, width = bundle.image_size
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


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>\n"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>\n"


def _command(what: str, line: str) -> str:
    return f'<p class="command">{html.escape(what)}<br><code>{html.escape(line)}</code></p>'


def _picture(path: Path, what: str) -> str:
    return (
        f'<img class="plot" alt="{html.escape(what)}" src="{_data_uri(path.read_bytes(), "png")}">'
    )


def _card(answer: Answer, images: ImageSet, several: bool) -> str:
    pixels = np.ascontiguousarray(thumbnail(images.read, answer)[:, :, ::-1])
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])
    lines = "".join(
        f'<span class="{kind}">{html.escape(text)}</span>'
        for text, kind in about(answer, several=several)
    )
    name = html.escape(Path(answer.path).name)
    source = _data_uri(encoded.tobytes(), "jpeg")
    return (
        f'<figure title="{html.escape(answer.path)}"><img alt="{name}" src="{source}">'
        f"<figcaption>{lines}<small>{name}</small></figcaption></figure>"
    )


def _class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = {
        "class": "class",
        "images": "photos",
        "average_precision": "average precision",
        "auroc": "AUROC",
    }
    columns = list(rows[0])
    ordered = sorted(rows, key=lambda row: row["f1"])
    return "<p>Click a heading to sort.</p>" + _table(
        [titles.get(c, c) for c in columns], _cells(ordered, columns)
    )


def _history_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return _table(columns, _cells(rows, columns))


def _cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterable[list[Any]]:
    return ([row.get(column) for column in columns] for row in rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    rows = list(rows)
    numeric = [
        all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(columns))
    ]
    head = "".join(
        f'<th{" class=number" if number else ""}><button type="button">{html.escape(column)}</button></th>'
        for column, number in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return '<td class="number" data-value="">–</td>'
    if isinstance(value, int | float):
        text = str(value) if isinstance(value, int) else f"{value:.4g}"
        return f'<td class="number" data-value="{value}">{text}</td>'
    return f'<td data-value="{html.escape(str(value))}">{html.escape(str(value))}</td>'


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


_STYLE = """
:root { color-scheme: light dark; --ink: #111827; --soft: #6b7280; --page: #f3f4f6; --card: #fff; --line: #e5e7eb;
  --right: #15803d; --missed: #c2410c; --wrong: #b91c1c; --accent: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --soft: #9ca3af; --page: #111827; --card: #1f2937;
  --line: #374151; --right: #4ade80; --missed: #fb923c; --wrong: #f87171; --accent: #60a5fa; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 20px; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 0 0 12px; font-size: 18px; }
header p, small { color: var(--soft); margin: 2px 0; }
section, details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px;
  margin-bottom: 18px; }
section details { border: 0; padding: 0; margin: 0; }
summary { cursor: pointer; font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 14px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 18px; }
.tile b { display: block; font-size: 22px; } .tile span { color: var(--soft); font-size: 13px; }
.plot { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: 8px; }
.command { margin: 0 0 10px; }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: var(--page); border-radius: 6px; }
code { padding: 2px 6px; } pre { padding: 12px; overflow: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 14px; }
figure { margin: 0; } figure img { width: 100%; border-radius: 8px; display: block; }
figcaption span, figcaption small { display: block; font-size: 13px; overflow-wrap: anywhere; }
.right { color: var(--right); } .missed { color: var(--missed); } .wrong { color: var(--wrong); }
.scroll { overflow: auto; max-height: 620px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 5px 10px; text-align: left; border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.sortable thead th { position: sticky; top: 0; background: var(--card); }
.sortable button { all: unset; cursor: pointer; font-weight: 600; }
.sortable button:focus-visible { outline: 2px solid; }
.sortable th[aria-sort=ascending] button::after { content: " \\25B2"; }
.sortable th[aria-sort=descending] button::after { content: " \\25BC"; }
.facts th { width: 240px; color: var(--soft); font-weight: 500; vertical-align: top; }
.facts td { overflow-wrap: anywhere; }
"""

_SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    head.querySelector("button").addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var body = table.tBodies[0];
      Array.from(body.rows).sort(function (a, b) {
        var x = a.cells[column].dataset.value, y = b.cells[column].dataset.value;
        var order = x === "" || y === "" ? (x === "") - (y === "") :
          isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return up ? order : -order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""

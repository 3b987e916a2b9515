"""``bundle/README.md``, for whoever gets the bundle alone: it opens with the metadata that Hugging
Face's hub reads, and holds no path of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from ppclas_components.confusion import Confusion, class_scores
from ppclas_components.metrics import wilson
from ppclas_core.files import write_text

from ppclas_engine.planning.plan import Plan
from ppclas_engine.results.tables import Tables
from ppclas_engine.scoring.monitor import TITLES, format_metric


def write_model_card(folder: Path, plan: Plan, best: Mapping[str, Any], tables: Tables) -> None:
    """Write the card of the bundle in ``folder``, whose weights scored ``best``."""
    metrics = {name: value for name, value in best.items() if isinstance(value, float)}
    total = len(tables.answers)
    shares = [name for name in metrics if name.startswith("top") or name == "exact_match"]
    ends = {name: wilson(round(metrics[name] * total), total) for name in shares}
    if tables.confusion is not None:
        ends["macro_f1"] = macro_f1_interval(tables.confusion)
    titles = {name: TITLES.get(name, name) for name in metrics}
    shown = {name: format_metric(name, value).rpartition(" ")[2] for name, value in metrics.items()}
    templates = Environment(loader=PackageLoader("ppclas_engine", "results"), trim_blocks=True)
    templates.filters["quoted"] = lambda text: json.dumps(str(text), ensure_ascii=False)
    origin = Path(plan.train.origin)
    card = templates.get_template("model_card.md.j2").render(
        config=plan.config,
        data=origin.name if origin.is_dir() else f"{origin.parent.name}/{origin.name}",
        photos=(len(plan.train), len(plan.val), total),
        started_from=Path(plan.weights).name if plan.weights else "random weights",
        rows=[(name, titles[name], metrics[name], shown[name], ends.get(name)) for name in metrics],
        tables=tables,
    )
    write_text(folder / "README.md", card + "\n")


def macro_f1_interval(confusion: Confusion, draws: int = 200) -> tuple[float, float]:
    """The 95 % interval of macro F1, in 0..1, from photos drawn again (bootstrap, Efron 1979)."""
    total = int(confusion.count.sum())
    counts = np.random.default_rng(0).multinomial(total, confusion.count / total, draws)
    scores = [class_scores(replace(confusion, count=count)) for count in counts]
    low, high = np.quantile([each.f1[each.present].mean() for each in scores], (0.025, 0.975))
    return float(low), float(high)

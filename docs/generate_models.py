"""The pages of the catalogue: one for each family, with figures drawn from the catalogue.

``docs/build_site.py`` writes them into the site, in both languages; nothing of them is kept in the
repository, so a new row in the catalogue needs no second step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import yaml
from ppclas_models import CatalogRow, about, load_catalog

LATENCY = "t4_fp32_bs1"
"""The device that most rows were measured on."""
_CHINESE: dict[str, str] = yaml.safe_load(
    (Path(__file__).parent / "site" / "zh-models.yml").read_text("utf-8")
)
_WORDS = {
    "en": {
        "catalogue": "Model catalogue",
        "introduction": (
            "{count} published names of {families} families. Accuracy is ImageNet validation "
            "accuracy as published. GMACs are 10⁹ multiply-adds of convolutions and linear layers, "
            "counted at the published image size. Latency is that of a photo on an NVIDIA T4 in "
            "float32, as published by PaddleClas; it is not known for every model. "
            "`ppclas models list` and `ppclas models info` print the same and more."
        ),
        "family": "family",
        "names": "names",
        "best": "best top-1",
        "from": "parameters from",
        "columns": "name|image|top-1|top-5|parameters|GMACs|T4 latency|weights",
        "macs": "Top-1 accuracy by multiply-adds. The grey line is the best of the catalogue.",
        "latency": "Top-1 accuracy by latency of one photo. The grey line is the best known.",
        "papers": "Papers",
        "notes": "Notes",
        "use": "Use one",
        "yes": "yes",
        "authors": "authors'",
    },
    "zh": {
        "catalogue": "模型目录",
        "introduction": (
            "共 {families} 个系列、{count} 个已发布的模型名称。准确率为公布的 ImageNet 验证集精度。"
            "GMACs 为卷积和线性层在公布的图像大小下的乘加次数，单位为 10⁹。"
            "延迟为 PaddleClas 公布的 NVIDIA T4 上 float32 处理一张图像的时间，部分模型没有该数据。"
            "`ppclas models list` 和 `ppclas models info` 显示同样的内容及更多信息。"
        ),
        "family": "系列",
        "names": "模型数",
        "best": "最高 top-1",
        "from": "最少参数量",
        "columns": "名称|图像大小|top-1|top-5|参数量|GMACs|T4 延迟|权重",
        "macs": "top-1 准确率与乘加次数。灰线为整个目录中的最好水平。",
        "latency": "top-1 准确率与单张图像的延迟。灰线为已知的最好水平。",
        "papers": "论文",
        "notes": "说明",
        "use": "使用方法",
        "yes": "有",
        "authors": "作者提供",
    },
}


class Point(NamedTuple):
    """One model in a figure: its cost (GMACs or milliseconds), its accuracy in percent."""

    cost: float
    accuracy: float
    name: str


def families() -> dict[str, list[CatalogRow]]:
    """The rows of each page, by the name of its file."""
    rows = list(load_catalog().values())
    home = {row.series: row.family for row in rows if row.family}
    found: dict[str, list[CatalogRow]] = {}
    for row in rows:
        family = row.family or home.get(row.series) or row.series.lower().replace(" ", "_")
        found.setdefault(family, []).append(row)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def pages(language: str) -> Iterator[tuple[str, str]]:
    """File name and Markdown of each page."""
    words, found = _WORDS[language], families()
    count = sum(map(len, found.values()))
    parts = [
        f"# {words['catalogue']}\n\n",
        words["introduction"].format(count=count, families=len(found)),
        f"\n\n| {words['family']} | {words['names']} | {words['best']} | {words['from']} |\n",
        "| --- | --- | --- | --- |\n",
    ]
    for family, rows in found.items():
        best = max((known for row in rows if (known := top1(row))), default=None)
        small = min((row.params for row in rows if row.params), default=None)
        parts.append(
            f"| [{_title(rows)}]({family}.md) | {len(rows)} | {_percent(best)} "
            f"| {_millions(small)} |\n"
        )
        yield f"{family}.md", "".join(_page(family, rows, language))
    yield "index.md", "".join(parts)


def figures() -> Iterator[tuple[str, str]]:
    """File name and SVG of each figure."""
    found = families()
    everything = [row for rows in found.values() for row in rows]
    for kind, label in (("macs", "GMACs"), ("latency", "T4, ms")):
        front = best_of(points(everything, kind))
        for family, rows in found.items():
            own = points(rows, kind)
            if own:
                yield f"{family}-{kind}.svg", draw(own, front, label)


def points(rows: Sequence[CatalogRow], kind: str) -> list[Point]:
    """Cost and accuracy of the rows that have both, cheapest first."""
    costs = [row.macs_g if kind == "macs" else row.latency_ms.get(LATENCY) for row in rows]
    return sorted(
        Point(cost, 100 * accuracy, row.name)
        for row, cost in zip(rows, costs, strict=True)
        if cost and (accuracy := top1(row))
    )


def top1(row: CatalogRow) -> float | None:
    """In 0..1: as the tables print it, else of the weights, else what their authors report."""
    return row.top1 or row.weights_top1 or row.reference_top1


def best_of(found: Sequence[Point]) -> list[Point]:
    """Those that nothing cheaper beats."""
    front: list[Point] = []
    for point in sorted(found, key=lambda point: (point.cost, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 360, 44, 12, 16, 40


def draw(own: Sequence[Point], front: Sequence[Point], label: str) -> str:
    """A figure with a logarithmic axis of cost, readable on white and on black."""
    floor = min(75, math.floor(min(point.accuracy for point in own) / 5) * 5)
    front = [point for point in front if point.accuracy >= floor]
    costs = [math.log10(point.cost) for point in (*own, *front)]
    low, high = min(costs) - 0.05, max(costs) + 0.05
    ceiling = math.ceil(max(point.accuracy for point in (*own, *front)) / 5) * 5

    def x(cost: float) -> float:
        share = (math.log10(cost) - low) / (high - low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(accuracy: float) -> float:
        share = (accuracy - floor) / (ceiling - floor)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#808080">\n'
    ]
    grid = 'stroke="#808080" stroke-opacity=".3"/>'
    parts += [
        f'<path d="M{_LEFT} {y(accuracy)}H{_WIDTH - _RIGHT}" {grid}<text x="{_LEFT - 6}" '
        f'y="{y(accuracy) + 4}" text-anchor="end">{accuracy}</text>\n'
        for accuracy in range(floor, ceiling + 1, 5)
    ]
    parts += [
        f'<path d="M{x(10.0**power)} {_TOP}V{_HEIGHT - _BOTTOM}" {grid}<text '
        f'x="{x(10.0**power)}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">'
        f"{10.0**power:g}</text>\n"
        for power in range(math.ceil(low), math.floor(high) + 1)
    ]
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{label}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">top-1, %</text>\n'
    )
    line = "L".join(f"{x(p.cost)} {y(p.accuracy)}" for p in front)
    parts.append(f'<path d="M{line}" fill="none" stroke="#808080" stroke-width="1.5"/>\n')
    best = max(own, key=lambda point: point.accuracy)
    for point in own:
        at = f'cx="{x(point.cost)}" cy="{y(point.accuracy)}"'
        name = escape(point.name)
        title = f"<title>{name}: {point.accuracy:.1f} %, {point.cost:.3g}</title>"
        parts.append(f'<circle {at} r="4.5" fill="#4a7dde">{title}</circle>\n')
        if point in (best, own[0]):
            end = x(point.cost) > _WIDTH * 0.55
            anchor, shift = ("end", -8) if end else ("start", 8)
            below = -9 if point is best else 18
            parts.append(
                f'<text x="{x(point.cost) + shift}" y="{y(point.accuracy) + below}" '
                f'text-anchor="{anchor}" fill="#4a7dde">{name}</text>\n'
            )
    return "".join(parts) + "</svg>\n"


def _page(family: str, rows: Sequence[CatalogRow], language: str) -> Iterator[str]:
    words = _WORDS[language]
    series = list(dict.fromkeys(row.series for row in rows))
    yield f"# {_title(rows)}\n"
    for each in series:
        said = str(about(_first(rows, each).name).get("series_description", ""))
        text = said if language == "en" else _CHINESE.get(each, said)
        yield f"\n**{each}**: {text}\n" if len(series) > 1 else f"\n{text}\n"
    for kind in ("macs", "latency"):
        if points(rows, kind):
            yield f"\n![{words[kind]}](../images/models/{family}-{kind}.svg)\n\n{words[kind]}\n"
    yield "\n| " + words["columns"].replace("|", " | ") + " |\n" + "| --- " * 8 + "|\n"
    for row in sorted(rows, key=lambda row: (row.macs_g or 1e9, row.name)):
        latency = row.latency_ms.get(LATENCY)
        cells = [
            f"`{row.name}`",
            str(row.image_size),
            _percent(top1(row)),
            _percent(row.top5 or row.weights_top5 or row.reference_top5),
            _millions(row.params),
            "-" if row.macs_g is None else f"{row.macs_g:.3g}",
            "-" if latency is None else f"{latency:.2f} ms",
            "-" if not row.weights_url else words["authors" if row.weights_origin else "yes"],
        ]
        yield f"| {' | '.join(cells)} |\n"
    noted = [row for row in rows if row.notes]
    if noted:
        yield f"\n## {words['notes']}\n\n"
        yield from (f"- `{row.name}`: {row.notes}\n" for row in noted)
    cited = {c: None for s in series for c in about(_first(rows, s).name).get("citations", ())}
    if cited:
        yield f"\n## {words['papers']}\n\n" + "".join(f"- {each}\n" for each in cited)
    first = next((row.name for row in rows if row.weights_url), rows[0].name)
    yield f"\n## {words['use']}\n\n```shell\nppclas models info {first}\n"
    yield f"ppclas train photos/ --model {first}\n```\n"


def _title(rows: Sequence[CatalogRow]) -> str:
    return ", ".join(dict.fromkeys(row.series for row in rows))


def _first(rows: Sequence[CatalogRow], series: str) -> CatalogRow:
    return next(row for row in rows if row.series == series)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f} M"


if __name__ == "__main__":
    print(json.dumps({family: len(rows) for family, rows in families().items()}, indent=1))

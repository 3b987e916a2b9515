"""Write comparison.md of both languages and docs/images/accuracy-flops.svg from the catalogue.

python docs/generate_comparison.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ppclas_models.catalog import CatalogRow, load_catalog

LANGUAGES = ("en", "zh")
PICTURE = Path(__file__).parent / "images" / "accuracy-flops.svg"

_TEXT = {
    "en": """\
# Which model?

{count} models of {series} families, of which {known} have a published ImageNet accuracy. `ppclas models list` prints them by
family, `ppclas models suggest` names three that fit:

```shell
ppclas models list --families
ppclas models list --min-top1 80 --max-flops 5 --licence apache --sort top1
ppclas models suggest --size-mb 20
ppclas models suggest --latency-ms 2 --latency t4_fp16        # by published latencies
ppclas benchmark PPLCNet_x1_0 MobileNetV2 --batch 1 --csv measured.csv
ppclas models suggest --latency-ms 30 --latency measured.csv  # by what this machine takes
```

![Top-1 accuracy over operations of {drawn} models; a line joins those that no other beats with fewer operations](../images/accuracy-flops.svg)

Accuracies and operations are the published ones (a multiply-add counts as two; counted here where none are published), at the
size of the published evaluation. Latency follows operations only loosely: measure on your own machine.

## The best at each cost
No other model with published weights is as accurate with fewer operations:

| model | top-1, % | FLOPs, G | parameters, M | licence of the weights |
| --- | --- | --- | --- | --- |
{front}

## Families

| family | models | top-1, % | parameters, M | FLOPs, G | licence of the weights |
| --- | --- | --- | --- | --- | --- |
{families}

The licence is Apache-2.0 where the PaddleClas project trained the weights, and the one of the authors' repository where it
converted theirs; "?" where that is not known, "–" where no weights are published. Weights for which neither PaddleClas nor its
catalogue has an address come from [torch](torch-weights.md).
""",  # noqa: E501
    "zh": """\
# 哪个模型？

共 {series} 个系列、{count} 个模型，其中 {known} 个有公布的 ImageNet 准确率。`ppclas models list` 按系列列出，`ppclas models suggest` 给出三个符合条件的：

```shell
ppclas models list --families
ppclas models list --min-top1 80 --max-flops 5 --licence apache --sort top1
ppclas models suggest --size-mb 20
ppclas models suggest --latency-ms 2 --latency t4_fp16        # by published latencies
ppclas benchmark PPLCNet_x1_0 MobileNetV2 --batch 1 --csv measured.csv
ppclas models suggest --latency-ms 30 --latency measured.csv  # by what this machine takes
```

![{drawn} 个模型的 top-1 准确率与运算次数；连线经过运算更少时没有更好者的模型](../images/accuracy-flops.svg)

准确率和运算次数为公布值（一次乘加计为两次；没有公布时为这里统计的值），对应公布的评估尺寸。延迟与运算次数只有大致的关系：请在自己的机器上测量。

## 各种代价下最好的模型
在有公开权重的模型中，没有运算更少而同样准确的：

| 模型 | top-1，% | FLOPs，G | 参数，百万 | 权重的许可证 |
| --- | --- | --- | --- | --- |
{front}

## 系列

| 系列 | 模型数 | top-1，% | 参数，百万 | FLOPs，G | 权重的许可证 |
| --- | --- | --- | --- | --- | --- |
{families}

由 PaddleClas 项目训练的权重为 Apache-2.0；由它转换的权重为作者仓库的许可证；“?”表示未知，“–”表示没有公开权重。PaddleClas 及其目录都没有地址的权重来自 [torch](torch-weights.md)。
""",  # noqa: E501
}


def operations(row: CatalogRow) -> float | None:
    """10⁹, a multiply-add counted as two: as published, or else counted."""
    if row.flops_g is not None:
        return row.flops_g
    return None if row.macs_g is None else 2 * row.macs_g


def built() -> list[CatalogRow]:
    """Every model that can be built."""
    return [row for row in load_catalog().values() if row.family is not None]


def drawn() -> list[tuple[float, float, CatalogRow]]:
    """(operations, top-1, model) of each of which both are known."""
    return [
        (cost, row.top1, row)
        for row in built()
        if (cost := operations(row)) is not None and row.top1 is not None
    ]


def front() -> list[tuple[float, float, CatalogRow]]:
    """Those of ``drawn`` with published weights that no other beats, the cheapest first."""
    best, found = 0.0, []
    for cost, top1, row in sorted(drawn(), key=lambda point: (point[0], -point[1])):
        if top1 > best and row.weights_url is not None:
            best = top1
            found.append((cost, top1, row))
    return found


def render(language: str = "en") -> str:
    """The page in one of ``LANGUAGES``."""
    series: dict[str, list[CatalogRow]] = {}
    for row in built():
        series.setdefault(row.series, []).append(row)
    return _TEXT[language].format(
        count=len(built()),
        series=len(series),
        known=sum(row.top1 is not None for row in built()),
        drawn=len(drawn()),
        front="\n".join(
            f"| {row.name} | {100 * top1:.1f} | {cost:.3g} | {_millions([row])} "
            f"| {_licences([row])} |"
            for cost, top1, row in front()
        ),
        families="\n".join(
            f"| {_linked(name, rows[0])} | {len(rows)} "
            f"| {_span([row.top1 and 100 * row.top1 for row in rows], '.1f')} | {_millions(rows)} "
            f"| {_span([operations(row) for row in rows], '.2g')} | {_licences(rows)} |"
            for name, rows in series.items()
        ),
    )


def _linked(name: str, row: CatalogRow) -> str:
    return f"[{name}]({row.paper_url})" if row.paper_url else name


def _millions(rows: Sequence[CatalogRow]) -> str:
    return _span([row.params / 1e6 if row.params else row.params_m for row in rows], ".1f")


def _span(values: Iterable[float | None], form: str) -> str:
    known = sorted(value for value in values if value is not None)
    ends = [format(value, form) for value in known[:: max(1, len(known) - 1)]]
    return "–".join(dict.fromkeys(ends)) or "–"


def _licences(rows: Sequence[CatalogRow]) -> str:
    published = [row for row in rows if row.weights_url is not None]
    return ", ".join(dict.fromkeys(row.weights_licence or "?" for row in published)) or "–"


def draw(path: Path) -> None:
    """Every model as a point, the front as a line with names."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ppclas", "svg.fonttype": "none"})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.add_subplot()
    groups = {
        "convolutions, until 2020": ("#9aa5b1", lambda row: row.year is None),
        "convolutions, later": ("#2f6fdb", lambda row: row.year is not None and not _attends(row)),
        "with attention": ("#e07b39", _attends),
    }
    for title, (colour, belongs) in groups.items():
        points = [(cost, 100 * top1) for cost, top1, row in drawn() if belongs(row)]
        axes.scatter(*zip(*points, strict=True), s=16, color=colour, alpha=0.75, label=title)
    best = front()
    axes.plot(
        [cost for cost, _, _ in best],
        [100 * top1 for _, top1, _ in best],
        color="#222222",
        linewidth=0.8,
        drawstyle="steps-post",
    )
    below = 0.0
    for cost, top1, row in best:
        if 100 * top1 - below < 1.6:  # names need room
            continue
        below = 100 * top1
        axes.annotate(
            row.name, (cost, below), (-4, 3), textcoords="offset points", ha="right", fontsize=7
        )
    axes.set(
        xscale="log",
        xlabel="operations for one image, 10⁹ (a multiply-add counts as two)",
        ylabel="ImageNet top-1, %",
        ylim=(47, 89),
        xlim=(0.008, 400),
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _attends(row: CatalogRow) -> bool:
    words = ("Transformer", "ViT", "DeiT", "Twins", "PVT", "TNT", "CvT", "LeViT", "UniFormer")
    return row.series.startswith(words) or any(
        word in row.series
        for word in ("ViT", "Former", "DSNet", "Transformer", "SVTR", "CAE", "DINO")
    )


if __name__ == "__main__":
    for language in LANGUAGES:
        page = Path(__file__).parent / language / "comparison.md"
        page.write_text(render(language), encoding="utf-8")
    draw(PICTURE)

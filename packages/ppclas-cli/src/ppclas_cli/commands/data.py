"""``ppclas data``: look at photos and labels before training does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ppclas_cli import output
from ppclas_cli.commands import data_preview as preview

if TYPE_CHECKING:
    from ppclas_core.data.check import DataReport, SetReport

_SHOWN = 10
"""Lines of one kind that are printed before the rest is only counted; --json has all of them."""


@click.group()
def data() -> None:
    """Check photos and labels before training."""


@data.command("check")
@click.argument("train", required=False)
@click.option("--val", metavar="PATH", help="Validation photos. Without it: found beside TRAIN, or a split.")
@click.option("--root", metavar="DIR", help="Folder that the paths of a list file or CSV start from.")
@click.option("--labels", metavar="FILE", help="Class names, a name (or an id and a name) a line.")
@output.JSON_OPTION
def check_command(train: str | None, val: str | None, root: str | None, labels: str | None, as_json: bool) -> None:
    """Read every photo and label of TRAIN, and say what is wrong with them.

    TRAIN is a folder with a folder of photos per class, a list file (path and label a line) or a CSV; without it, the
    built-in photos. Reports unreadable photos, label gaps, rare classes, duplicates and photos that are in both sets.
    Ends with exit code 1 where a training would fail.

    \b
    Examples:
      ppclas data check photos/
      ppclas data check train_list.txt --val val_list.txt --json
    """
    from ppclas_core.config.schema import DataSection
    from ppclas_core.data.check import check_data

    report = check_data(
        DataSection(train=train, val=val, root=root, labels=labels), _progress if sys.stderr.isatty() else None
    )
    if as_json:
        output.print_json(report.to_dict())
    else:
        _print(report)
    if not report.ok:
        click.get_current_context().exit(1)


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done} of {total} photos", nl=done == total, err=True)


def _print(report: DataReport) -> None:
    for text in report.notes:
        click.echo(text)
    if report.train and report.val:
        click.echo()
        _print_classes(report.train, report.val)
        click.echo()
        for title, images in (("training", report.train), ("validation", report.val)):
            _print_set(title, images)
    for text in report.warnings:
        click.echo(f"warning: {text}")
    for text in report.errors:
        click.echo(f"error: {text}")
    if report.ok:
        click.echo(
            "These photos can be trained on." if not report.warnings else "Training is possible; mind the warnings."
        )


def _print_classes(train: SetReport, val: SetReport) -> None:
    counts = train.class_counts
    rows: list[list[object]] = [[name, counts[name], val.class_counts.get(name, 0)] for name in counts]
    if len(rows) > 2 * _SHOWN:
        by_count = sorted(counts, key=counts.__getitem__)
        shown = {*by_count[:_SHOWN], *by_count[-_SHOWN:]}
        left_out: list[object] = [
            f"… and {len(rows) - len(shown)} classes in between",
            None,
            None,
        ]
        rows = [*(row for row in rows if row[0] in shown), left_out]
    output.print_table(rows, ["class", "training", "validation"])


def _print_set(title: str, images: SetReport) -> None:
    click.echo(f"{title}: {images.num_images} photos in {images.origin}")
    if images.height and images.width:
        height, width = images.height, images.width
        click.echo(
            f"  height {height.smallest} to {height.largest} (half of them up to {height.median}), "
            f"width {width.smallest} to {width.largest} ({width.median}) pixels"
        )
    for bad in images.bad_images[:_SHOWN]:
        click.echo(f"  cannot be read: {bad.where}: {bad.reason}")
    if len(images.bad_images) > _SHOWN:
        click.echo(f"  … and {len(images.bad_images) - _SHOWN} more that cannot be read; --json lists them")


data.add_command(preview.command)

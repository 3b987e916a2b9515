"""``ppclas data``: look at photos and labels before training does."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.wording import escaped

from ppclas_cli import output
from ppclas_cli.commands import data_audit
from ppclas_cli.commands import data_preview as preview
from ppclas_cli.commands.data_fetch import fetch_command
from ppclas_cli.lazy import Group

if TYPE_CHECKING:
    from ppclas_core.contracts.readers import BadImage
    from ppclas_data.inspection.check import DataReport, SetReport, SideStatistics
    from ppclas_data.inspection.statistics import SetStatistics

_SHOWN = 10
"""Lines of one kind that are printed before the rest is only counted; --json has all of them."""


@click.group(cls=Group)
def data() -> None:
    """Check, count, list and look at photos before training."""


@data.command("check")
@click.argument("train", required=False)
@click.option(
    "--val", metavar="PATH", help="Validation photos. Without it: found beside TRAIN, or a split."
)
@click.option(
    "--root", metavar="DIR", help="Folder that the paths of a list file or CSV start from."
)
@click.option("--labels", metavar="FILE", help="Class names, a name (or an id and a name) a line.")
@click.option("--channels", type=click.IntRange(1), help="Bands of TIFFs, as data.channels.")
@click.option("--max-sample", type=click.IntRange(1), help="What is white: data.max_sample.")
@output.JSON_OPTION
def check_command(as_json: bool, **section: Any) -> None:
    """Read every photo and label of TRAIN, and say what is wrong with them.

    TRAIN is a folder with a folder of photos per class, a list file (path, label per line) or a
    CSV; without it, the built-in photos; tar shards, zip and Parquet files as well. Reports
    unreadable photos, label gaps, rare classes, duplicates, and validation photos that are trained
    on too: the same file, or the same picture recompressed, resized or mirrored. Ends with exit
    code 1 where a training would fail.

    \b
    Examples:
      ppclas data check photos/
      ppclas data check train_list.txt --val val_list.txt --json
      ppclas data check satellite/ --channels 5 --max-sample 4095
    """
    from ppclas_core.config.schema import DataSection
    from ppclas_data.inspection.check import check_data

    report = check_data(DataSection(**section), _progress if sys.stderr.isatty() else None)
    if as_json:
        output.print_json(report.to_dict())
    else:
        _print(report)
    if not report.ok:
        click.get_current_context().exit(1)


@data.command("stats")
@click.argument("photos", required=False)
@click.option(
    "--root", metavar="DIR", help="Folder that the paths of a list file or CSV start from."
)
@click.option("--labels", metavar="FILE", help="Class names, a name (or an id and a name) a line.")
@output.JSON_OPTION
def stats_command(photos: str | None, root: str | None, labels: str | None, as_json: bool) -> None:
    """Count the PHOTOS of each class and measure their sizes and colours.

    PHOTOS is what can be trained on; of a data set with a training part that part, else its
    validation part; without PHOTOS, the built-in ones. Mean and standard deviation are what
    data.normalize takes for training from random weights.

    \b
    Examples:
      ppclas data stats photos/
      ppclas data stats 'shards/train-{000..012}.tar' --json
    """
    from ppclas_data.builtin import builtin_photos
    from ppclas_data.inspection.statistics import measure
    from ppclas_data.sources.opening import load_image_set
    from ppclas_data.sources.parts import measured_part

    notes: list[str] = []
    location = measured_part(photos if photos is not None else str(builtin_photos()), notes)
    images = load_image_set(location, root=root, labels=labels)
    found = measure(images, _progress if sys.stderr.isatty() else None)
    output.notes((*notes, *images.notes))
    if as_json:
        output.print_json(found.to_dict())
    else:
        _print_statistics(found)


@data.command("list")
@click.argument("photos", required=False)
@click.option(
    "-o", "--output", "folder", metavar="DIR", required=True, help="Folder for the lists."
)
@click.option(
    "--val", metavar="PATH", help="Validation photos. Without it: found beside PHOTOS, or a split."
)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share held out.",
)
@click.option(
    "--root", metavar="DIR", help="Folder that the paths of a list file or CSV start from."
)
@click.option("--labels", metavar="FILE", help="Class names, a name (or an id and a name) a line.")
@output.JSON_OPTION
def list_command(
    photos: str | None,
    folder: str,
    val: str | None,
    val_fraction: float | None,
    root: str | None,
    labels: str | None,
    as_json: bool,
) -> None:
    """Write list files of PHOTOS: train_list.txt, val_list.txt and label_list.txt.

    PHOTOS is a folder of class folders, a list file or a CSV. A folder with imagelabels.mat,
    setid.mat and jpg is Oxford Flowers 102, and is split as these files say (test_list.txt as
    well). Paths are relative to DIR. Nothing is overwritten.

    \b
    Examples:
      ppclas data list photos/ -o lists
      ppclas data list flowers102/ -o flowers102
    """
    if not folder:
        raise click.UsageError("-o: expected a folder for the lists, got an empty name")
    if val is not None and val_fraction is not None:
        raise click.UsageError(
            "--val names the validation photos, --val-fraction holds some out: give one of them"
        )
    from ppclas_core.config.schema import DataSection
    from ppclas_data.sources.listing import write_lists

    section = DataSection(train=photos, val=val, root=root, labels=labels)
    if val_fraction is not None:
        section = section.replace(val_fraction=val_fraction)
    notes: list[str] = []
    written = write_lists(section, folder, notes)
    output.notes(notes)
    if as_json:
        output.print_json([{"path": one.path, "lines": one.num_lines} for one in written])
    else:
        for one in written:
            click.echo(f"{one.path}  {one.num_lines} lines")


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done} of {total} photos", nl=done == total, err=True)


def _print_statistics(found: SetStatistics) -> None:
    rows = [[escaped(name), count] for name, count in found.class_counts.items()]
    output.print_table(rows, ["class", "photos"])
    click.echo()
    _say(f"{found.num_images} photos in {found.origin}")
    if found.num_unreadable:
        output.say(f"  {found.num_unreadable} cannot be read; 'ppclas data check' says which")
    if found.height and found.width and found.mean and found.std and found.mean_bytes:
        _print_sides(found.height, found.width)
        output.say(f"  {found.mean_bytes / 1024:.1f} KiB per photo")
        for name, values in (("mean", found.mean), ("std", found.std)):
            output.say(
                f"  {name:<4} of red, green, blue in 0..1: "
                f"{', '.join(f'{value:.3f}' for value in values)}"
            )


def _print(report: DataReport) -> None:
    for text in report.notes:
        _say(text)
    if report.train and report.val:
        click.echo()
        _print_classes(report.train, report.val)
        click.echo()
        for title, images in (("training", report.train), ("validation", report.val)):
            _print_set(title, images)
    for text in report.warnings:
        _say(f"warning: {text}")
    for text in report.errors:
        _say(f"error: {text}")
    if report.ok:
        click.echo(
            "These photos can be trained on."
            if not report.warnings
            else "Training is possible; mind the warnings."
        )


def _print_classes(train: SetReport, val: SetReport) -> None:
    counts = train.class_counts
    shown = _most_and_fewest(counts)
    rows: list[list[object]] = [
        [escaped(name), counts[name], val.class_counts.get(name, 0)] for name in shown
    ]
    if len(shown) < len(counts):
        rows.append([f"… and {len(counts) - len(shown)} classes in between", None, None])
    output.print_table(rows, ["class", "training", "validation"])


def _most_and_fewest(counts: Mapping[str, int]) -> list[str]:
    """Names of all classes, or where they are many, of the largest and the smallest; in the order
    of ``counts``.
    """
    if len(counts) <= 2 * _SHOWN:
        return list(counts)
    by_count = sorted(counts, key=counts.__getitem__)
    chosen = {*by_count[:_SHOWN], *by_count[-_SHOWN:]}
    return [name for name in counts if name in chosen]


def _print_set(title: str, images: SetReport) -> None:
    _say(f"{title}: {images.num_images} photos in {images.origin}")
    if images.height and images.width:
        _print_sides(images.height, images.width)
    _print_bad(images.bad_images, "cannot be read")
    _print_bad(images.damaged_images, "damaged")


def _print_bad(images: Sequence[BadImage], what: str) -> None:
    for bad in images[:_SHOWN]:
        _say(f"  {what}: {bad.where}: {bad.reason}")
    if len(images) > _SHOWN:
        output.say(f"  … and {len(images) - _SHOWN} more: {what}; --json lists them")


def _print_sides(height: SideStatistics, width: SideStatistics) -> None:
    output.say(
        f"  height {height.smallest} to {height.largest} (half of them up to {height.median}), "
        f"width {width.smallest} to {width.largest} ({width.median}) pixels"
    )


def _say(text: str) -> None:
    """A line on stdout, whatever names are in it."""
    output.say(escaped(text))


data.add_command(preview.command)
data.add_command(data_audit.audit_command)
data.add_command(data_audit.apply_command)
data.add_command(fetch_command)

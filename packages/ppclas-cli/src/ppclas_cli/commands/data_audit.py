"""``ppclas data audit`` and ``ppclas data apply``: find wrong labels, put them right."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from ppclas_core.wording import escaped

from ppclas_cli import output
from ppclas_cli.lazy import need_extra

if TYPE_CHECKING:
    from ppclas_search.audit.auditing import Doubt

_SHOWN = 10
_ROOT = click.option(
    "--root", metavar="DIR", help="Folder that the paths of a list file or CSV start from."
)
_LABELS = click.option(
    "--labels", metavar="FILE", help="Class names, a name (or an id and a name) a line."
)


@click.command("audit")
@click.argument("photos", required=False)
@click.option(
    "-m",
    "--model",
    metavar="NAME|RUN|FOLDS",
    help="What sees the photos: a name of 'ppclas models list', a run or bundle, or the folder of "
    "'ppclas train --kfold', whose answers are taken.",
)
@click.option(
    "--weights", metavar="FILE", help="With a name: its weights. Without it: the published ones."
)
@click.option(
    "--oof", metavar="FILE", help="Answers out of fold: the out_of_fold.csv of other folds."
)
@click.option(
    "-o",
    "--output",
    "folder",
    default="audit",
    show_default=True,
    metavar="DIR",
    help="Folder for audit.html and audit.csv.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    metavar="N",
    help="List the N least probable labels. Without it: those that confident learning doubts.",
)
@_ROOT
@_LABELS
@output.JSON_OPTION
def audit_command(
    photos: str | None,
    model: str | None,
    weights: str | None,
    oof: str | None,
    folder: str,
    most: int | None,
    root: str | None,
    labels: str | None,
    as_json: bool,
) -> None:
    """List the PHOTOS whose label may be wrong, to look at and to edit.

    Every photo is answered by a model that was not trained on it: by the folds of 'ppclas train
    --kfold', or by a quick classifier on the features of --model. Copies of a photo with another
    label are listed too. Edit audit.csv, or decide in audit.html; then 'ppclas data apply'.

    \b
    Examples:
      ppclas data audit photos/
      ppclas data audit photos/ -m ResNet50 --most 100
      ppclas data audit -m runs/MobileNetV2-5folds-1
    """
    need_extra("ppclas data audit", "ppclas_search", "search")
    if oof is not None and model is not None:
        raise click.UsageError("--oof and --model both say where the answers come from: give one.")
    from ppclas_engine.bundles import DEFAULT_MODEL, open_model
    from ppclas_engine.console import Console
    from ppclas_search.audit.answers import from_file, from_probe, photos_of_folds
    from ppclas_search.audit.auditing import audit, check_free, write_audit
    from ppclas_search.audit.photos import open_all

    check_free(Path(folder))
    console, notes = Console(), list[str]()
    if photos is None and model is not None:
        photos, root, labels = photos_of_folds(Path(model))
    opened = open_all(photos, notes, root=root, labels=labels)
    for said in notes:
        console.line(said)
    if model is not None and (Path(model) / "out_of_fold.csv").is_file():
        oof = str(Path(model) / "out_of_fold.csv")
    if oof is not None:
        answers, by = from_file(Path(oof), list(opened), opened.class_names), oof
    else:
        name = model if model is not None else DEFAULT_MODEL
        bundle = open_model(name, weights=weights)
        if (Path(name) / "config.yaml").is_file():
            console.line(
                f"{name} may have learnt wrong labels of these photos: the name of a model, or "
                "folds, would judge more freely"
            )
        answers = from_probe(opened, bundle, console)
        by = f"a classifier on the features of {name}, fitted without the photo"
    progress = _progress if sys.stderr.isatty() else None
    doubts = audit(opened, answers, most=most, progress=progress)
    write_audit(Path(folder), opened, doubts, by)
    if as_json:
        output.print_json([doubt.row() for doubt in doubts])
        return
    _print(doubts)
    console.line(
        f"{len(doubts)} of {len(opened)} photos are to be looked at: {folder}/audit.html shows "
        f"them, {folder}/audit.csv is the list to edit. Then:"
    )
    console.line(f"  ppclas data apply {shlex.quote(folder)}/audit.csv -o COPY")


@click.command("apply")
@click.argument("edited", metavar="LIST")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR|FILE.csv",
    help="A folder for copies of the photos, or a CSV that lists them where they are.",
)
@click.option(
    "--data",
    "photos",
    metavar="PATH",
    help="The photos. Without it: as audit.json beside LIST says.",
)
@click.option(
    "--accept", is_flag=True, help="Where nothing was decided, take the label that is proposed."
)
@_ROOT
@_LABELS
def apply_command(
    edited: str,
    output: str,
    photos: str | None,
    accept: bool,
    root: str | None,
    labels: str | None,
) -> None:
    """Carry out an edited LIST of 'ppclas data audit', in a copy.

    The column action says keep, relabel (to new_label) or remove; where it is empty, the photo
    stays as it is. The photos themselves are never changed.

    \b
    Examples:
      ppclas data apply audit/audit.csv -o cleaned/
      ppclas data apply audit.csv --data photos/ -o cleaned.csv
    """
    need_extra("ppclas data apply", "ppclas_search", "search")
    from ppclas_core.errors import DataError
    from ppclas_search.audit.applying import apply_decisions, read_decisions
    from ppclas_search.audit.photos import open_all

    decisions = read_decisions(Path(edited), accept=accept)
    facts = Path(edited).parent / "audit.json"
    if photos is None:
        if not facts.is_file():
            raise DataError(f"Which photos? There is no {facts}, so name them: --data PATH")
        said = json.loads(facts.read_text(encoding="utf-8"))
        photos, root, labels = said["data"], root or said["root"], labels or said["labels"]
    counts = apply_decisions(
        open_all(photos, [], root=root, labels=labels), decisions, Path(output)
    )
    kept = f"{counts['kept']} kept"
    if counts["undecided"]:
        kept += f" ({counts['undecided']} of the list undecided)"
    click.echo(f"{counts['relabelled']} relabelled, {counts['removed']} removed, {kept}: {output}")


def _print(doubts: Iterable[Doubt]) -> None:
    rows = [doubt.row() for doubt in doubts]
    shown = [
        [
            escaped(Path(row["path"]).name),
            escaped(row["label"]),
            row["label_probability"],
            escaped(row["new_label"]),
            "copy" if row["copy"] else "",
        ]
        for row in rows[:_SHOWN]
    ]
    if shown:
        output.print_table(shown, ["photo", "label", "probability", "rather", "why"])
    if len(rows) > _SHOWN:
        click.echo(f"… and {len(rows) - _SHOWN} more in the list")


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done} of {total} photos compared", nl=done == total, err=True)

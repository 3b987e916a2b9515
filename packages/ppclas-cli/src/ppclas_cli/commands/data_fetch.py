"""``ppclas data fetch``: a published data set, ready for training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import click


@click.command("fetch")
@click.argument("name", type=click.Choice(["flowers102"]))
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@click.option(
    "--mirror", metavar="URL", help="Fetch the files from the folder at URL, not from the authors."
)
def fetch_command(name: str, folder: str | None, mirror: str | None) -> None:
    """Fetch the data set NAME into FOLDER (default: NAME), and write its lists.

    flowers102 has 102 kinds of flowers (Nilsback & Zisserman 2008; 345 MB from the University of
    Oxford). Its photos go to FOLDER/jpg; train_list.txt, val_list.txt and test_list.txt are the
    published parts of 1020, 1020 and 6149 photos, extra_list.txt has the last ones without labels.
    What is there already is kept, and checked.

    \b
    Examples:
      ppclas data fetch flowers102
      ppclas train flowers102/ --model ResNet50_vd
    """
    from ppclas_core.errors import DataError
    from ppclas_data.published import fetch_flowers

    if os.environ.get("PPCLAS_OFFLINE", "0") not in ("", "0"):
        raise DataError(
            f"nothing is downloaded while PPCLAS_OFFLINE is set, and {name} comes from a network. "
            "Run it without, or put its three files there yourself"
        )
    notes: list[str] = []
    for written in fetch_flowers(Path(folder or name), _fetch, notes, mirror=mirror):
        click.echo(f"{written.path}: {written.num_lines} lines")
    for note in notes:
        click.echo(note, err=True)


def _fetch(url: str, target: Path, check: Callable[[Path], None], most: int) -> None:
    from ppclas_core.errors import MissingDependencyError

    try:
        from ppclas_models.download import download
        from ppclas_models.progress import shown
    except ImportError as error:
        raise MissingDependencyError(
            "what fetches files comes with the models: pip install ppclas-models"
        ) from error
    with shown(f"{target.name} from {urlsplit(url).netloc}") as (progress, say):
        download(url, target, check=check, max_bytes=most, progress=progress, say=say)

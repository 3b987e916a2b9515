"""Published weights: carried in this package, in the cache, or fetched."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_cache_path
from ppclas_core.errors import WeightsError

from ppclas_models.catalog import CatalogRow, load_catalog

CARRIED = Path(__file__).with_name("pretrained")


def cache_folder() -> Path:
    """``$PPCLAS_HOME/weights``, or where the system keeps caches: ``~/.cache/ppclas/weights``."""
    home = os.environ.get("PPCLAS_HOME")
    return (Path(home) if home else user_cache_path("ppclas", appauthor=False)) / "weights"


def locate(
    name: str, *, download: bool = False, folder: Path | None = None, mirror: str | None = None
) -> Path:
    """The weight file of a catalogue name: on this machine, or else, with ``download``, fetched.

    With ``folder`` the published file itself goes there, instead of the cache. ``mirror`` (default:
    the environment's ``PPCLAS_MIRROR``) is an address that takes the place of the published one up
    to the host. Nothing is fetched while ``PPCLAS_OFFLINE`` is set.

    Raises:
        WeightsError: it is not to be had; the message says where it is published and where to put
            it.
    """
    row = load_catalog()[name]
    carried = CARRIED / f"{name}.safetensors"
    if folder is None and carried.is_file():
        return carried
    if row.weights_url is None:
        reason = f" ({row.notes})" if row.notes else ""
        archive = (
            ", or what 'ppclas models convert' makes of the archive of 2020, "
            f"{row.legacy_weights_url}, if it knows its names"
            if row.legacy_weights_url is not None
            else ""
        )
        raise WeightsError(
            f"no .pdparams weights of {name} are published{reason}. Give a weight file of your "
            f"own{archive}."
        )
    file = (cache_folder() if folder is None else folder) / row.weights_url.rsplit("/", 1)[1]
    if file.is_file():
        if folder is not None:
            check_published(file, row)
        return file
    url = _mirrored(row.weights_url, mirror or os.environ.get("PPCLAS_MIRROR"))
    by_hand = f"Download {url} to {file}, or give a weight file of your own."
    if not download:
        raise WeightsError(
            f"the weights of {name} are not on this machine. Run 'ppclas models download {name}'. "
            f"Or: {by_hand}"
        )
    if os.environ.get("PPCLAS_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"the weights of {name} are not on this machine, and nothing is downloaded while "
            f"PPCLAS_OFFLINE is set. Run 'ppclas models download {name}' with a network. Or: "
            f"{by_hand}"
        )
    _fetch(row, url, file)
    return file


def check_published(file: Path, row: CatalogRow) -> None:
    """``file`` holds the tensors that ``row``'s architecture has.

    Raises:
        WeightsError: it is damaged, or holds others; the message begins with its path.
    """
    from ppclas_core.limits import weights_bytes
    from ppclas_core.weights import read_state

    from ppclas_models.shapes import check_shapes, shapes_of

    most = weights_bytes(sum(prod(shape) for shape in shapes_of(row.weights_table).values()))
    shapes = {key: tuple(array.shape) for key, array in read_state(file, most).items()}
    try:
        check_shapes(shapes, row.weights_table)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def _fetch(row: CatalogRow, url: str, file: Path) -> None:
    from ppclas_models.download import download
    from ppclas_models.progress import shown
    from ppclas_models.shapes import shapes_of

    values = sum(prod(shape) for shape in shapes_of(row.weights_table).values())
    with shown(f"{file.name} from {urlsplit(url).netloc}") as (progress, say):
        try:
            download(
                url,
                file,
                check=lambda part: check_published(part, row),
                max_bytes=8 * values + 2**20,  # twice what the float32 values need
                progress=progress,
                say=say,
            )
        except WeightsError as error:
            raise WeightsError(
                f"{error}. Try again later, give the address of a mirror (--mirror or "
                f"PPCLAS_MIRROR), or put the file at {file} yourself."
            ) from error


def _mirrored(url: str, mirror: str | None) -> str:
    return url if not mirror else mirror.rstrip("/") + urlsplit(url).path

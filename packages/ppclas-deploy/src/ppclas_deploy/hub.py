"""Bundles on Hugging Face: written with a model card, taken from there as a stranger's files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ppclas_core.bundle import MANIFEST, WEIGHTS, Bundle
from ppclas_core.errors import BundleError, MissingDependencyError
from ppclas_core.files import building_folder
from ppclas_core.limits import MANIFEST_BYTES
from ppclas_core.wording import escaped, first_few
from ppclas_data.leftovers import clear_leftovers

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
MOST_BYTES = 4 << 30
"""Of the weights that are pulled."""
_SHOWN_CLASSES = 20


def push(
    bundle: Bundle,
    repo: str,
    *,
    private: bool = False,
    license_id: str | None = None,
    message: str = "A ppclas bundle",
    endpoint: str | None = None,
) -> str:
    """Write a bundle with its model card to ``repo`` (``owner/name``); the address of the commit.

    The repository is made where there is none. Who writes is known from ``hf auth login`` or the
    environment's ``HF_TOKEN``.

    Raises:
        BundleError: it is an export, or the hub does not take it.
        MissingDependencyError: huggingface_hub is not installed.
    """
    if bundle.manifest.kind != "bundle":
        raise BundleError(
            f"{bundle.folder} is an export; what others can train on and export is its bundle. "
            "Push the run that it was made from"
        )
    with _said(repo, endpoint) as api:
        from huggingface_hub import CommitOperationAdd

        card = model_card(bundle, repo, license_id).encode()
        files: dict[str, Any] = {name: str(bundle.folder / name) for name in bundle.manifest.files}
        files |= {MANIFEST: str(bundle.folder / MANIFEST), CARD: card}
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, content) for name, content in sorted(files.items())],
            commit_message=message,
        )
    return commit.commit_url


def pull(
    repo: str, folder: Path, *, revision: str = "main", endpoint: str | None = None
) -> tuple[Bundle, str]:
    """Take the bundle in ``repo`` to ``folder``; it, and the commit that it is of.

    Only ``bundle.json`` and ``model.safetensors`` are taken, neither larger than it may be; what
    they say of each other is checked before ``folder`` is there. Nothing of them is executed.

    Raises:
        BundleError: there is no such repository, it holds no bundle, or a damaged one; or
            ``folder`` is there already.
        MissingDependencyError: huggingface_hub is not installed.
    """
    clear_leftovers(folder.parent)
    if folder.exists():
        raise BundleError(f"{folder} is there already. Choose another folder, or remove it")
    with _said(repo, endpoint) as api:
        commit = api.model_info(repo, revision=revision).sha or revision
        sizes = {
            found.path: getattr(found, "size", None)
            for found in api.get_paths_info(repo, [MANIFEST, WEIGHTS], revision=commit)
        }
        for name, most in ((MANIFEST, MANIFEST_BYTES), (WEIGHTS, MOST_BYTES)):
            size = sizes.get(name)
            if size is None:
                raise BundleError(f"{repo} holds no {name}, so it is no ppclas bundle")
            if size > most:
                raise BundleError(f"{repo}: {name} has {size:,} bytes; expected {most:,} at most")
        with building_folder(folder) as temporary:
            for name in (MANIFEST, WEIGHTS):
                api.hf_hub_download(repo, name, revision=commit, local_dir=temporary)
            shutil.rmtree(temporary / ".cache", ignore_errors=True)
            _check(temporary, repo)
    return Bundle.load(folder), commit


def _check(folder: Path, repo: str) -> None:
    lost = f"nothing was kept of {repo}"
    try:
        said = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError):
        said = None  # the bundle's own reader says what is wrong
    if isinstance(said, dict) and said.get("kind", "bundle") != "bundle":
        raise BundleError(f"{lost}: it is an export, and only bundles are taken from a hub")
    try:
        bundle = Bundle.load(folder)
    except BundleError as error:
        raise BundleError(f"{lost}: {escaped(str(error)).replace(str(folder), repo)}") from error
    if set(bundle.manifest.files) != {WEIGHTS}:
        more = escaped(first_few(set(bundle.manifest.files) - {WEIGHTS})) or "no weights"
        raise BundleError(f"{lost}: expected {MANIFEST} and {WEIGHTS} alone, it lists {more}")


def model_card(bundle: Bundle, repo: str, license_id: str | None = None) -> str:
    """The README of a repository: front matter that the hub reads, then what it is and its use.

    The one that training wrote is taken, where it is there.
    """
    folder = repo.rpartition("/")[2]
    use = (
        f'```bash\npip install "ppclas-cli[cpu,hub]" ppclas-models\n'
        f"ppclas hub pull {shlex.quote(repo)} {shlex.quote(folder)}\n"
        f"ppclas predict photo.jpg -m {shlex.quote(folder)}\n```\n\n"
        f"License of the weights: {license_id or 'not stated by their author'}.\n"
    )
    written = bundle.folder / CARD
    if written.is_file():
        opening, front, text = written.read_text(encoding="utf-8").split("---\n", 2)
        facts = yaml.safe_load(front) | ({} if license_id is None else {"license": license_id})
        front = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
        return f"{opening}---\n{front}---\n{text.rstrip()}\n\n## From the hub\n\n{use}"
    manifest = bundle.manifest
    name = manifest.architecture.name
    facts = {
        "library_name": "ppclas",
        "pipeline_tag": "image-classification",
        "tags": ["ppclas", "paddlepaddle", "image-classification", name],
        "metrics": sorted(_FOR_THE_HUB[key] for key in manifest.metrics if key in _FOR_THE_HUB),
    }
    if license_id is not None:
        facts["license"] = license_id
    front = yaml.safe_dump({key: value for key, value in facts.items() if value}, sort_keys=False)
    several = manifest.task == "multilabel"
    kinds = f"{len(bundle.labels)} " + ("labels, any number for a photo" if several else "classes")
    rows = "".join(
        f"| {key} | {value:.4f} |\n" for key, value in manifest.metrics.items() if value == value
    )
    measured = (
        "Measured on the photos that its author held out:\n\n| metric | value |\n| --- | --- |\n"
        f"{rows}\n"
        if rows
        else "Its author gives no measurements.\n\n"
    )
    height, width = bundle.image_size
    return (
        f"---\n{front}---\n\n# {folder}\n\n"
        f"{name} for {kinds}, "
        f"on photos of {height}x{width} pixels: {_classes(bundle.labels)}.\n\n"
        f"{measured}## Use\n\n{use}"
    )


_FOR_THE_HUB = {"top1": "accuracy", "macro_f1": "f1", "auroc": "roc_auc"}
"""Our names of metrics → those that the hub knows."""


def _classes(labels: tuple[str, ...]) -> str:
    """Names of classes for Markdown, which gets no say in how they look."""
    shown = [f"`{escaped(label).replace('`', '')}`" for label in labels]
    return first_few(shown, _SHOWN_CLASSES)


@contextmanager
def _said(repo: str, endpoint: str | None) -> Iterator[HfApi]:
    """What the library raises, in a line."""
    if os.environ.get("PPCLAS_OFFLINE", "0") not in ("", "0"):
        raise BundleError(f"{repo} is on a hub, and PPCLAS_OFFLINE is set: nothing is asked there")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (  # type: ignore[attr-defined]
            HfHubHTTPError,
            HFValidationError,
            HTTPError,
            LocalEntryNotFoundError,
            LocalTokenNotFoundError,
            RepositoryNotFoundError,
        )
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise MissingDependencyError(
            "huggingface_hub is needed: pip install 'ppclas-cli[hub]'"
        ) from error
    disable_progress_bars()
    where = endpoint or "huggingface.co"
    try:
        yield HfApi(endpoint=endpoint, library_name="ppclas")
    except RepositoryNotFoundError as error:
        raise BundleError(
            f"{where} has no repository {repo} that you may see. Check the name; for a private one "
            "sign in: hf auth login"
        ) from error
    except LocalTokenNotFoundError as error:
        raise BundleError(f"{where} does not know who you are. Sign in: hf auth login") from error
    except HFValidationError as error:
        raise BundleError(f"{repo!r}: expected OWNER/NAME ({error})") from error
    except HfHubHTTPError as error:
        said = escaped(error.server_message or str(error).split("\n", 1)[0])
        raise BundleError(f"{where} does not do that for {repo}: {said}") from error
    except (HTTPError, ConnectionError, LocalEntryNotFoundError) as error:
        raise BundleError(f"{where} cannot be reached for {repo}: {error}") from error

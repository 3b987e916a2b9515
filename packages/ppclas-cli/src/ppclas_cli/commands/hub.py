"""``ppclas hub``: bundles on Hugging Face."""

from __future__ import annotations

from pathlib import Path

import click

from ppclas_cli.lazy import Group

_ENDPOINT = click.option(
    "--endpoint", metavar="URL", help="Another hub of that kind than huggingface.co."
)


@click.group(cls=Group)
def hub() -> None:
    """Share bundles on Hugging Face.

    \b
    Needs: pip install 'ppclas-cli[hub]'; to push, sign in first: hf auth login
    """


@hub.command("push")
@click.argument("path", metavar="RUN|BUNDLE")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make the repository a private one, if it is made.")
@click.option(
    "--license", "license_id", metavar="ID", help="Of the weights: apache-2.0, cc-by-4.0 …"
)
@click.option("--message", default="A ppclas bundle", help="Of the commit.")
@_ENDPOINT
def push_command(
    path: str, repo: str, private: bool, license_id: str | None, message: str, endpoint: str | None
) -> None:
    """Write the bundle of RUN|BUNDLE, with a model card, to the repository OWNER/NAME.

    \b
    Example:
      ppclas hub push runs/MobileNetV2-1 me/flowers --license cc-by-4.0
    """
    from ppclas_core.bundle import Bundle
    from ppclas_deploy.hub import push

    click.echo(
        push(
            Bundle.load(path),
            repo,
            private=private,
            license_id=license_id,
            message=message,
            endpoint=endpoint,
        )
    )


@hub.command("pull")
@click.argument("repo", metavar="OWNER/NAME")
@click.argument("folder", required=False, type=click.Path())
@click.option("--revision", default="main", help="A branch, a tag or a commit.")
@_ENDPOINT
def pull_command(repo: str, folder: str | None, revision: str, endpoint: str | None) -> None:
    """Take the bundle in OWNER/NAME to FOLDER (default: NAME).

    Only the bundle's two files are taken, and nothing in them is run.

    \b
    Example:
      ppclas hub pull me/flowers && ppclas predict photo.jpg -m flowers
    """
    from ppclas_deploy.hub import pull

    bundle, commit = pull(
        repo, Path(folder or repo.rpartition("/")[2]), revision=revision, endpoint=endpoint
    )
    architecture = bundle.manifest.architecture
    click.echo(
        f"{bundle.folder}: {architecture.name}, {architecture.num_classes} classes, commit "
        f"{commit[:12]}"
    )

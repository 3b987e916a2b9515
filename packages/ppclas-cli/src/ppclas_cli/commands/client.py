"""``ppclas client``: ask a server about photos."""

from __future__ import annotations

import click

from ppclas_cli.answers import FORMATS, format_of, report


@click.command(name="client")
@click.argument("url")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="FILE", help="Write the answers to a .csv, .json or .jsonl file."
)
@click.option(
    "--format", "as_format", type=click.Choice(FORMATS), help="Format on stdout or of --output."
)
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Answers per photo."
)
@click.option("--model", metavar="NAME", help="Of several models; without it the first.")
@click.option("--model-version", metavar="VERSION", help="Of several versions; else the last.")
@click.option(
    "--token", envvar="PPCLAS_TOKEN", show_envvar=True, help="What the server wants to be shown."
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Photos under way at a time.",
)
def command(
    url: str,
    paths: tuple[str, ...],
    output: str | None,
    as_format: str | None,
    top_k: int,
    model: str | None,
    model_version: str | None,
    token: str | None,
    parallel: int,
) -> None:
    """Send photos to a server and print what it says, as 'ppclas predict' does.

    PATHS are files, folders, .txt lists or globs on this machine. A server that is busy is asked
    again.

    \b
    Examples:
      ppclas client http://127.0.0.1:8000 cat.jpg
      ppclas client https://photos.example.org photos/ -o answers.csv
    """
    from ppclas_engine.results.predict import expand_paths

    from ppclas_cli.client import Client

    chosen = as_format or format_of(output)
    files = expand_paths(paths)
    client = Client(url, token=token)
    found = client.predict(
        files, top_k=top_k, model=model, version=model_version, parallel=parallel
    )
    report(list(found), output, chosen)

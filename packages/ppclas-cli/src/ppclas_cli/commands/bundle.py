"""``ppclas bundle``: what a bundle says of its answers, changed on purpose."""

from __future__ import annotations

import click

from ppclas_cli.lazy import Group


@click.group(cls=Group)
def bundle() -> None:
    """Change what a bundle says of its answers.

    A bundle.json that was edited by hand is refused everywhere, so that nothing answers otherwise
    by mistake. This changes one on purpose, and tries it before it replaces the old one.
    """


@bundle.command("set")
@click.argument("path", metavar="RUN|BUNDLE")
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
def set_command(path: str, assignments: tuple[str, ...]) -> None:
    """Set labels, thresholds, activation or preprocessing of RUN|BUNDLE.

    The changed bundle must give probabilities for the built-in photos. Exports have to be made
    again.

    \b
    Examples:
      ppclas bundle set runs/MobileNetV2-1 labels=names.txt
      ppclas bundle set runs/MobileNetV2-1 "labels=[pear, plum]" "thresholds=[0.3, 0.6]"
      ppclas bundle set runs/MobileNetV2-1 preprocessing.normalize.mean.0=0.5
    """
    from ppclas_cli.changing import change_bundle

    changed = change_bundle(path, assignments)
    click.echo(f"{changed.folder} has {', '.join(assignments)} now. Exports have to be made again.")

"""Write the changelogs of a release: ``python release/changelog.py 0.2.0``.

Each package's fragments (``packages/<package>/changelog.d/<issue>.<kind>.md``, one sentence each)
become a section of its ``CHANGELOG.md`` and are removed. Lines that stand under "Unreleased" join
that section.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

CONFIG = Path(__file__).with_name("towncrier.toml")
KINDS = ("added", "changed", "fixed", "removed")
_UNRELEASED = "## Unreleased\n"


def fragments(package: Path) -> list[Path]:
    """The fragments of a package.

    Raises:
        ValueError: a file there has another name or says nothing.
    """
    found = sorted((package / "changelog.d").glob("*"))
    for file in found:
        if not re.fullmatch(rf"\+?[\w-]+\.(?:{'|'.join(KINDS)})(?:\.\d+)?\.md", file.name):
            raise ValueError(f"{file}: expected <issue>.<{'|'.join(KINDS)}>.md")
        if not file.read_text("utf-8").strip():
            raise ValueError(f"{file} is empty; expected a sentence for users")
    return found


def write(package: Path, version: str, day: str) -> bool:
    """Make a section for ``version``; whether there was anything to say."""
    file = package / "CHANGELOG.md"
    has_fragments = bool(fragments(package))
    if has_fragments:
        command = ["towncrier", "build", "--yes", "--version", version, "--date", day]
        command += ["--config", str(CONFIG), "--dir", str(package), "--name", package.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text = file.read_text("utf-8").lstrip()
    heading = "### Further changes\n" if has_fragments else f"## {version} ({day})\n"
    file.write_text(text.replace(_UNRELEASED, heading, 1), encoding="utf-8")
    return has_fragments or _UNRELEASED in text


def main() -> None:
    """Every package."""
    version = sys.argv[1]
    for package in sorted((CONFIG.parents[1] / "packages").iterdir()):
        said = write(package, version, date.today().isoformat())
        print(f"{package.name}: {'written' if said else 'nothing changed'}")


if __name__ == "__main__":
    main()

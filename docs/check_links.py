"""Ask every web address that a page links to: ``nox -s docs-links``.

An address that is not there, or does not answer, is printed and the exit code is
1. Sites that keep programs out (401, 403, 429) count as there. Where no address answers, there is
no network, and nothing is said about the links. Links inside the repository: tests/test_docs_links.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/*/*.md")
LINK = re.compile(r"\]\((https?://[^)\s]+)\)|<(https?://[^>\s]+)>")
NOT_ASKED = re.compile(r"//(?:127\.0\.0\.1|localhost|[\w.]*example\.(?:org|com))\b")
SECONDS, AT_ONCE = 20, 8
CLOSED = {401, 403, 405, 406, 418, 429}
"""Answers of sites that are there and do not serve programs."""


def addresses(pages: Iterable[Path]) -> dict[str, list[Path]]:
    """Each address of the pages, without its fragment, with the pages that have it."""
    found: dict[str, list[Path]] = {}
    for page in pages:
        for pair in LINK.findall(page.read_text("utf-8")):
            address = "".join(pair).partition("#")[0]
            if not NOT_ASKED.search(address):
                found.setdefault(address, []).append(page)
    return found


def trouble(address: str) -> str:
    """What is wrong with an address; empty where it answers."""
    said = ""
    for method in ("HEAD", "GET"):
        request = urllib.request.Request(
            address, method=method, headers={"User-Agent": "Mozilla/5.0 (ppclas docs-links)"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            if error.code in CLOSED:
                return ""
            said = f"{error.code} {error.reason}"
        except OSError as error:
            said = f"no answer: {getattr(error, 'reason', error)}"
    return said


def check(pages: Iterable[Path]) -> int:
    """Print the addresses that do not answer; the exit code."""
    found = addresses(pages)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = dict(zip(found, pool.map(trouble, found), strict=True))
    bad = {address: text for address, text in said.items() if text}
    if found and len(bad) == len(found):
        print(f"no network here: none of {len(found)} addresses answers", file=sys.stderr)
        return 0
    for address, text in bad.items():
        pages_with_it = ", ".join(sorted({page.name for page in found[address]}))
        print(f"{address}: {text} ({pages_with_it})")
    print(f"{len(found) - len(bad)} of {len(found)} addresses answer", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(check(sorted({page for pattern in PAGES for page in ROOT.glob(pattern)})))

"""Every link between the pages of the repository leads to a file and a heading that are there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from ppclas_core.bundle import MANIFEST, WEIGHTS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/*/*.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page):
    """The text of ``page`` without its blocks and spans of code."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`(?!\])", "", text)


def anchors(page):
    """What a link can end with: each heading as GitHub makes an anchor of it."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        explicit = re.search(r"\{ *#([\w.-]+) *\}", title)
        if explicit:
            yield explicit[1]
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        yield re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")


def broken(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        to = page.parent / path if path else page
        if not to.exists():
            yield f"{target}: no such file"
        elif anchor and to.suffix == ".md" and anchor not in set(anchors(to)):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#three) [c](gone.md) `[d](code.md)`\n", "utf-8")
    assert list(broken(page)) == ["#three: no such heading", "gone.md: no such file"]


def test_files_of_a_bundle_have_the_names_that_are_written():
    named = {
        name for page in PAGES for name in re.findall(r"bundle/(\w+\.\w+)", page.read_text("utf-8"))
    }
    assert named
    assert named <= {MANIFEST, WEIGHTS, "README.md"}

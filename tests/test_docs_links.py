"""Every link between the pages of the repository leads to a file and a heading that are there."""

import http.server
import re
import runpy
import threading
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


class Site(http.server.BaseHTTPRequestHandler):
    """/there answers a GET alone, /closed keeps programs out, anything else is gone."""

    def do_GET(self):
        code = {"/there": 200, "/closed": 403}.get(self.path, 404)
        self.send_response(code if self.command == "GET" or code != 200 else 501)
        self.end_headers()

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_args):
        pass


def test_web_addresses_are_asked(tmp_path, capsys, monkeypatch):
    script = runpy.run_path(str(ROOT / "docs" / "check_links.py"))
    monkeypatch.setitem(script["check"].__globals__, "NOT_ASKED", re.compile("never"))
    page = tmp_path / "page.md"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_address[1]}"
        page.write_text(f"[a]({here}/there#part) [b]({here}/gone) <{here}/closed>\n", "utf-8")
        assert script["check"]([page]) == 1
        server.shutdown()
    said = capsys.readouterr()
    assert said.out == f"{here}/gone: 404 Not Found (page.md)\n"
    assert "2 of 3 addresses answer" in said.err
    assert script["check"]([page]) == 0  # nobody answers any more
    assert "no network here: none of 3" in capsys.readouterr().err

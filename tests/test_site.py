"""The site as readers get it: opened from files, without network, in both languages."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = runpy.run_path(str(DOCS / "build_site.py"))
LANGUAGES = ("en", "zh")

pytest.importorskip("zensical")


def pages(language):
    folder = DOCS / language
    return {page.relative_to(folder).with_suffix("").as_posix() for page in folder.rglob("*.md")}


def test_both_languages_have_the_same_pages():
    assert pages("zh") == pages("en"), "write docs/zh/<page>.md as well"


def test_the_contents_list_every_page_once():
    listed = [page for section in SITE["sections"]() for page in section["pages"]]
    assert sorted(listed) == sorted(pages("en")), "docs/site/nav.yml"


def commands(page):
    """The commands in the blocks of a page, without the words of prompts and of readers."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("page", sorted(pages("zh")))
def test_both_languages_give_the_same_commands(page):
    english, chinese = (commands(DOCS / language / f"{page}.md") for language in LANGUAGES)
    assert chinese == english


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    output = tmp_path_factory.mktemp("site") / "site"
    script = str(DOCS / "build_site.py")
    subprocess.run([sys.executable, script, output], check=True, stdout=subprocess.DEVNULL)
    return output


def test_pages_load_nothing_from_elsewhere(site):
    html = sorted(site.rglob("*.html"))
    assert len(html) > len(pages("en"))
    for page in html:
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source|video)\b[^>]*src=\"?([^\" >]+)", text)
        for link in re.findall(r"<link\b[^>]*>", text):
            if re.search(r"rel=\"?(?:stylesheet|icon|preload|manifest)", link):
                loaded += re.findall(r"href=\"?([^\" >]+)", link)
        assert loaded or page.parent == site
        for path in loaded:
            if not path.startswith("data:"):
                assert (page.parent / path).exists(), f"{page}: {path}"
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"@import|url\(\W?https?:", styles)


def test_a_page_leads_to_itself_in_the_other_language(site):
    for page in sorted(pages("en")):
        text = (site / "en" / f"{page}.html").read_text("utf-8")
        there = re.findall(r'href="([^"]*)" hreflang="zh"', text)
        wanted = (site / "zh" / f"{page}.html").resolve()
        assert {(site / "en" / page).parent.joinpath(link).resolve() for link in there} == {wanted}


def test_a_broken_link_stops_the_build(tmp_path):
    # The script looks for the pages beside itself.
    shutil.copytree(DOCS / "site", tmp_path / "docs" / "site")
    for name in ("build_site.py", "generate_models.py"):
        shutil.copy(DOCS / name, tmp_path / "docs")
    copy = tmp_path / "docs" / "build_site.py"
    for language in LANGUAGES:
        (tmp_path / "docs" / language).mkdir()
        (tmp_path / "docs" / language / "index.md").write_text("# A\n\n[b](#a)\n", "utf-8")
    command = [sys.executable, str(copy), str(tmp_path / "site")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (tmp_path / "docs" / "zh" / "index.md").write_text("# A\n\n[b](#c)\n", "utf-8")
    assert subprocess.run(command, capture_output=True).returncode != 0


FIELD = "[...document.querySelectorAll('*')].find(e => e.shadowRoot)?.shadowRoot"


@pytest.mark.slow
@pytest.mark.parametrize(("language", "word"), [("en", "Parquet"), ("zh", "安装")])
def test_the_search_finds_words_in_pages_opened_from_files(site, browser, language, word):
    browser.open((site / language / "index.html").as_uri())
    browser.wait("document.readyState == 'complete'")
    browser.wait("!!document.querySelector('.md-search__button')")
    browser.run("document.querySelector('.md-search__button').click()")
    browser.wait(f"!!{FIELD}?.querySelector('input')")
    browser.run(
        f"(() => {{ const field = {FIELD}.querySelector('input'); field.value = '{word}';"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    browser.wait(f"/\\d+ results?/.test({FIELD}.textContent)")
    assert word in browser.run(f"{FIELD}.textContent")


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_is_wider_than_a_phone(site, browser, language):
    # One page of the catalogue stands for all of them: they have one shape.
    pages = [*(site / language).glob("*.html"), site / language / "models" / "resnet.html"]
    for page in sorted(pages):
        browser.open(page.as_uri(), width=400)
        browser.wait("document.readyState == 'complete'")
        wide = browser.run("document.scrollingElement.scrollWidth")
        assert wide <= 400, f"{page.name}: {wide} pixels"

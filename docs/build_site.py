"""Build the site: ``python docs/build_site.py [OUTPUT]``, by default into ``build/site``.

The pages are ``docs/en/*.md`` and ``docs/zh/*.md`` with the same names, their order is in
``docs/site/nav.yml``; those of the catalogue come from ``generate_models.py``. Each language is
built by itself with Zensical in strict mode (a warning is an error), so each has a search of its
own. A link out of ``docs`` leads to a copy of the file.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMES = {"en": "English", "zh": "中文"}
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)([^)]*\))")
_START = """\
<!doctype html>
<meta charset="utf-8">
<title>ppclas</title>
<script>location.replace((/^zh/i.test(navigator.language) ? "zh" : "en") + "/index.html")</script>
<p><a href="en/index.html">English</a> · <a href="zh/index.html">中文</a></p>
"""


def sections() -> list[dict[str, str | list[str]]]:
    """The sections of ``nav.yml``: a title for each language and the pages."""
    return yaml.safe_load((DOCS / "site" / "nav.yml").read_text("utf-8"))


def build(output: Path) -> None:
    """Both languages into ``output/en`` and ``output/zh``, and the page that chooses one."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        for language in NAMES:
            _stage(language, work / language)
            _write_models(language, work / language)
            config = work / f"{language}.yml"
            config.write_text(_config(language, work / language), "utf-8")
            command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(config)]
            subprocess.run(command, check=True, cwd=work)
        _finish(work / "site")
        (work / "site" / "index.html").write_text(_START, "utf-8")
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(work / "site", output)


def _stage(language: str, folder: Path) -> None:
    """Copies of the pages, whose links to other files lead to copies of those."""
    folder.mkdir(parents=True)
    shutil.copy(DOCS / "site" / "site.css", folder)
    for page in sorted((DOCS / language).glob("**/*.md")):
        inside = page.relative_to(DOCS / language)
        text = _LINK.sub(
            lambda link, page=page: link[1] + _carried(link[2], page, language, folder) + link[3],
            page.read_text("utf-8"),
        )
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_text(text, "utf-8")


def _write_models(language: str, folder: Path) -> None:
    """The pages of the catalogue and their figures, which the repository does not keep."""
    generator = runpy.run_path(str(DOCS / "generate_models.py"))
    for path, written in (
        ("models", generator["pages"](language)),
        ("images/models", generator["figures"]()),
    ):
        (folder / path).mkdir(parents=True, exist_ok=True)
        for name, text in written:
            (folder / path / name).write_text(text, "utf-8")


def _carried(target: str, page: Path, language: str, folder: Path) -> str:
    """Where ``target`` of a link in ``page`` is on the site; a file outside is copied there."""
    file = (page.parent / target).resolve()
    if re.match(r"[a-z]+:", target) or file.is_relative_to(DOCS / language):
        return target
    up = "../" * (len(page.relative_to(DOCS / language).parts) - 1)
    if file.is_dir():
        file = file / "README.md"
    if file.suffix == ".md" and file.is_relative_to(DOCS):
        return f"{up}../{file.relative_to(DOCS).with_suffix('.html').as_posix()}"
    if file.is_relative_to(DOCS):
        name = file.relative_to(DOCS).as_posix()
    else:
        # A browser shows text only if the name says so.
        name = f"files/{file.relative_to(ROOT).as_posix()}.txt"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / name)
    return up + name


def _finish(site: Path) -> None:
    """Lead from each page to itself in the other language; load nothing from elsewhere."""
    for page in site.glob("*/404.html"):
        page.unlink()  # it works at the root of a server alone
    for page in site.glob("*/**/*.html"):
        language, *inside = page.relative_to(site).parts
        text = page.read_text("utf-8")
        for other in NAMES.keys() - {language}:
            if site.joinpath(other, *inside).exists():
                text = text.replace(f"{other}/index.html", "/".join([other, *inside]))
        up = "../" * (len(inside) - 1)
        # Zensical takes a shim from a server of another project; ours lies beside the pages.
        text, found = re.subn(r'src="?https://unpkg\.com/[^ >]*', f'src="{up}worker.js"', text)
        if found != 1:
            raise SystemExit(
                f"{page}: {found} scripts from elsewhere, expected the search's alone."
            )
        page.write_text(text, "utf-8")
    for language in NAMES:
        shutil.copy(DOCS / "site" / "worker.js", site / language)


def _config(language: str, docs: Path) -> str:
    shared = (DOCS / "site" / "mkdocs.yml").read_text("utf-8")
    shared = shared.replace("theme:\n", f"theme:\n  language: {language}\n", 1)
    lines = [
        "site_name: ppclas",
        f"docs_dir: {language}",
        f"site_dir: site/{language}",
        "nav:",
        *_nav(language, docs),
        "extra:",
        "  alternate:",
    ]
    for code, name in NAMES.items():
        lines += [f"    - lang: {code}", f"      name: {name}", f"      link: ../{code}/index.html"]
    return shared + "\n".join(lines) + "\n"


def _nav(language: str, docs: Path) -> Iterator[str]:
    for section in sections():
        pages = [page for page in section["pages"] if (docs / f"{page}.md").exists()]
        if pages:
            yield f"  - {section[language]}:"
            yield from (f"      - {page}.md" for page in pages)
    yield f"  - {'Models' if language == 'en' else '模型'}:"
    models = sorted(
        (docs / "models").glob("*.md"), key=lambda page: (page.stem != "index", page.stem)
    )
    yield from (f"      - models/{page.name}" for page in models)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build" / "site")

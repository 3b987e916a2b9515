"""The pages for people: files of this package, in the reader's language."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/words.js": "words.js",
    "/docs": "docs.html",
    "/docs.js": "docs.js",
    "/icon.svg": "icon.svg",
}
"""Path → file; all of them are sent without a token."""
LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""What may be asked for → the page's ``lang``."""
_FOLDER = Path(__file__).with_name("page")


def page_routes() -> list[BaseRoute]:
    """Every path of ``FILES``."""
    return [Route(path, _send(name), methods=["GET"]) for path, name in FILES.items()]


def language_of(request: Request) -> str:
    """Of ``LANGUAGES``: what ``?lang=`` says, else what the browser likes best, else English."""
    asked = request.query_params.get("lang", "")
    if asked in LANGUAGES:
        return asked
    best, most = "en", 0.0
    for part in request.headers.get("accept-language", "").split(","):
        name, _, weight = part.partition(";")
        language = name.strip().lower().partition("-")[0]
        try:
            likes = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language in LANGUAGES and likes > most:
            best, most = language, likes
    return best


def _send(name: str) -> Callable[[Request], Awaitable[Response]]:
    path = _FOLDER / name

    async def file(request: Request) -> Response:
        return FileResponse(path)

    async def page(request: Request) -> Response:
        language = LANGUAGES[language_of(request)]
        text = path.read_text("utf-8").replace('lang="en"', f'lang="{language}"', 1)
        headers = {"content-language": language, "vary": "Accept-Language"}
        return Response(text, headers=headers, media_type="text/html")

    return page if name.endswith(".html") else file

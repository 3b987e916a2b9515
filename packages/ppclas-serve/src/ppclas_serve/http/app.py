"""The ASGI application: routes, and what surrounds every one of them."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Match, Route, Router

from ppclas_serve.backend.problems import Problem, over_limit
from ppclas_serve.backend.proving import prove
from ppclas_serve.backend.served import CANDIDATE
from ppclas_serve.http.answering import Answers, json_response, problem_response
from ppclas_serve.http.oip import oip_routes
from ppclas_serve.http.openapi import description
from ppclas_serve.http.routes import old_routes, own_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ppclas_serve.backend.fleet import Fleet
    from ppclas_serve.backend.served import Served

_PAGE = Path(__file__).with_name("page")
_FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/docs": "docs.html",
    "/docs.js": "docs.js",
    "/icon.svg": "icon.svg",
}
_OPEN = ("/v2/health/live", "/v2/health/ready", *_FILES)
"""What is answered without a token: whether the server lives, and the page, which asks for one."""
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}


def make_app(
    fleet: Fleet,
    *,
    token: str | None = None,
    cors: Sequence[str] = (),
    wait: bool = False,
    beside: Callable[[ASGIApp], AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """The application of ``fleet``, which it loads and proves when it starts.

    Args:
        fleet: what answers.
        token: what clients must send as ``Authorization: Bearer``; None: nothing.
        cors: origins whose pages may ask, ``*`` for all.
        wait: start only when every model has been proven or refused, not while that goes on.
        beside: what runs as long as the application does, and asks it too.
    """
    answers = Answers(fleet)

    @contextlib.asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        starting = asyncio.ensure_future(fleet.start(lambda served: _prove(whole, served)))
        starting.add_done_callback(_report)
        if wait:
            await asyncio.wait([starting])
        async with beside(whole) if beside else contextlib.nullcontext():
            yield
        starting.cancel()
        await fleet.stop()

    async def metrics(request: Request) -> Response:
        return Response(fleet.metrics.render(), media_type=fleet.metrics.content_type)

    async def openapi(request: Request) -> Response:
        return json_response(description(token is not None))

    def file(name: str) -> Route:
        async def send(request: Request) -> Response:
            return FileResponse(_PAGE / _FILES[name])

        return Route(name, send, methods=["GET"])

    routes: list[BaseRoute] = [
        *own_routes(answers),
        *oip_routes(answers),
        *(file(name) for name in _FILES),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        *old_routes(answers),
    ]
    inner = Router(routes, redirect_slashes=False, lifespan=lifespan)
    whole: ASGIApp = Surroundings(inner, routes, fleet, token)
    if cors:
        whole = CORSMiddleware(
            whole, allow_origins=list(cors), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    return whole


async def _prove(app: ASGIApp, served: Served) -> str:
    return await prove(app, served)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        traceback.print_exception(error)


class Surroundings:
    """Token, number of requests, time limit, security headers, metrics; errors become problems."""

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], fleet: Fleet, token: str | None
    ) -> None:
        self._app, self._routes, self._fleet = app, routes, fleet
        self._token = None if token is None else token.encode()
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500
        began = False

        async def send_on(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                began, status = True, message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        route = _route_of(self._routes, scope)
        self._under_way += 1
        try:
            self._check(scope, route)
            limits = self._fleet.limits
            try:
                # Twice: a body may take as long as an answer.
                within = None if CANDIDATE in scope else 2 * limits.timeout
                await asyncio.wait_for(self._app(scope, receive, send_on), within)
            except asyncio.TimeoutError:
                raise over_limit(
                    503, "timeout", limits.timeout, f"No answer within {limits.timeout:g} seconds."
                ) from None
        except Problem as problem:
            if not began:
                await problem_response(problem)(scope, receive, send_on)
        except Exception as error:  # a bug of ours: said in the log, without the request's content
            print(f"{route}: {type(error).__name__}", file=sys.stderr)
            traceback.print_tb(error.__traceback__)
            if not began:
                bug = Problem(500, "This is a bug in ppclas; the server's log says where.")
                await problem_response(bug)(scope, receive, send_on)
        finally:
            self._under_way -= 1
            if CANDIDATE not in scope:
                metrics = self._fleet.metrics
                metrics.requests.labels(route, str(status)).inc()
                metrics.latency.labels(route).observe(time.monotonic() - started)

    def _check(self, scope: Scope, route: str) -> None:
        """Whether the request may go on.

        Raises:
            Problem: it has no token, there is no such route, or too many are under way.
        """
        if CANDIDATE in scope:
            return
        headers = Headers(scope=scope)
        if self._token is not None and scope["path"] not in _OPEN:
            given = headers.get("authorization", "").encode("latin-1")
            kind, _, secret = given.partition(b" ")
            right = hmac.compare_digest(secret.strip(), self._token)
            if not (right and kind.lower() == b"bearer"):
                raise Problem(401, "This server wants a token: Authorization: Bearer TOKEN.")
        limits = self._fleet.limits
        if self._under_way > limits.max_connections and scope["path"] not in _OPEN:
            raise over_limit(
                503, "max_connections", limits.max_connections,
                f"{limits.max_connections} requests are under way already; try again."
            )  # fmt: skip
        if route == "none":
            raise Problem(404, f"Nothing at {scope['path'][:200]!r}; /docs lists what there is.")
        if route == "method":
            raise Problem(405, f"{scope['path'][:200]!r} does not take {scope['method'][:20]}.")


def _route_of(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The pattern of the route, for metrics: never what the request says."""
    partial = False
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return getattr(route, "path", "?")
        partial = partial or match is Match.PARTIAL
    return "method" if partial else "none"

"""Start the service: one process, or several on one port that are started again when one dies."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.bundle import Bundle
from ppclas_core.errors import ConfigError
from ppclas_core.params import Params
from ppclas_data.decoding.stray_lines import few_stray_lines
from ppclas_data.leftovers import end_with, temporary_folder
from ppclas_data.loading.loader import available_cpus
from ppclas_engine.bundles import bundle_from_weights
from ppclas_engine.console import Console

from ppclas_serve.backend.problems import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ppclas_serve.backend.fleet import Source

_SETTINGS = "PPCLAS_SERVE_SETTINGS"
_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE = 1_000_000  # bytes
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Model(Params):
    """A model to serve: a path, or the published weights of a catalogue name."""

    name: str
    version: str = "1"
    path: str | None = None
    """A run, bundle or export."""
    architecture: str = ""
    """A catalogue name, where there is no path."""
    weights: str = ""
    """Their file."""
    labels: tuple[str, ...] | None = None
    """Class names for them; nothing: the classes' numbers."""


class Settings(Params):
    """Everything that a process of the service has to know."""

    models: tuple[Model, ...]
    shadow: Model | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any that is free."""
    grpc_port: int | None = None
    """0: any that is free; None: no gRPC."""
    workers: int = 1
    """Processes."""
    engine: str | None = None
    threads: int | None = None
    token: str | None = None
    cors: tuple[str, ...] = ()
    allow_edited: bool = False
    reload_seconds: float = 2.0
    limits: Limits = Limits()


def run(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; then answer what is under way, and return the exit code.

    Raises:
        MissingDependencyError: gRPC is wanted, and its library is not installed.
        ConfigError: a port is taken, or two models have one name and version.
    """
    import uvicorn

    pairs = [(model.name, model.version) for model in settings.models]
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise ConfigError(
                f"Two models are called {pair[0]}/{pair[1]}. Give them names: --name."
            )
    if settings.grpc_port is not None:
        from ppclas_serve.rpc.service import check_installed

        check_installed()
        if settings.grpc_port == 0 and settings.workers > 1:
            raise ConfigError("Several --workers need one --grpc-port for all; 0 is one for each.")
        listen(settings.host, settings.grpc_port).close()  # in time to say that it is taken
    listening = listen(settings.host, settings.port)
    port = listening.getsockname()[1]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    said = f"http://{shown}:{port}/ - a page for people; /docs lists the API"
    options: dict[str, Any] = {
        # It warns of each request that is no HTTP, and a stranger could fill the disk with that.
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 65,
        "timeout_graceful_shutdown": int(settings.limits.timeout) + 5,
        "lifespan": "on",
        "ws": "none",
        "h11_max_incomplete_event_size": 1 << 16,
    }
    # uvicorn answers what is under way, then raises the signal again: to end as asked is no error.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    _give_memory_back()
    if settings.workers == 1:
        with few_stray_lines():
            console = Console()
            console.line(said)
            app = application(settings, console)
            uvicorn.Server(uvicorn.Config(app, **options)).run([listening])
        return 0
    Console().line(said)
    threads = settings.threads or max(1, available_cpus() // settings.workers)
    with temporary_folder() as folder:
        os.environ[_SETTINGS] = settings.replace(threads=threads).model_dump_json()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        uvicorn.run(
            "ppclas_serve.run:worker_application",
            factory=True,
            workers=settings.workers,
            fd=listening.fileno(),
            timeout_worker_healthcheck=60,
            **options,
        )
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the address is taken, or is none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror or error}") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
        found.set_inheritable(True)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}). Choose another "
            "--port, or 0 for any that is free."
        ) from error
    return found


def application(settings: Settings, console: Console, *, wait: bool = False) -> ASGIApp:
    """The ASGI application of ``settings``; see ``make_app``."""
    from ppclas_serve.backend.fleet import Fleet
    from ppclas_serve.http.app import make_app

    def beside(app: ASGIApp) -> AbstractAsyncContextManager[None]:
        port = settings.grpc_port
        if port is None:
            return contextlib.nullcontext()
        from ppclas_serve.rpc.service import serving

        return serving(app, settings.host, port, settings.limits, console.line)

    fleet = Fleet(
        [source_of(model) for model in settings.models],
        settings.limits,
        shadow=source_of(settings.shadow) if settings.shadow else None,
        engine=settings.engine,
        threads=settings.threads,
        allow_edited=settings.allow_edited,
        reload_seconds=settings.reload_seconds,
        console=console,
    )
    return make_app(fleet, token=settings.token, cors=settings.cors, wait=wait, beside=beside)


def _give_memory_back() -> None:
    """Let glibc return large blocks at once. By itself it keeps more and more of them when photos
    of many sizes come: memory then grows for as long as strangers send damaged headers.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def worker_application() -> ASGIApp:
    """What a process of several serves. It takes requests when its models are proven, so that one
    that was started again refuses none.
    """
    if (parent := multiprocessing.parent_process()) and parent.pid:
        end_with(parent.pid)
    _give_memory_back()
    block = contextlib.ExitStack()
    block.enter_context(few_stray_lines())
    atexit.register(block.close)
    settings = Settings.model_validate_json(os.environ[_SETTINGS])
    return application(settings, Console(stream=sys.stderr), wait=True)


def _load(path: str, edited: bool) -> Bundle:
    return Bundle.load(path, edited=edited)


def source_of(model: Model) -> Source:
    """Where a model comes from."""
    from ppclas_serve.backend.fleet import Source

    if model.path is not None:
        path = model.path
        return Source(model.name, model.version, partial(_load, path), Path(path))
    return Source(
        model.name,
        model.version,
        lambda _edited: bundle_from_weights(
            model.architecture, Path(model.weights), labels=model.labels
        ),
    )


def named(paths: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """A name and a version for each path: the names that are given for the first ones, the folder's
    for the others. What has a name that is there already is its next version.

    Raises:
        ConfigError: more names than paths, or a name that a URL cannot have.
    """
    if len(names) > len(paths):
        raise ConfigError(f"{len(names)} names for {len(paths)} models.")
    found: list[tuple[str, str]] = []
    for path, name in zip_longest(paths, names):
        name = name or _folder_name(path)
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"The model name {name!r} should have letters, digits, '.', '_' and '-' only."
            )
        found.append((name, str(1 + sum(known == name for known, _ in found))))
    return found


def _folder_name(path: str) -> str:
    folder = Path(path).resolve()
    if folder.name in ("bundle", "bundle.json"):
        folder = folder.parent
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.name)
    return name if name.strip("-") else "model"  # a name in Chinese has nothing left

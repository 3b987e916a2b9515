"""Ask a server about photos, from Python; nothing but the standard library is needed."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ppclas_core.errors import ConfigError, PpclasError
from ppclas_data.decoding.web import read_file
from ppclas_engine.results.predict import Prediction

_PATIENCE = 8  # times that a busy server is asked again


class ServerError(PpclasError):
    """The server cannot be reached, or refuses every request."""


class Client:
    """A server at a URL; one connection for each thread that asks."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        """Connect to nothing yet.

        Args:
            url: ``http://host:port``, with a path where the server lies behind one.
            token: sent as ``Authorization: Bearer``.
            timeout: seconds for a request.

        Raises:
            ConfigError: that is no URL.
        """
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url}: expected http://HOST:PORT or https://HOST.")
        self.url, self._path, self._timeout = url, parts.path.rstrip("/"), timeout
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._host, self._port = parts.hostname, port
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._local = threading.local()

    def predict(
        self,
        paths: Sequence[str],
        *,
        top_k: int = 5,
        model: str | None = None,
        version: str | None = None,
        parallel: int = 8,
    ) -> Iterator[Prediction]:
        """The answers in the order of ``paths``; what cannot be read or is refused has ``error``.

        A server that is busy or not ready is asked again, for about a minute.

        Raises:
            ServerError: the server cannot be reached, or wants another token.
        """
        asked = {"top_k": str(top_k), "model": model, "version": version}
        query = urllib.parse.urlencode({k: value for k, value in asked.items() if value})
        with ThreadPoolExecutor(max(1, parallel)) as pool:
            try:
                yield from pool.map(lambda path: self._one(path, query), paths)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, path: str, query: str) -> Prediction:
        try:
            photo = read_file(path)
        except OSError as error:
            return Prediction(path, error=f"{path}: {error.strerror or error}")
        status, content = self.post(f"/v1/predict?{query}", photo)
        if status == 401:
            raise ServerError(f"{self.url}: {content.get('detail')} See --token.")
        if status != 200:
            said = str(content.get("detail", f"the server answers with {status}"))
            return Prediction(path, error=f"{path}: {said.removeprefix('image: ')}")
        answer = content["predictions"][0]
        labels = answer.get("labels")
        return Prediction(
            path,
            tuple((entry["label"], entry["probability"]) for entry in answer["top"]),
            labels=None
            if labels is None
            else tuple((entry["label"], entry["probability"]) for entry in labels),
        )

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to ``body``.

        Raises:
            ServerError: the server cannot be reached, or answers with something else than JSON.
        """
        headers = {**self._headers, "content-type": "application/octet-stream"}
        for attempt in range(_PATIENCE + 1):
            try:
                connection = self._connection()
                connection.request("POST", self._path + path, body, headers)
                answer = connection.getresponse()
                status, said = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._forget()
                if attempt == _PATIENCE or isinstance(error, ConnectionRefusedError):
                    raise ServerError(
                        f"{self.url} cannot be reached ({error}). Is the server running? Start it "
                        "with: ppclas serve MODEL"
                    ) from error
            else:
                if status not in (429, 503) or attempt == _PATIENCE:
                    return status, self._content(said)
            time.sleep(min(10.0, 0.1 * 2**attempt))
        raise AssertionError

    def _content(self, said: bytes) -> dict[str, Any]:
        try:
            content = json.loads(said)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ServerError(
                f"{self.url} answers with something that is not from ppclas serve: "
                f"{said[:80].decode(errors='replace')!r}"
            )
        return content

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._kind(
                self._host, self._port, timeout=self._timeout
            )
        return found

    def _forget(self) -> None:
        """After an error: the next request gets a new connection."""
        self._connection().close()
        del self._local.connection

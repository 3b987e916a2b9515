"""Fetch a file over HTTP: what arrives is what was published, or nothing arrives.

A download is written beside its target (``.part``, and ``.part.json`` with what identifies its
content), goes on where it stopped when the server still has the same content, and is renamed only
after it was checked.
"""

from __future__ import annotations

import email.message
import errno
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ppclas_core.errors import WeightsError
from ppclas_core.files import sync_folder

from ppclas_models.lock import Say, locked

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where the server says so, those there will be."""

_CHUNK = 1 << 18
_WORTHWHILE = 1 << 20
_TRICKLE = 1024
_RETRIED = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """When a download is tried again, and when it is given up."""

    tries: int = 4
    """In a row that bring less than a MiB."""
    stall: float = 30.0
    """Seconds to wait for an answer, and in which at least a KiB must come."""
    pause: float = 0.5
    """Seconds before the second try; doubled for each further one."""


class _RetryError(Exception):
    """This try failed; another may succeed."""


@dataclass(frozen=True)
class _Content:
    """What identifies the content behind an address."""

    url: str
    validator: str | None
    """A strong ETag, or else the time of the last change: the value of ``If-Range``."""
    length: int | None

    @classmethod
    def of(cls, url: str, headers: email.message.Message, length: int | None) -> _Content:
        etag = headers.get("ETag", "")
        return cls(url, etag if etag.startswith('"') else headers.get("Last-Modified"), length)

    def continues(self, other: _Content) -> bool:
        """Whether ``other``, an answer to ``If-Range``, is the same content."""
        return other.length == (self.length or other.length) and other.validator in (
            None,
            self.validator,
        )


class _Part:
    """The unfinished file of a target, and what it is a part of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def content(self, url: str) -> _Content | None:
        """What is there of ``url`` and can be gone on with; None if nothing is."""
        try:
            content = _Content(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None  # no note, or half of one: the download starts over
        return content if self.size and content.url == url and content.validator else None

    def start(self, content: _Content) -> IO[bytes]:
        self.path.write_bytes(b"")
        self._note.write_text(json.dumps(asdict(content)), encoding="utf-8")
        return open(self.path, "ab")

    def resume(self) -> IO[bytes]:
        return open(self.path, "ab")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(target)
        self._note.unlink(missing_ok=True)
        sync_folder(target.parent)


@dataclass(frozen=True)
class _Job:
    url: str
    part: _Part
    max_bytes: int
    progress: Progress
    say: Say
    patience: Patience


def download(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], None],
    max_bytes: int,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _text: None,
    patience: Patience = Patience(),
) -> None:
    """Fetch ``url`` to ``target``, unless another process does so meanwhile.

    ``check`` raises ``WeightsError`` where a whole file is not what was wanted; it is then removed.

    Raises:
        WeightsError: the address cannot be reached, has something else, or more than ``max_bytes``;
            or the file cannot be written.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError(
            f"cannot download {url}: expected an address that begins with https:// or http://"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"), say):
            if not target.is_file():
                _download(
                    _Job(url, _Part(target), max_bytes, progress, say, patience), target, check
                )
    except OSError as error:
        hint = " Make room there, or choose another folder." if error.errno == errno.ENOSPC else ""
        raise WeightsError(f"cannot write {target}: {error.strerror or error}.{hint}") from error


def _download(job: _Job, target: Path, check: Callable[[Path], None]) -> None:
    resumed = _fetch(job)
    try:
        check(job.part.path)
    except WeightsError as error:
        job.part.clear()
        reason = str(error).replace(str(job.part.path), "the file")
        if not resumed:
            raise WeightsError(
                f"{job.url} gives something else than was published: {reason}"
            ) from error
        job.say(
            f"the download went on where it had stopped, and is no good ({reason}): once more from "
            "the start"
        )
        _download(job, target, check)
        return
    job.part.finish(target)


def _fetch(job: _Job) -> bool:
    """Fetch the content, in as many tries as it takes; whether a part was there before."""
    resumed = job.part.content(job.url) is not None
    failures = 0
    while True:
        before = job.part.size
        try:
            _try(job)
            return resumed
        except _RetryError as error:
            failures = 1 if job.part.size - before >= _WORTHWHILE else failures + 1
            if failures >= job.patience.tries:
                raise WeightsError(
                    f"cannot download {job.url}: {error} (tried {failures} times)"
                ) from error
            job.say(f"{error}; trying again")
        time.sleep(job.patience.pause * 2 ** (failures - 1))


def _try(job: _Job) -> None:
    """Append what is missing; start over where the content changed or cannot be resumed."""
    part = job.part
    known, size = part.content(job.url), part.size
    if known is not None and size == known.length:
        return
    headers = {"User-Agent": "ppclas", "Accept-Encoding": "identity"}
    if known is not None and known.validator is not None:
        headers |= {"Range": f"bytes={size}-", "If-Range": known.validator}
    with _open(job, headers) as response:
        _refuse_pages(job.url, response.headers)
        start, length = _extent(response)
        content = _Content.of(job.url, response.headers, length)
        if length is not None and length > job.max_bytes:
            raise WeightsError(
                f"{job.url} has {length:,} bytes: another file, {job.max_bytes:,} were expected at "
                "most"
            )
        if start and (known is None or start != size or not known.continues(content)):
            part.clear()
            raise _RetryError("its content has changed since the download began")
        with part.resume() if start else part.start(content) as file:
            done = _copy(job, response, file, start, length)
    if done > job.max_bytes:
        part.clear()
        raise WeightsError(f"{job.url} gives more than {job.max_bytes:,} bytes: it is another file")
    if length is not None and done != length:
        raise _RetryError(f"the connection ended after {done:,} of {length:,} bytes")


def _copy(
    job: _Job, response: http.client.HTTPResponse, file: IO[bytes], done: int, length: int | None
) -> int:
    """Write the answer to ``file`` from byte ``done`` to just over ``max_bytes``; its new size."""
    mark, mark_time = done, time.monotonic()
    job.progress(done, length)
    while done <= job.max_bytes:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _RetryError(
                f"the connection broke after {done:,} bytes ({_reason(error)})"
            ) from error
        if not chunk:
            break
        file.write(chunk)
        done += len(chunk)
        job.progress(done, length)
        if time.monotonic() - mark_time > job.patience.stall:
            if done - mark < _TRICKLE:
                raise _RetryError(f"it stalled after {done:,} bytes")
            mark, mark_time = done, time.monotonic()
    return done


# The answer


def _open(job: _Job, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(job.url, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(_SafeRedirects).open(
            request, timeout=job.patience.stall
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the content
            job.part.clear()
            raise _RetryError("the server cannot go on where the download stopped") from None
        said = f"the server says {error.code} {error.reason}"
        if error.code in _RETRIED:
            raise _RetryError(said) from None
        raise WeightsError(f"cannot download {job.url}: {said}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _RetryError(_reason(error)) from error
    return response


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other web addresses, but not from an encrypted to a plain one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and scheme != req.type:
            raise WeightsError(
                f"cannot download {req.full_url}: it redirects to {newurl}, which is not safe to "
                "follow"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_pages(url: str, headers: email.message.Message) -> None:
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise WeightsError(
            f"{url} answers with a web page instead of a file. A proxy or a login page may be in "
            "between: open the address in a browser."
        )


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where in the content the answer begins, and how long the content is."""
    if response.status == 206:
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if given is None:
            raise _RetryError(
                "the server sends a part and does not say which "
                f"({response.headers['Content-Range']!r})"
            )
        return int(given[1]), int(given[2])
    announced = response.headers.get("Content-Length", "")
    return 0, int(announced) if announced.isdecimal() else None


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, OSError):
        return inner.strerror or str(inner) or type(inner).__name__
    return str(inner) or type(inner).__name__

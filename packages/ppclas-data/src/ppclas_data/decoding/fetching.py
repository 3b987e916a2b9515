"""A photo behind a web address: fetched into memory within bounds of size and time.

It is decoded like any other file. Nothing of it is run, and nothing is stored.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from typing import IO
from urllib.parse import urlsplit

from ppclas_core.errors import ImageError

MAX_BYTES = 64 << 20
"""Of a photo that is fetched."""
MAX_SECONDS = 30.0
"""From the first name lookup to the last byte."""
_CHUNK = 1 << 16


def fetch(address: str, *, seconds: float = MAX_SECONDS, most: int = MAX_BYTES) -> bytes:
    """What a web address gives, in memory.

    Args:
        address: begins with ``http://`` or ``https://``; it may redirect to others of these, from
            an encrypted one to encrypted ones alone.
        seconds: for all of it.
        most: bytes.

    Raises:
        ImageError: there is no such thing, it is larger or slower, or ``PPCLAS_OFFLINE`` is set.
    """
    if os.environ.get("PPCLAS_OFFLINE", "0") not in ("", "0"):
        raise ImageError(
            f"{address}: is on the web, and PPCLAS_OFFLINE is set. Save the photo and give the "
            "file, or unset PPCLAS_OFFLINE."
        )
    said: list[bytes | str] = []
    # A thread of its own: a server that sends a byte now and then never runs into a timeout.
    thread = threading.Thread(
        target=lambda: said.append(_answer(address, seconds, most)), daemon=True
    )
    thread.start()
    thread.join(seconds)
    answer = said[0] if said else f"no whole answer in {seconds:g} seconds"
    if isinstance(answer, str):
        raise ImageError(f"{address}: {answer}")
    return answer


def _answer(address: str, seconds: float, most: int) -> bytes | str:
    """The content, or what hindered that."""
    end = time.monotonic() + seconds
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "ppclas"})
        with urllib.request.build_opener(_SafeRedirects).open(request, timeout=seconds) as response:
            content = bytearray()
            while chunk := response.read1(_CHUNK):
                content += chunk
                if len(content) > most:
                    return f"more than {most:,} bytes, the most that is fetched. Save it as a file."
                if time.monotonic() > end:
                    return f"no whole answer in {seconds:g} seconds"
            expected = response.headers.get("Content-Length", "")
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server says {error.code} {' '.join(str(error.reason).split())[:200]}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        said = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
        return f"cannot be fetched ({said}). Is the address right, and the network there?"
    if expected.isdecimal() and len(content) < int(expected):
        return f"the connection ended after {len(content):,} of {int(expected):,} bytes"
    return bytes(content)


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
            raise ValueError(f"it redirects to {newurl}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

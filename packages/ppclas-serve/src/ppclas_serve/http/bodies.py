"""The photos of a request: raw, as a form, or in JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from ppclas_core.errors import ShapeError
from ppclas_data.decoding.arrays import rgb_pixels
from starlette.requests import ClientDisconnect, Request

from ppclas_serve.backend.problems import Limits, Problem, over_limit, too_many_images
from ppclas_serve.backend.served import CANDIDATE, Photo
from ppclas_serve.backend.tensors import decode_base64
from ppclas_serve.http.forms import read_files

_MEMORY = 1 << 30  # bytes of bodies that may be held at a time
_FILES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Types of a body that is one file, beside image/*; curl's ``--data-binary`` says the last."""


class Bodies:
    """Reads request bodies within the limits; one for each process."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._held = limits, 0

    async def read(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            Problem: it is too large, too slow, compressed, or there is no memory for it now.
        """
        # The proof of a model is no stranger.
        largest = _MEMORY if CANDIDATE in request.scope else self._limits.max_body
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise Problem(
                415, f"Bodies are taken as they are, not with Content-Encoding {encoding}."
            )
        said = request.headers.get("content-length", "")
        if said.isdecimal() and len(said) < 20 and int(said) > largest:
            raise self._too_large(int(said))
        try:
            return await asyncio.wait_for(self._collect(request, largest), self._limits.timeout)
        except asyncio.TimeoutError:
            raise over_limit(
                408,
                "timeout",
                self._limits.timeout,
                f"The body did not arrive within {self._limits.timeout:g} seconds.",
            ) from None
        except ClientDisconnect:
            raise Problem(
                400, "The client closed the connection before the body was there."
            ) from None

    async def _collect(self, request: Request, largest: int) -> bytes:
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                self._held += len(part)
                if size > largest:
                    raise self._too_large(size)
                if self._held > _MEMORY:
                    raise Problem(503, "Too many large requests are under way; try again.")
                parts.append(part)
        finally:
            self._held -= size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self, size: int) -> Problem:
        limit = self._limits.max_body
        return over_limit(
            413, "max_body_mb", self._limits.max_body_mb,
            f"The body has {size} bytes or more; this server takes up to {limit}."
        )  # fmt: skip

    async def photos(self, request: Request) -> list[Photo]:
        """The photos of a request, one or more.

        A form has files; JSON has ``image`` or ``images``, each base64 or rows of pixels; any other
        body is the file itself.

        Raises:
            Problem: as ``read``, or it is none of these.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await self.read(request)
        if kind == "multipart/form-data":
            files = read_files(body, request.headers["content-type"])
            if len(files) > self._limits.max_images and CANDIDATE not in request.scope:
                raise too_many_images(len(files), self._limits)
            photos = [
                Photo(_file_name(name, number), content)
                for number, (name, content) in enumerate(files, 1)
            ]
        elif kind == "application/json" or kind.endswith("+json"):
            photos = _from_json(read_json(body), self._limits)
        elif kind in _FILES or kind.startswith("image/"):
            photos = [Photo("image", body)] if body else []
        else:
            raise Problem(
                415,
                f"Content-Type {kind!r} is not read here. Send image/*, application/octet-stream, "
                "multipart/form-data or application/json.",
            )
        if not photos:
            raise Problem(422, "Expected one photo or more, got none.")
        return photos


def read_json(body: bytes) -> Any:
    """The value behind JSON.

    Raises:
        Problem: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"The body is not JSON: {' '.join(str(error).split())[:200]}") from None


def read_object(body: bytes) -> Mapping[str, Any]:
    """The object behind JSON.

    Raises:
        Problem: it is not an object in JSON.
    """
    content = read_json(body)
    if not isinstance(content, dict):
        raise Problem(422, f"The body should be a JSON object, got a {type(content).__name__}.")
    return content


def _from_json(content: Any, limits: Limits) -> list[Photo]:
    if not isinstance(content, dict):
        raise Problem(422, 'Expected {"images": [...]}, each base64 or pixels [H][W][3] in 0..255.')
    given: Any = [content["image"]] if "image" in content else content.get("images")
    if not isinstance(given, list):
        raise Problem(422, 'Expected {"images": [...]}, each base64 or pixels [H][W][3] in 0..255.')
    if len(given) > limits.max_images:
        raise too_many_images(len(given), limits)
    return [_photo(value, number) for number, value in enumerate(given, 1)]


def _photo(value: Any, number: int) -> Photo:
    name = f"image {number}"
    if isinstance(value, dict):
        said = value.get("name")
        name = _file_name(said if isinstance(said, str) else None, number)
        value = value.get("b64", value.get("array"))
    if isinstance(value, list):
        return Photo(name, _pixels(value, name))
    return Photo(name, decode_base64(value, name))


def _pixels(rows: list[Any], name: str) -> Any:
    try:
        array = np.asarray(rows)
    except (ValueError, OverflowError):
        raise Problem(422, f"{name}: its rows of pixels have different lengths.") from None
    if array.dtype.kind not in "iu" or array.size == 0 or array.min() < 0 or array.max() > 255:
        raise Problem(422, f"{name}: pixels should be whole numbers in 0..255.")
    try:
        return rgb_pixels(array.astype(np.uint8), name)
    except ShapeError as error:
        raise Problem(422, str(error)) from None


def _file_name(name: str | None, number: int) -> str:
    """What the sender calls a file: a name for messages, never opened."""
    shown = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in shown if c.isprintable())[:200] or f"image {number}"

"""Files in a form (multipart/form-data) whose body is in memory already."""

from __future__ import annotations

import logging
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ppclas_serve.backend.problems import Problem

_MOST_HEADERS = 16  # of a part
# It warns about each stray byte, and a stranger could fill the disk with that.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def read_files(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """Name and content of each file in ``body``; fields without a file name are left out.

    Raises:
        Problem: it is no form, or it is cut short.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "The form cannot be read: its Content-Type names no boundary.")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(
            400, f"The form cannot be read: {' '.join(str(error).split())[:200]}"
        ) from None
    if not parts.ended:
        raise Problem(400, "The form is cut short: its last boundary is missing.")
    return parts.files


class _Parts:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._content: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
            "on_part_end": self._end,
            "on_header_begin": self._begin_header,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers, self._content = {}, []

    def _begin_header(self) -> None:
        self._name, self._value = bytearray(), bytearray()

    def _end_header(self) -> None:
        if len(self._headers) >= _MOST_HEADERS:
            raise Problem(
                400, f"The form cannot be read: a part has more than {_MOST_HEADERS} headers."
            )
        self._headers[bytes(self._name).lower()] = bytes(self._value)

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"filename")
        if name is not None:
            self.files.append((name.decode("utf-8", "replace"), b"".join(self._content)))

    def _finish(self) -> None:
        self.ended = True

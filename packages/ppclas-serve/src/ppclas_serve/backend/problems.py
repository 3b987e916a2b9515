"""What a request may ask for, and how it is told that it asked for too much (RFC 9457)."""

from __future__ import annotations

from typing import Any

from ppclas_core.params import Params
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Not understood",
    401: "Not allowed",
    404: "Not found",
    405: "Wrong method",
    408: "Too slow",
    413: "Too large",
    415: "Wrong content type",
    422: "Cannot be answered",
    429: "Too many requests",
    500: "A bug in ppclas",
    503: "Not now",
}


class Limits(Params):
    """What one request may take, and how much may wait."""

    max_body_mb: PositiveFloat = 32.0
    """Largest request body, in 10^6 bytes."""
    max_pixels: PositiveInt = 50_000_000
    """Largest photo, height times width."""
    max_images: PositiveInt = 64
    """Photos in one request."""
    max_waiting: PositiveInt = 256
    """Photos that may be read and wait for a model, of all requests together."""
    max_connections: PositiveInt = 512
    """Requests that may be under way."""
    timeout: PositiveFloat = 30.0
    """Seconds in which a request must have arrived, and again in which it must be answered."""
    max_batch: PositiveInt = 16
    """Photos that the engine answers at a time."""
    max_delay_ms: NonNegativeFloat = 5.0
    """How long a photo may wait for others that are being read, in milliseconds."""

    @property
    def max_body(self) -> int:
        """In bytes."""
        return int(self.max_body_mb * 1e6)


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """An answer that is not a success: a status and one sentence."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more

    def content(self) -> dict[str, Any]:
        """The body. ``error`` is what clients of the Open Inference Protocol look for."""
        return {
            "type": "about:blank",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            **self.more,
        }


def over_limit(status: int, name: str, limit: float, detail: str) -> Problem:
    """A problem that names the limit (a field of ``Limits``) and its value."""
    return Problem(status, detail, limit=name, value=limit)


def too_many_images(count: int, limits: Limits) -> Problem:
    """More photos in one request than it may have."""
    return over_limit(
        413,
        "max_images",
        limits.max_images,
        f"{count} photos in one request; this server takes up to {limits.max_images}.",
    )

"""The HTTP service of ppclas: a page and an API, each model proven before it answers."""

from __future__ import annotations

__all__: list[str] = []

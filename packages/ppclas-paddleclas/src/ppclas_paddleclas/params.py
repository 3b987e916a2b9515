"""An operator's parameters on their way to those of a transform."""

from __future__ import annotations

from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.values import is_whole, read_flag, read_number

Component = dict[str, Any]

_OPENCV = ("nearest", "bilinear", "bicubic", "area", "lanczos")
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic")
"""By each library's numbers."""
_BY_BACKEND = {
    "cv2": (_OPENCV, {}),
    "pil": (_PILLOW, {"interpolation": "bicubic"}),
}
"""Backend → its interpolations, and what is said of it where PaddleClas is told none."""


class OperatorParams:
    """What an operator is given; what nobody asks for is an error."""

    def __init__(self, operator: str, params: dict[str, Any]) -> None:
        self._operator, self._params = operator, dict(params)
        self._asked: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """The value of ``name``; ``default`` where there is none, or null."""
        self._asked.add(name)
        value = self._params.pop(name, default)
        return default if value is None else value

    def peek(self, name: str) -> Any:
        """The value of ``name``, which is still to be taken."""
        return self._params.get(name)

    def number(self, name: str, default: float, *, or_null: bool = False) -> float:
        """A number; null is refused, or, with ``or_null``, the default."""
        if or_null and self._params.get(name, default) is None:
            self._params[name] = default
        return float(self._read(name, read_number, default))

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number; null is refused."""
        value = self._given(name, default)
        if not is_whole(value):
            raise self.error(name, f"expected a whole number, got {describe(value)}.")
        return int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Whether an option is on; null is off."""
        if name in self._params and self._params[name] is None:
            self.drop(name)
            return False
        return bool(self._read(name, read_flag, default))

    def size(self, name: str) -> int | list[int]:
        """A side, or PaddleClas' (width, height) as (height, width)."""
        value = self.take(name)
        if is_whole(value):
            return int(value)
        if isinstance(value, list) and len(value) == 2 and all(map(is_whole, value)):
            return value[0] if value[0] == value[1] else value[::-1]
        raise self.error(name, f"expected a side or [width, height], got {describe(value)}.")

    def interpolation(self, *, drawn: bool = False) -> Component:
        """How it resizes: as OpenCV does, or as Pillow; with ``drawn``, in a way that is drawn."""
        backend = self.take("backend", "cv2")
        value = self.take("interpolation")
        name = backend.lower() if isinstance(backend, str) else ""
        if name not in _BY_BACKEND:
            raise self.error("backend", f"expected cv2 or pil, got {describe(backend)}.")
        known, default = _BY_BACKEND[name]
        more = {"antialias": True} if name == "pil" else {}
        if drawn and name == "pil" and value == "random":
            return {"interpolation": "random", **more}
        if value is None or (name == "cv2" and value == -1):
            return {**default, **more}
        if is_whole(value) and 0 <= value < len(known):
            return {"interpolation": known[value], **more}
        if isinstance(value, str) and value.lower() in known:
            return {"interpolation": value.lower(), **more}
        raise self.error(
            "interpolation",
            f"expected one of {', '.join(known)}, or its number, got {describe(value)}.",
        )

    def range(self, name: str) -> dict[str, list[float]]:
        """Two numbers, rising; nothing where there are none."""
        value = self.take(name)
        if value is None:
            return {}
        if isinstance(value, list) and len(value) == 2:
            return {name: [float(read_number(end)) for end in value]}
        raise self.error(name, f"expected [smallest, largest], got {describe(value)}.")

    def drop(self, *names: str) -> None:
        """Parameters that change nothing here."""
        for name in names:
            self._asked.add(name)
            self._params.pop(name, None)

    def finish(self) -> None:
        """Refuse what is left."""
        for name in self._params:
            near = near_names(name, self._asked)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"{self._operator} has {name}, for which there is no setting here.{hint}"
            )

    def error(self, name: str, message: str) -> ConfigError:
        """``message`` about the parameter ``name``."""
        return ConfigError(f"{self._operator}.{name}: {message}")

    def _given(self, name: str, default: Any) -> Any:
        """The value, null too, or ``default`` where there is none."""
        self._asked.add(name)
        return self._params.pop(name, default)

    def _read(self, name: str, read: Any, default: Any) -> Any:
        value = self._given(name, default)
        try:
            return read(value)
        except ConfigError as error:
            raise self.error(name, str(error)) from error

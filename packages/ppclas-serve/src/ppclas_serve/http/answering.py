"""What the forms of the API share: which model, how its answers are written, JSON that any client
reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.wording import near_names
from ppclas_engine.results.predict import prediction_of
from starlette.requests import Request
from starlette.responses import Response

from ppclas_serve.backend.fleet import Fleet
from ppclas_serve.backend.problems import MEDIA_TYPE, Problem
from ppclas_serve.backend.proving import by_label
from ppclas_serve.backend.served import CANDIDATE, Answer, Photo, Served
from ppclas_serve.http.bodies import Bodies


class Answers:
    """A fleet with the reader of bodies: what every route works with."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.bodies = fleet, Bodies(fleet.limits)

    def served(self, request: Request, name: str | None, version: str | None) -> Served:
        """The model that a request is for.

        Raises:
            Problem: there is none, or it is not proven.
        """
        candidate: Served | None = request.scope.get(CANDIDATE)
        return candidate or self.fleet.live(name, version)

    async def ask(self, request: Request, served: Served, photos: Sequence[Photo]) -> list[Answer]:
        """Answers in the photos' order, and the shadow's afterwards.

        Raises:
            Problem: as ``Fleet.answer``.
        """
        if CANDIDATE in request.scope:  # limits are for strangers: a reload under load must pass
            return await served.answer(photos, self.fleet.readers)
        found = await self.fleet.answer(served, photos)
        self.fleet.ask_shadow(served, photos, found)
        return found


def probabilities_of(served: Served, answer: Answer) -> NDArray[np.float32]:
    """[C], by the bundle's activation."""
    return served.bundle.probabilities(answer.logits[None])[0]


def prediction(
    served: Served, photo: Photo, answer: Answer, top_k: int, wanted: Sequence[str]
) -> dict[str, Any]:
    """The answer for a photo as ``ppclas predict --format json`` writes it, and how long it took.

    ``wanted`` are labels whose probabilities are given whatever their rank.
    """
    if answer.error:
        return {"name": photo.name, "error": answer.error}
    probabilities = probabilities_of(served, answer)
    content = prediction_of(photo.name, probabilities, served.bundle, top_k).to_dict()
    del content["path"]
    if wanted:
        known = by_label(zip(served.bundle.labels, probabilities.tolist(), strict=True))
        content["wanted"] = {label: known[label] for label in wanted}
    took = {"read": round(answer.read_ms, 3), "answer": round(answer.answer_ms, 3)}
    return {"name": photo.name, **content, "milliseconds": took}


def check_labels(served: Served, wanted: Sequence[str]) -> None:
    """Need labels that the model has.

    Raises:
        Problem: one is unknown.
    """
    known = set(served.bundle.labels)
    for label in wanted:
        if label not in known:
            near = near_names(label, served.bundle.labels)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise Problem(422, f"labels: the model has no class {label!r}.{hint}")


def whole_number(request: Request, name: str, default: int, most: int) -> int:
    """A query parameter, 1 to ``most``.

    Raises:
        Problem: it is something else.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1):
        raise Problem(422, f"{name} should be a whole number of 1 or more, got {text[:40]!r}.")
    return min(int(text), most)


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON in UTF-8; what is no text (a file name in other bytes) is escaped."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    kind = "application/json" if status < 400 else MEDIA_TYPE
    return Response(text.encode("utf-8", "backslashreplace"), status, headers, kind)


def problem_response(problem: Problem) -> Response:
    """A problem as RFC 9457 writes it."""
    headers = {"retry-after": "1"} if problem.status in (429, 503) else {}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response(problem.content(), problem.status, headers)

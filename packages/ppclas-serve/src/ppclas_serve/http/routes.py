"""Our own form of the API, and the two forms of PaddleClas' services, so that old clients go on."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ppclas_serve.backend.problems import Problem, too_many_images
from ppclas_serve.backend.served import Photo
from ppclas_serve.backend.tensors import decode_base64
from ppclas_serve.http.answering import (
    Answers,
    check_labels,
    json_response,
    prediction,
    probabilities_of,
    whole_number,
)
from ppclas_serve.http.bodies import read_object


def own_routes(answers: Answers) -> list[BaseRoute]:
    """/v1: photos in, names and probabilities out."""
    fleet = answers.fleet

    async def predict(request: Request) -> Response:
        query = request.query_params
        served = answers.served(request, query.get("model"), query.get("version"))
        top_k = whole_number(request, "top_k", 5, len(served.bundle.labels))
        wanted = [label for label in query.getlist("labels") if label]
        check_labels(served, wanted)
        photos = await answers.bodies.photos(request)
        found = await answers.ask(request, served, photos)
        if all(answer.error for answer in found):
            raise Problem(422, "; ".join(answer.error for answer in found)[:1000])
        return json_response(
            {
                "model": served.name,
                "version": served.version,
                "predictions": [
                    prediction(served, photo, answer, top_k, wanted)
                    for photo, answer in zip(photos, found, strict=True)
                ],
            }
        )

    async def models(request: Request) -> Response:
        shown: list[dict[str, Any]] = []
        for (name, version), slot in fleet.slots.items():
            card = slot.live.card() if slot.live else {"name": name, "version": version}
            shown.append({**card, "ready": slot.live is not None, "reason": slot.trouble})
        return json_response({"models": shown, "limits": fleet.limits.model_dump()})

    async def labels(request: Request) -> Response:
        query = request.query_params
        served = answers.served(request, query.get("model"), query.get("version"))
        return json_response({"labels": list(served.bundle.labels)})

    async def shadow(request: Request) -> Response:
        if fleet.shadow is None:
            raise Problem(404, "No model runs in the shadow. Start the server with --shadow MODEL.")
        return json_response(fleet.shadow.report())

    return [
        Route("/v1/predict", predict, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/labels", labels, methods=["GET"]),
        Route("/v1/shadow", shadow, methods=["GET"]),
    ]


def old_routes(answers: Answers) -> list[BaseRoute]:
    """``POST /SERVICE/prediction``: by its keys, the form of 2020 or that of PaddleClas 2.x."""

    async def service(request: Request) -> Response:
        content = read_object(await answers.bodies.read(request))
        if "feed" in content:
            return await feed_and_fetch(request, content)
        if "key" in content:
            return await keys_and_values(request, content)
        raise Problem(
            422,
            'Expected {"feed": [{"image": base64}], "fetch": ["prediction"]}, or {"key": ["image"],'
            ' "value": [base64]}.',
        )

    async def feed_and_fetch(request: Request, content: Any) -> Response:
        feed, fetch = content["feed"], content.get("fetch", ["prediction"])
        if not isinstance(feed, list) or not feed or not all(isinstance(f, dict) for f in feed):
            raise Problem(422, 'feed should be a list of {"image": base64}.')
        if fetch != ["prediction"]:
            raise Problem(422, f'fetch should be ["prediction"], got {str(fetch)[:80]}.')
        missing = [number for number, entry in enumerate(feed) if "image" not in entry]
        if missing:
            raise Problem(422, f'feed {missing[0]} has no "image".')
        rows = await probabilities(request, [entry["image"] for entry in feed], "feed")
        return json_response({"result": {"prediction": rows}})

    async def keys_and_values(request: Request, content: Any) -> Response:
        key, value = content["key"], content.get("value")
        if (
            not isinstance(key, list)
            or not isinstance(value, list)
            or not key
            or len(key) != len(value)
            or any(name != "image" for name in key)
        ):
            raise Problem(422, 'key should be ["image"] and value [base64], of one length.')
        served = answers.served(request, None, None)
        rows = await probabilities(request, value, "value")
        labels, values = [], []
        for row in rows:
            best = max(range(len(row)), key=row.__getitem__)
            labels.append(served.bundle.labels[best])
            values.append(row[best])
        return json_response(
            {
                "err_no": 0,
                "err_msg": "",
                "key": ["label", "prob"],
                "value": [str(labels), str(values)],
                "tensors": [],
            }
        )

    async def probabilities(request: Request, images: list[Any], where: str) -> list[list[float]]:
        served = answers.served(request, None, None)
        limits = answers.fleet.limits
        if len(images) > limits.max_images:
            raise too_many_images(len(images), limits)
        photos = [
            Photo(f"{where} {number}", decode_base64(image, f"{where} {number}"))
            for number, image in enumerate(images)
        ]
        found = await answers.ask(request, served, photos)
        if errors := [answer.error for answer in found if answer.error]:
            raise Problem(422, errors[0])
        return [probabilities_of(served, answer).tolist() for answer in found]

    return [Route("/{service}/prediction", service, methods=["POST"])]

"""The Open Inference Protocol, version 2: what Triton's and KServe's clients speak.

A request has one input: ``image``, files of photos as BYTES [N] (base64 in JSON), or the tensor
that the model itself takes, ``images`` FP32 [N, 3, H, W], normalised (``pixels`` UINT8 [N, H, W, 3]
of an export with its preprocessing inside). Outputs are ``probabilities`` and ``logits``, FP32
[N, C], and ``label``, BYTES [N].
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine
from ppclas_deploy.sizes import channels_of
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ppclas_serve.backend.fleet import Fleet
from ppclas_serve.backend.problems import Problem
from ppclas_serve.backend.served import Photo, Served
from ppclas_serve.backend.tensors import read_tensor, write_bytes
from ppclas_serve.http.answering import Answers, json_response
from ppclas_serve.http.bodies import read_object

_LENGTH = "inference-header-content-length"
_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository"]
_OUTPUTS = ("probabilities", "logits", "label")


def oip_routes(answers: Answers) -> list[BaseRoute]:
    """Everything under /v2."""
    fleet = answers.fleet

    async def server(request: Request) -> Response:
        version = metadata.version("ppclas-serve")
        return json_response({"name": "ppclas", "version": version, "extensions": _EXTENSIONS})

    async def live(request: Request) -> Response:
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        if reasons := fleet.unready:
            said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise Problem(503, f"Not ready: {said}", ready=False, reasons=reasons)
        return json_response({"ready": True})

    async def index(request: Request) -> Response:
        await answers.bodies.read(request)
        return json_response(
            [
                {
                    "name": name,
                    "version": version,
                    "state": "READY" if slot.live else "UNAVAILABLE",
                    "reason": slot.trouble,
                }
                for (name, version), slot in fleet.slots.items()
            ]
        )

    async def model_metadata(request: Request) -> Response:
        served = _named(answers, request)
        return json_response(_metadata(fleet, served))

    async def model_config(request: Request) -> Response:
        served = _named(answers, request)
        facts = _metadata(fleet, served)
        return json_response(
            {
                "name": served.name,
                "platform": facts["platform"],
                "max_batch_size": fleet.limits.max_images,
                "input": _configured(facts["inputs"]),
                "output": _configured(facts["outputs"]),
            }
        )

    async def model_ready(request: Request) -> Response:
        _named(answers, request)
        return json_response({"ready": True})

    async def infer(request: Request) -> Response:
        served = _named(answers, request)
        body = await answers.bodies.read(request)
        asked, binary = _parts(body, request.headers.get(_LENGTH))
        logits = await _logits(answers, request, served, asked, binary)
        return _answer(served, asked, logits)

    routes: list[BaseRoute] = [
        Route("/v2", server, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        Route("/v2/repository/index", index, methods=["POST"]),
    ]
    for start in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(start, model_metadata, methods=["GET"]),
            Route(f"{start}/config", model_config, methods=["GET"]),
            Route(f"{start}/ready", model_ready, methods=["GET"]),
            Route(f"{start}/infer", infer, methods=["POST"]),
        ]
    return routes


def _named(answers: Answers, request: Request) -> Served:
    return answers.served(request, request.path_params["name"], request.path_params.get("version"))


def _own_input(served: Served) -> dict[str, Any]:
    channels, (height, width) = channels_of(served.bundle), served.bundle.image_size
    if takes_pixels(served.engine):
        return {"name": "pixels", "datatype": "UINT8", "shape": [-1, height, width, channels]}
    return {"name": "images", "datatype": "FP32", "shape": [-1, channels, height, width]}


def takes_pixels(engine: Engine) -> bool:
    """Whether the export normalises by itself."""
    return engine.prepare(np.zeros((0, 1, 1, 3), np.uint8)).dtype == np.uint8


def _metadata(fleet: Fleet, served: Served) -> dict[str, Any]:
    classes = len(served.bundle.labels)
    versions = served.engine.versions()
    return {
        "name": served.name,
        "versions": fleet.versions(served.name),
        "platform": "_".join([next(iter(versions), "ppclas"), "ppclas"]),
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}, _own_input(served)],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    }


def _configured(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    kinds = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32", "UINT8": "TYPE_UINT8"}
    return [
        {
            "name": tensor["name"],
            "data_type": kinds[tensor["datatype"]],
            "dims": tensor["shape"][1:] or [1],
        }
        for tensor in tensors
    ]


def _parts(body: bytes, length: str | None) -> tuple[Mapping[str, Any], list[bytes | None]]:
    """The JSON of a request, and the binary data of each of its inputs."""
    head, rest = body, b""
    if length is not None:
        if not (length.isascii() and length.isdecimal() and len(length) < 12):
            raise Problem(400, f"{_LENGTH} should be a whole number, got {length[:40]!r}.")
        if int(length) > len(body):
            raise Problem(400, f"{_LENGTH} is {length}, and the body has {len(body)} bytes.")
        head, rest = body[: int(length)], body[int(length) :]
    asked = read_object(head)
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(tensor, dict) for tensor in inputs):
        raise Problem(422, "inputs should be a list of tensors.")
    binary: list[bytes | None] = []
    for tensor in inputs:
        size = _parameters(tensor).get("binary_data_size")
        if size is None:
            binary.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise Problem(
                400, f"binary_data_size is {str(size)[:40]}, and {len(rest)} bytes are left."
            )
        binary.append(rest[:size])
        rest = rest[size:]
    if rest:
        raise Problem(400, f"{len(rest)} bytes after the last tensor's binary data.")
    return asked, binary


def _parameters(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Problem(422, "parameters should be an object.")
    return parameters


async def _logits(
    answers: Answers,
    request: Request,
    served: Served,
    asked: Mapping[str, Any],
    binary: Sequence[bytes | None],
) -> NDArray[np.float32]:
    own = _own_input(served)
    inputs = asked["inputs"]
    if len(inputs) != 1:
        raise Problem(422, f"Expected one input, 'image' or {own['name']!r}; got {len(inputs)}.")
    name = inputs[0].get("name")
    if name not in ("image", own["name"]):
        raise Problem(422, f"Input {str(name)[:80]!r}: the model takes 'image' or {own['name']!r}.")
    tensor = read_tensor(inputs[0], binary[0])
    if name == "image":
        if not isinstance(tensor, list):
            raise Problem(422, "Input 'image' should have the datatype BYTES.")
        if not tensor:
            raise Problem(422, "Input 'image' has no photo.")
        photos = [Photo(f"image {number}", content) for number, content in enumerate(tensor, 1)]
        found = await answers.ask(request, served, photos)
        if errors := [answer.error for answer in found if answer.error]:
            raise Problem(422, errors[0])
        return np.stack([answer.logits for answer in found])
    wanted = own["shape"][1:]
    if isinstance(tensor, list) or inputs[0]["datatype"] != own["datatype"]:
        raise Problem(422, f"Input {name!r} should have the datatype {own['datatype']}.")
    if list(tensor.shape[1:]) != wanted or not len(tensor):
        raise Problem(
            422, f"Input {name!r} should be [N, {str(wanted)[1:]}, got {list(tensor.shape)}."
        )
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise Problem(422, f"Input {name!r} has a number that is not finite.")
    found_logits: NDArray[np.float32] = await answers.fleet.answer_prepared(served, tensor)
    return found_logits


def _answer(served: Served, asked: Mapping[str, Any], logits: NDArray[np.float32]) -> Response:
    wanted = asked.get("outputs") or [{"name": name} for name in _OUTPUTS]
    if not isinstance(wanted, list) or not all(isinstance(output, dict) for output in wanted):
        raise Problem(422, "outputs should be a list of tensors.")
    by_default = bool(_parameters(asked).get("binary_data_output", False))
    probabilities = served.bundle.probabilities(logits)
    outputs, binary = [], []
    for output in wanted:
        name, parameters = output.get("name"), _parameters(output)
        value = _output(served, name, logits, probabilities, parameters.get("classification"))
        numbers = not isinstance(value, list)
        shown: dict[str, Any] = {"name": name, "datatype": "FP32" if numbers else "BYTES"}
        shape = (
            list(value.shape)
            if isinstance(value, np.ndarray)
            else [len(logits), len(value) // len(logits)]
        )
        shown["shape"] = shape if numbers or "classification" in parameters else shape[:1]
        if parameters.get("binary_data", by_default):
            data = (
                value.astype("<f4").tobytes()
                if isinstance(value, np.ndarray)
                else write_bytes([text.encode("utf-8", "replace") for text in value])
            )
            shown["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            shown["data"] = value.ravel().tolist() if isinstance(value, np.ndarray) else value
        outputs.append(shown)
    content: dict[str, Any] = {
        "model_name": served.name,
        "model_version": served.version,
        "outputs": outputs,
    }
    if isinstance(asked.get("id"), str):
        content["id"] = asked["id"][:200]
    if not binary:
        return json_response(content)
    head = json.dumps(content).encode()
    return Response(
        head + b"".join(binary),
        headers={_LENGTH: str(len(head))},
        media_type="application/octet-stream",
    )


def _output(
    served: Served,
    name: Any,
    logits: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    classification: Any,
) -> NDArray[np.float32] | list[str]:
    if name not in _OUTPUTS:
        raise Problem(422, f"Output {str(name)[:80]!r}: the model gives {', '.join(_OUTPUTS)}.")
    labels = served.bundle.labels
    if name == "label":
        return [labels[index] for index in probabilities.argmax(axis=1).tolist()]
    values = probabilities if name == "probabilities" else logits
    if classification is None:
        return values
    if type(classification) is not int or classification < 1:
        raise Problem(422, "classification should be a whole number of 1 or more.")
    best = np.argsort(-values, axis=1, kind="stable")[:, :classification]
    return [
        f"{row[index]:f}:{index}:{labels[index]}"
        for row, indices in zip(values, best.tolist(), strict=True)
        for index in indices
    ]

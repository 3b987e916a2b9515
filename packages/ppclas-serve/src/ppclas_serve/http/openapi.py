"""The API in OpenAPI 3.1, for generators of clients and for the page /docs."""

from __future__ import annotations

from importlib import metadata
from typing import Any

_PROBLEMS = {
    "400": "the body or its parts cannot be told apart",
    "401": "the token is missing or wrong",
    "404": "no such model, version or path",
    "408": "the body did not arrive in time",
    "413": "over a limit on size; `limit` and `value` name it",
    "415": "a content type or encoding that is not read",
    "422": "understood, and cannot be answered",
    "429": "too many photos wait; try again after `Retry-After` seconds",
    "503": "not ready, stopping, or too slow",
}
_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}


def description(with_token: bool) -> dict[str, Any]:
    """The whole document; ``with_token``: whether this server wants one."""
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "ppclas",
            "version": metadata.version("ppclas-deploy"),
            "description": "Image classification: photos in, names and probabilities out.",
        },
        "paths": {**_own(), **_protocol(), **_old(), **_care()},
        "components": {"schemas": _schemas()},
    }
    if with_token:
        content["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        content["security"] = [{"token": []}]
    return content


def _own() -> dict[str, Any]:
    which = [
        _query("model", "Name of the model; without it the first.", _TEXT),
        _query("version", "Version of the model; without it the last.", _TEXT),
    ]
    predict = _operation(
        "Classify photos",
        "Photos",
        "Predictions",
        parameters=[
            *which,
            _query(
                "top_k", "Answers for each photo.", {"type": "integer", "minimum": 1}, default=5
            ),
            _query(
                "labels",
                "Classes whose probabilities are wanted whatever their rank.",
                {"type": "array", "items": _TEXT},
            ),
        ],
    )
    file = {"schema": {"type": "string", "format": "binary"}}
    predict["requestBody"]["content"] |= {
        "image/*": file,
        "application/octet-stream": file,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"images": {"type": "array", "items": file["schema"]}},
            }
        },
    }
    return {
        "/v1/predict": {"post": predict},
        "/v1/models": {"get": _operation("What is served: cards, readiness, limits", None, "Any")},
        "/v1/labels": {
            "get": _operation("Class names, in the logits' order", None, "Any", parameters=which)
        },
        "/v1/shadow": {"get": _operation("What came of --shadow", None, "Any")},
    }


def _protocol() -> dict[str, Any]:
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("Name, version, extensions", None, "Any")},
        "/v2/health/live": {"get": _operation("The process answers", None, "Any")},
        "/v2/health/ready": {"get": _operation("Every model is proven", None, "Any")},
        "/v2/repository/index": {"post": _operation("Models and their states", None, "Any")},
    }
    for start, names in (
        ("/v2/models/{name}", ["name"]),
        ("/v2/models/{name}/versions/{version}", ["name", "version"]),
    ):
        where = [{"name": n, "in": "path", "required": True, "schema": _TEXT} for n in names]
        for end, summary in (
            ("", "Inputs and outputs"),
            ("/config", "As Triton describes a model"),
            ("/ready", "The model is proven"),
        ):
            paths[start + end] = {"get": _operation(summary, None, "Any", parameters=where)}
        infer = _operation("Infer", "InferRequest", "Any", parameters=where)
        paths[start + "/infer"] = {"post": infer}
    return paths


def _old() -> dict[str, Any]:
    where = [{"name": "service", "in": "path", "required": True, "schema": _TEXT}]
    summary = "The two forms of PaddleClas' services (feed/fetch; key/value)"
    return {
        "/{service}/prediction": {
            "post": _operation(summary, "OldRequest", "Any", parameters=where)
        }
    }


def _care() -> dict[str, Any]:
    metrics = _operation("Metrics for Prometheus", None, "Any")
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    return {
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": _operation("This document", None, "Any")},
    }


def _query(name: str, text: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {**schema, **more}}


def _operation(
    summary: str, body: str | None, answer: str, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": _reference("Problem")}}
    content: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {
                "description": "done",
                "content": {"application/json": {"schema": _reference(answer)}},
            },
            **{
                status: {"description": text, "content": problem}
                for status, text in _PROBLEMS.items()
            },
        },
    }
    if parameters:
        content["parameters"] = parameters
    if body is not None:
        content["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(body)}},
        }
    return content


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> dict[str, Any]:
    ranked = {
        "type": "array",
        "items": {"type": "object", "properties": {"label": _TEXT, "probability": _NUMBER}},
    }
    prediction = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _TEXT,
            "label": _TEXT,
            "probability": _NUMBER,
            "top": ranked,
            "labels": ranked,
            "wanted": {"type": "object", "additionalProperties": _NUMBER},
            "error": _TEXT,
            "milliseconds": {
                "type": "object",
                "properties": {"read": _NUMBER, "answer": _NUMBER},
            },
        },
    }
    image = {
        "oneOf": [
            _BASE64,
            {"type": "array", "description": "pixels [H][W] or [H][W][C], 0..255"},
            {
                "type": "object",
                "properties": {"name": _TEXT, "b64": _BASE64, "array": {"type": "array"}},
            },
        ]
    }
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": ["image", "images", "pixels"]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": ["BYTES", "FP32", "UINT8"]},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }
    images = {"type": "array", "items": image, "minItems": 1}
    return {
        "Any": {},
        "Photos": {"type": "object", "properties": {"images": images}, "required": ["images"]},
        "Predictions": {
            "type": "object",
            "required": ["model", "version", "predictions"],
            "properties": {
                "model": _TEXT,
                "version": _TEXT,
                "predictions": {"type": "array", "items": prediction},
            },
        },
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": _TEXT,
                "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"enum": ["probabilities", "logits", "label"]},
                            "parameters": {"type": "object"},
                        },
                    },
                },
            },
        },
        "OldRequest": {
            "oneOf": [
                {
                    "type": "object",
                    "required": ["feed"],
                    "properties": {
                        "feed": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["image"],
                                "properties": {"image": _BASE64},
                            },
                        },
                        "fetch": {"const": ["prediction"]},
                    },
                },
                {
                    "type": "object",
                    "required": ["key", "value"],
                    "properties": {
                        "key": {"type": "array", "items": {"const": "image"}},
                        "value": {"type": "array", "items": _BASE64},
                    },
                },
            ]
        },
        "Problem": {
            "type": "object",
            "required": ["title", "status", "detail"],
            "properties": {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "detail": _TEXT,
                "error": _TEXT,
                "limit": _TEXT,
                "value": _NUMBER,
            },
        },
    }

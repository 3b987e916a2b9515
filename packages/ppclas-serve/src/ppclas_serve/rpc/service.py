"""gRPC beside HTTP: each call becomes a request to the application, and its answer a message."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from ppclas_core.errors import ConfigError
from ppclas_deploy.dependencies import need

from ppclas_serve.backend.inside import Reply, ask
from ppclas_serve.backend.problems import Limits, Problem
from ppclas_serve.rpc.messages import MESSAGES, SERVICE, binary_of, is_text, parameters_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LENGTH = "inference-header-content-length"
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
"""HTTP status → gRPC's code."""
_ENVELOPE = 1 << 16  # bytes of a request beside its photos

Ask = Callable[..., Awaitable[Reply]]
"""Method, path and body; the token goes with them."""


def check_installed() -> None:
    """Need grpcio.

    Raises:
        MissingDependencyError: it is not installed.
    """
    need("grpc", purpose="--grpc-port", extra="grpc", package="ppclas-serve")


@asynccontextmanager
async def serving(
    app: ASGIApp, host: str, port: int, limits: Limits, said: Callable[[str], None]
) -> AsyncIterator[None]:
    """Answer over gRPC inside the block; then end what is under way.

    Args:
        app: the HTTP application.
        host: what is listened on.
        port: 0: any that is free.
        limits: of a request.
        said: told the address.

    Raises:
        ConfigError: the port is taken.
    """
    import grpc

    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_body + _ENVELOPE),
            ("grpc.max_send_message_length", -1),
        ],
        maximum_concurrent_rpcs=limits.max_connections,
    )
    server.add_generic_rpc_handlers((_handlers(app),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(
            f"{address} cannot be listened on for gRPC. Choose another --grpc-port."
        ) from error
    await server.start()
    said(f"grpc://{host}:{bound} - the Open Inference Protocol over gRPC")
    try:
        yield
    finally:
        await server.stop(limits.timeout)


def _handlers(app: ASGIApp) -> Any:
    """A handler of gRPC for every call of the protocol."""
    import grpc

    def method(call: Callable[[Ask, Any], Awaitable[Any]], name: str) -> Any:
        async def answer(content: bytes, context: Any) -> bytes:
            given = {key.lower(): value for key, value in context.invocation_metadata() or ()}
            token = given.get("authorization")
            headers = {"authorization": token} if isinstance(token, str) else {}

            async def ask_app(
                verb: str, path: str, body: bytes = b"", more: Mapping[str, str] = {}
            ) -> Reply:
                return await ask(app, verb, path, headers={**headers, **more}, body=body)

            try:
                request = _parsed(name, content)
                response: bytes = (await call(ask_app, request)).SerializeToString()
            except Problem as problem:
                code = getattr(grpc.StatusCode, _CODES.get(problem.status, "UNKNOWN"))
                await context.abort(code, problem.detail)
            return response

        # Bytes in and out: what cannot be parsed is the caller's mistake, not an internal error.
        return grpc.unary_unary_rpc_method_handler(answer)

    return grpc.method_handlers_generic_handler(
        SERVICE, {name: method(call, name) for name, call in _CALLS.items()}
    )


def _parsed(name: str, content: bytes) -> Any:
    try:
        request = MESSAGES[f"{name}Request"].FromString(content)
        readable = is_text(request)
    except (DecodeError, UnicodeDecodeError):
        readable = False
    if not readable:
        raise Problem(400, f"The message is no {name}Request.")
    return request


def _content(reply: Reply) -> Any:
    """The JSON of a success.

    Raises:
        Problem: it is none.
    """
    content = json.loads(reply.body)
    if reply.status != 200:
        raise Problem(reply.status, content["detail"])
    return content


async def _server_live(ask_app: Ask, request: Any) -> Any:
    content = _content(await ask_app("GET", "/v2/health/live"))
    return MESSAGES["ServerLiveResponse"](live=content["live"])


async def _server_ready(ask_app: Ask, request: Any) -> Any:
    reply = await ask_app("GET", "/v2/health/ready")
    return MESSAGES["ServerReadyResponse"](ready=reply.status == 200)


async def _model_ready(ask_app: Ask, request: Any) -> Any:
    reply = await ask_app("GET", f"{_path(request.name, request.version)}/ready")
    if reply.status not in (200, 404, 503):
        _content(reply)
    return MESSAGES["ModelReadyResponse"](ready=reply.status == 200)


async def _server_metadata(ask_app: Ask, request: Any) -> Any:
    content = _content(await ask_app("GET", "/v2"))
    return MESSAGES["ServerMetadataResponse"](**content)


async def _model_metadata(ask_app: Ask, request: Any) -> Any:
    content = _content(await ask_app("GET", _path(request.name, request.version)))
    return MESSAGES["ModelMetadataResponse"](**content)


async def _repository_index(ask_app: Ask, request: Any) -> Any:
    models = _content(await ask_app("POST", "/v2/repository/index"))
    shown = [model for model in models if model["state"] == "READY" or not request.ready]
    return MESSAGES["RepositoryIndexResponse"](models=shown)


async def _model_infer(ask_app: Ask, request: Any) -> Any:
    raw = list(request.raw_input_contents) or [binary_of(tensor) for tensor in request.inputs]
    if len(raw) != len(request.inputs):
        raise Problem(
            422, f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs; give one each."
        )
    asked: dict[str, Any] = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(data)},
            }
            for tensor, data in zip(request.inputs, raw, strict=True)
        ],
        "parameters": {"binary_data_output": True},
    }
    if request.outputs:
        asked["outputs"] = [
            {"name": tensor.name, "parameters": _only_classification(tensor.parameters)}
            for tensor in request.outputs
        ]
    if request.id:
        asked["id"] = request.id
    head = json.dumps(asked).encode()
    reply = await ask_app(
        "POST",
        f"{_path(request.model_name, request.model_version)}/infer",
        b"".join([head, *raw]),
        {_LENGTH: str(len(head))},
    )
    if reply.status != 200:
        _content(reply)
    length = int(reply.headers[_LENGTH])
    content, position = json.loads(reply.body[:length]), length
    response = MESSAGES["ModelInferResponse"](
        model_name=content["model_name"],
        model_version=content["model_version"],
        id=content.get("id", ""),
    )
    for output in content["outputs"]:
        response.outputs.add(
            name=output["name"], datatype=output["datatype"], shape=output["shape"]
        )
        size = output["parameters"]["binary_data_size"]
        response.raw_output_contents.append(reply.body[position : position + size])
        position += size
    return response


def _only_classification(pairs: Any) -> dict[str, Any]:
    """What an output may ask for here; all of them come back in binary."""
    given = parameters_of(pairs)
    return {name: given[name] for name in ("classification",) if name in given}


def _path(name: str, version: str) -> str:
    """Of a model. A slash in a name is part of it, as no model's name has one."""
    parts = [part.replace("/", "%2F") for part in (name, version)]
    return f"/v2/models/{parts[0]}" + (f"/versions/{parts[1]}" if version else "")


_CALLS: Mapping[str, Callable[[Ask, Any], Awaitable[Any]]] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ModelReady": _model_ready,
    "ServerMetadata": _server_metadata,
    "ModelMetadata": _model_metadata,
    "ModelInfer": _model_infer,
    "RepositoryIndex": _repository_index,
}

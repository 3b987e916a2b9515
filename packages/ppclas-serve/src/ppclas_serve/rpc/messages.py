"""The messages of the Open Inference Protocol, version 2, and of Triton's index of models.

Names and numbers are those of
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
A map is a list of pairs on the wire, and is declared as one here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ppclas_deploy.prototext import Message, declare

from ppclas_serve.backend.problems import Problem
from ppclas_serve.backend.tensors import write_bytes

SERVICE = "inference.GRPCInferenceService"
MESSAGES = declare(
    "inference",
    {
        "ServerLiveRequest": {},
        "ServerLiveResponse": {"live": (1, "bool")},
        "ServerReadyRequest": {},
        "ServerReadyResponse": {"ready": (1, "bool")},
        "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
        "ModelReadyResponse": {"ready": (1, "bool")},
        "ServerMetadataRequest": {},
        "ServerMetadataResponse": {
            "name": (1, "string"),
            "version": (2, "string"),
            "extensions": (3, "string", "repeated"),
        },
        "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
        "ModelMetadataResponse": {
            "name": (1, "string"),
            "versions": (2, "string", "repeated"),
            "platform": (3, "string"),
            "inputs": (4, "TensorMetadata", "repeated"),
            "outputs": (5, "TensorMetadata", "repeated"),
        },
        "TensorMetadata": {
            "name": (1, "string"),
            "datatype": (2, "string"),
            "shape": (3, "int64", "repeated"),
        },
        "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
        "RepositoryIndexResponse": {"models": (1, "ModelIndex", "repeated")},
        "ModelIndex": {
            "name": (1, "string"),
            "version": (2, "string"),
            "state": (3, "string"),
            "reason": (4, "string"),
        },
        "ModelInferRequest": {
            "model_name": (1, "string"),
            "model_version": (2, "string"),
            "id": (3, "string"),
            "parameters": (4, "Pair", "repeated"),
            "inputs": (5, "Tensor", "repeated"),
            "outputs": (6, "WantedTensor", "repeated"),
            "raw_input_contents": (7, "bytes", "repeated"),
        },
        "WantedTensor": {"name": (1, "string"), "parameters": (2, "Pair", "repeated")},
        "ModelInferResponse": {
            "model_name": (1, "string"),
            "model_version": (2, "string"),
            "id": (3, "string"),
            "parameters": (4, "Pair", "repeated"),
            "outputs": (5, "Tensor", "repeated"),
            "raw_output_contents": (6, "bytes", "repeated"),
        },
        "Tensor": {
            "name": (1, "string"),
            "datatype": (2, "string"),
            "shape": (3, "int64", "repeated"),
            "parameters": (4, "Pair", "repeated"),
            "contents": (5, "Contents"),
        },
        "Pair": {"key": (1, "string"), "value": (2, "Parameter")},
        "Parameter": {
            "bool_param": (1, "bool"),
            "int64_param": (2, "int64"),
            "string_param": (3, "string"),
            "double_param": (4, "double"),
            "uint64_param": (5, "uint64"),
        },
        "Contents": {
            "bool_contents": (1, "bool", "repeated"),
            "int_contents": (2, "int32", "repeated"),
            "int64_contents": (3, "int64", "repeated"),
            "uint_contents": (4, "uint32", "repeated"),
            "uint64_contents": (5, "uint64", "repeated"),
            "fp32_contents": (6, "float", "repeated"),
            "fp64_contents": (7, "double", "repeated"),
            "bytes_contents": (8, "bytes", "repeated"),
        },
    },
)
_CONTENTS = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "i1"),
    "INT16": ("int_contents", "<i2"),
    "INT32": ("int_contents", "<i4"),
    "INT64": ("int64_contents", "<i8"),
    "UINT8": ("uint_contents", "u1"),
    "UINT16": ("uint_contents", "<u2"),
    "UINT32": ("uint_contents", "<u4"),
    "UINT64": ("uint64_contents", "<u8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP64": ("fp64_contents", "<f8"),
}
"""Datatype → the field that has its numbers, and what they are in binary."""


def binary_of(tensor: Message) -> bytes:
    """The numbers or elements of a tensor's ``contents``, as they would be in
    ``raw_input_contents``.

    Raises:
        Problem: its datatype has no field there, or a number does not fit it.
    """
    if tensor.datatype == "BYTES":
        return write_bytes(list(tensor.contents.bytes_contents))
    field, kind = _CONTENTS.get(tensor.datatype, ("", ""))
    if not field:
        raise Problem(
            422,
            f"Input {tensor.name!r}: contents have no field for the datatype "
            f"{tensor.datatype[:40]!r}; send raw_input_contents.",
        )
    try:
        return np.array(list(getattr(tensor.contents, field)), kind).tobytes()
    except OverflowError as error:
        raise Problem(422, f"Input {tensor.name!r}: {error}.") from None


def is_text(message: Message) -> bool:
    """Whether every string in it is UTF-8; protobuf hands out the bytes of one that is not."""
    for field, value in message.ListFields():
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        for each in value if several or hasattr(value, "add") else [value]:
            if field.message_type is not None:
                if not is_text(each):
                    return False
            elif field.type == field.TYPE_STRING and not isinstance(each, str):
                return False
            elif field.type != field.TYPE_STRING:
                break  # numbers and bytes have no text
    return True


def parameters_of(pairs: Any) -> Mapping[str, Any]:
    """Names and values of a map of parameters."""
    return {pair.key: value for pair in pairs for _, value in pair.value.ListFields()}

"""Protocol buffers for server configurations: messages declared at run time, text format written
and strictly read.

Servers publish their configurations as .proto files. What is needed of one is declared here with
its names and numbers, so that no compiler and no generated code is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

# Without stubs on purpose: they would have to fit every protobuf from 4 on.
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from ppclas_core.errors import BundleError

Message = Any
"""An instance of one of the classes that ``declare`` makes; protobuf has no stubs here."""

Field = tuple[int, str] | tuple[int, str, Literal["repeated"]]
"""Number on the wire, and type: ``string``, ``bool``, ``int32``, ``int64``, ``uint64``, or the name
of a message or an enum of the same declaration."""


def declare(
    package: str,
    messages: Mapping[str, Mapping[str, Field]],
    enums: Mapping[str, Mapping[str, int]] = {},
) -> dict[str, Any]:
    """Classes of messages, by name, as protobuf's compiler would make them of a proto2 file.

    ``declare("demo", {"Size": {"height": (1, "int32"), "width": (2, "int32")}})["Size"](width=3)``

    Args:
        package: of the .proto file.
        messages: name → its fields by name, in the order in which they are written as text.
        enums: name → its values by name.
    """
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2"
    )
    for name, values in enums.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, *repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            if kind in messages or kind in enums:
                field.type = kinds.TYPE_MESSAGE if kind in messages else kinds.TYPE_ENUM
                field.type_name = f".{package}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def format_text(message: Message) -> str:
    """``message`` in text format, fields in the order in which they were declared."""
    text: str = text_format.MessageToString(message, use_index_order=True, as_utf8=True)
    return text


def parse_text(text: str, kind: Any, where: str) -> Message:
    """The message of class ``kind`` in ``text``; ``where`` names it in errors.

    Raises:
        BundleError: it is not text format, or a name or a value does not fit the class.
    """
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        raise BundleError(f"{where}, line {error}") from error


def enum_name(message: Message, field: str) -> str:
    """The name of the value that an enum field of ``message`` has: ``TYPE_FP32``."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    name: str = values[getattr(message, field)].name
    return name

"""Make a program of Paddle 3 (.pdmodel) one that Paddle-Lite reads. Importing this module imports
Paddle.

Lite dates from Paddle 2: it insists on two attributes that Paddle 3 leaves out where they have
their default, and it crashes on reshaping operators without the output ``XShape``, which Paddle 3
has dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddle.base.proto import framework_pb2

from ppclas_deploy.program import tensor_of

_DEFAULTS = {"relu6": ("threshold", 6.0), "swish": ("beta", 1.0)}
_WITH_XSHAPE = {"flatten_contiguous_range", "transpose2", "squeeze2", "unsqueeze2", "reshape2"}


def patch_for_lite(model: Path) -> None:
    """Add what Lite misses to the program in ``model``, in place."""
    program = framework_pb2.ProgramDesc()
    program.ParseFromString(model.read_bytes())
    for block in program.blocks:
        variables = {variable.name: variable for variable in block.vars}
        for operator in block.ops:
            _add_default(operator)
            if operator.type in _WITH_XSHAPE and all(
                output.parameter != "XShape" for output in operator.outputs
            ):
                _add_xshape(block, operator, variables)
    model.write_bytes(program.SerializeToString())


def _add_default(operator: Any) -> None:
    if operator.type not in _DEFAULTS:
        return
    name, value = _DEFAULTS[operator.type]
    if all(attribute.name != name for attribute in operator.attrs):
        attribute = operator.attrs.add()
        attribute.name, attribute.type, attribute.f = name, framework_pb2.FLOAT, value


def _add_xshape(block: Any, operator: Any, variables: dict[str, Any]) -> None:
    """The output that records the input's shape: [0, *shape]."""
    arguments = {
        group.parameter: list(group.arguments) for group in (*operator.inputs, *operator.outputs)
    }
    source, result = variables[arguments["X"][0]], arguments["Out"][0]
    shape = block.vars.add()
    shape.CopyFrom(source)
    shape.name, shape.persistable = f"{result}.xshape", False
    tensor = tensor_of(shape)
    dims = [0, *tensor.dims]
    del tensor.dims[:]
    tensor.dims.extend(dims)
    output = operator.outputs.add()
    output.parameter = "XShape"
    output.arguments.append(shape.name)

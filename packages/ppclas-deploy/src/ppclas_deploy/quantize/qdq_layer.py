"""A quantised ONNX network as a Paddle layer that can be trained: what is trained is the very graph
that will run.

Each QuantizeLinear and DequantizeLinear rounds in the forward pass and is passed through by
gradients inside its range (straight-through). The scale of an activation is learned by the gradient
of "Learned Step Size Quantization", Esser et al. 2020, https://arxiv.org/abs/1902.08153, eq. 3;
weights stay on the grid that calibration gave them. Importing this module imports Paddle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.autograd import PyLayer
from ppclas_core.errors import ExportError

_HALF_RANGE = 128
"""Of an activation's 256 steps: what a weight that moves by one step typically adds to a sum, in
units of the bias."""


class FakeQuantize(PyLayer):
    """Round ``x`` to whole steps of ``start * exp(log_scale)``, from ``low`` to ``high`` of
    them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log_scale: Tensor, start: float, low: float, high: float
    ) -> Tensor:
        scale = start * paddle.exp(log_scale)
        steps = x / scale
        rounded = paddle.clip(paddle.round(steps), low, high)
        ctx.save_for_backward(steps, rounded, scale)
        ctx.through = not x.stop_gradient
        return rounded * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        steps, rounded, scale = ctx.saved_tensor()
        # Outside the range by more than rounding: the value was cut off.
        inside = (paddle.abs(steps - rounded) <= 0.5).astype(grad.dtype)
        by_scale = (grad * (rounded - steps * inside)).sum() * scale
        return grad * inside if ctx.through else None, by_scale.reshape([1])


class QdqLayer(nn.Layer):
    """Normalised images [N, 3, H, W] → logits [N, C], rounded as the ONNX model rounds them.

    Parameters are offsets in units of quantisation steps: of weights, of biases (half an
    activation's range times a weight's step), and the logarithms of the activations' scales. All
    start at 0, which is the model as it came.
    """

    def __init__(self, model: Any, float_weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Read ``model``.

        Args:
            model: ONNX with QuantizeLinear and DequantizeLinear, batch norms folded.
            float_weights: name → what weights were before they were rounded; training starts there.

        Raises:
            ExportError: an operator is not known here.
        """
        super().__init__()
        from onnx import numpy_helper

        self._graph = model.graph
        self._constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._output = model.graph.output[0].name
        unknown = sorted({node.op_type for node in self._graph.node} - _OPERATORS.keys() - _OWN)
        if unknown:
            raise ExportError(
                f"training in INT8 does not know the operator {' or '.join(unknown)}. Use --method "
                "ptq for this model."
            )
        self._biases = bias_scales(self._graph)
        self._weights: dict[str, _Weight] = {}
        self._log_scales: dict[str, Tensor] = {}
        for node in self._graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
                self._weights[node.input[0]] = self._read_weight(node, float_weights)
            elif node.op_type == "QuantizeLinear" and node.input[1] not in self._log_scales:
                self._log_scales[node.input[1]] = self._offset([1])

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, C]."""
        values: dict[str, Any] = {**self._constants, self._graph.input[0].name: images}
        for node in self._graph.node:
            if node.op_type == "QuantizeLinear":
                results = [self._quantize(values[node.input[0]], node)]
            elif node.op_type == "DequantizeLinear":
                name = node.input[0]
                results = [self._weight(name) if name in self._weights else values[name]]
            else:
                inputs = [values[name] if name else None for name in node.input]
                found = _OPERATORS[node.op_type](inputs, _attributes(node))
                results = list(found) if isinstance(found, list | tuple) else [found]
            values.update(zip(node.output, results, strict=False))
        return values[self._output]

    def scales(self) -> list[Tensor]:
        """The parameters that are logarithms of scales."""
        return list(self._log_scales.values())

    def offsets(self) -> list[Tensor]:
        """The parameters that move weights and biases."""
        return [weight.offset for weight in self._weights.values()]

    def write_back(self) -> None:
        """Put what was learned into the ONNX model that this layer was made from."""
        from onnx import numpy_helper

        new = dict(self._constants)
        for name, log_scale in self._log_scales.items():
            new[name] = np.asarray(
                new[name] * np.exp(log_scale.numpy()).reshape(new[name].shape), dtype=np.float32
            )
        for name, weight in self._weights.items():
            if name in self._biases:
                by_input, by_weight = self._biases[name]
                new[weight.scale] = np.asarray(new[by_input] * new[by_weight], dtype=np.float32)
            steps = weight.value().numpy() / new[weight.scale].reshape(weight.scale_shape)
            new[name] = np.clip(np.rint(steps), -weight.limit, weight.limit).astype(
                self._constants[name].dtype
            )
        for tensor in self._graph.initializer:
            if new[tensor.name] is not self._constants[tensor.name]:
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(new[tensor.name]), tensor.name))

    def _offset(self, shape: Sequence[int]) -> Tensor:
        parameter = self.create_parameter(
            list(shape), default_initializer=nn.initializer.Constant(0.0)
        )
        self.add_parameter(f"offset_{len(self._parameters)}", parameter)
        return parameter

    def _read_weight(self, node: Any, float_weights: Mapping[str, NDArray[np.float32]]) -> _Weight:
        name, scale_name = node.input[0], node.input[1]
        stored, scale = self._constants[name], self._constants[scale_name]
        axis = _attributes(node).get("axis", 1)
        shape = tuple(
            length if scale.size > 1 and i == axis else 1 for i, length in enumerate(stored.shape)
        )
        before = float_weights.get(name.removesuffix("_quantized"))
        if before is None:
            before = stored * scale.reshape(shape)
        is_bias = name in self._biases
        return _Weight(
            start=paddle.to_tensor(np.asarray(before, np.float32).reshape(stored.shape)),
            unit=paddle.to_tensor(
                np.asarray(scale.reshape(shape) * (_HALF_RANGE if is_bias else 1), np.float32)
            ),
            offset=self._offset(stored.shape),
            scale=scale_name,
            scale_shape=shape,
            limit=np.iinfo(np.int32).max if is_bias else int(np.abs(stored.astype(np.int64)).max()),
        )

    def _weight(self, name: str) -> Tensor:
        weight = self._weights[name]
        value = weight.value()
        if name in self._biases:
            return value  # 32 bits: its rounding is nothing
        rounded = (
            paddle.clip(paddle.round(value / weight.unit), -weight.limit, weight.limit)
            * weight.unit
        )
        return value + (rounded - value).detach()  # straight-through

    def _quantize(self, x: Tensor, node: Any) -> Tensor:
        scale, zero = self._constants[node.input[1]], int(self._constants[node.input[2]].item())
        return FakeQuantize.apply(
            x, self._log_scales[node.input[1]], scale.item(), float(-zero), float(255 - zero)
        )


@dataclass(frozen=True)
class _Weight:
    start: Tensor
    unit: Tensor
    """What an offset of 1 adds, broadcast over ``start``."""
    offset: Tensor
    scale: str
    """Name of the constant with its scale."""
    scale_shape: tuple[int, ...]
    """Of the scale, to broadcast."""
    limit: int
    """Largest stored integer."""

    def value(self) -> Tensor:
        """As it is now, before rounding."""
        return self.start + self.unit * self.offset


def bias_scales(graph: Any) -> dict[str, tuple[str, str]]:
    """Name of a stored 32-bit bias → names of its input's and its weights' scales, whose product
    its scale must be.
    """
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        parts = [makers.get(name) for name in node.input]
        if all(part is not None and part.op_type == "DequantizeLinear" for part in parts):
            data, weight, bias = parts
            found[bias.input[0]] = (data.input[1], weight.input[1])  # type: ignore[union-attr]
    return found


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _conv(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    x, weight, bias = (*inputs, None)[:3]
    pads = given.get("pads", [0, 0, 0, 0])
    return F.conv2d(
        x,
        weight,
        bias,
        stride=given.get("strides", [1, 1]),
        padding=[pads[0], pads[2], pads[1], pads[3]],
        dilation=given.get("dilations", [1, 1]),
        groups=given.get("group", 1),
    )


def _gemm(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    x, weight, bias = (*inputs, None)[:3]
    product = paddle.matmul(
        x, _tensor(weight), given.get("transA", 0) == 1, given.get("transB", 0) == 1
    )
    product = product * given.get("alpha", 1.0)
    return product if bias is None else product + _tensor(bias) * given.get("beta", 1.0)


def _max_pool(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    pads = given.get("pads", [0, 0, 0, 0])
    padded = (
        F.pad(inputs[0], [pads[1], pads[3], pads[0], pads[2]], value=-3.4e38)
        if any(pads)
        else inputs[0]
    )
    return F.max_pool2d(
        padded,
        given["kernel_shape"],
        given.get("strides", 1),
        ceil_mode=bool(given.get("ceil_mode")),
    )


def _average_pool(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    pads = given.get("pads", [0, 0, 0, 0])
    return F.avg_pool2d(
        inputs[0],
        given["kernel_shape"],
        given.get("strides", 1),
        padding=[pads[0], pads[2], pads[1], pads[3]],
        ceil_mode=bool(given.get("ceil_mode")),
        exclusive=not given.get("count_include_pad", 0),
    )


def _reshape(inputs: list[Any], given: dict[str, Any]) -> Any:
    # 0 keeps a length, as in ONNX.
    return inputs[0].reshape([int(length) for length in inputs[1]])


def _flatten(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    x, axis = inputs[0], given.get("axis", 1)
    return x.reshape([int(np.prod(x.shape[:axis])), -1])


def _concat(inputs: list[Any], given: dict[str, Any]) -> Any:
    if all(isinstance(value, np.ndarray) for value in inputs):
        return np.concatenate(inputs, axis=given["axis"])
    return paddle.concat([_tensor(value) for value in inputs], axis=given["axis"])


def _slice(inputs: list[Any], given: dict[str, Any]) -> Any:
    x, starts, ends = inputs[:3]
    axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
    steps = inputs[4] if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    cut = [slice(None)] * (x.ndim)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[int(axis)] = slice(int(start), min(int(end), 2**31 - 1), int(step))
    return x[tuple(cut)]


def _split(inputs: list[Any], given: dict[str, Any]) -> list[Tensor]:
    sizes = [int(size) for size in (inputs[1] if len(inputs) > 1 else given["split"])]
    return paddle.split(inputs[0], sizes, axis=given.get("axis", 0))


def _gather(inputs: list[Any], given: dict[str, Any]) -> Any:
    if isinstance(inputs[0], np.ndarray):
        return np.take(inputs[0], inputs[1], axis=given.get("axis", 0))
    return paddle.gather(inputs[0], _tensor(inputs[1]), axis=given.get("axis", 0))


def _axes(inputs: list[Any], given: dict[str, Any]) -> list[int]:
    return [int(axis) for axis in (inputs[1] if len(inputs) > 1 else given["axes"])]


def _clip(inputs: list[Any], given: dict[str, Any]) -> Tensor:
    x, low, high = (*inputs, None, None)[:3]
    return paddle.clip(
        x, None if low is None else low.item(), None if high is None else high.item()
    )


def _tensor(value: Any) -> Tensor:
    return paddle.to_tensor(value) if isinstance(value, np.ndarray) else value


def _pairwise(operation: Callable[[Any, Any], Any]) -> Callable[[list[Any], dict[str, Any]], Any]:
    return lambda inputs, given: operation(*map(_tensor, inputs))


_OWN = {"QuantizeLinear", "DequantizeLinear"}
_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Add": _pairwise(lambda a, b: a + b),
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _pairwise(lambda a, b: a / b),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, given: inputs[0].mean([2, 3], keepdim=True),
    "HardSigmoid": lambda inputs, given: paddle.clip(
        inputs[0] * given.get("alpha", 0.2) + given.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": lambda inputs, given: F.hardswish(inputs[0]),
    "Identity": lambda inputs, given: inputs[0],
    "LeakyRelu": lambda inputs, given: F.leaky_relu(inputs[0], given.get("alpha", 0.01)),
    "MatMul": _pairwise(paddle.matmul),
    "MaxPool": _max_pool,
    "Mul": _pairwise(lambda a, b: a * b),
    "ReduceMean": lambda inputs, given: inputs[0].mean(
        _axes(inputs, given), keepdim=bool(given.get("keepdims", 1))
    ),
    "Relu": lambda inputs, given: F.relu(inputs[0]),
    "Reshape": _reshape,
    "Shape": lambda inputs, given: np.array(inputs[0].shape, np.int64),
    "Sigmoid": lambda inputs, given: F.sigmoid(inputs[0]),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": lambda inputs, given: inputs[0].squeeze(_axes(inputs, given)),
    "Sub": _pairwise(lambda a, b: a - b),
    "Transpose": lambda inputs, given: inputs[0].transpose(given["perm"]),
    "Unsqueeze": lambda inputs, given: inputs[0].unsqueeze(_axes(inputs, given)),
}
"""Operator of ONNX → what it does with its inputs and attributes. Shapes are computed in NumPy."""

"""The network as ONNX: what can be quantised, its ranges, and INT8 versions of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ExportError
from ppclas_data.leftovers import temporary_folder

Ranges = Literal["minmax", "percentile", "entropy"]

_FOLLOWS = frozenset(
    ("Clip", "Relu", "MaxPool", "Pad", "Slice", "Split", "Gather", "Transpose")
) | frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Cast", "Constant"))
"""Operators that move numbers or cut them off: they are as exact as what comes before them."""


@dataclass(frozen=True)
class Node:
    """A part of the network that can be quantised or stay float."""

    name: str
    op: str
    shape: tuple[int, ...]
    """Of its weights; empty where it has none."""


class FloatNetwork:
    """An ONNX model with batch norms folded into convolutions, ready for ONNX Runtime's
    quantiser.
    """

    def __init__(self, model: Path, *, reduce_range: bool) -> None:
        """Read and prepare ``model``.

        Args:
            model: float32, one input ``images``.
            reduce_range: 7-bit weights, for x86 CPUs without VNNI, where the sum of two 8-bit
                products can overflow.

        Raises:
            ExportError: ONNX Runtime cannot prepare it.
        """
        import onnx
        from onnxruntime.quantization import shape_inference

        self.reduce_range = reduce_range
        with temporary_folder() as folder, _quietly():
            prepared = Path(folder) / "prepared.onnx"
            try:
                shape_inference.quant_pre_process(
                    str(model), str(prepared), skip_symbolic_shape=True
                )
            except Exception as error:  # its passes raise plain Exception, and what onnx raises
                raise ExportError(
                    f"{model} cannot be prepared for quantisation: {error}"
                ) from error
            self.model: Any = onnx.load(str(prepared))
        for index, node in enumerate(self.model.graph.node):
            node.name = node.name or f"{node.op_type}.{index}"
        self._ranges: Any = None

    def nodes(self) -> list[Node]:
        """What can be quantised by itself, in the order of the network."""
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        known = ({*QDQRegistry, *QLinearOpsRegistry}) - _FOLLOWS
        shapes = {tensor.name: tuple(tensor.dims) for tensor in self.model.graph.initializer}
        return [
            Node(
                node.name,
                node.op_type,
                next((shapes[name] for name in node.input[1:2] if name in shapes), ()),
            )
            for node in self.model.graph.node
            if node.op_type in known and self._is_float(node)
        ]

    def calibrate(self, batches: Iterable[NDArray[np.float32]], ranges: Ranges) -> None:
        """Find the range of every tensor on normalised photos [N, 3, H, W]."""
        import onnx
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
            "entropy": CalibrationMethod.Entropy,
        }
        with temporary_folder() as folder, _quietly():
            source, augmented = Path(folder) / "model.onnx", Path(folder) / "augmented.onnx"
            onnx.save(self.model, str(source))
            calibrator = create_calibrator(
                source, None, str(augmented), calibrate_method=methods[ranges]
            )
            # Small batches one at a time: histograms keep every activation of what they are given.
            for batch in batches:
                calibrator.collect_data(_Batches([batch]))
            self._ranges = calibrator.compute_data()

    def quantized(
        self, *, stay_float: Collection[str] = (), only: Collection[str] | None = None
    ) -> Any:
        """An ONNX model with QuantizeLinear and DequantizeLinear: activations uint8, weights int8
        per channel.

        Args:
            stay_float: names of nodes that are left as they are.
            only: names of the only nodes that are quantised, with what follows them. Nothing: all.
        """
        import copy

        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        assert self._ranges is not None  # calibrate() comes first
        with _quietly():
            quantizer = QDQQuantizer(
                copy.deepcopy(self.model),
                True,  # per channel
                self.reduce_range,
                QuantType.QInt8,
                QuantType.QUInt8,
                self._ranges,
                list(only) if only is not None else [],
                list(stay_float),
                list({*QDQRegistry, *QLinearOpsRegistry}),
                {"WeightSymmetric": True, "ActivationSymmetric": False},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        model = quantizer.model.model
        _float_output(model.graph)
        _only_used_domains(model)
        return model

    def _is_float(self, node: Any) -> bool:
        """Whether a node computes on float tensors, not on shapes."""
        integers = {
            value.name
            for value in self.model.graph.value_info
            if value.type.tensor_type.elem_type not in (1, 10)  # FLOAT, FLOAT16
        }
        return node.output[0] not in integers


class _Batches:
    """What ONNX Runtime's calibration reads from."""

    def __init__(self, batches: list[NDArray[np.float32]]) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def _float_output(graph: Any) -> None:
    """Give the logits as the last layer computes them: in 256 steps they would often be tied."""
    name = graph.output[0].name
    makers = {output: node for node in graph.node for output in node.output}
    last = makers[name]
    if last.op_type != "DequantizeLinear" or last.input[0] not in makers:
        return
    before = makers[last.input[0]]
    source = before.input[0]
    if sum(source in node.input for node in graph.node) > 1:
        return
    graph.node.remove(last)
    graph.node.remove(before)
    maker = makers[source]
    maker.output[list(maker.output).index(source)] = name
    used = {value for node in graph.node for value in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _only_used_domains(model: Any) -> None:
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the hints that ONNX Runtime's quantiser logs and prints."""
    import contextlib
    import io

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)

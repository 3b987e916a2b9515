"""Trace a bundle's model into a Paddle program. Importing this module imports Paddle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional
from paddle.static import InputSpec
from ppclas_core.bundle import Bundle
from ppclas_core.errors import ExportError

from ppclas_deploy.fusing import fuse
from ppclas_deploy.heat_network import HeatNetwork
from ppclas_deploy.sizes import channels_of

if TYPE_CHECKING:
    from ppclas_deploy.exporters.base import Interface


_TYPES = {"FP32": "float32", "FP16": "float16"}
"""Program's type → NumPy's; others differ by their case alone."""


class _Network(nn.Layer):
    """A model under the input name ``images``, whatever its own ``forward`` calls it, between the
    ends asked for.
    """

    def __init__(self, model: nn.Layer, bundle: Bundle, interface: Interface) -> None:
        super().__init__()
        self.model = model
        self.pixels = interface["input"] == "pixels"
        self.activation = (
            bundle.manifest.activation if interface["output"] == "probabilities" else "none"
        )
        normalize = bundle.manifest.preprocessing.normalize
        mean, std = np.asarray(normalize.mean), np.asarray(normalize.std)
        for name, values in (("scale", 1.0 / (255.0 * std)), ("shift", -mean / std)):
            self.register_buffer(
                name, paddle.to_tensor(values.astype(np.float32).reshape(1, -1, 1, 1))
            )

    def forward(self, images: Tensor) -> Tensor:
        return self.activated(self.model(self.prepared(images)))

    def prepared(self, images: Tensor) -> Tensor:
        if self.pixels:
            images = images.astype("float32").transpose([0, 3, 1, 2]) * self.scale + self.shift
        return images

    def activated(self, logits: Tensor) -> Tensor:
        if self.activation == "softmax":
            return functional.softmax(logits, axis=1)
        return functional.sigmoid(logits) if self.activation == "sigmoid" else logits


class _NetworkWithHeat(_Network):
    """The same, with a heat map [N, h, w] beside the answer."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, heat = self.model(self.prepared(images))
        return self.activated(logits), heat


def save_program(
    bundle: Bundle,
    prefix: Path,
    interface: Interface,
    ir: Literal["pir", "old"] = "pir",
    *,
    heatmap: bool = False,
) -> Path:
    """Write ``<prefix>.json`` (``ir="pir"``) or ``<prefix>.pdmodel`` (``"old"``) and
    ``<prefix>.pdiparams``.

    The program maps ``images`` to [batch, num_classes], both as ``interface`` says. Branches that
    a network trains with are fused. Returns the structure's path. With ``heatmap`` it gives a
    ``HeatNetwork``'s map too.

    Raises:
        ExportError: the model returns something else, or has no feature map for ``heatmap``.
    """
    batch, (height, width) = interface["batch"], bundle.image_size
    channels = channels_of(bundle)
    model = fuse(bundle.build_model())
    _require_logits(
        model(paddle.zeros([1, channels, height, width])), bundle.manifest.architecture.num_classes
    )
    if heatmap:
        layer: _Network = _NetworkWithHeat(HeatNetwork(model, height, width), bundle, interface)
    else:
        layer = _Network(model, bundle, interface)
    layer.eval()
    if interface["input"] == "pixels":
        spec = InputSpec([batch, height, width, channels], "uint8", "images")
    else:
        spec = InputSpec([batch, channels, height, width], "float32", "images")
    with _old_ir() if ir == "old" else contextlib.nullcontext():
        paddle.jit.save(
            paddle.jit.to_static(layer, input_spec=[spec], full_graph=True), str(prefix)
        )
    return prefix.with_name(prefix.name + (".pdmodel" if ir == "old" else ".json"))


@contextlib.contextmanager
def _old_ir() -> Iterator[None]:
    """Trace in the old IR, with the operators that Paddle 3.3's own functions take PIR values alone
    for.
    """
    from paddle.base.layer_helper import LayerHelper

    def operator(kind: str, inputs: dict[str, Any], **attributes: Any) -> Any:
        helper = LayerHelper(kind)
        out = helper.create_variable_for_type_inference(inputs["X"].dtype)
        helper.append_op(type=kind, inputs=inputs, outputs={"Out": out}, attrs=attributes)
        return out

    def one_input(kind: str) -> Any:
        def function(x: Any, name: str | None = None) -> Any:  # no lambda: Paddle reads the source
            return operator(kind, {"X": x})

        return function

    def gelu(x: Any, approximate: bool = False, name: str | None = None) -> Any:
        return operator("gelu", {"X": x}, approximate=approximate)

    def maximum(x: Any, y: Any, name: str | None = None) -> Any:
        return operator("elementwise_max", {"X": x, "Y": y}, axis=-1)

    def matmul(
        x: Any,
        y: Any,
        transpose_x: bool = False,
        transpose_y: bool = False,
        name: str | None = None,
    ) -> Any:
        return operator("matmul_v2", {"X": x, "Y": y}, trans_x=transpose_x, trans_y=transpose_y)

    def total(x: Any, axis: Any = None, dtype: Any = None, keepdim: bool = False) -> Any:
        axes = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        return operator("reduce_sum", {"X": x}, dim=axes, keep_dim=keepdim, reduce_all=not axes)

    replacements = [
        (functional, "sigmoid", one_input("sigmoid")),
        (functional, "gelu", gelu),
        (paddle, "maximum", maximum),
        (paddle, "matmul", matmul),
        (paddle.static.Variable, "sum", total),
        *(
            (paddle.static.Variable, name, one_input(name))
            for name in ("abs", "exp", "log2", "sign", "sqrt")
        ),
    ]
    with contextlib.ExitStack() as replaced:
        for owner, name, function in replacements:
            replaced.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, function)
        with paddle.pir_utils.OldIrGuard():
            yield


class Ends(NamedTuple):
    """The inputs and the outputs of a program: name, type and shape (-1: any) of each."""

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]


def program_ends(program: Path) -> Ends:
    """What an old-IR program (.pdmodel) takes and gives."""
    from paddle.base.proto import framework_pb2

    description = framework_pb2.ProgramDesc()
    description.ParseFromString(program.read_bytes())
    block = description.blocks[0]
    variables = {variable.name: variable for variable in block.vars}
    ends: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {"feed": [], "fetch": []}
    for operator in block.ops:
        if operator.type in ends:
            name = (operator.outputs if operator.type == "feed" else operator.inputs)[0].arguments[
                0
            ]
            tensor = tensor_of(variables[name])
            kind = framework_pb2.VarType.Type.Name(tensor.data_type)
            ends[operator.type].append((name, _TYPES.get(kind, kind.lower()), tuple(tensor.dims)))
    return Ends(tuple(ends["feed"]), tuple(ends["fetch"]))


def tensor_of(variable: Any) -> Any:
    """Type and shape of a program's variable; the field's name changed with Paddle 3.2."""
    kind = variable.type
    return (kind.dense_tensor if hasattr(kind, "dense_tensor") else kind.lod_tensor).tensor


def _require_logits(outputs: Any, num_classes: int) -> None:
    if isinstance(outputs, Tensor) and outputs.shape == [1, num_classes]:
        return
    came = (
        f"a tensor {outputs.shape}"
        if isinstance(outputs, Tensor)
        else f"a {type(outputs).__name__}"
    )
    raise ExportError(
        f"an exported model should return logits [N, {num_classes}] and nothing else in eval mode; "
        f"for one image this one returns {came}."
    )

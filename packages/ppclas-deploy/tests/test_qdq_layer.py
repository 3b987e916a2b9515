"""The layer that is trained in INT8: each operator against ONNX Runtime, gradients by hand."""

import numpy as np
import pytest
from ppclas_deploy.engines.onnxruntime import make_session

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 6, 8)).astype(np.float32)
KERNEL = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)
DEPTHWISE = RNG.normal(size=(4, 1, 3, 5)).astype(np.float32)
BIAS = RNG.normal(size=6).astype(np.float32)
ROWS = RNG.normal(size=(2, 4)).astype(np.float32)
MATRIX = RNG.normal(size=(4, 3)).astype(np.float32)

OPERATORS = [
    ("Conv", [X, KERNEL], {}),
    ("Conv", [X, KERNEL, BIAS], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [X, KERNEL], {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ("Conv", [X, DEPTHWISE], {"group": 4, "pads": [1, 2, 1, 2]}),
    ("Gemm", [ROWS, MATRIX], {}),
    ("Gemm", [ROWS, MATRIX, BIAS[:3]], {"alpha": 0.5, "beta": 2.0}),
    ("Gemm", [ROWS.T.copy(), MATRIX.T.copy()], {"transA": 1, "transB": 1}),
    ("MatMul", [ROWS, MATRIX], {}),
    ("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("MaxPool", [-1 - abs(X)], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [X], {"kernel_shape": [2, 3], "strides": [1, 2]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    (
        "AveragePool",
        [X],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    ("GlobalAveragePool", [X], {}),
    ("ReduceMean", [X], {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMean", [X], {"axes": [1]}),
    ("Add", [X, X[:1, :, :1, :1].copy()], {}),
    ("Sub", [X, np.float32(3.0)], {}),
    ("Mul", [X, X], {}),
    ("Div", [X, np.float32(3.0)], {}),
    ("Relu", [X], {}),
    ("LeakyRelu", [X], {}),
    ("LeakyRelu", [X], {"alpha": 0.3}),
    ("Sigmoid", [X], {}),
    ("HardSigmoid", [3 * X], {}),
    ("HardSigmoid", [3 * X], {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSwish", [3 * X], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.25)], {}),
    ("Clip", [X, np.float32(0.1)], {}),
    ("Identity", [X], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Flatten", [X], {}),
    ("Flatten", [X], {"axis": 2}),
    ("Reshape", [X, np.array([0, 2, -1])], {}),
    ("Squeeze", [X[:, :, :1].copy(), np.array([2])], {}),
    ("Unsqueeze", [X, np.array([1])], {}),
    ("Concat", [X, 2 * X], {"axis": 1}),
    ("Concat", [X, 2 * X], {"axis": -1}),
    ("Gather", [X, np.array([3, 0])], {"axis": 1}),
    ("Slice", [X, np.array([1, 2]), np.array([3, 2**62]), np.array([1, 3])], {}),
    ("Slice", [X, np.array([0]), np.array([8]), np.array([3]), np.array([2])], {}),
    ("Slice", [X, np.array([-3]), np.array([-1]), np.array([2])], {}),
]


def run_operator(op, inputs, attributes):
    """What ONNX Runtime makes of it."""
    helper, tensor = onnx.helper, onnx.TensorProto
    names = [f"in{index}" for index in range(len(inputs))]
    opset = 13 if op == "ReduceMean" else 17  # its axes became an input with 18
    graph = helper.make_graph(
        [helper.make_node(op, names, ["out"], **attributes)],
        "one",
        [helper.make_tensor_value_info("in0", tensor.FLOAT, inputs[0].shape)],
        [helper.make_tensor_value_info("out", tensor.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(names[1:], inputs[1:], strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return make_session(model.SerializeToString(), 1).run(None, {"in0": inputs[0]})[0]


class TestOperators:
    """Training computes with Paddle what the network will compute in ONNX Runtime."""

    @pytest.fixture(autouse=True)
    def layer(self):
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        from ppclas_deploy.quantize import qdq_layer

        return qdq_layer

    @pytest.mark.parametrize(
        ("op", "inputs", "attributes"),
        OPERATORS,
        ids=[f"{op}-{index}" for index, (op, _, _) in enumerate(OPERATORS)],
    )
    def test_it_computes_what_onnxruntime_computes(self, layer, op, inputs, attributes):
        import paddle

        theirs = run_operator(op, inputs, attributes)
        constants = op in ("Reshape", "Squeeze", "Unsqueeze", "Slice", "Clip", "Gather")
        ours = layer._OPERATORS[op](
            [
                paddle.to_tensor(value) if index == 0 or not constants else np.asarray(value)
                for index, value in enumerate(inputs)
            ],
            attributes,
        ).numpy()
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

    def test_every_operator_has_a_case_here(self, layer):
        """Split gives several; Shape gives integers: both have a test of their own."""
        assert layer._OPERATORS.keys() - {op for op, _, _ in OPERATORS} == {"Split", "Shape"}

    def test_a_split_in_uneven_parts(self, layer):
        import paddle

        parts = layer._OPERATORS["Split"]([paddle.to_tensor(X), np.array([1, 3])], {"axis": 1})
        np.testing.assert_array_equal(parts[0].numpy(), X[:, :1])
        np.testing.assert_array_equal(parts[1].numpy(), X[:, 1:])

    def test_shapes_are_computed_in_numpy(self, layer):
        """The usual way to flatten: batch size from Shape, Gather and Concat into Reshape."""
        import paddle

        table = layer._OPERATORS
        image = paddle.to_tensor(X)
        shape = table["Shape"]([image], {})
        batch = table["Gather"]([shape, np.array([0])], {"axis": 0})
        target = table["Concat"]([batch, np.array([-1])], {"axis": 0})
        assert table["Reshape"]([image, target], {}).shape == [2, 4 * 6 * 8]

    @pytest.mark.parametrize(
        ("x", "low", "high", "rounded", "passes"),
        [
            (0.26, -4, 4, 0.5, 1.0),  # 0.52 steps
            (0.24, -4, 4, 0.0, 1.0),
            (1.75, -4, 4, 2.0, 1.0),  # halves go to the even one
            (1.25, -4, 4, 1.0, 1.0),
            (2.2, -4, 4, 2.0, 1.0),  # 4.4 steps: only rounding
            (2.3, -4, 4, 2.0, 0.0),  # 4.6 steps: cut off
            (-9.0, 0, 255, 0.0, 0.0),
        ],
    )
    def test_gradients_pass_inside_the_range(self, layer, x, low, high, rounded, passes):
        import paddle

        value = paddle.to_tensor([x], stop_gradient=False)
        scale = paddle.zeros([1])
        scale.stop_gradient = False
        out = layer.FakeQuantize.apply(value, scale, 0.5, float(low), float(high))
        assert out.item() == pytest.approx(rounded)
        out.backward()
        assert value.grad.item() == passes
        # d(round(v) s)/d(log s) = (round(v) - v) s inside, the bound times s outside.
        steps = x / 0.5
        expected = (rounded / 0.5 - (steps if passes else 0.0)) * 0.5
        assert scale.grad.item() == pytest.approx(expected, abs=1e-6)

    def test_gradients_of_rounding(self, layer):
        """Learned Step Size Quantization, eq. 3: round(v) - v inside, the bound itself outside;
        times the step.
        """
        import paddle

        x = paddle.to_tensor([0.26, -0.9, 9.0], stop_gradient=False)
        log_scale = paddle.zeros([1])
        log_scale.stop_gradient = False
        rounded = layer.FakeQuantize.apply(x, log_scale, 0.5, -1.0, 2.0)
        assert rounded.tolist() == [0.5, -0.5, 1.0]
        rounded.sum().backward()
        assert x.grad.tolist() == [
            1.0,
            0.0,
            0.0,
        ]  # -0.9 / 0.5 = -1.8 is below -1 by more than a half
        assert log_scale.grad.item() == pytest.approx(0.5 * ((1 - 0.52) - 1 + 2))

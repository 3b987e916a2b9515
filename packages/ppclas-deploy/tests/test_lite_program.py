"""A program for Paddle-Lite: its weights rounded to whole steps, and what Lite misses added."""

import shutil

import numpy as np
import pytest
from ppclas_core.errors import ExportError

IMAGES = {"batch": None, "input": "images", "output": "logits"}


@pytest.fixture(scope="module")
def program(outside_plugin, make_bundle, tmp_path_factory):
    """An old-IR program of the tiny network, and its parameters by name."""
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    from ppclas_deploy.program import save_program

    folder = tmp_path_factory.mktemp("program")
    return save_program(make_bundle(folder / "bundle"), folder / "net", IMAGES, "old")


class TestRounding:
    @pytest.fixture(autouse=True)
    def rounding(self):
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        from ppclas_deploy.lite import rounding

        return rounding

    def test_steps_of_a_channel(self, rounding):
        # Steps of 0.1; nothing to divide by.
        weights = np.array([[12.7, 0.06, -0.04], [0.0, 0.0, 0.0]], np.float32)
        to_steps = rounding.round_to_steps
        rounded = [[12.7, 0.1, 0.0], [0, 0, 0]]
        np.testing.assert_allclose(to_steps(weights, 0, 8), rounded, atol=1e-6)
        np.testing.assert_allclose(to_steps(weights.T, 1, 8), np.transpose(rounded), atol=1e-6)
        np.testing.assert_allclose(to_steps(weights, 0, 16), weights, atol=12.7 / 32767 / 2)

    def test_rounded_weights_are_whole_steps_and_stay_so(self, rounding):
        weights = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
        once = rounding.round_to_steps(weights, 0, 8)
        steps = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
        integers = once / steps
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() == pytest.approx(127, abs=1e-3)
        assert (np.abs(once - weights) <= steps / 2 + 1e-6).all()
        np.testing.assert_allclose(rounding.round_to_steps(once, 0, 8), once, atol=1e-6)

    def test_weights_in_a_file_are_rounded_and_nothing_else(
        self, rounding, program, tmp_path, outside_plugin
    ):
        """Two convolutions and a linear layer; biases and batch norms stay as they are."""
        import paddle

        params = tmp_path / "net.pdiparams"
        shutil.copyfile(program.with_suffix(".pdiparams"), params)
        shutil.copyfile(program, tmp_path / "net.pdmodel")
        before = state_of(paddle, program.with_suffix(""))
        assert rounding.round_weights(program, params, 8) == 3
        after = state_of(paddle, tmp_path / "net")
        assert before.keys() == after.keys()
        for name, old in before.items():
            new = after[name]
            if old.ndim == 1:
                np.testing.assert_array_equal(new, old)
                continue
            axis = 0 if old.ndim == 4 else 1
            others = tuple(i for i in range(old.ndim) if i != axis)
            steps = np.abs(old).max(axis=others, keepdims=True) / 127
            assert not np.array_equal(new, old)
            np.testing.assert_allclose(new, np.rint(old / steps) * steps, atol=1e-6)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda content: content[:-5], r"the parameter .* cannot be read to round it"),
            (lambda content: content + b"12345", r"has 5 bytes more than net.pdmodel tells of"),
            (lambda content: b"\xff" * 40 + content, r"cannot be read to round it"),
            (lambda content: b"", r"cannot be read to round it"),
        ],
        ids=["short", "long", "strange", "empty"],
    )
    def test_a_file_that_is_laid_out_otherwise_is_left_alone(
        self, rounding, program, tmp_path, spoil, message
    ):
        params = tmp_path / "net.pdiparams"
        params.write_bytes(spoil(program.with_suffix(".pdiparams").read_bytes()))
        before = params.read_bytes()
        with pytest.raises(ExportError, match=message):
            rounding.round_weights(program, params, 8)
        assert params.read_bytes() == before

    def test_the_patch_adds_what_lite_misses_and_only_once(self, program, tmp_path):
        from paddle.base.proto import framework_pb2
        from ppclas_deploy.lite.patch import patch_for_lite

        def operators():
            description = framework_pb2.ProgramDesc()
            description.ParseFromString((tmp_path / "net.pdmodel").read_bytes())
            return description.blocks[0]

        shutil.copyfile(program, tmp_path / "net.pdmodel")
        before = operators()
        kinds = [operator.type for operator in before.ops]
        assert "relu6" in kinds
        patch_for_lite(tmp_path / "net.pdmodel")
        once = (tmp_path / "net.pdmodel").read_bytes()
        after = operators()
        assert [operator.type for operator in after.ops] == kinds
        (relu6,) = [operator for operator in after.ops if operator.type == "relu6"]
        assert [(a.f, a.type) for a in relu6.attrs if a.name == "threshold"] == [
            (6.0, framework_pb2.FLOAT)
        ]
        patch_for_lite(tmp_path / "net.pdmodel")
        assert (tmp_path / "net.pdmodel").read_bytes() == once

    def test_the_patch_records_the_shape_before_a_reshape(self, tmp_path):
        """``XShape`` is [0, *shape of the input], as Paddle 2 wrote it."""
        from paddle.base.proto import framework_pb2
        from ppclas_deploy.lite.patch import patch_for_lite
        from ppclas_deploy.program import tensor_of

        description = framework_pb2.ProgramDesc()
        block = description.blocks.add(idx=0, parent_idx=-1)
        for name, dims in (("x", [-1, 8, 4, 4]), ("y", [-1, 128])):
            variable = block.vars.add(name=name)
            variable.type.type = framework_pb2.VarType.DENSE_TENSOR
            tensor = tensor_of(variable)
            tensor.data_type = framework_pb2.VarType.FP32
            tensor.dims.extend(dims)
        for kind in ("flatten_contiguous_range", "swish"):
            operator = block.ops.add(type=kind)
            operator.inputs.add(parameter="X", arguments=["x"])
            operator.outputs.add(parameter="Out", arguments=["y"])
        model = tmp_path / "net.pdmodel"
        model.write_bytes(description.SerializeToString())
        patch_for_lite(model)
        patched = framework_pb2.ProgramDesc()
        patched.ParseFromString(model.read_bytes())
        flatten, swish = patched.blocks[0].ops
        assert {out.parameter: list(out.arguments) for out in flatten.outputs} == {
            "Out": ["y"],
            "XShape": ["y.xshape"],
        }
        recorded = {v.name: list(tensor_of(v).dims) for v in patched.blocks[0].vars}
        assert recorded == {"x": [-1, 8, 4, 4], "y": [-1, 128], "y.xshape": [0, -1, 8, 4, 4]}
        assert [(a.name, a.f) for a in swish.attrs] == [("beta", 1.0)]
        assert [out.parameter for out in swish.outputs] == ["Out"]


def state_of(paddle, prefix):
    """Parameters of a saved program by name, as Paddle itself loads them."""
    paddle.enable_static()
    try:
        with paddle.pir_utils.OldIrGuard(), paddle.static.scope_guard(paddle.static.Scope()):
            executor = paddle.static.Executor(paddle.CPUPlace())
            program, *_ = paddle.static.load_inference_model(str(prefix), executor)
            return {name: np.array(value) for name, value in program.state_dict().items()}
    finally:
        paddle.disable_static()

"""The float network as ONNX Runtime's quantiser takes it, and INT8 versions of it."""

import numpy as np
import pytest
from ppclas_core.errors import ExportError
from ppclas_deploy.engines.onnxruntime import make_session
from ppclas_deploy.quantize.judge import relative_error
from ppclas_deploy.quantize.network import FloatNetwork

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")


class TestNetwork:
    """A float ONNX network as ONNX Runtime's quantiser takes it."""

    @pytest.fixture
    def network(self, tmp_path):
        """Conv, batch norm, ReLU, average, linear; one node without a name."""
        rng, helper, kind = np.random.default_rng(2), onnx.helper, onnx.TensorProto.FLOAT
        constants = {
            "w": rng.normal(size=(4, 3, 3, 3)),
            "b": rng.normal(size=4),
            "gamma": rng.uniform(0.5, 2, 4),
            "beta": rng.normal(size=4),
            "mean": rng.normal(size=4),
            "variance": rng.uniform(0.5, 2, 4),
            "fc": rng.normal(size=(4, 3)),
        }
        norm = ["gamma", "beta", "mean", "variance"]
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["images", "w", "b"], ["c"], name="conv"),
                helper.make_node("BatchNormalization", ["c", *norm], ["n"], name="norm"),
                helper.make_node("Relu", ["n"], ["r"], name="relu"),
                helper.make_node("GlobalAveragePool", ["r"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
                helper.make_node("Gemm", ["f", "fc"], ["logits"], name="head"),
            ],
            "net",
            [helper.make_tensor_value_info("images", kind, ["batch", 3, 8, 8])],
            [helper.make_tensor_value_info("logits", kind, ["batch", 3])],
            [
                onnx.numpy_helper.from_array(value.astype(np.float32), name)
                for name, value in constants.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(tmp_path / "net.onnx"))
        return FloatNetwork(tmp_path / "net.onnx", reduce_range=False), model

    IMAGES = np.random.default_rng(3).normal(size=(16, 3, 8, 8)).astype(np.float32)

    def answers(self, model):
        return make_session(model.SerializeToString(), 1).run(None, {"images": self.IMAGES})[0]

    def test_batch_norms_are_folded_and_answers_stay(self, network):
        prepared, original = network
        assert "BatchNormalization" not in {node.op_type for node in prepared.model.graph.node}
        np.testing.assert_allclose(
            self.answers(prepared.model), self.answers(original), rtol=1e-4, atol=1e-5
        )

    def test_what_moves_numbers_is_no_layer_of_its_own(self, network):
        found = {node.op: node.shape for node in network[0].nodes()}
        assert found == {"Conv": (4, 3, 3, 3), "GlobalAveragePool": (), "Gemm": (4, 3)}
        names = [node.name for node in network[0].nodes()]
        assert all(names)
        assert len(set(names)) == 3

    @pytest.mark.parametrize("ranges", ["minmax", "percentile", "entropy"])
    def test_every_way_to_find_ranges_gives_a_close_network(self, network, ranges):
        prepared, original = network
        prepared.calibrate([self.IMAGES[:8], self.IMAGES[8:]], ranges)
        quantized = prepared.quantized()
        onnx.checker.check_model(quantized, full_check=True)
        wanted = self.answers(original)
        error = relative_error(self.answers(quantized), wanted)
        assert 0 < error < (0.02 if ranges == "minmax" else 0.2)

    def test_a_range_is_that_of_all_batches(self, network):
        """The second batch is ten times larger than the first."""
        prepared, _ = network
        prepared.calibrate([self.IMAGES[:8], 10 * self.IMAGES[8:]], "minmax")
        stored = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in prepared.quantized().graph.initializer
        }
        both = np.concatenate([self.IMAGES[:8], 10 * self.IMAGES[8:]])
        step = (both.max() - both.min()) / 255
        assert stored["images_scale"].item() == pytest.approx(step, rel=1e-5)
        zero = np.rint(-both.min() / step)
        assert stored["images_zero_point"].item() == pytest.approx(zero, abs=1)

    def test_layers_may_stay_float_or_be_the_only_ones(self, network):
        prepared, original = network
        prepared.calibrate([self.IMAGES], "minmax")
        conv = next(node.name for node in prepared.nodes() if node.op == "Conv")

        def stored(model):
            return sum(t.data_type == onnx.TensorProto.INT8 for t in model.graph.initializer)

        whole, without = prepared.quantized(), prepared.quantized(stay_float=[conv])
        alone = prepared.quantized(only=[conv])
        wanted = self.answers(original)
        errors = [relative_error(self.answers(m), wanted) for m in (whole, without, alone)]
        # Weights and zero points of the layers that are quantised.
        assert stored(without) < stored(whole)
        assert stored(alone) < stored(whole)
        assert min(errors) > 0
        everything = [node.name for node in prepared.model.graph.node]
        same = self.answers(prepared.quantized(stay_float=everything))
        np.testing.assert_allclose(same, wanted, rtol=1e-4, atol=1e-5)

    def test_a_file_that_is_no_network(self, tmp_path):
        (tmp_path / "net.onnx").write_bytes(b"no network")
        with pytest.raises(ExportError, match=r"net.onnx cannot be prepared for quantisation: "):
            FloatNetwork(tmp_path / "net.onnx", reduce_range=False)

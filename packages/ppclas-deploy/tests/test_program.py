"""Traced programs in Paddle Inference against the model's own arithmetic, written out in NumPy."""

import numpy as np
import pytest
from ppclas_core.errors import ExportError
from ppclas_core.weights import read_state
from ppclas_deploy.exporters import serving
from ppclas_deploy.prototext import format_text

paddle = pytest.importorskip("paddle", reason="needs the extra [cpu]")

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def convolve(x, weight, bias):
    """3x3, stride 2, padding 1: float64 [N, C, H, W] → [N, K, H / 2, W / 2]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return np.einsum("nchwij,kcij->nkhw", windows, weight) + bias[:, None, None]


def tiny(state, images):
    """The logits [N, 3] of the plugin's ``Tiny`` for normalised images."""
    state = {name: value.astype(np.float64) for name, value in state.items()}
    x = convolve(images, state["stem.weight"], state["stem.bias"])
    x = x - state["norm._mean"][:, None, None]
    x = x / np.sqrt(state["norm._variance"][:, None, None] + 1e-5)
    x = x * state["norm.weight"][:, None, None] + state["norm.bias"][:, None, None]
    x = x * np.clip(x + 3, 0, 6) / 6  # hard swish
    x = np.clip(convolve(x, state["conv.weight"], state["conv.bias"]), 0, 6)  # ReLU6
    return x.mean(axis=(2, 3)) @ state["fc.weight"] + state["fc.bias"]


@pytest.fixture(scope="module")
def source(tmp_path_factory, outside_plugin, make_bundle):
    return make_bundle(tmp_path_factory.mktemp("source") / "bundle")


@pytest.fixture(scope="module")
def expected(source):
    """Logits of ``PIXELS``."""
    images = ((PIXELS / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    return tiny(read_state(source.weights_file), images)


@pytest.fixture
def save(source, tmp_path):
    """Trace the model; the program and its parameters."""
    from ppclas_deploy.program import save_program

    def trace(ir="pir", bundle=source, **interface):
        ends = {"batch": None, "input": "images", "output": "logits", **interface}
        program = save_program(bundle, tmp_path / "net", ends, ir)
        return program, tmp_path / "net.pdiparams"

    return trace


def run(program, params, images):
    """What Paddle Inference gives, without oneDNN."""
    from paddle import inference

    config = inference.Config(str(program), str(params))
    config.disable_gpu()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    (name,) = predictor.get_input_names()
    assert name == "images"
    predictor.get_input_handle(name).copy_from_cpu(images)
    predictor.run()
    (answer,) = predictor.get_output_names()
    return predictor.get_output_handle(answer).copy_to_cpu()


@pytest.mark.parametrize(("ir", "suffix"), [("pir", ".json"), ("old", ".pdmodel")])
def test_logits_are_the_models(save, source, expected, ir, suffix):
    program, params = save(ir)
    assert program.suffix == suffix
    given = run(program, params, source.normalize(PIXELS))
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ir", ["pir", "old"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_with_both_ends_inside_photos_become_probabilities(save, source, expected, ir, activation):
    bundle = type(source)(
        source.folder, source.manifest.replace(activation=activation), source.weights_file
    )
    program, params = save(ir, bundle, input="pixels", output="probabilities")
    powers = np.exp(expected)
    wanted = (
        powers / powers.sum(1, keepdims=True) if activation == "softmax" else powers / (1 + powers)
    )
    np.testing.assert_allclose(run(program, params, PIXELS), wanted, atol=1e-5)


OPERATORS = (
    (paddle.nn.functional, "sigmoid"),
    (paddle.nn.functional, "gelu"),
    (paddle, "maximum"),
    (paddle, "matmul"),
    (paddle.static.Variable, "sum"),
)


def test_paddles_own_operators_are_back_after_tracing(save):
    own = [getattr(module, name) for module, name in OPERATORS]
    save("old", output="probabilities")
    assert [getattr(module, name) for module, name in OPERATORS] == own
    assert paddle.in_dynamic_mode()


def test_operators_of_the_old_ir(tmp_path):
    from ppclas_deploy.program import _old_ir

    class Products(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.weight = self.create_parameter([3, 3])

        def forward(self, x):
            y = x.flatten(2)
            other = paddle.matmul(y, self.weight)
            larger = paddle.maximum(paddle.matmul(y, other, transpose_y=True), other)
            return larger * y.abs().sum(axis=-1, keepdim=True).sqrt()

    layer = Products()
    spec = paddle.static.InputSpec([None, 3, 1, 3], "float32", "images")
    with _old_ir():
        traced = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
        paddle.jit.save(traced, str(tmp_path / "net"))
    x = np.random.default_rng(0).standard_normal((2, 3, 1, 3)).astype("float32")
    y = x.reshape(2, 3, 3)
    other = y @ layer.weight.numpy()
    given = run(tmp_path / "net.pdmodel", tmp_path / "net.pdiparams", x)
    larger = np.maximum(y @ other.transpose(0, 2, 1), other)
    wanted = larger * np.sqrt(np.abs(y).sum(-1, keepdims=True))
    np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("interface", "given", "rows"),
    [
        ({}, ("images", "float32", (-1, 3, 48, 64)), -1),
        ({"batch": 4}, ("images", "float32", (4, 3, 48, 64)), 4),
        ({"input": "pixels"}, ("images", "uint8", (-1, 48, 64, 3)), -1),
    ],
)
def test_the_ends_of_a_program_are_read(save, interface, given, rows):
    from ppclas_deploy.program import program_ends

    ends = program_ends(save("old", **interface)[0])
    assert ends.inputs == (given,)
    ((_, dtype, shape),) = ends.outputs
    assert (dtype, shape) == ("float32", (rows, 3))


def test_a_model_that_gives_more_than_logits(save, make_bundle, tmp_path):
    with pytest.raises(
        ExportError, match=r"should return logits \[N, 3\] and nothing else.*returns a tuple"
    ):
        save("pir", make_bundle(tmp_path / "two", "TwoHeads"))


class TestServingConfiguration:
    """A configuration is only written if the program runs as it says."""

    @pytest.fixture
    def written(self, save, tmp_path):
        """Check the program's own configuration, changed by ``change``."""
        program, params = save("old", output="probabilities")
        from ppclas_deploy.program import program_ends

        ends = program_ends(program)
        config = serving.GeneralModelConfig(
            feed_var=[serving.variable(*end, "image", "feed_type") for end in ends.inputs],
            fetch_var=[serving.variable(*end, "prediction", "fetch_type") for end in ends.outputs],
        )

        def check(change=lambda config: None):
            change(config)
            file = tmp_path / "serving_server_conf.prototxt"
            file.write_text(format_text(config))
            serving.require_ends(file, program, params, 2)

        return check

    def test_its_own_is_right(self, written):
        written()

    def test_another_shape_does_not_run(self, written):
        def wider(config):
            config.feed_var[0].shape[0] = 5  # channels

        with pytest.raises(ExportError, match=r"does not run as serving_server_conf.prototxt says"):
            written(wider)

    @pytest.mark.parametrize(
        "change",
        [
            lambda config: config.fetch_var[0].shape.append(1),
            lambda config: setattr(config.fetch_var[0], "fetch_type", 2),
            lambda config: setattr(config.fetch_var[0], "name", "softmax_9.tmp_0"),
            lambda config: config.fetch_var.add(name="more", fetch_type=1, shape=[3]),
        ],
        ids=["shape", "type", "name", "one too many"],
    )
    def test_another_output_is_found(self, written, change):
        with pytest.raises(ExportError, match=r"says that the model gives .*; it gives .*float32"):
            written(change)

"""Mixed precision, as far as a CPU can tell: it is measured on the first batch, or refused."""

import contextlib

import numpy as np
import paddle
import pytest
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.models import create_model
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.loop.train import Trainer
from ppclas_engine.planning.plan import plan_run
from ppclas_engine.planning.precision import MixedPrecision, check_precision
from ppclas_engine.runs.run import create_run_folder
from ppclas_engine.testing import FakePlugin


@pytest.fixture
def model():
    paddle.seed(0)
    with use_plugin(FakePlugin()):
        yield create_model("FakeNet", 5)


@pytest.fixture
def images():
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32))


class Scaled(MixedPrecision):
    """Stands in for Paddle's automatic casts, which a CPU has not: logits are multiplied inside."""

    def __init__(self, factor, precision, level="O1"):
        super().__init__(precision, level)
        self.factor = factor

    @contextlib.contextmanager
    def forward(self):
        linear = paddle.nn.functional.linear
        paddle.nn.functional.linear = lambda *args, **kwargs: self.factor * linear(*args, **kwargs)
        try:
            yield
        finally:
            paddle.nn.functional.linear = linear


@pytest.mark.parametrize("level", ["O1", "O2"])
@pytest.mark.filterwarnings("ignore:amp_guard can only be enabled")
def test_casts_that_do_not_take_place_are_an_error(model, images, level):
    # Not a stand-in: this is what Paddle's auto_cast does on a CPU.
    with pytest.raises(
        TrainingError, match=rf"bf16 \({level}\) was asked for, but .* float32's, bit for bit"
    ):
        MixedPrecision("bf16", level).measure(model, images)


@pytest.mark.filterwarnings("ignore:AmpScaler can only be enabled")
def test_the_distance_from_float32_is_said(model, images):
    model.train()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    said = Scaled(1.03, "fp16", "O2").measure(model, images)
    assert said == "fp16 (O2): the first batch's logits are 3% from float32's"
    assert model.training
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:AmpScaler can only be enabled")
def test_an_overflow_says_what_to_try(model, images):
    with pytest.raises(
        TrainingError,
        match=r"not finite, in float32 they are\. Try train\.amp_level=O1 or --amp bf16",
    ):
        Scaled(float("inf"), "fp16", "O2").measure(model, images)


def test_a_classifier_of_zeros_tells_nothing(model, images):
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    assert Scaled(2.0, "bf16").measure(model, images) == ""


def test_float32_measures_nothing(model, images):
    assert MixedPrecision("float32").measure(model, images) == ""


@pytest.mark.parametrize(
    ("level", "after_the_bias"), [("O1", paddle.float32), ("O2", paddle.bfloat16)]
)
def test_the_levels_differ_in_what_follows_a_convolution(level, after_the_bias):
    # A graph is built with its casts on a CPU too; only running it takes a GPU.
    paddle.enable_static()
    try:
        program = paddle.static.Program()
        with paddle.static.program_guard(program, paddle.static.Program()):
            images = paddle.static.data("images", [2, 3, 8, 8], "float32")
            convolution = paddle.nn.Conv2D(3, 4, 3)
            with MixedPrecision("bf16", level).forward():
                paddle.nn.functional.relu(convolution(images))
        dtypes = {op.name(): op.results()[0].dtype for op in program.global_block().ops}
        assert dtypes["pd_op.conv2d"] == paddle.bfloat16
        assert dtypes["pd_op.relu"] == after_the_bias
        assert convolution.weight.dtype == paddle.float32
    finally:
        paddle.disable_static()


@pytest.mark.parametrize(
    ("precision", "level", "message"),
    [
        ("bf16", "O1", "bf16 needs a GPU"),
        ("fp16", "O2", "fp16 needs a GPU"),
        ("float32", "O2", r"train\.amp_level: O2 says .*precision is float32\. Add --amp"),
    ],
)
def test_what_would_do_nothing_is_refused(precision, level, message):
    with pytest.raises(ConfigError, match=message):
        check_precision(precision, level, "cpu")


def test_a_run_says_it_once(tmp_path, capsys):
    make_tiny_dataset(tmp_path / "photos", classes=2, per_class=8, size=32)
    config = Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(tmp_path / "photos"), image_size=32, batch_size=4, workers=0),
        schedule=ComponentConfig(name="Constant", lr=0.01),
        train=TrainSection(epochs=2, device="cpu"),
    )
    with use_plugin(FakePlugin()):
        trainer = Trainer(
            plan_run(config), create_run_folder(str(tmp_path / "run"), "x"), Console()
        )
        trainer._trained.precision = Scaled(0.5, "bf16")
        trainer.fit()
    assert (
        capsys.readouterr().err.count("bf16 (O1): the first batch's logits are 50% from float32's")
        == 1
    )

"""Teachers that are a bare ONNX file: of logits or probabilities, of one batch size or any."""

import numpy as np
import pytest
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.errors import ConfigError
from ppclas_distill.opening import open_teacher
from ppclas_distill.teacher import Student, TeacherConfig

paddle = pytest.importorskip("paddle")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLASSES = 3
WEIGHTS = np.random.default_rng(0).standard_normal((3, CLASSES)).astype(np.float32)
KINDS = {"FLOAT": np.float32, "FLOAT16": np.float16, "DOUBLE": np.float64, "UINT8": np.float32}
STUDENT = Student(("a", "b", "c"), NormalizeConfig(), (8, 8))


def write(path, batch="N", side="S", softmax=False, channels=3, kind="FLOAT", shape=None):
    """Mean colour times a matrix: [N, 3, S, S] → [N, 3]."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node(
            "Cast",
            ["images"],
            ["pixels"],
            to=kinds.FLOAT if kind == "UINT8" else getattr(kinds, kind),
        ),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["answers"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [
            helper.make_tensor_value_info(
                "images", getattr(kinds, kind), shape or [batch, channels, side, side]
            )
        ],
        [
            helper.make_tensor_value_info(
                "answers",
                kinds.FLOAT if kind == "UINT8" else getattr(kinds, kind),
                [batch, CLASSES],
            )
        ],
        [onnx.numpy_helper.from_array(WEIGHTS[:channels].astype(KINDS[kind]), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return TeacherConfig(source=str(path))


def images(count=5, side=8):
    return np.random.default_rng(1).standard_normal((count, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_answers_are_logits_for_any_batch(tmp_path, batch, softmax):
    teacher = open_teacher(write(tmp_path / "t.onnx", batch, softmax=softmax), STUDENT, True)
    found = teacher.answer(paddle.to_tensor(images())).numpy()
    expected = images().mean(axis=(2, 3)) @ WEIGHTS
    assert ("answers in probabilities" in teacher.words) == softmax
    # Logits are worth what their softmax is.
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-4)
    assert teacher.state() == {}


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_files_of_other_floats_are_given_theirs(tmp_path, kind):
    teacher = open_teacher(write(tmp_path / "t.onnx", kind=kind), STUDENT, True)
    expected = images().mean(axis=(2, 3)) @ WEIGHTS
    np.testing.assert_allclose(
        teacher.answer(paddle.to_tensor(images())).numpy(), expected, atol=1e-2
    )


def test_what_a_bare_file_does_not_say_is_said(tmp_path):
    config = write(tmp_path / "t.onnx")
    words = open_teacher(config, STUDENT, True).words
    assert "it is taken to want ImageNet's mean and std" in words
    assert "its classes are taken to be in the data's order" in words
    given = config.model_copy(update={"normalize": NormalizeConfig()})
    assert "ImageNet's mean" not in open_teacher(given, STUDENT, True).words
    (tmp_path / "bundle.json").write_text("{}")
    assert f"name its folder, {tmp_path}" in open_teacher(config, STUDENT, True).words


def test_it_sees_its_own_size_and_constants(tmp_path):
    config = write(tmp_path / "t.onnx", side=16)
    own = NormalizeConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    teacher = open_teacher(config.model_copy(update={"normalize": own}), STUDENT, False)
    assert "sees 8x8 resized to 16x16, normalised by its own constants" in teacher.words
    mean, std = (
        np.array(values)[:, None, None]
        for values in (STUDENT.normalize.mean, STUDENT.normalize.std)
    )
    pixels = images() * std + mean
    expected = ((pixels - 0.5) / 0.5).mean(
        axis=(2, 3)
    ) @ WEIGHTS  # bilinear doubling keeps the mean
    np.testing.assert_allclose(
        teacher.answer(paddle.to_tensor(images())).numpy(), expected, atol=1e-4
    )


def test_what_does_not_fit_is_told(tmp_path):
    with pytest.raises(ConfigError, match="answers with 3 values and the data has 2 classes"):
        open_teacher(
            write(tmp_path / "t.onnx"), Student(("a", "b"), NormalizeConfig(), (8, 8)), True
        )
    with pytest.raises(
        ConfigError, match=r"one input of images \[N, 3, H, W\] of floats, got images \['N', 1"
    ):
        open_teacher(write(tmp_path / "grey.onnx", channels=1), STUDENT, True)
    with pytest.raises(
        ConfigError, match=r"images \[N, 3, H, W\] of floats, got images .* tensor\(uint8\)"
    ):
        open_teacher(write(tmp_path / "bytes.onnx", kind="UINT8"), STUDENT, True)
    with pytest.raises(
        ConfigError, match=r"images \[N, 3, H, W\] of floats, got images \['N', 'H', 'W', 3\]"
    ):
        open_teacher(write(tmp_path / "last.onnx", shape=["N", "H", "W", 3]), STUDENT, True)
    with pytest.raises(
        ConfigError,
        match=r"does not answer for two images \[2, 3, 8, 8\].*Another image_size may be",
    ):
        open_teacher(
            write(tmp_path / "high.onnx", shape=["N", 3, 16, "W"]), STUDENT, True
        )  # 16 high, any width
    fixed = write(tmp_path / "fixed.onnx", side=16)
    with pytest.raises(ConfigError, match="takes images of 16x16; image_size says"):
        open_teacher(fixed.model_copy(update={"image_size": 32}), STUDENT, True)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="does not load in onnxruntime"):
        open_teacher(TeacherConfig(source=str(tmp_path / "broken.onnx")), STUDENT, True)
    with pytest.raises(ConfigError, match="there is no such file"):
        open_teacher(TeacherConfig(source=str(tmp_path / "no.onnx")), STUDENT, True)
    with pytest.raises(ConfigError, match="holds its own weights"):
        open_teacher(TeacherConfig(source=str(tmp_path / "t.onnx"), weights="w"), STUDENT, True)

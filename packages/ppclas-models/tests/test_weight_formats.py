"""``.pdparams`` and packed weights as the core reads them, hostile and broken ones too."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.errors import WeightsError
from ppclas_core.weights import read_state, save_state
from ppclas_models.conversion.convert import read_weights
from ppclas_models.shapes import shapes_of

paddle = pytest.importorskip("paddle")

REAL = Path(__file__).parents[3] / "../shared/data/weights"
SQUEEZENET = REAL / "SqueezeNet1_1_pretrained.pdparams"
needs_real = pytest.mark.skipif(not SQUEEZENET.is_file(), reason=f"no real weights at {REAL}")


def write_pickle(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


class Calls:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def state():
    return {
        "conv.weight": np.arange(12, dtype="float32").reshape(3, 4),
        "norm._mean": np.ones(3, "float64"),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_arrays_is_read_at_every_protocol(tmp_path, state, protocol):
    state["fortran"] = np.asfortranarray(state["conv.weight"])
    state["big_endian"] = state["conv.weight"].astype(">f4")
    state["scalar"] = np.float32(2.5)
    state["empty"] = np.zeros((0, 3), "float16")
    read = read_state(write_pickle(tmp_path / "w.pdparams", OrderedDict(state), protocol))
    assert list(read) == list(state)
    for key, array in state.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == array.dtype


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_paddle_save_writes_is_read(tmp_path, protocol):
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    path = tmp_path / "model.pdparams"
    paddle.save(model.state_dict(), str(path), protocol=protocol)
    read = read_state(path)
    assert set(read) == set(model.state_dict())
    for key, tensor in model.state_dict().items():
        np.testing.assert_array_equal(read[key], tensor.numpy())


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_what_lies_in_a_training_checkpoint_is_read(tmp_path, key, protocol):
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    path, values = tmp_path / "latest.pdparams", model.state_dict()
    moments = {"LR_Scheduler": {"last_epoch": 3}, "steps": [1, 2]}
    # The tensors as paddle.save pickles them inside something: tuple((name, values)).
    paddle.save({"epoch": 3, key: values, "optimizer": moments}, str(path), protocol=protocol)
    read = read_state(path)
    assert read.keys() == {f"{key}.{name}" for name in values}
    for name, tensor in values.items():
        np.testing.assert_array_equal(read[f"{key}.{name}"], tensor.numpy())


def test_only_a_tensors_name_and_values_may_be_a_tuple(tmp_path):
    for call in (Calls(tuple, [1, 2]), Calls(tuple), Calls(list, (1,))):
        with pytest.raises(WeightsError, match=r"damaged|asks to run"):
            read_state(write_pickle(tmp_path / "w.pdparams", {"w": call}))


def test_a_map_that_is_there_many_times_is_read_once(tmp_path, state):
    many = {f"copy{number}": state for number in range(1000)}
    assert len(read_state(write_pickle(tmp_path / "w.pdparams", many))) == len(state)


def test_the_optimizers_state_is_still_called_that(tmp_path):
    moments = {"LR_Scheduler": {"last_epoch": 3}, "fc.w_moment": np.ones(2)}
    with pytest.raises(WeightsError, match=r"'LR_Scheduler' is a dict.*optimizer's state"):
        read_state(write_pickle(tmp_path / "w.pdopt", moments))


def test_prefixes_are_cut_off_on_the_way_into_a_zoo_file(tmp_path):
    shapes = shapes_of("SqueezeNet1_1")
    theirs = {f"Student.{name}": np.full(shape, 0.5, "float32") for name, shape in shapes.items()}
    theirs |= {f"Teacher.{name}": np.zeros(shape, "float32") for name, shape in shapes.items()}
    state, report = read_weights(
        write_pickle(tmp_path / "w.pdparams", theirs), "SqueezeNet1_1", "paddle"
    )
    assert state.keys() == shapes.keys()
    assert all((array == 0.5).all() for array in state.values())
    assert report.notes == ("took those whose names begin with Student.",)


# Eight bits


def test_int8_times_its_scale_is_what_paddles_operator_makes_of_it(tmp_path):
    from paddle.nn.quant.format import LinearDequanter

    rng = np.random.default_rng(0)
    conv = rng.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8)
    linear = rng.integers(-127, 128, (6, 4), dtype=np.int8)
    scales = rng.uniform(0.1, 2, 4).astype("float32")
    tensors = {
        "conv.weight": conv,
        "conv.weight@scale": scales,
        "fc.weight": linear,
        "fc.weight@scale": scales,
        "fc.bias": np.ones(4, "float32"),
    }
    for file in ("w.pdparams", "w.safetensors"):
        path = tmp_path / file
        if file.endswith("pdparams"):
            write_pickle(path, tensors)
        else:
            save_state(path, tensors)
        read = read_state(path)
        assert read.keys() == {"conv.weight", "fc.weight", "fc.bias"}
        for name, axis in (("conv.weight", 0), ("fc.weight", 1)):
            layer = LinearDequanter(scales, zero_point=np.zeros(4, "float32"), quant_axis=axis)
            expected = layer(paddle.to_tensor(tensors[name]).astype("float32"))
            np.testing.assert_allclose(read[name], expected.numpy(), rtol=1e-6)


def test_a_scale_of_one_step(tmp_path):
    weight = np.array([[-127, 0, 64]], np.int8)
    for key, scale, expected in (
        ("w_scale", np.float32([0.5]), [[-63.5, 0, 32]]),
        ("w.scale", np.float32([1, 2, 0.25]), [[-127, 0, 16]]),
    ):
        read = read_state(write_pickle(tmp_path / "w.pdparams", {"w": weight, key: scale}))
        np.testing.assert_array_equal(read["w"], np.float32(expected))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": np.ones(3, np.int8), "b": np.ones(2)}, "1 of 2 tensors are int8 without a scale"),
        ({"a": np.ones((2, 3), np.int8), "a_scale": np.ones(2)}, r"a_scale \[2\] fits no channels"),
        ({"a": np.ones(3, np.int8), "a_scale": np.ones(1, np.int64)}, "fits no channels"),
    ],
)
def test_int8_without_a_fitting_scale_is_refused(tmp_path, tensors, message):
    with pytest.raises(WeightsError, match=message):
        read_state(write_pickle(tmp_path / "w.pdparams", tensors))


def test_one_int8_tensor_under_many_names_is_refused(tmp_path):
    large = np.ones(100_000, np.int8)
    tensors = {f"w{number}": large for number in range(100)}
    tensors |= {f"w{number}_scale": np.float32([1]) for number in range(100)}
    with pytest.raises(WeightsError, match="share their values"):
        read_state(write_pickle(tmp_path / "w.pdparams", tensors))


def test_large_arrays_that_paddle_cut_up_are_joined(tmp_path):
    whole = np.arange(10, dtype="float32").reshape(5, 2)
    layout = {
        "w@@.0": whole.ravel()[:6],
        "w@@.1": whole.ravel()[6:],
        "b": np.ones(2, "float32"),
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (5, 2), "slices": ["w@@.0", "w@@.1"]}},
        "StructuredToParameterName@@": {"w": "linear_0.w_0", "b": "linear_0.b_0"},
    }
    read = read_state(write_pickle(tmp_path / "w.pdparams", layout, 2))
    assert set(read) == {"w", "b"}
    np.testing.assert_array_equal(read["w"], whole)
    del layout["w@@.1"]
    with pytest.raises(WeightsError, match="parts of a large array"):
        read_state(write_pickle(tmp_path / "w.pdparams", layout, 2))


def test_the_suffix_may_be_left_out(tmp_path, state):
    write_pickle(tmp_path / "ResNet50_vd.v1_pretrained.pdparams", state)
    assert set(read_state(tmp_path / "ResNet50_vd.v1_pretrained")) == set(state)


def test_safetensors_whose_header_length_looks_like_a_pickle(tmp_path, state):
    path = tmp_path / "w.safetensors"
    for padding in range(300):
        save_state(path, state, {"padding": "x" * padding})
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no header of such a length was made")
    assert set(read_state(path)) == set(state)


@needs_real
def test_real_weights_agree_with_paddles_own_reader():
    ours, theirs = read_state(SQUEEZENET), paddle.load(str(SQUEEZENET), return_numpy=True)
    theirs.pop("StructuredToParameterName@@", None)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def hostile(canary: Path) -> dict[str, tuple[object, str]]:
    command = f"touch {canary}"
    return {
        "os.system": (Calls(os.system, command), "posix.system"),
        "eval": (Calls(eval, f"open({str(canary)!r}, 'w')"), "(builtins|__builtin__).eval"),
        "exec": ({"w": Calls(exec, f"open({str(canary)!r}, 'w')")}, "(builtins|__builtin__).exec"),
        "popen": (
            {"w": Calls(subprocess.Popen, command, -1, None, None, None, None, None, True, True)},
            "Popen",
        ),
        "getattr": (Calls(getattr, os, "system"), "builtins.getattr"),
        "open": ([{"w": (np.ones(2), Calls(open, str(canary), "w"))}], "open"),
        "after good arrays": (
            OrderedDict(a=np.ones(3), b=Calls(os.system, command)),
            "posix.system",
        ),
        "an array of objects": (
            {"w": np.array([Calls(os.system, command)], dtype=object)},
            "object|numbers|posix",
        ),
        "a class of its own": ({"w": Path("x")}, "pathlib"),
    }


@pytest.mark.parametrize("kind", hostile(Path("unused")))
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, kind, protocol):
    canary = tmp_path / "canary"
    value, named = hostile(canary)[kind]
    if kind == "getattr":  # modules do not pickle: write the stream by hand
        path = tmp_path / "w.pdparams"
        path.write_bytes(b"\x80\x02cbuiltins\ngetattr\ncos\nenviron\nX\x05\x00\x00\x00clear\x86R.")
    else:
        path = write_pickle(tmp_path / "w.pdparams", value, protocol)
    with pytest.raises(WeightsError, match=named):
        read_state(path)
    assert not canary.exists()


def test_the_refused_global_is_named_and_the_advice_given(tmp_path):
    path = write_pickle(tmp_path / "w.pdparams", Calls(os.system, "true"))
    with pytest.raises(
        WeightsError,
        match=r"asks to run 'posix.system', which no weights need: nothing of it was run",
    ):
        read_state(path)


def test_numpys_own_unpickling_never_sees_the_file(tmp_path):
    # np.dtype('f4').__setstate__ on NumPy's shared dtype would turn every float32 of the process
    # big-endian.
    stream = (
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x89\x87R"
        b"(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb."
    )
    path = tmp_path / "w.pdparams"
    path.write_bytes(stream)
    with pytest.raises(WeightsError, match="arrays by name"):
        read_state(path)
    assert np.dtype("f4").str == "<f4"


def test_an_array_whose_shape_does_not_fit_its_bytes_is_refused(tmp_path):
    stream = pickle.dumps({"w": np.ones(4, "float32")}, protocol=2)
    assert b"K\x04\x85" in stream
    path = tmp_path / "w.pdparams"
    path.write_bytes(stream.replace(b"K\x04\x85", b"K\x7f\x85"))
    with pytest.raises(WeightsError, match="damaged"):
        read_state(path)


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("conv1_weights"))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


def test_codes_and_levels_are_the_values_they_stand_for(tmp_path):
    codes = np.array([[0, 2], [1, 2]], "uint8")
    file = tmp_path / "w.safetensors"
    save_state(file, {"a": codes, "a.levels": np.array([-1.5, 0, 0.1], "float32"), "b": codes})
    state = read_state(file)
    expected = np.array([[-1.5, 0.1], [0, 0.1]], "float32")
    np.testing.assert_array_equal(state["a"], expected, strict=True)
    np.testing.assert_array_equal(state["b"], codes, strict=True)
    assert set(state) == {"a", "b"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a.levels": np.ones(3)}, "a.levels expects a tensor a of uint8 codes"),
        ({"a": np.ones(3), "a.levels": np.ones(3)}, "a.levels expects a tensor a of uint8 codes"),
        (
            {"a": np.array([3], "uint8"), "a.levels": np.ones(3)},
            "a has the code 3, and a.levels 3 values",
        ),
    ],
)
def test_codes_without_their_levels_are_one_clear_error(tmp_path, tensors, message):
    save_state(tmp_path / "w.safetensors", tensors)
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(), "torch.save, .*: ppclas models convert .*w.pdparams --model NAME"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "a file of torch.save"),
        (tarred(), "a tar archive.*: ppclas models convert"),
        (pickle.dumps({"w": np.ones(50)})[:-40], "cut off"),
        (b"\x80", "damaged"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"LR_Scheduler": {"last_epoch": 3}}), "optimizer's state"),
        (pickle.dumps({3: np.ones(2)}), "no array"),
    ],
)
def test_a_file_that_holds_no_weights_says_what_it_is(tmp_path, content, words):
    path = tmp_path / "w.pdparams"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        read_state(path)
    assert str(path) in str(caught.value)


def test_every_prefix_of_a_file_is_an_error_and_nothing_else(tmp_path, state):
    path, content = tmp_path / "w", pickle.dumps(state, protocol=4)
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_state(path)

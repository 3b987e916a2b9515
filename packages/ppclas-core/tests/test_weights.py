"""Hostile, broken and real weight files, and what fitting them to a model reports."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.errors import WeightsError
from ppclas_core.weights import fit_state, load_weights, model_state, read_state, save_state

paddle = pytest.importorskip("paddle")

REAL = Path(__file__).parents[3] / "../shared/data/weights"
SQUEEZENET = REAL / "SqueezeNet1_1_pretrained.pdparams"
needs_real = pytest.mark.skipif(not SQUEEZENET.is_file(), reason=f"no real weights at {REAL}")


class Tiny(ImageModel):
    """One convolution with batch norm, and a linear classifier."""

    def __init__(self, num_classes: int = 3, width: int = 4) -> None:
        super().__init__(ModelConfig(num_classes=num_classes))
        self.conv = paddle.nn.Conv2D(3, width, 3)
        self.norm = paddle.nn.BatchNorm2D(width)
        if num_classes:
            self.fc = paddle.nn.Linear(width, num_classes)

    def forward_features(self, images):
        return self.norm(self.conv(images))

    def forward_head(self, features, pre_logits=False):
        pooled = features.mean([2, 3])
        return pooled if pre_logits or not self.config.num_classes else self.fc(pooled)

    def feature_info(self):
        return [Feature("norm", 4, 1)]

    def stages(self):
        return {"stem": ("conv", "norm"), "head": ("fc",)}


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


# Reading


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
    model = Tiny()
    path = tmp_path / "model.pdparams"
    paddle.save(model.state_dict(), str(path), protocol=protocol)
    read = read_state(path)
    assert set(read) == set(model.state_dict())
    for key, tensor in model.state_dict().items():
        np.testing.assert_array_equal(read[key], tensor.numpy())


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


def test_safetensors_round_trip_with_metadata(tmp_path, state):
    from safetensors import safe_open

    path = tmp_path / "w.safetensors"
    save_state(path, state, {"architecture": "Tiny"})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    with safe_open(path, framework="np") as file:
        assert file.metadata() == {"architecture": "Tiny"}
    read = read_state(path)
    for key, array in state.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == array.dtype


def test_safetensors_whose_header_length_looks_like_a_pickle(tmp_path, state):
    path = tmp_path / "w.safetensors"
    for padding in range(300):
        save_state(path, state, {"padding": "x" * padding})
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no header of such a length was made")
    assert set(read_state(path)) == set(state)


def test_bf16_is_widened(tmp_path):
    header = b'{"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    # 1.0, -2.0 and 0.15625 (0x3e20), the upper halves of their float32 patterns
    content = struct.pack("<Q", len(header)) + header + struct.pack("<3H", 0x3F80, 0xC000, 0x3E20)
    (tmp_path / "w.safetensors").write_bytes(content)
    read = read_state(tmp_path / "w.safetensors")["w"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.array([1.0, -2.0, 0.15625], "float32"))


@needs_real
def test_real_weights_agree_with_paddles_own_reader():
    ours, theirs = read_state(SQUEEZENET), paddle.load(str(SQUEEZENET), return_numpy=True)
    theirs.pop("StructuredToParameterName@@", None)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


# Hostile files


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


# Broken files


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\n <html>", "HTML"),
        (zipped(), "zip archive, as torch.save writes"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"x" * 257 + b"ustar", "tar archive"),
        (b"\x00\x01\x02 something", "begins with"),
        (pickle.dumps({"w": np.ones(50)})[:-40], "cut off"),
        (b"\x80", "damaged"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"LR_Scheduler": {"last_epoch": 3}}), "optimizer's state"),
        (pickle.dumps({3: np.ones(2)}), "no array"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"w":{"dtype":', "damaged .safetensors"),
    ],
)
def test_a_file_that_holds_no_weights_says_what_it_is(tmp_path, content, words):
    path = tmp_path / "w.pdparams"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        read_state(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights at .*gone.pdparams"):
        read_state(tmp_path / "gone.pdparams")
    with pytest.raises(WeightsError, match="is a folder"):
        read_state(tmp_path)


def test_every_prefix_of_a_file_is_an_error_and_nothing_else(tmp_path, state):
    path = tmp_path / "w"
    save_state(path, state)
    for content in (pickle.dumps(state, protocol=4), path.read_bytes()):
        for length in range(0, len(content) - 1, 7):
            path.write_bytes(content[:length])
            with pytest.raises(WeightsError):
                read_state(path)


# Fitting


def test_the_same_classes_load_whole(tmp_path):
    source, target = Tiny(), Tiny()
    save_state(tmp_path / "w.safetensors", model_state(source))
    report = load_weights(target, tmp_path / "w.safetensors")
    assert str(report) == "8/8 tensors loaded"
    assert report.head_loaded
    for key, array in model_state(source).items():
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), array)


def test_another_class_count_leaves_the_head_fresh():
    source, target = Tiny(1000), Tiny(5)
    fresh = target.fc.weight.numpy().copy()
    report = fit_state(target, model_state(source))
    assert str(report) == "6/8 tensors loaded, head re-initialised 1000→5"
    np.testing.assert_array_equal(target.fc.weight.numpy(), fresh)
    np.testing.assert_array_equal(target.conv.weight.numpy(), source.conv.weight.numpy())


def test_a_missing_and_a_superfluous_head_are_said():
    assert str(fit_state(Tiny(5), model_state(Tiny(0)))) == (
        "6/8 tensors loaded, head newly initialised with 5 classes (the file has none)"
    )
    assert (
        str(fit_state(Tiny(0), model_state(Tiny(5))))
        == "6/6 tensors loaded, head of 5 classes left out"
    )


def test_half_a_head_is_not_loaded():
    state = model_state(Tiny(3))
    del state["fc.bias"]
    target = Tiny(3)
    before = target.fc.weight.numpy().copy()
    assert not fit_state(target, state).head_loaded
    np.testing.assert_array_equal(target.fc.weight.numpy(), before)


def test_another_shape_outside_the_head_is_an_error_and_changes_nothing():
    target = Tiny()
    before = model_state(target)
    with pytest.raises(
        WeightsError,
        match=r"6 of 6 tensors .* conv.weight \[8, 3, 3, 3\] instead of \[4, 3, 3, 3\]",
    ):
        fit_state(target, model_state(Tiny(width=8)))
    state = model_state(Tiny())
    state["norm._mean"] = np.zeros(7, "float32")
    with pytest.raises(WeightsError, match=r"1 of 6 tensors .* norm._mean \[7\] instead of \[4\]"):
        fit_state(target, state, strict=False)
    assert all(np.array_equal(before[key], array) for key, array in model_state(target).items())


def test_missing_tensors_are_an_error_unless_not_strict():
    state = model_state(Tiny())
    del state["norm._variance"]
    with pytest.raises(WeightsError, match=r"lacks 1 of the 6 tensors .*: norm._variance"):
        fit_state(Tiny(), state)
    report = fit_state(Tiny(), state, strict=False)
    assert report.missing == ("norm._variance",)
    assert "1 not in the file and newly initialised: norm._variance" in str(report)


def test_extra_tensors_are_listed():
    state = {**model_state(Tiny()), "aux.weight": np.ones(2, "float32")}
    report = fit_state(Tiny(), state)
    assert report.extra == ("aux.weight",)
    assert str(report) == "8/8 tensors loaded, 1 in the file and not in the model: aux.weight"


def test_nothing_matched_is_an_error_that_shows_both_sides(tmp_path):
    path = write_pickle(
        tmp_path / "other.pdparams", {"conv1_weights": np.ones(3), "fc.weight": np.ones((4, 3))}
    )
    with pytest.raises(
        WeightsError,
        match=r"other.pdparams: none of the file's 2 .* conv.weight.* file conv1_weights",
    ):
        load_weights(Tiny(), path)


def test_half_precision_is_widened_on_loading(tmp_path):
    source, target = Tiny(), Tiny()
    save_state(
        tmp_path / "w.safetensors", {k: v.astype("float16") for k, v in model_state(source).items()}
    )
    load_weights(target, tmp_path / "w.safetensors")
    assert target.conv.weight.dtype == paddle.float32
    expected = source.conv.weight.numpy().astype("float16").astype("float32")
    np.testing.assert_array_equal(target.conv.weight.numpy(), expected)


def test_an_unwritable_place_is_one_clear_error(tmp_path, state):
    with pytest.raises(WeightsError, match="cannot write the weights"):
        save_state(tmp_path / "no folder" / "w.safetensors", state)


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

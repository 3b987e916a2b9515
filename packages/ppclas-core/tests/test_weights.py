"""Weight files, kinds of them that plugins read, and what fitting them to a model reports."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.weight_format import WeightFormat
from ppclas_core.errors import WeightsError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_core.weights import fit_state, load_weights, model_state, read_state, save_state

paddle = pytest.importorskip("paddle")


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


@pytest.fixture
def state():
    return {
        "conv.weight": np.arange(12, dtype="float32").reshape(3, 4),
        "norm._mean": np.ones(3, "float64"),
    }


# Reading


def test_tensors_come_in_the_order_of_the_file(tmp_path):
    names = [f"{first}{second}" for first in "qgzab" for second in "4071"]
    places = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * place, 4 * place + 4]}
        for place, name in enumerate(names)
    }
    # A header may list them in another order than they lie in.
    header = json.dumps(dict(sorted(places.items()))).encode()
    values = np.arange(len(names), dtype="<f4").tobytes()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)
    read = read_state(path)
    assert list(read) == names
    assert [value.item() for value in read.values()] == list(range(len(names)))


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


def test_bf16_is_widened(tmp_path):
    header = b'{"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    # 1.0, -2.0 and 0.15625 (0x3e20), the upper halves of their float32 patterns
    content = struct.pack("<Q", len(header)) + header + struct.pack("<3H", 0x3F80, 0xC000, 0x3E20)
    (tmp_path / "w.safetensors").write_bytes(content)
    read = read_state(tmp_path / "w.safetensors")["w"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.array([1.0, -2.0, 0.15625], "float32"))


# Other kinds of files


class Numbers(WeightFormat):
    """One array ``numbers``, a line of text for each number."""

    suffixes = (".numbers",)

    def recognises(self, path, start):
        return start.startswith(b"numbers\n")

    def read(self, path):
        return {"numbers": np.array(path.read_text().split()[1:], "float32")}


class NumbersPlugin:
    """Brings that kind."""

    @hookimpl
    def register_weight_formats(self, registry):
        registry.register("Numbers", Numbers)


def test_a_plugin_brings_a_kind_of_file(tmp_path):
    (tmp_path / "w.numbers").write_text("numbers\n1\n2.5\n")
    with pytest.raises(WeightsError, match=r"expected .*safetensors.*, found something that beg"):
        read_state(tmp_path / "w.numbers")
    with use_plugin(NumbersPlugin()):
        for name in ("w.numbers", "w"):
            read = read_state(tmp_path / name)
            assert list(read) == ["numbers"]
            np.testing.assert_array_equal(read["numbers"], np.array([1, 2.5], "float32"))
        with pytest.raises(WeightsError, match=r"no weights at .*gone \(nor with .*\.numbers or"):
            read_state(tmp_path / "gone")


# Broken files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\n <html>", "HTML"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x00\x01\x02 something", "begins with"),
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
    content = path.read_bytes()
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


@pytest.mark.parametrize(
    "prefix", ["Student.", "module.", "backbone.", "state_dict.", "module.Student.", "_layers."]
)
def test_what_a_wrapper_put_before_all_names_is_cut_off_and_said(prefix):
    source, target = Tiny(), Tiny()
    state = {f"{prefix}{key}": array for key, array in model_state(source).items()}
    state |= {f"Teacher.{key}": array * 0 for key, array in model_state(source).items()}
    report = fit_state(target, state)
    assert str(report) == f"8/8 tensors loaded from those whose names begin with {prefix}"
    for key, array in model_state(source).items():
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), array)


def test_the_averaged_weights_of_a_checkpoint_come_before_the_others():
    values = model_state(Tiny())
    state = {f"state_dict.{key}": array * 0 for key, array in values.items()}
    state |= {f"state_dict_ema.{key}": array for key, array in values.items()}
    target = Tiny()
    assert fit_state(target, state).prefix == "state_dict_ema."
    np.testing.assert_array_equal(target.conv.weight.numpy(), values["conv.weight"])


def test_an_unknown_prefix_is_none():
    state = {f"Teacher.{key}": array for key, array in model_state(Tiny()).items()}
    with pytest.raises(WeightsError, match=r"none of .* Teacher\.conv\.weight"):
        fit_state(Tiny(), state)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    state, target = model_state(Tiny()), Tiny()
    before = model_state(target)
    state["norm._variance"] = np.float32([1, bad, 1, 1])
    with pytest.raises(WeightsError, match=r"1 of 8 .* not finite .*: norm\._variance"):
        fit_state(target, state)
    assert all(np.array_equal(before[key], array) for key, array in model_state(target).items())


def test_nothing_matched_is_an_error_that_shows_both_sides(tmp_path):
    path = tmp_path / "other.safetensors"
    save_state(path, {"conv1_weights": np.ones(3), "fc.weight": np.ones((4, 3))})
    with pytest.raises(
        WeightsError,
        match=r"none of the file's 2 .* conv.weight.* file .*conv1_weights",
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

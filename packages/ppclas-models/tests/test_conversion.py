"""Weights of 2020 and of torch: what is read, under which names, and what is refused."""

from __future__ import annotations

import argparse
import io
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from math import prod
from pathlib import Path

import numpy as np
import paddle
import pytest
from ppclas_core.errors import WeightsError
from ppclas_core.models import create_model
from ppclas_core.weights import fit_state, read_state
from ppclas_models.conversion.convert import read_weights, write_weights
from ppclas_models.conversion.legacy_names import legacy_names
from ppclas_models.conversion.scattered import read_scattered, write_scattered
from ppclas_models.conversion.torch_file import read_torch
from ppclas_models.conversion.torch_names import torch_names
from ppclas_models.shapes import shapes_of

WEIGHTS = Path(__file__).parents[3] / "../shared/data/weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no real weights at {WEIGHTS}")

LEGACY = [
    "ResNet18_vd", "ResNet50_vc", "ResNeXt50_32x4d", "MobileNetV1_x0_25", "MobileNetV2_x0_25",
    "MobileNetV3_small_x0_35", "MobileNetV3_large_x0_35", "ShuffleNetV2_x0_25",
    "ShuffleNetV2_swish", "SqueezeNet1_1",
]  # fmt: skip


def random_state(architecture: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {key: rng.random(shape, np.float32) for key, shape in shapes_of(architecture).items()}


def build(name: str):
    with paddle.utils.unique_name.guard():
        model = create_model(name)
    model.eval()
    return model


# The format of 2020


def test_a_file_that_paddle_wrote_is_read(tmp_path):
    layer = paddle.nn.Linear(3, 5, bias_attr=False)
    spec = [paddle.static.InputSpec([None, 3], "float32")]
    paddle.jit.save(
        paddle.jit.to_static(layer, input_spec=spec, full_graph=True), str(tmp_path / "net")
    )
    # All parameters one after another; here there is one, so that the file is that of a single
    # tensor.
    (tmp_path / "net.pdiparams").rename(tmp_path / "w")
    state, others = read_scattered(tmp_path, {"w"}, 1 << 20)
    assert np.array_equal(state["w"], layer.weight.numpy())
    assert "w" not in others


def test_a_file_byte_by_byte(tmp_path):
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    write_scattered(tmp_path / "x", {"w": array})
    description = bytes([0x08, 5, 0x10, 2, 0x10, 3])  # FP32 is type 5; dimensions 2 and 3
    assert (tmp_path / "x" / "w").read_bytes() == (
        bytes(4) + bytes(8) + bytes(4) + (6).to_bytes(4, "little") + description + array.tobytes()
    )


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]
)
@pytest.mark.parametrize("shape", [(), (1,), (300, 2), (0, 4)])
def test_every_type_comes_back(tmp_path, dtype, shape):
    array = np.ones(shape, dtype)
    write_scattered(tmp_path / "x", {"w": array})
    found = read_scattered(tmp_path / "x", {"w"}, 1 << 20)[0]["w"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)


def test_levels_and_packed_dimensions_are_understood(tmp_path):
    values = np.ones((2, 300), "<f4")
    description = bytes([0x08, 5, 0x12, 3, 2, 0xAC, 0x02])  # 300 takes two bytes
    content = (
        struct.pack("<IQQ", 0, 1, 16)
        + bytes(16)
        + struct.pack("<Ii", 0, len(description))
        + description
    )
    (tmp_path / "w").write_bytes(content + values.tobytes())
    assert np.array_equal(read_scattered(tmp_path, {"w"}, 1 << 20)[0]["w"], values)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (
            "ResNet50",
            {
                "stem.0.conv.weight": "conv1_weights",
                "stem.0.bn.weight": "bn_conv1_scale",
                "stem.0.bn._variance": "bn_conv1_variance",
                "blocks.0.conv0.conv.weight": "res2a_branch2a_weights",
                "blocks.0.short.bn.bias": "bn2a_branch1_offset",
                "blocks.15.conv2.bn._mean": "bn5c_branch2c_mean",
                "fc.weight": "fc_0.w_0",
                "fc.bias": "fc_0.b_0",
            },
        ),
        (
            "ResNet101_vd",
            {
                "stem.2.conv.weight": "conv1_3_weights",
                "stem.2.bn.bias": "bnv1_3_offset",
                "blocks.7.conv0.conv.weight": "res4a_branch2a_weights",
                "blocks.29.conv0.bn.weight": "bn4b22_branch2a_scale",
                "blocks.30.short.conv.weight": "res5a_branch1_weights",
            },
        ),
        (
            "MobileNetV1",
            {"blocks.5.pointwise_conv.bn._mean": "conv4_2_sep_bn_mean", "fc.bias": "fc7_offset"},
        ),
        (
            "MobileNetV2",
            {
                "conv1._conv.weight": "conv1_1_weights",
                "conv4.conv4_3._bottleneck_conv._batch_norm.weight": "conv4_3_dwise_bn_scale",
                "out.weight": "fc10_weights",
            },
        ),
        (
            "MobileNetV3_large_x1_0",
            {
                "blocks.3.mid_se.conv2.bias": "conv5_se_2_offset",
                "blocks.14.bottleneck_conv.conv.weight": "conv16_depthwise_weights",
                "last_second_conv.bn.weight": "conv_last_bn_scale",
                "last_conv.weight": "last_1x1_conv_weights",
            },
        ),
        ("ShuffleNetV2", {"3_1._conv_linear_1._conv.weight": "stage_3_1_conv5_weights"}),
        (
            "SqueezeNet1_1",
            {
                "_conv1._conv._conv.bias": "fire2_squeeze1x1_offset",
                "_conv9.weight": "conv10_weights",
            },
        ),
    ],
)
def test_names_of_2020(architecture, expected):
    names = legacy_names(architecture)
    assert {key: names[key] for key in expected} == expected


@pytest.mark.parametrize(
    "architecture", ["ResNet101", "ResNet152_vd", "ResNet200_vd", "ResNeXt152_64x4d"]
)
def test_deep_nets_have_no_name_twice(architecture):
    names = legacy_names(architecture)
    assert len(set(names.values())) == len(names)
    assert all(name.isascii() for name in names.values())


@pytest.mark.parametrize("architecture", LEGACY)
def test_a_folder_of_2020_and_back(tmp_path, architecture):
    state = random_state(architecture)
    assert write_weights(tmp_path / "old", state, architecture) == "scattered"
    assert len(list((tmp_path / "old").iterdir())) == len(state)  # no two tensors share a name
    found, report = read_weights(tmp_path / "old", architecture)
    assert str(report) == f"{len(state)}/{len(state)} tensors taken"
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[key], state[key]) for key in state)


@needs_weights
def test_real_weights_as_tar_score_the_same(tmp_path):
    original = read_state(WEIGHTS / "MobileNetV2_pretrained")
    write_weights(tmp_path / "MobileNetV2_pretrained", original, "MobileNetV2")
    tar = tmp_path / "MobileNetV2_pretrained.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "MobileNetV2_pretrained", "MobileNetV2_pretrained")
    state, _ = read_weights(tar, "MobileNetV2_ssld")  # weights of one architecture
    for suffix in (".safetensors", ".pdparams"):
        write_weights(tmp_path / f"new{suffix}", state, "MobileNetV2")
        again = read_state(tmp_path / f"new{suffix}")
        assert all(np.array_equal(again[key], original[key]) for key in original)
    loaded = paddle.load(str(tmp_path / "new.pdparams"))
    missing, unexpected = build("MobileNetV2").set_state_dict(loaded)
    assert (missing, unexpected) == ([], [])


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tensor_bytes(tmp_path: Path, array: np.ndarray) -> bytes:
    write_scattered(tmp_path / "one", {"w": array})
    return (tmp_path / "one" / "w").read_bytes()


def test_paths_in_a_tar_lead_nowhere(tmp_path):
    good = tensor_bytes(tmp_path, np.ones(2, "f4"))
    before = sorted(tmp_path.iterdir())
    tar = tar_of(
        tmp_path / "x.tar",
        (member("../../evil"), b"x"),
        (member("/etc/evil"), b"x"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("w", tarfile.LNKTYPE, "/etc/passwd"), b""),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (member("deep/er/w"), good),
    )
    state, others = read_scattered(tar, {"w", "link"}, 1 << 20)
    assert list(state) == ["w"]
    assert np.array_equal(state["w"], np.ones(2))
    assert others == ["evil", "evil"]
    assert sorted(tmp_path.iterdir()) == sorted([*before, tar])


def test_tars_that_are_wrong_are_refused(tmp_path):
    good = tensor_bytes(tmp_path, np.ones(2, "f4"))
    twice = tar_of(tmp_path / "a.tar", (member("a/w"), good), (member("b/w"), good))
    with pytest.raises(WeightsError, match="two files called w"):
        read_scattered(twice, {"w"}, 1 << 20)
    huge = member("big")
    huge.size = 2**40
    (tmp_path / "b.tar").write_bytes(huge.tobuf() + bytes(1024))
    with pytest.raises(WeightsError, match="says 1,099,511,627,776 bytes"):
        read_scattered(tmp_path / "b.tar", {"w"}, 1 << 20)
    cut = tmp_path / "c.tar"
    cut.write_bytes(twice.read_bytes()[:560])
    with pytest.raises(WeightsError, match=r"cannot be read|is cut off"):
        read_scattered(cut, {"w"}, 1 << 20)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        struct.pack("<IQ", 1, 0) + bytes(50),
        struct.pack("<IQ", 0, 2**63) + bytes(50),
        struct.pack("<IQQ", 0, 1, 2**62) + bytes(50),
        struct.pack("<IQIi", 0, 0, 0, -5) + bytes(50),
        struct.pack("<IQIi", 0, 0, 0, 2) + b"\x08\x07" + bytes(50),  # LOD_TENSOR: no numbers
        struct.pack("<IQIi", 0, 0, 0, 4) + b"\x08\x05\x10\x03" + bytes(11),
        struct.pack("<IQIi", 0, 0, 0, 13) + b"\x08\x05\x10" + b"\xff" * 10 + bytes(4),
        struct.pack("<IQIi", 0, 0, 0, 4) + b"\x1a\x05\x10\x03" + bytes(12),
    ],
)
def test_files_that_are_no_tensors_are_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="w is no tensor as Paddle wrote it, or is cut off"):
        read_scattered(tmp_path, {"w"}, 1 << 20)


def test_what_a_folder_lacks_is_named(tmp_path):
    state = random_state("SqueezeNet1_1")
    write_weights(tmp_path / "old", state, "SqueezeNet1_1")
    (tmp_path / "old" / "fire5_expand3x3_weights").unlink()
    (tmp_path / "old" / "learning_rate_0").write_bytes(b"anything")
    with pytest.raises(
        WeightsError, match=r"1 of the 52 tensors are missing: _conv4._conv_path2._conv.weight"
    ):
        read_weights(tmp_path / "old", "SqueezeNet1_1")
    (tmp_path / "old" / "conv1_weights").unlink()
    with pytest.raises(
        WeightsError,
        match=r"has none of the 107 files of a ResNet18 of 2020, such as conv1_.*it has ",
    ):
        read_weights(tmp_path / "old", "ResNet18")
    with pytest.raises(WeightsError, match="names of 2020 are not known for GhostNet_x0_5"):
        read_weights(tmp_path / "old", "GhostNet_x0_5")
    with pytest.raises(WeightsError, match="is there already"):
        write_weights(tmp_path / "old", state, "SqueezeNet1_1")


# torch


class Storage:
    """Stands for a torch storage while pickling."""

    def __init__(self, kind: str, raw: bytes, size: int) -> None:
        self.kind, self.raw, self.size = kind, raw, size


@pytest.fixture
def torch_globals(monkeypatch):
    """Modules with the names that a torch pickle refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class TensorOf:
    """Pickles as a torch tensor does."""

    def __init__(self, storage, offset, shape, strides, parameter=False):
        self.arguments = (storage, offset, tuple(shape), tuple(strides), False, OrderedDict())
        self.parameter = parameter

    def __reduce__(self):
        utils = sys.modules["torch._utils"]
        if self.parameter:
            inner = TensorOf(*self.arguments[:4])
            return utils._rebuild_parameter, (inner, True, OrderedDict())
        return utils._rebuild_tensor_v2, self.arguments


def tensor(array: np.ndarray, kind: str = "FloatStorage") -> TensorOf:
    array = np.ascontiguousarray(array)
    strides = [prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    return TensorOf(Storage(kind, array.tobytes(), array.size), 0, array.shape, strides)


def dump(value: object, old: bool = False) -> tuple[bytes, list[Storage]]:
    storages: list[Storage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            if item not in storages:
                storages.append(item)
            reference = (
                "storage",
                getattr(sys.modules["torch"], item.kind),
                str(storages.index(item)),
                "cpu",
                item.size,
            )
            return (*reference, None) if old else reference

    file = io.BytesIO()
    Pickler(file, 2).dump(value)
    return file.getvalue(), storages


def save_zip(path: Path, value: object) -> Path:
    content, storages = dump(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for index, storage in enumerate(storages):
            archive.writestr(f"archive/data/{index}", storage.raw)
    return path


def save_old(path: Path, value: object) -> Path:
    content, storages = dump(value, old=True)
    sizes = {"short": 2, "int": 4, "long": 4}
    head = [
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes},
    ]
    parts = [
        *(pickle.dumps(each, 2) for each in head),
        content,
        pickle.dumps([str(i) for i in range(len(storages))], 2),
    ]
    path.write_bytes(
        b"".join(parts) + b"".join(struct.pack("<q", s.size) + s.raw for s in storages)
    )
    return path


@pytest.mark.parametrize("save", [save_zip, save_old])
def test_state_dicts_are_read(tmp_path, torch_globals, save):
    values = np.arange(12, dtype="f4")
    shared = Storage("FloatStorage", values.tobytes(), 12)
    brain = (np.array([1.5, -2.0], "f4").view("u4") >> 16).astype("u2")
    state = OrderedDict(
        {
            "module.a": TensorOf(shared, 0, (3, 4), (4, 1)),
            "module.b": TensorOf(shared, 4, (4, 2), (1, 4), parameter=True),  # a transposed view
            "module.half": tensor(np.array([1, 2], "f2"), "HalfStorage"),
            "module.brain": tensor(brain, "BFloat16Storage"),
            "module.bn.num_batches_tracked": tensor(np.array(7), "LongStorage"),
        }
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    found, notes = read_torch(save(tmp_path / "x.pth", {"epoch": 3, "state_dict": state}), 1 << 30)
    assert notes == ["module. before all names was dropped"]
    assert list(found) == ["a", "b", "half", "brain"]
    assert np.array_equal(found["a"], values.reshape(3, 4))
    assert np.array_equal(found["b"], values[4:].reshape(2, 4).T)
    assert found["half"].dtype == np.float16
    assert found["brain"].tolist() == [1.5, -2.0]


class Attack:
    def __reduce__(self):
        return print, ("attacked",)


@pytest.mark.parametrize("save", [save_zip, save_old])
def test_nothing_is_executed(tmp_path, torch_globals, save, capsys):
    path = save(tmp_path / "x.pth", {"a": Attack()})
    with pytest.raises(
        WeightsError, match=r"asks for '(builtins|__builtin__).print', which no weights need"
    ):
        read_torch(path, 1 << 30)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "bad",
    [
        TensorOf(Storage("FloatStorage", bytes(8), 2), 0, (3,), (1,)),
        TensorOf(Storage("FloatStorage", bytes(8), 2), 1, (2,), (1,)),
        TensorOf(Storage("FloatStorage", bytes(8), 2), 0, (10**9,), (0,)),
        TensorOf(Storage("FloatStorage", bytes(8), 2), -1, (1,), (1,)),
        TensorOf(Storage("FloatStorage", bytes(8), 2), 0, (2,), (-1,)),
        TensorOf(Storage("FloatStorage", bytes(6), 2), 0, (2,), (1,)),
        TensorOf(Storage("FloatStorage", bytes(8), 2), 0, (2, 1), (1,)),
        "text",
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, torch_globals, bad):
    with pytest.raises(
        WeightsError, match=r"is no state dict as torch\.save writes it, or is damaged"
    ):
        read_torch(save_zip(tmp_path / "x.pth", {"a": bad}), 1 << 30)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04broken", pickle.dumps({"a": 1}), b"\x80\x02"]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="is no state dict"):
        read_torch(tmp_path / "x.pth", 1 << 30)


@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        # torchvision's table of models: parameters. VGG's include biases of the convolutions, which
        # are none here.
        ("ResNet18", 11_689_512),
        ("ResNet34", 21_797_672),
        ("ResNet50", 25_557_032),
        ("ResNet101", 44_549_160),
        ("ResNet152", 60_192_808),
        ("ResNeXt50_32x4d", 25_028_904),
        ("MobileNetV2", 3_504_872),
        ("ShuffleNetV2", 2_278_604),
        ("SqueezeNet1_0", 1_248_424),
        ("SqueezeNet1_1", 1_235_496),
        ("DenseNet121", 7_978_856),
        ("DenseNet161", 28_681_000),
        ("DenseNet169", 14_149_480),
        ("DenseNet201", 20_013_928),
        ("VGG11", 132_863_336 - 2752),
        ("VGG16", 138_357_544 - 4224),
        ("EfficientNetB0", 5_288_548),
        ("EfficientNetB7", 66_347_960),
    ],
)
def test_the_mapped_tensors_are_all_that_torchvision_has(architecture, published):
    shapes = shapes_of(architecture)
    for naming in torch_names(architecture):
        assert not naming.biases
        mapped = [key for key, name in naming.names.items() if name is not None]
        counted = [key for key in mapped if not key.endswith(("_mean", "_variance"))]
        assert sum(prod(shapes[key]) for key in counted) == published
        names = [naming.names[key] for key in mapped]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (
            "ResNet18",
            {
                "blocks.2.short.bn._mean": "layer2.0.downsample.1.running_mean",
                "blocks.0.short.conv.weight": None,
            },
        ),
        (
            "ResNet50",
            {
                "blocks.0.short.conv.weight": "layer1.0.downsample.0.weight",
                "stem.0.bn.bias": "bn1.bias",
            },
        ),
        (
            "ResNet50_vd",
            {
                "stem.2.bn.weight": "bn1.weight",
                "blocks.3.short.conv.weight": "layer2.0.downsample.1.weight",
            },
        ),
        (
            "MobileNetV2",
            {
                "conv2._first_block._bottleneck_conv._conv.weight": "features.1.conv.0.0.weight",
                "conv2._first_block._linear_conv._batch_norm.weight": "features.1.conv.2.weight",
                "conv4._first_block._expand_conv._conv.weight": "features.4.conv.0.0.weight",
                "conv8._first_block._linear_conv._batch_norm.bias": "features.17.conv.3.bias",
                "out.bias": "classifier.1.bias",
            },
        ),
        (
            "ShuffleNetV2",
            {"2_1._conv_linear_1._batch_norm._mean": "stage2.0.branch1.3.running_mean"},
        ),
        ("SqueezeNet1_1", {"_conv8._conv_path2._conv.weight": "features.12.expand3x3.weight"}),
        (
            "DenseNet121",
            {"tr_conv3_blk.conv_ac_func._conv.weight": "features.transition2.conv.weight"},
        ),
        (
            "VGG16",
            {"conv_block_5.conv3.weight": "features.28.weight", "fc3.bias": "classifier.6.bias"},
        ),
        (
            "EfficientNetB0",
            {
                "_ef._blocks.0.._se._conv1._conv.bias": "features.1.0.block.1.fc1.bias",
                "_ef.block.2.._dcn._conv._bn._mean": "features.2.1.block.1.1.running_mean",
                "_ef._blocks.15.._pcn._conv._conv._conv.weight": "features.7.0.block.3.0.weight",
            },
        ),
    ],
)
def test_names_of_torchvision(architecture, expected):
    namings = [
        naming for naming in torch_names(architecture) if "torchvision" in naming.layout.title
    ]
    names = (namings or torch_names(architecture))[0].names
    assert {key: names[key] for key in expected} == expected


def torch_like(
    architecture: str, state: dict[str, np.ndarray], which: int = 0
) -> OrderedDict[str, TensorOf]:
    """``state`` as torch saves it: its names, linear weights as [out, in], before any scaling."""
    naming = torch_names(architecture)[which]
    return OrderedDict(
        (
            name,
            tensor(
                (state[key].T if state[key].ndim == 2 else state[key])
                / np.float32(naming.factors.get(key, 1))
            ),
        )
        for key, name in naming.names.items()
        if name is not None
    )


@pytest.mark.parametrize(
    ("architecture", "which"),
    [
        ("ShuffleNetV2_x0_25", 0),
        ("SqueezeNet1_1", 0),
        ("MobileNetV2", 1),
        ("EfficientNetB0", 0),
        ("DenseNet121", 0),
    ],
)
def test_torch_weights_find_their_place(tmp_path, torch_globals, architecture, which):
    state = random_state(architecture)
    path = save_zip(tmp_path / "x.pth", torch_like(architecture, state, which))
    found, report = read_weights(path, architecture)
    assert report.origin == "torch"
    assert report.taken + len(report.made) == report.total == len(state)
    assert report.unused == ()
    assert all(np.array_equal(found[key], state[key]) for key in state if key not in report.made)
    fit_state(build(architecture), found)


@needs_weights
def test_the_layer_that_torch_lacks_changes_nothing(tmp_path, torch_globals):
    # In these weights, which come from torchvision, that layer is the identity already.
    original = read_state(WEIGHTS / "MobileNetV2_pretrained")
    found, report = read_weights(
        save_old(tmp_path / "x.pth", torch_like("MobileNetV2", original)), "MobileNetV2"
    )
    assert str(report).startswith(
        "262/267 tensors taken, 5 made the identity, which the original has not: conv2._first"
    )
    images = paddle.to_tensor(
        np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype("float32")
    )
    logits = []
    for state in (original, found):
        model = build("MobileNetV2")
        fit_state(model, state)
        with paddle.no_grad():
            logits.append(model(images).numpy())
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=1e-3)


def test_the_shortcut_that_torch_lacks_changes_nothing(tmp_path, torch_globals):
    source = build("ResNet18")
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    found, report = read_weights(
        save_zip(tmp_path / "x.pth", torch_like("ResNet18", state)), "ResNet18"
    )
    assert len(report.made) == 5
    plain = build("ResNet18")
    fit_state(plain, found)
    fit_state(source, found)
    getattr(source, "blocks.0").short = paddle.nn.Identity()
    # In double precision: these random weights give logits of 30, whose rounding in single
    # precision is near 1e-5.
    plain.to(dtype="float64"), source.to(dtype="float64")
    images = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 64, 64)))
    with paddle.no_grad():
        np.testing.assert_allclose(
            plain(images).numpy(), source(images).numpy(), rtol=1e-4, atol=1e-5
        )


def test_old_names_of_densenet(tmp_path, torch_globals):
    state = torch_like("DenseNet121", random_state("DenseNet121"))
    old = OrderedDict(
        (name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."), value)
        for name, value in state.items()
    )
    assert old.keys() != state.keys()
    _, report = read_weights(save_zip(tmp_path / "x.pth", old), "DenseNet121")
    assert report.taken == report.total


def test_what_differs_from_torch_is_said(tmp_path, torch_globals):
    state = torch_like("SqueezeNet1_1", random_state("SqueezeNet1_1"))
    state["more"] = tensor(np.ones(3, "f4"))
    _, report = read_weights(save_zip(tmp_path / "x.pth", state), "SqueezeNet1_1")
    assert (
        str(report) == "52/52 tensors taken, 1 scaled: _conv9.weight, 1 of the file not used: more"
    )
    assert report.notes == ("read as the weights of torchvision's squeezenet1_1",)
    assert [line.partition(":")[0] for line in report.differences] == [
        "its first convolution does not pad",
        "no place here for 1 tensor of the file, another model's",
    ]
    with pytest.raises(
        WeightsError,
        match=r"has no tensor of a ResNet50 as torchvision or timm name it, such as bn1",
    ):
        read_weights(tmp_path / "x.pth", "ResNet50")
    with pytest.raises(
        WeightsError,
        match="no torch weights fit GhostNet_x0_5: timm rounds the channels inside squeeze",
    ):
        read_weights(tmp_path / "x.pth", "GhostNet_x0_5")
    del state["features.0.weight"]
    with pytest.raises(WeightsError, match=r"1 of the 52 tensors are missing: _conv.weight"):
        read_weights(save_zip(tmp_path / "y.pth", state), "SqueezeNet1_1")


def test_other_class_counts_are_taken(tmp_path, torch_globals):
    state = random_state("ShuffleNetV2_x0_25")
    state["_fc.weight"], state["_fc.bias"] = np.ones((512, 7), "f4"), np.ones(7, "f4")
    found, _ = read_weights(
        save_zip(tmp_path / "x.pth", torch_like("ShuffleNetV2_x0_25", state)), "ShuffleNetV2_x0_25"
    )
    assert found["_fc.weight"].shape == (512, 7)


def test_a_missing_classifier_is_said(tmp_path, torch_globals):
    state = torch_like("ShuffleNetV2_x0_25", random_state("ShuffleNetV2_x0_25"))
    del state["fc.weight"], state["fc.bias"]
    found, report = read_weights(save_zip(tmp_path / "x.pth", state), "ShuffleNetV2_x0_25")
    assert (
        str(report)
        == "280/282 tensors taken, no classifier in the file: the model's will start afresh"
    )
    assert "head newly initialised" in str(fit_state(build("ShuffleNetV2_x0_25"), found))
    state["fc.bias"] = tensor(np.ones(1000, "f4"))
    with pytest.raises(WeightsError, match=r"1 of the 282 tensors are missing: _fc.weight"):
        read_weights(save_zip(tmp_path / "x.pth", state), "ShuffleNetV2_x0_25")


@pytest.mark.parametrize("save", [save_zip, save_old])
def test_training_checkpoints_are_read(tmp_path, torch_globals, save):
    plain, averaged = tensor(np.array([1], "f4")), tensor(np.array([2], "f4"))
    options = argparse.Namespace(lr=0.1, aug=["x"])
    optimizer = {
        "state": {0: {"momentum_buffer": plain}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    checkpoint = {
        "epoch": 3,
        "args": options,
        "optimizer": optimizer,
        "model": OrderedDict(w=plain),
    }
    assert read_torch(save(tmp_path / "x.pth", checkpoint), 1 << 30)[0] == {"w": [1]}
    wrapped = OrderedDict({"n_averaged": averaged, "module._orig_mod.w": averaged})
    state, notes = read_torch(
        save(tmp_path / "x.pth", {**checkpoint, "model_ema": wrapped}), 1 << 30
    )
    assert state == {"w": [2]}
    assert notes == [
        "took the checkpoint's model_ema, not its model",
        "module._orig_mod. before all names was dropped",
    ]
    with pytest.raises(
        WeightsError, match="it holds several state dicts, a, b: save the one that is meant"
    ):
        read_torch(save(tmp_path / "x.pth", {"a": wrapped, "b": wrapped}), 1 << 30)
    with pytest.raises(WeightsError, match="'epoch' is a int, no tensor"):
        read_torch(save(tmp_path / "x.pth", {"epoch": 3}), 1 << 30)

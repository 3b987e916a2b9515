"""The readers of files that strangers send, on thousands of broken ones: a value, or one error.

Each starts from a small valid file and changes some of its bytes. A finding is any other exception,
a hang, or memory beyond what the file can hold.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import resource
import struct
import tarfile
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ppclas_core.bundle import MANIFEST, Bundle
from ppclas_core.config.load import load_config
from ppclas_core.errors import PpclasError
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin
from ppclas_core.weights import read_state
from ppclas_data.decoding.jpeg import read_header
from ppclas_data.sources.mat_file import read_mat
from ppclas_data.sources.opening import open_image_set
from ppclas_models.conversion.torch_file import read_torch

pytestmark = pytest.mark.sweep

EXAMPLES = 400
MEGABYTES = 1024
"""Memory that one target may add to this process."""


def photo() -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(photo())
            archive.addfile(info, io.BytesIO(photo()))
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
            archive.writestr(name, photo())
    return out.getvalue()


def mat() -> bytes:
    def element(kind: int, body: bytes) -> bytes:
        return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)

    matrix = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 1, 3))
    matrix += element(1, b"labels") + element(9, struct.pack("<3d", 1, 2, 3))
    packed = zlib.compress(element(14, matrix))
    start = b"MATLAB 5.0".ljust(124) + b"\0\1IM"
    return start + element(14, matrix) + struct.pack("<II", 15, len(packed)) + packed


def state() -> dict[str, np.ndarray]:
    return {"conv.weight": np.ones((2, 3), np.float32), "fc.bias": np.arange(4.0)}


def torch_zip() -> bytes:
    def text(word: str) -> bytes:
        return b"X" + struct.pack("<I", len(word)) + word.encode()

    of = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + of + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89"
    pickled = b"\x80\x02}" + text("w") + call + b"ccollections\nOrderedDict\n)RtRs."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", np.arange(6, dtype=np.float32).tobytes())
    return out.getvalue()


def parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra [parquet]")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    table = pyarrow.table({"image": [photo(), photo()], "label": [0, 1]})
    pq.write_table(table, out)
    return out.getvalue()


PROTOTEXT = b"""
feed_var { name: "images" alias_name: "images" is_lod_tensor: false feed_type: 1 shape: 3 }
fetch_var { name: "out" alias_name: "out" is_lod_tensor: false fetch_type: 1 shape: 8 }
"""

YAML = b"""
model: {name: SqueezeNet1_1, pretrained: false}
data: &data
  batch_size: 16
  train_transforms: [{name: Resize, size: [32, 32]}, {name: RandomFlip}]
schedule: {name: Piecewise, lr: 1e-1, decay_epochs: [1, 2]}
train: {epochs: 3, seed: 0x10}
"""


def read_prototext(path):
    pytest.importorskip("google.protobuf", reason="needs the extra [triton]")
    from ppclas_deploy.exporters.serving import GeneralModelConfig
    from ppclas_deploy.prototext import parse_text

    parse_text(path.read_text(encoding="utf-8", errors="replace"), GeneralModelConfig, str(path))


def read_archive(path):
    images = open_image_set(str(path))
    for index in range(len(images)):
        images.read(index)


def read_jpeg(path):
    read_header(path.read_bytes(), str(path))


TARGETS = {
    "a.jpg": (photo, read_jpeg),
    "a.tar": (tar, read_archive),
    "a.zip": (zipped, read_archive),
    "a.mat": (mat, read_mat),
    "a.pdparams": (lambda: pickle.dumps(state(), 4), read_state),
    "b.pdparams": (lambda: pickle.dumps(state(), 2), read_state),
    "a.pth": (torch_zip, lambda path: read_torch(path, 1 << 24)),
    "a.parquet": (parquet, read_archive),
    "a.prototxt": (lambda: PROTOTEXT, read_prototext),
    "a.yaml": (lambda: YAML, load_config),
}

edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(("put", "insert", "delete", "cut", "copy")),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.sampled_from(
                (b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"[[[[", b"*a", b"9" * 50)
            ),
        ),
    ),
    min_size=1,
    max_size=6,
)


def broken(content: bytes, changes) -> bytes:
    for share, how, what in changes:
        place = int(share * len(content))
        if how == "put":
            content = content[:place] + what + content[place + len(what) :]
        elif how == "insert":
            content = content[:place] + what + content[place:]
        elif how == "delete":
            content = content[:place] + content[place + len(what) :]
        elif how == "cut":
            content = content[:place]
        else:
            content = content[:place] + content[place // 2 : place] + content[place:]
    return content


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("name", TARGETS)
def test_a_broken_file_is_a_clear_error(name, tmp_path):
    make, read = TARGETS[name]
    seed, file = make(), tmp_path / name
    file.write_bytes(seed)
    read(file)  # the seed itself is good
    before = megabytes()

    @settings(
        max_examples=EXAMPLES,
        deadline=5000,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(edits)
    def run(changes):
        file.write_bytes(broken(seed, changes))
        with contextlib.suppress(PpclasError):
            read(file)

    run()
    assert megabytes() - before < MEGABYTES


def test_a_broken_bundle_is_a_clear_error_or_the_same_bundle(tmp_path):
    with use_plugin(FakeNetPlugin()):
        bundle = make_tiny_bundle(tmp_path / "b")
    file = bundle.folder / MANIFEST
    seed = file.read_bytes()
    before = megabytes()

    @settings(max_examples=EXAMPLES, deadline=5000)
    @given(edits)
    def run(changes):
        content = broken(seed, changes)
        file.write_bytes(content)
        try:
            read = Bundle.load(bundle.folder)
        except PpclasError:
            return
        assert json.loads(content) == json.loads(seed)
        assert read.manifest == bundle.manifest

    run()
    assert megabytes() - before < MEGABYTES

"""Weight files of other programs that ask for more memory than they hold, or than a model has."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest

LIMITED = """
import resource, sys
from pathlib import Path
from ppclas_core.errors import WeightsError
from ppclas_models.conversion.convert import read_weights
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    read_weights(Path(sys.argv[1]), "ResNet18")
except WeightsError as error:
    print(error)
"""
"""Reads the weights of a network of 45 MB within 1 GiB of address space."""


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def storage(key: str, values: int) -> bytes:
    kind = b"ctorch\nFloatStorage\n"
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(values) + b"tQ"


def tensor(of: bytes, shape: bytes, strides: bytes) -> bytes:
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return call + of + number(0) + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR"


def saved(path, pickled: bytes, members: dict[str, bytes], how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(name, content)


def names_for_one_storage(path):
    """A thousand tensors of a million values each, of one storage of 4 MB."""
    of = storage("0", 1 << 20)
    shape = number(1 << 20) + b"\x85"
    entries = b"".join(
        text(f"layer{i}.weight") + tensor(of, shape, number(1) + b"\x85") for i in range(1000)
    )
    saved(path, b"\x80\x02}(" + entries + b"u.", {"a/data/0": bytes(4 << 20)})


def a_storage_that_deflates(path):
    pickled = b"\x80\x02}(" + text("w") + tensor(storage("0", 1 << 28), number(1 << 28) + b"\x85",
                                                 number(1) + b"\x85") + b"u."  # fmt: skip
    saved(path, pickled, {}, zipfile.ZIP_DEFLATED)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data/0", "w", force_zip64=True) as member,
    ):
        for _ in range(1024):
            member.write(bytes(1 << 20))


def strides_that_are_texts(path):
    strides = text("x") + b"\x85"
    saved(
        path,
        b"\x80\x02}(" + text("w") + tensor(storage("0", 4), number(1 << 30) + b"\x85", strides)
        + b"u.",
        {"a/data/0": bytes(16)},
    )  # fmt: skip


def a_sparse_member(path):
    """As GNU tar writes a file that is a hole of 3 GiB: in 1.5 kB."""
    header = tarfile.TarInfo("conv1_weights")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410] = b"%011o\0" % (3 << 30), b"%011o\0" % 0
    block[483:495] = b"%011o\0" % (3 << 30)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))


def a_header_that_unpacks(path):
    """A gzip of a pax header of 1 GiB: 1 MB."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header.tobuf())
        for _ in range(1024):
            file.write(bytes(1 << 20))


def a_member_that_unpacks(path):
    header = tarfile.TarInfo("conv1_weights")
    header.size = 1 << 30
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header.tobuf())
        for _ in range(1024):
            file.write(bytes(1 << 20))


def more_than_any_such_model(path):
    """20 GiB of holes in the filesystem that say they are one storage."""
    pickled = io.BytesIO()
    pickled.write(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.")
    pickled.write(b"\x80\x02}" + text("little_endian") + b"\x88s.")
    count = (1 << 31) - 1
    one = tensor(storage("0", count), number(count) + b"\x85", number(1) + b"\x85")
    pickled.write(b"\x80\x02}(" + text("w") + one + b"u.\x80\x02](" + text("0") + b"e.")
    path.write_bytes(pickled.getvalue() + struct.pack("<q", count))
    os.truncate(path, 20 << 30)


BOMBS = {
    names_for_one_storage: "share their values many times over",
    a_storage_that_deflates: "far more than its",
    strides_that_are_texts: "strides that are no whole numbers",
    a_sparse_member: "a sparse file, which no tensor is",
    a_header_that_unpacks: "which no such model has",
    a_member_that_unpacks: "which no such model has",
    more_than_any_such_model: "weights of this model have at most",
}


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_it_is_refused_before_anything_is_allocated(tmp_path, make):
    make(tmp_path / "weights.bin")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "weights.bin")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert BOMBS[make] in done.stdout
    assert "MemoryError" not in done.stdout

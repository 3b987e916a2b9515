"""What a ``.pdparams`` file may not make its reader do: hang, allocate what it does not hold."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, floating_dtypes, integer_dtypes
from ppclas_core.weights import read_state

LIMITED = """
import resource, sys
from ppclas_core.errors import PpclasError
from ppclas_core.weights import read_state
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    read_state(sys.argv[1])
except PpclasError as error:
    print(error)
"""
"""Reads a weight file within 1 GiB of address space, NumPy and all."""


def doubled_tuples(depth: int) -> bytes:
    """``()``, then tuples of the one before twice: a text or a hash of it takes 2^depth steps."""
    return b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(depth))


BOMBS = {
    "a memo of 256 million places": b"\x80\x02Nr" + struct.pack("<I", 1 << 28) + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "a byte array that is not there": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "bytes(n)": b"\x80\x02c__builtin__\nbytes\nJ\x00\x00\x00\x7f\x85R.",
    "one text encoded ten thousand times": (
        b"\x80\x02c_codecs\nencode\nq\x00X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
        + b"q\x01X\x06\x00\x00\x00latin1q\x02]q\x03(" + b"h\x00h\x01h\x02\x86R" * 10_000 + b"e."
    ),
    "two million empty maps": b"\x80\x02](" + b"}" * 2_000_000 + b"e.",
    "a key that takes forever to hash": b"\x80\x04}" + doubled_tuples(80) + b"Ks.",
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_asks_for_much(tmp_path, kind):
    (tmp_path / "w.pdparams").write_bytes(BOMBS[kind])
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "w.pdparams")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "w.pdparams" in done.stdout
    assert "MemoryError" not in done.stdout
    assert time.monotonic() - started < 30


numbers = arrays(
    # Eight bits are something else here: they stand for values beside a scale.
    st.one_of(floating_dtypes(endianness="?"), integer_dtypes(endianness="?", sizes=(16, 32, 64))),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=9), numbers, max_size=4), st.integers(2, 5))
def test_every_state_dict_is_read_as_pickle_reads_it(tmp_path_factory, state, protocol):
    """The reference is Python's own unpickler, on what it wrote itself."""
    content = pickle.dumps(state, protocol)
    file = tmp_path_factory.mktemp("w") / "w.pdparams"
    file.write_bytes(content)
    expected, read = pickle.loads(content), read_state(file)
    assert list(read) == list(expected)
    for key, array in expected.items():
        assert read[key].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[key], array)

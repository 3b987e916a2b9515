"""What a file may not make its reader do: hang, or allocate what it does not hold."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ppclas_core.config.yaml_source import parse_yaml
from ppclas_core.errors import ConfigError, WeightsError
from ppclas_core.limits import read_bounded, unpacked_bytes, weights_bytes
from ppclas_core.weights import read_state


def test_merges_of_empty_maps_end():
    merges = [f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 13)]
    lines = ["a0: &a0 {}", *merges]
    with pytest.raises(ConfigError, match=r"f:\d+:\d+: more than 100000 values"):
        parse_yaml("\n".join(lines), "f")


def test_a_sparse_file_is_refused_by_its_size(tmp_path):
    file = tmp_path / "w.pdparams"
    file.write_bytes(b"\x80\x04")
    os.truncate(file, 20 << 30)
    with pytest.raises(WeightsError, match=r"21,474,836,480 bytes; weights of this model have at"):
        read_state(file, weights_bytes(1_000_000))


def test_devices_and_large_files_are_not_read(tmp_path):
    with pytest.raises(OSError, match="a device"):
        read_bounded(Path("/dev/zero"), 100)
    (tmp_path / "a").write_bytes(b"x" * 101)
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_bounded(tmp_path / "a", 100)
    assert read_bounded(tmp_path / "a", 101) == b"x" * 101


def test_a_pipe_is_read_up_to_the_limit(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"yes > '{tmp_path}/pipe' 2>/dev/null"])
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_bounded(tmp_path / "pipe", 1000)
    writer.wait(timeout=10)


def test_limits_grow_with_what_they_are_for():
    # A float64 file of a ResNet50 (25.6 million parameters) with a classifier of 21,841 classes.
    assert weights_bytes(25_600_000) > 25_600_000 * 8 + 2048 * 21_841 * 8
    assert unpacked_bytes(1000) >= 4000

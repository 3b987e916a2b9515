"""The k-th write, flush or rename fails, for every k: what is there then is old or new, whole.

The system's own calls are made to fail; nothing of ours is replaced.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
from contextlib import contextmanager

import pytest
from ppclas_core.bundle import Bundle, write_bundle
from ppclas_core.errors import PpclasError
from ppclas_core.files import write_json
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin
from ppclas_core.weights import read_state, save_state

pytest.importorskip("paddle")


class Faults:
    """Lets calls pass until the k-th, which fails as on a full disk."""

    def __init__(self, call, which: int) -> None:
        self.call, self.left, self.met = call, which, False

    def __call__(self, *arguments, **named):
        self.left -= 1
        if self.left == 0:
            self.met = True
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.call(*arguments, **named)


def sweep(monkeypatch, name: str, act, check) -> None:
    """Call ``act`` with the k-th call of ``os.<name>`` failing, for every k, and then ``check``."""
    for which in itertools.count(1):
        with monkeypatch.context() as patched:
            faults = Faults(getattr(os, name), which)
            patched.setattr(os, name, faults)
            try:
                act()
            except (OSError, PpclasError):
                assert faults.met
        check()
        if not faults.met:
            break
    assert which > 1


@contextmanager
def no_file_above(size: int):
    """No file may grow beyond ``size`` bytes: the write that would fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def bundle(tmp_path):
    with use_plugin(FakeNetPlugin()):
        yield make_tiny_bundle(tmp_path / "b")


def save_again(bundle: Bundle) -> None:
    manifest = bundle.manifest.replace(labels=("x", "y", "z"), files={}, seals={})
    write_bundle(bundle.folder, manifest, read_state(bundle.weights_file))


def only_whole(bundle: Bundle) -> None:
    """The folder is the old bundle or the new one, and nothing lies beside it."""
    assert Bundle.load(bundle.folder).labels in (bundle.labels, ("x", "y", "z"))
    assert [path.name for path in bundle.folder.parent.iterdir()] == [bundle.folder.name]


@pytest.mark.parametrize("name", ["fsync", "replace", "rename"])
def test_a_bundle_is_old_or_new_whichever_call_fails(bundle, monkeypatch, name):
    sweep(monkeypatch, name, lambda: save_again(bundle), lambda: only_whole(bundle))
    assert Bundle.load(bundle.folder).labels == ("x", "y", "z")


def test_a_bundle_is_the_old_one_however_full_the_disk_is(bundle):
    largest = max(path.stat().st_size for path in bundle.folder.iterdir())
    for size in (*range(0, largest, max(1, largest // 25)), largest - 8):
        with no_file_above(size), pytest.raises((OSError, PpclasError)):
            save_again(bundle)
        assert Bundle.load(bundle.folder).labels == bundle.labels
        only_whole(bundle)


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("kind", ["weights", "json"])
def test_a_file_is_old_or_new_whichever_call_fails(tmp_path, bundle, monkeypatch, name, kind):
    state = read_state(bundle.weights_file)
    folder = tmp_path / "files"
    folder.mkdir()

    def write(file) -> None:
        if kind == "json":
            write_json(file, {"a": 1})
        else:
            save_state(file, state)

    write(tmp_path / "new")
    new, file = (tmp_path / "new").read_bytes(), folder / "file"
    file.write_bytes(b"old")

    def check() -> None:
        assert file.read_bytes() in (b"old", new)
        assert [path.name for path in folder.iterdir()] == ["file"]

    sweep(monkeypatch, name, lambda: write(file), check)
    assert file.read_bytes() == new

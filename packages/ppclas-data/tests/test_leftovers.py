"""What a killed process left half written goes at the next start; a living one's never does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ppclas_core.files import building_folder, owner, write_text
from ppclas_data import leftovers
from ppclas_data.leftovers import clear_leftovers, temporary_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process is looked for there")

WRITING = """
import sys, time
from pathlib import Path
from ppclas_core.files import building_folder, write_atomic
from ppclas_data.leftovers import temporary_folder

def stop(temporary):
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)

folder = Path(sys.argv[1])
with temporary_folder() as own, building_folder(folder / "export") as building:
    (building / "bundle.json").write_text("{}")
    write_atomic(folder / "last.json", stop)
"""


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """A process in the middle of writing a file and a folder, with a temporary folder."""
    for name in ("work", "system"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "system")}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path / "work")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    leftovers._clear_system.cache_clear()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_ones_are_cleared_and_a_living_ones_are_not(writer, tmp_path):
    work, system = tmp_path / "work", tmp_path / "system"
    before = names(work), names(system)
    assert [len(found) for found in before] == [2, 1]
    clear_leftovers(work, system)
    assert (names(work), names(system)) == before
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    clear_leftovers(work)
    assert names(work) == []
    with temporary_folder() as own:
        assert names(system) == [Path(own).name]
    assert names(system) == []


def test_files_of_others_stay(tmp_path):
    kept = [".bashrc", ".notes.tmp", ".a.12345678-1-abcdefgh.bak", "photo.jpg", "ppclas-notes"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    clear_leftovers(tmp_path, tmp_path / "not there")
    assert names(tmp_path) == sorted(kept)


def test_what_another_machine_writes_stays_for_a_week(tmp_path):
    fresh, stale = (tmp_path / f".run.0000000{n}-77-0123abcd.tmp" for n in (1, 2))
    fresh.write_text("")
    stale.write_text("")
    then = time.time() - 8 * 24 * 3600
    os.utime(stale, (then, then))
    clear_leftovers(tmp_path)
    assert names(tmp_path) == [fresh.name]


def dead(name: str, end: str) -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f".{name}.{owner().partition('-')[0]}-{process.pid}-0123abcd.{end}"


def test_the_old_one_comes_back_where_the_new_one_never_took_its_place(tmp_path):
    for name in ("lost", "replaced"):
        old = tmp_path / dead(name, "old")
        (old / name).mkdir(parents=True)
        (old / name / "bundle.json").write_text("old")
    (tmp_path / "replaced").mkdir()
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["lost", "replaced"]
    assert (tmp_path / "lost" / "bundle.json").read_text() == "old"
    assert names(tmp_path / "replaced") == []


def test_a_link_is_removed_and_not_followed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / dead("x", "tmp")).symlink_to(tmp_path / "photos")
    clear_leftovers(tmp_path / "work")
    assert names(tmp_path / "work") == []
    assert names(tmp_path / "photos") == ["a.jpg"]


def test_the_longest_names_can_be_written(tmp_path):
    name = "花" * 83 + ".json"
    write_text(tmp_path / name, "{}")
    with building_folder(tmp_path / ("花" * 85)) as folder:
        (folder / "a").write_text("")
    assert names(tmp_path) == sorted([name, "花" * 85])

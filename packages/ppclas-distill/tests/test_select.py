"""Choosing photos of a pool: the right ones, in bounded memory, and on after a stop."""

from __future__ import annotations

import csv
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from ppclas_core.errors import DataError
from ppclas_distill import select as select_module
from ppclas_distill.select import TopPerClass, pool_paths, select

NAMES = ("a", "b", "c")


def probabilities(count, classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count).astype(np.float32)


def sorted_out(table, per_class, least=0.0):
    """What should be chosen, by sorting everything."""
    best = []
    for label in range(table.shape[1]):
        mine = [
            i for i in range(len(table)) if table[i].argmax() == label and table[i, label] >= least
        ]
        best += sorted(mine, key=lambda i: (-table[i, label], i))[:per_class]
    return sorted(best)


@pytest.mark.parametrize(
    ("per_class", "batch", "least"), [(1, 1, 0.0), (5, 7, 0.0), (20, 64, 0.5), (1000, 50, 0.0)]
)
def test_the_top_of_each_class_is_kept(per_class, batch, least):
    scores = probabilities(600, 3)
    scores[100:200] = scores[:100]  # ties go to the earlier photo
    table = TopPerClass(3, per_class, least)
    for start in range(0, 600, batch):
        table.add(np.arange(start, min(start + batch, 600)), scores[start : start + batch])
    assert [place for place, _, _ in table.best()] == sorted_out(scores, per_class, least)
    again = TopPerClass(3, per_class, least)
    again.restore(table.arrays())
    assert again.best() == table.best()


def make_pool(folder, count):
    folder.mkdir()
    pool = folder / "pool.txt"
    pool.write_text("".join(f"photos/{i:05d}.jpg\n" for i in range(count)))
    return pool


def test_a_stopped_selection_goes_on_where_it_was(tmp_path, monkeypatch):
    pool, scores = make_pool(tmp_path / "data", 500), probabilities(500, 3)
    asked: list[str] = []

    def answer(paths):
        asked.extend(paths)
        numbers = [int(path[-9:-4]) for path in paths]
        if stop_at in numbers:
            raise KeyboardInterrupt
        found = scores[numbers].copy()
        bad = [(place, "is cut off") for place, number in enumerate(numbers) if number == 42]
        found[[place for place, _ in bad]] = np.nan
        return found, bad

    said: list[str] = []
    stop_at = 300
    monkeypatch.setattr(select_module, "_SECONDS_BETWEEN_SAVES", 0.0)
    given = {"per_class": 20, "batch_size": 50, "note": said.append}
    with pytest.raises(KeyboardInterrupt):
        select(str(pool), answer, NAMES, tmp_path / "out", **given)
    stop_at = -1
    result = select(str(pool), answer, NAMES, tmp_path / "out", **given)
    assert len(asked) == 500 + 50  # the batch that was stopped, and no other, twice
    assert "going on after 300 photos of the pool" in said
    assert (result.photos, result.unreadable) == (500, 1)
    without = scores.copy()
    without[42] = 0
    expected = [i for i in sorted_out(without, 20) if i != 42]
    rows = list(csv.DictReader((tmp_path / "out" / "selected.csv").read_text().splitlines()))
    assert [int(row["path"][-9:-4]) for row in rows] == expected
    assert [NAMES[scores[i].argmax()] for i in expected] == [row["class"] for row in rows]
    plain = (tmp_path / "out" / "selected.txt").read_text().splitlines()
    assert plain == [row["path"] for row in rows]
    assert plain[0].startswith(str(tmp_path / "data" / "photos"))


def test_an_answer_that_is_no_number_is_told(tmp_path):
    pool, scores, said = make_pool(tmp_path / "data", 10), probabilities(10, 3), []
    scores[4, 2] = np.nan

    result = select(
        str(pool),
        lambda paths: (scores, []),
        NAMES,
        tmp_path / "out",
        per_class=10,
        note=said.append,
    )
    assert (result.chosen, result.unreadable) == (9, 1)
    assert [
        line
        for line in said
        if "00004.jpg: the teacher's answer is not a number (left out)" in line
    ]


def test_other_settings_or_another_pool_are_refused(tmp_path):
    pool = make_pool(tmp_path / "data", 10)

    def answer(paths):
        return probabilities(len(paths), 3), []

    select(str(pool), answer, NAMES, tmp_path / "out", per_class=2)
    with pytest.raises(DataError, match=r"a selection with other settings \(per_class\)"):
        select(str(pool), answer, NAMES, tmp_path / "out", per_class=3)
    pool.write_text("other.jpg\n" * 10)
    with pytest.raises(
        DataError, match="has changed since the selection was stopped: photo 10 was"
    ):
        select(str(pool), answer, NAMES, tmp_path / "out", per_class=2)


def test_pools_are_folders_or_lists(tmp_path):
    for name in ("b/2.jpg", "b/1.PNG", "a/deep/3.jpeg", "notes.txt", ".hidden/4.jpg", "a/.5.jpg"):
        path = tmp_path / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.removeprefix(f"{tmp_path}/pool/") for path in pool_paths(str(tmp_path / "pool"))]
    assert found == ["a/deep/3.jpeg", "b/1.PNG", "b/2.jpg"]
    plain = tmp_path / "pool.txt"
    plain.write_text("x/my photo 1.jpg\n\ny.png 7\nz.jpg\t0\n")
    root = str(tmp_path)
    assert list(pool_paths(str(plain))) == [
        f"{root}/x/my photo 1.jpg",
        f"{root}/y.png",
        f"{root}/z.jpg",
    ]
    plain.write_text("x.jpg\nnothing here\n")
    with pytest.raises(
        DataError, match=r"pool.txt:2: expected the path of a photo, got 'nothing here'"
    ):
        list(pool_paths(str(plain)))


MILLION = """
import resource
import sys
from pathlib import Path
import numpy as np
from ppclas_distill.select import select

folder = Path(sys.argv[1])
with open(folder / "pool.txt", "w") as file:
    file.writelines(f"some/folder/of/a/rather/long/name/{i:07d}.jpg\\n" for i in range(1_000_000))
rng = np.random.default_rng(0)

def answer(paths):
    return rng.random((len(paths), 1000), dtype=np.float32), []

names = [str(i) for i in range(1000)]
pool, out = str(folder / "pool.txt"), folder / "out"
result = select(pool, answer, names, out, per_class=400, batch_size=256)
assert result.photos == 1_000_000 and result.chosen == 400_000, result
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.sweep
def test_a_million_photos_need_less_than_500_mib(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MILLION), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 500

"""A teacher's answers on disk: right ones, or none."""

from pathlib import Path

import numpy as np
import pytest
from ppclas_distill.cache import LogitCache, pixel_digests

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
LOGITS = RNG.standard_normal((4, 3)).astype(np.float32)
ROWS = np.array([5, 0, 7, 2])


def test_what_was_stored_comes_back(tmp_path):
    cache, digests = LogitCache(tmp_path, "teacher", 8, 3), pixel_digests(PIXELS)
    assert not cache.look_up(ROWS, digests)[1].any()
    cache.store(ROWS, digests, LOGITS)
    found, known = LogitCache(tmp_path, "teacher", 8, 3).look_up(ROWS, digests)
    alone, _ = LogitCache(tmp_path, "teacher", 8, 3).look_up(ROWS[:1], digests[:1])
    assert alone.flags.writeable  # answers to what is not known are put in
    assert known.all()
    np.testing.assert_array_equal(found, LOGITS)


def test_other_pixels_teachers_and_damaged_rows_are_not_answered_for(tmp_path):
    cache, digests = LogitCache(tmp_path, "teacher", 8, 3), pixel_digests(PIXELS)
    cache.store(ROWS, digests, LOGITS)
    changed = PIXELS.copy()
    changed[1, 0, 0, 0] ^= 1
    assert cache.look_up(ROWS, pixel_digests(changed))[1].tolist() == [True, False, True, True]
    assert not LogitCache(tmp_path, "another teacher", 8, 3).look_up(ROWS, digests)[1].any()
    content = bytearray(cache.path.read_bytes())
    row = len(content) // 8
    content[7 * row + 12] ^= 1  # a bit of the logits in row 7
    cache.path.write_bytes(content)
    assert LogitCache(tmp_path, "teacher", 8, 3).look_up(ROWS, digests)[1].tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_a_longer_list_of_photos_keeps_the_answers(tmp_path):
    digests = pixel_digests(PIXELS)
    LogitCache(tmp_path, "teacher", 8, 3).store(ROWS, digests, LOGITS)
    grown = LogitCache(tmp_path, "teacher", 20, 3)
    assert grown.look_up(ROWS, digests)[1].all()
    assert not grown.look_up(np.array([19, 18, 17, 16]), digests)[1].any()
    assert (
        LogitCache(tmp_path, "teacher", 8, 3).look_up(ROWS, digests)[1].all()
    )  # and a shorter one takes nothing away


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_said_once_and_costs_no_answer(tmp_path, monkeypatch):
    digests, said = pixel_digests(PIXELS), []
    cache = LogitCache(tmp_path, "teacher", 8, 3, said.append)
    cache.store(ROWS[:2], digests[:2], LOGITS[:2])
    with monkeypatch.context() as patch:
        patch.setattr(cache, "path", Path("/dev/full"))  # every write: no space left on device
        cache.store(ROWS[2:], digests[2:], LOGITS[2:])
        cache.store(ROWS[2:], digests[2:], LOGITS[2:])
    (line,) = said
    assert "takes no more answers (No space left on device)" in line
    assert cache.look_up(ROWS, digests)[1].tolist() == [True, True, False, False]


def test_a_file_that_was_cut_off_is_asked_again(tmp_path):
    digests = pixel_digests(PIXELS)
    cache = LogitCache(tmp_path, "teacher", 8, 3)
    cache.store(ROWS, digests, LOGITS)
    with open(cache.path, "r+b") as file:
        file.truncate(6 * (len(cache.path.read_bytes()) // 8) - 5)  # in the middle of row 5
    assert cache.look_up(ROWS, digests)[1].tolist() == [False, True, False, True]
    cache.store(ROWS, digests, LOGITS)
    assert LogitCache(tmp_path, "teacher", 8, 3).look_up(ROWS, digests)[1].all()

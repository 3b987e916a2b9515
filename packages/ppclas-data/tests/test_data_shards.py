"""Which files a folder, a range or a pattern names."""

import pytest
from ppclas_core.errors import DataError
from ppclas_data.sources.shards import expand_shards


def test_patterns(tmp_path):
    for name in ("a-0.tar", "a-1.tar"):
        (tmp_path / name).write_bytes(b"")
    assert expand_shards(f"{tmp_path}/a-{{0..1}}.tar") == [
        f"{tmp_path}/a-0.tar",
        f"{tmp_path}/a-1.tar",
    ]
    with pytest.raises(DataError, match=r"expected the file .*a-2.tar, found none"):
        expand_shards(f"{tmp_path}/a-{{0..2}}.tar")
    with pytest.raises(DataError, match="fewer than 1,000,000 files"):
        expand_shards(f"{tmp_path}/a-{{0..999999999}}.tar")

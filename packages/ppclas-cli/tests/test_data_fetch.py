"""``ppclas data fetch`` against a server of this machine."""

import functools
import http.server
import threading

import pytest

pytest.importorskip("ppclas_models")


@pytest.fixture
def address(tmp_path):
    """A server of the folder ``there``."""
    (tmp_path / "there").mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "there")
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_another_file_behind_the_address_is_refused(ppclas, tmp_path, address):
    (tmp_path / "there" / "imagelabels.mat").write_bytes(b"something else")
    result = ppclas("data", "fetch", "flowers102", "--mirror", address, cwd=tmp_path)
    assert result.code == 1
    assert "imagelabels.mat gives something else than was published" in result.err
    assert not list((tmp_path / "flowers102").glob("*.mat"))


def test_nothing_is_fetched_offline(ppclas, tmp_path):
    result = ppclas("data", "fetch", "flowers102", cwd=tmp_path, env={"PPCLAS_OFFLINE": "1"})
    assert result.code == 1
    assert "nothing is downloaded while PPCLAS_OFFLINE is set" in result.err


def test_an_unknown_set_names_those_there_are(ppclas):
    result = ppclas("data", "fetch", "flowers")
    assert result.code == 2
    assert "flowers102" in result.err

"""Downloads from a server that does what servers, proxies and cables do."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from ppclas_core.errors import WeightsError
from ppclas_models import weights
from ppclas_models.catalog import load_catalog
from ppclas_models.download import Patience, download
from ppclas_models.shapes import shapes_of
from ppclas_models.weights import locate

HASTY = Patience(tries=3, stall=0.5, pause=0.01)
FILE = np.random.default_rng(0).bytes(300_000)


@dataclass
class Served:
    """What the server has, and how it serves each answer in turn; the last way stays."""

    content: bytes = FILE
    ways: list[str] = field(default_factory=lambda: ["well"])
    etag: str | None = "first"
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    """The Range of each request."""
    paths: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    served: Served

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        served = self.served
        served.ranges.append(self.headers.get("Range"))
        served.paths.append(self.path)
        way = served.ways.pop(0) if len(served.ways) > 1 else served.ways[0]
        if way.isdecimal():
            self.send_error(int(way))
            return
        if way == "redirect" and not self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/moved" + self.path)
            self.end_headers()
            return
        if way == "redirect to a file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if way == "html":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<html>Please log in</html>")
            return
        if way == "silent":
            time.sleep(1.5)
            return
        self.send_content(way)

    def send_content(self, way: str) -> None:
        served, start = self.served, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == f'"{served.etag}"'
        length = len(served.content)
        if asked and same and way != "no range":
            start = int(asked[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{length - 1}/{length}")
        else:
            self.send_response(200)
        body = served.content[start:]
        announced = len(body) + {"claims more": 100, "claims less": -100}.get(way, 0)
        if way not in ("no length", "endless"):
            self.send_header("Content-Length", str(announced))
        if served.etag is not None:
            self.send_header("ETag", f'"{served.etag}"')
        self.end_headers()
        if way in ("drops", "stalls"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if way == "stalls":
                time.sleep(1.5)
            self.connection.close()
        elif way == "trickles":
            for byte in body[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif way == "endless":
            while True:
                self.wfile.write(b"x" * 65536)
        else:
            self.wfile.write(body)


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is what some tests are about


@pytest.fixture
def served(monkeypatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "*")
    state = Served()
    server = QuietServer(("127.0.0.1", 0), type("Handler", (Handler,), {"served": state}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/models/x.pdparams"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def is_the_file(path) -> None:
    """A check that knows the true content."""
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(FILE).digest():
        raise WeightsError(f"{path} is damaged")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "x.pdparams"


def fetch(served: Served, target, **options) -> list[str]:
    said: list[str] = []
    download(
        served.url,
        target,
        **{"check": is_the_file, "max_bytes": 10**6, "patience": HASTY, "say": said.append}
        | options,
    )
    assert target.read_bytes() == FILE
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    return said


def test_a_file_arrives_whole_and_alone(served, target):
    seen = []
    assert fetch(served, target, progress=lambda done, total: seen.append((done, total))) == []
    assert seen[0] == (0, len(FILE))
    assert seen[-1] == (len(FILE), len(FILE))
    assert target.stat().st_mode & 0o777 == 0o644
    fetch(served, target)  # it is there
    assert served.ranges == [None]


@pytest.mark.parametrize("way", ["drops", "stalls"])
def test_a_broken_connection_is_taken_up_where_it_broke(served, target, way):
    served.ways = [way, "well"]
    said = fetch(served, target)
    assert served.ranges == [None, f"bytes={len(FILE) // 2}-"]
    assert len(said) == 1
    assert said[0].endswith("; trying again")


def test_a_server_that_refuses_ranges_sends_all_of_it_again(served, target):
    served.ways = ["drops", "no range"]
    fetch(served, target)
    assert served.ranges[1] is not None


def test_without_a_validator_nothing_is_resumed(served, target):
    served.ways, served.etag = ["drops", "well"], None
    fetch(served, target)
    assert served.ranges == [None, None]


def test_a_later_call_goes_on_too(served, target):
    served.ways = ["drops", "404"]
    with pytest.raises(WeightsError, match="404"):
        fetch(served, target)
    assert not target.exists()
    served.ways = ["well"]
    fetch(served, target)
    assert served.ranges[-1] == f"bytes={len(FILE) // 2}-"


def test_content_that_changed_meanwhile_is_not_patched_together(served, target):
    served.content, served.etag, served.ways = b"old" * 100_000, "old", ["drops", "404"]
    with pytest.raises(WeightsError):
        fetch(served, target)
    served.content, served.etag, served.ways = FILE, "new", ["well"]
    fetch(served, target)


def test_parts_that_do_not_belong_together_are_fetched_once_more(served, target):
    served.content, served.ways = b"old" * 100_000, ["drops", "404"]
    with pytest.raises(WeightsError):
        fetch(served, target)
    served.content, served.ways = FILE, ["well"]  # another content that claims to be the same
    said = fetch(served, target)
    assert "once more from the start" in said[0]


def test_no_length_is_fine(served, target):
    served.ways = ["no length"]
    fetch(served, target)


def test_redirects_are_followed_to_the_web_only(served, target):
    served.ways = ["redirect"]
    fetch(served, target)
    assert served.paths == ["/models/x.pdparams", "/moved/models/x.pdparams"]
    target.unlink()
    served.ways = ["redirect to a file"]
    with pytest.raises(WeightsError, match="url 'file:///etc/passwd' is not allowed"):
        fetch(served, target)


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        (["html"], "answers with a web page instead of a file"),
        (["404"], "the server says 404 Not Found$"),
        (["403"], "the server says 403 Forbidden$"),
        (["503"], r"the server says 503 Service Unavailable \(tried 3 times\)"),
        (["silent"], r"no answer in time \(tried 3 times\)|closed connection"),
        (["trickles"], r"stalled after \d+ bytes"),
        (
            ["claims more"],
            r"the connection ended after 300,000 of 300,100 bytes|says 416|has changed",
        ),
        (["claims less"], r"gives something else than was published: the file is damaged"),
        (["endless"], "gives more than 1,000,000 bytes: it is another file"),
    ],
)
def test_what_cannot_be_had_is_said(served, target, ways, words):
    served.ways = ways
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(served, target)
    assert served.url in str(caught.value)
    assert not target.exists()


def test_a_passing_error_is_tried_again(served, target):
    served.ways = ["503", "silent", "well"]
    assert len(fetch(served, target)) == 2


def test_too_large_a_file_is_not_begun(served, target):
    with pytest.raises(
        WeightsError, match="has 300,000 bytes: another file, 1,000 were expected at most"
    ):
        fetch(served, target, max_bytes=1000)
    assert list(target.parent.iterdir()) == []


def test_nobody_listens(tmp_path):
    with pytest.raises(
        WeightsError, match=r"cannot download http://127.0.0.1:9/x: .*refused \(tried 3 times\)"
    ):
        download(
            "http://127.0.0.1:9/x", tmp_path / "x", check=is_the_file, max_bytes=1, patience=HASTY
        )


def test_only_web_addresses(tmp_path):
    with pytest.raises(WeightsError, match="begins with https://"):
        download("file:///etc/passwd", tmp_path / "x", check=is_the_file, max_bytes=1)


def test_a_folder_that_cannot_be_written(served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        fetch(served, tmp_path / "file" / "x")


def test_two_at_once_fetch_it_once(served, target):
    errors: list[BaseException] = []

    def run() -> None:
        try:
            download(served.url, target, check=is_the_file, max_bytes=10**6, patience=HASTY)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert target.read_bytes() == FILE
    assert served.ranges == [None]
    assert [file.name for file in target.parent.iterdir()] == [target.name]


def test_a_kill_leaves_nothing_under_the_name(served, target):
    served.ways = ["stalls"]
    code = (
        "import sys; from pathlib import Path; from ppclas_models.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]), check=lambda path: None, max_bytes=10**6)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, served.url, str(target)])
    part = target.with_name("x.pdparams.part")
    while not (part.is_file() and part.stat().st_size) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not target.exists()
    served.ways = ["well"]
    said = []
    download(
        served.url, target, check=is_the_file, max_bytes=10**6, patience=HASTY, say=said.append
    )
    assert target.read_bytes() == FILE


# By catalogue name


def squeezenet(**changes) -> bytes:
    """A whole SqueezeNet1_0 as ``paddle.save`` writes it."""
    state = {key: np.zeros(shape, "float32") for key, shape in shapes_of("SqueezeNet1_0").items()}
    return pickle.dumps({**state, **changes}, protocol=4)


@pytest.fixture
def home(monkeypatch, tmp_path, served):
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PPCLAS_MIRROR", served.url.removesuffix("/models/x.pdparams") + "/mirror/")
    monkeypatch.delenv("PPCLAS_OFFLINE", raising=False)
    return tmp_path / "home" / "weights"


def test_published_weights_come_from_the_mirror_into_the_cache(served, home, capsys):
    served.content = squeezenet()
    path = locate("SqueezeNet1_0", download=True)
    assert path == home / "SqueezeNet1_0_pretrained.pdparams"
    assert path.read_bytes() == served.content
    published = load_catalog()["SqueezeNet1_0"].weights_url
    assert served.paths == ["/mirror/" + published.split("/", 3)[3]]
    assert locate("SqueezeNet1_0") == path
    assert locate("SqueezeNet1_0", download=True) == path
    assert len(served.paths) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("downloading SqueezeNet1_0_pretrained.pdparams from 127.0.0.1:")


def test_published_weights_go_to_a_folder(served, home, tmp_path):
    served.content = squeezenet()
    path = locate("SqueezeNet1_0", download=True, folder=tmp_path / "here")
    assert path == tmp_path / "here" / "SqueezeNet1_0_pretrained.pdparams"
    assert not home.exists()
    path.write_bytes(b"\x80something else")
    with pytest.raises(WeightsError, match="damaged"):
        locate("SqueezeNet1_0", download=True, folder=tmp_path / "here")


def test_carried_weights_need_no_network_but_the_published_file_can_be_had(served, home, tmp_path):
    assert locate("SqueezeNet1_1", download=True).parent == weights.CARRIED
    served.ways = ["404"]
    with pytest.raises(WeightsError, match="404"):
        locate("SqueezeNet1_1", download=True, folder=tmp_path / "here")


def test_nothing_is_downloaded_unasked_or_offline(served, home, monkeypatch):
    with pytest.raises(WeightsError, match="Run 'ppclas models download SqueezeNet1_0'"):
        locate("SqueezeNet1_0")
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        locate("SqueezeNet1_0", download=True)
    assert "nothing is downloaded while PPCLAS_OFFLINE is set" in str(caught.value)
    assert str(home / "SqueezeNet1_0_pretrained.pdparams") in str(caught.value)
    assert served.paths == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>moved</html>", "an HTML or XML page"),
        (squeezenet()[:-1000], "damaged .pdparams file, perhaps cut off"),
        (b"", "0 bytes"),
        (b"cos\nsystem\n(S'true'\ntR.", "begins with"),
        (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "asks to run 'os.system'"),
        (
            squeezenet(**{"_conv.weight": np.zeros((64, 3, 3, 3), "float32")}),
            r"_conv.weight \[64, 3, 3, 3\] instead of",
        ),
    ],
)
def test_other_content_is_refused_and_removed(served, home, content, words):
    served.content = content
    with pytest.raises(WeightsError, match=words) as caught:
        locate("SqueezeNet1_0", download=True)
    assert "gives something else than was published" in str(caught.value)
    assert f"put the file at {home / 'SqueezeNet1_0_pretrained.pdparams'} yourself" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert list(home.iterdir()) == []

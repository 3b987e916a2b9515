"""Photos behind web addresses: from servers that are kind, slow, endless and false."""

import contextlib
import http.server
import threading
import time

import cv2
import numpy as np
import pytest
from ppclas_core.errors import ImageError
from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.fetching import fetch
from ppclas_data.decoding.web import is_address, read_photo

PHOTO = cv2.imencode(".png", np.arange(300, dtype=np.uint8).reshape(10, 10, 3))[1].tobytes()


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with contextlib.suppress(OSError):  # who asked has gone
            getattr(self, f"answer_{self.path.strip('/').partition('.')[0]}")()

    def start(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def answer_photo(self):
        self.start(Content_Length=len(PHOTO))
        self.wfile.write(PHOTO)

    def answer_moved(self):
        self.start(302, Location="/photo.png")

    def answer_out(self):
        self.start(302, Location="file:///etc/passwd")

    def answer_round(self):
        self.start(302, Location="/round")

    def answer_endless(self):
        self.start()
        while True:
            self.wfile.write(b"\0" * 65536)

    def answer_trickle(self):
        self.start()
        while True:
            self.wfile.write(b"\0")
            time.sleep(0.05)

    def answer_headers(self):  # never an answer, and never a pause either
        while True:
            self.wfile.write(b"H")
            time.sleep(0.05)

    def answer_cut(self):
        self.start(Content_Length=len(PHOTO))
        self.wfile.write(PHOTO[:20])

    def answer_none(self):
        self.send_error(404)

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", ["photo.png", "moved"])
def test_a_photo_is_what_the_server_has(site, name):
    pixels = decode(read_photo(f"{site}/{name}"), name)
    assert pixels[..., ::-1].tobytes() == np.arange(300, dtype=np.uint8).tobytes()[: pixels.size]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "the server says 404"),
        ("out", "(?i)redirection to url 'file:///etc/passwd' is not allowed"),
        ("round", "infinite loop"),
        ("cut", rf"ended after 20 of {len(PHOTO)} bytes"),
    ],
)
def test_what_gives_no_photo_is_said(site, name, said):
    with pytest.raises(ImageError, match=said) as caught:
        fetch(f"{site}/{name}")
    assert str(caught.value).startswith(f"{site}/{name}: ")
    assert "\n" not in str(caught.value)


def test_no_more_than_the_limit_is_taken(site):
    with pytest.raises(ImageError, match="more than 1,000,000 bytes"):
        fetch(f"{site}/endless", most=1_000_000)


@pytest.mark.parametrize("name", ["trickle", "headers"])
def test_no_server_takes_longer_than_the_limit(site, name):
    started = time.monotonic()
    with pytest.raises(ImageError, match=r"no whole answer in 0\.5 seconds"):
        fetch(f"{site}/{name}", seconds=0.5)
    assert time.monotonic() - started < 2


def test_nobody_there_is_said():
    with pytest.raises(ImageError, match="Is the address right, and the network there"):
        fetch("http://127.0.0.1:9/cat.jpg")


def test_nothing_is_fetched_offline(site, monkeypatch):
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    with pytest.raises(ImageError, match=r"PPCLAS_OFFLINE is set. Save the photo"):
        fetch(f"{site}/photo.png")


@pytest.mark.parametrize("path", ["file:///etc/passwd", "ftp://x/y", "data:,x", "photos/https://"])
def test_other_schemes_are_paths(path):
    assert not is_address(path)
    with pytest.raises(OSError, match="No such file"):
        read_photo(path)

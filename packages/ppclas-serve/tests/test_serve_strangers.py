"""Thousands of damaged photos to a server of its own process: memory and log stay as they are."""

import http.client
import re
import subprocess
import threading

import cv2
import numpy as np
import psutil
import pytest

pytestmark = pytest.mark.slow
COUNT = 1600
MOST_MB = 60
"""Measured: 30 to 43 MB; 83 to 90 MB where glibc keeps large blocks as it likes."""


def photos_of_many_sizes(count=40):
    """JPEGs, PNGs and LZW TIFFs with sides of 300 to 2,600 pixels."""
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = rng.integers(300, 2600, 2)
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        kind = ".tiff" if number % 20 == 19 else ".png" if number % 4 == 1 else ".jpg"
        yield cv2.imencode(kind, picture)[1].tobytes()


def damaged(photo, rng):
    content = np.frombuffer(photo, np.uint8).copy()
    for position in rng.integers(0, len(content), 30):
        content[position] = rng.integers(0, 256)
    end = len(content) if rng.random() < 0.7 else rng.integers(1, len(content))
    return content[:end].tobytes()


def send(port, photos, count, seed):
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        photo = damaged(photos[rng.integers(len(photos))], rng)
        connection.request("POST", "/v1/predict", photo, {"content-type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 500
    connection.close()


@pytest.mark.skipif(not psutil.LINUX, reason="glibc's own way with memory")
def test_damaged_photos_fill_neither_memory_nor_log(onnx_export, ppclas_command):
    photos = list(photos_of_many_sizes())
    command = [*ppclas_command, "serve", str(onnx_export), "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        port = int(re.search(r":(\d+)/", process.stderr.readline()).group(1))
        while "is ready" not in process.stderr.readline():
            pass
        said = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr))
        reader.start()
        before = psutil.Process(process.pid).memory_info().rss
        threads = [
            threading.Thread(target=send, args=(port, photos, COUNT // 4, seed))
            for seed in range(4)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            after = psutil.Process(process.pid).memory_info().rss
        finally:
            process.terminate()
            reader.join()
    assert process.returncode == 0
    assert (after - before) / 1e6 < MOST_MB
    assert 10 < len(said) <= 100  # the photos do make libraries write

"""Heat maps over HTTP, beside those of ``ppclas explain``."""

import sys
import threading
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_deploy.export import export_bundle
from ppclas_deploy.proof import proof_photos

explaining = pytest.importorskip("ppclas_search.heat.explaining")
PHOTOS = proof_photos()


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


def pixels_of(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_it_is_the_one_of_the_command_line(server, onnx_export, tmp_path):
    bundle = Bundle.load(onnx_export)
    for query, label in (("", None), ("?label=oat%20milk", "oat milk")):
        folder = tmp_path / str(label)
        explaining.explain(bundle, [str(PHOTOS[2])], folder, methods=["occlusion"], label=label)
        status, body, headers = server.ask(
            "POST", f"/v1/explain{query}", PHOTOS[2].read_bytes(), {"content-type": "image/jpeg"}
        )
        assert (status, headers["content-type"]) == (200, "image/png")
        (written,) = folder.glob("*-occlusion.png")
        found, expected = pixels_of(body), pixels_of(written.read_bytes())
        assert found.shape == (48, 64, 3)
        assert np.abs(found - expected).max() <= 3  # batches of other sizes round otherwise


@pytest.mark.slow
def test_an_export_with_a_map_of_its_own_draws_that_one(start_server, make_bundle, tmp_path):
    source = make_bundle(tmp_path / "bundle")
    export_bundle(source, "onnx", tmp_path / "onnx", options={"heatmap": True}, num_photos=2)
    server = start_server(tmp_path / "onnx", names=["fruit"])
    explaining.explain(Bundle.load(tmp_path / "onnx"), [str(PHOTOS[2])], tmp_path / "maps")
    (written,) = (tmp_path / "maps").glob("*-heatmap.png")
    status, body, _ = server.ask("POST", "/v1/explain", PHOTOS[2].read_bytes())
    assert status == 200
    assert np.abs(pixels_of(body) - pixels_of(written.read_bytes())).max() <= 3
    # Of another class than the answer the export has no map.
    answer = server.json("POST", "/v1/predict", PHOTOS[2].read_bytes())[1]["predictions"][0][
        "label"
    ]
    other = next(label for label in source.labels if label != answer)
    query = f"/v1/explain?label={quote(other)}"
    status, hidden, _ = server.ask("POST", query, PHOTOS[2].read_bytes())
    assert status == 200
    assert hidden != body


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("", b"no photo", 422, "it looks like text"),
        ("?label=paer", b"", 422, "no class 'paer'. Did you mean 'pear'"),
        ("?model=friut", b"", 404, "Did you mean 'fruit'"),
        ("", b"", 422, "got none"),
    ],
)
def test_what_is_wrong_is_said(server, query, body, status, words):
    answered, content = server.json("POST", f"/v1/explain{query}", body)
    assert answered == status
    assert words in content["detail"]


def test_photos_are_answered_while_maps_are_drawn_and_too_many_are_refused(server):
    photo, statuses = PHOTOS[0].read_bytes(), []

    def draw():
        statuses.append(server.ask("POST", "/v1/explain", photo)[0])

    threads = [threading.Thread(target=draw) for _ in range(12)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert server.json("POST", "/v1/predict", photo)[0] == 200
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 4


def test_without_ppclas_search_everything_else_works(server, monkeypatch):
    card = server.json("GET", "/v1/models")[1]["models"][0]
    assert card["heat_maps"] is True
    monkeypatch.setitem(sys.modules, "ppclas_search", None)
    card = server.json("GET", "/v1/models")[1]["models"][0]
    assert card["heat_maps"] is False
    status, content = server.json("POST", "/v1/explain", PHOTOS[0].read_bytes())
    assert (status, '"ppclas-serve[explain]"' in content["detail"]) == (404, True)
    assert server.json("POST", "/v1/predict", PHOTOS[0].read_bytes())[0] == 200

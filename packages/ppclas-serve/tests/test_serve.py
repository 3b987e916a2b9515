"""The service over a real socket: its answers, its limits, its manners."""

import base64
import http.client
import io
import json
import re
import socket
import subprocess
import threading
import time

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image
from ppclas_core.bundle import Bundle
from ppclas_deploy import load
from ppclas_deploy.proof import proof_photos
from ppclas_engine.scoring.predictors import open_engine
from ppclas_serve.backend.problems import Limits

PHOTOS = proof_photos()


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


@pytest.fixture(scope="module")
def expected(onnx_export):
    """What ``ppclas predict`` says of the photos."""
    answers = load(onnx_export, threads=1).predict([str(path) for path in PHOTOS], batch_size=1)
    return [answer.to_dict() for answer in answers]


def form(photos):
    parts = b"".join(
        b'--edge\r\ncontent-disposition: form-data; name="images"; filename="%s"\r\n\r\n%s\r\n'
        % (path.name.encode(), path.read_bytes())
        for path in photos
    )
    return parts + b"--edge--\r\n", {"content-type": "multipart/form-data; boundary=edge"}


def same(answer, expected):
    assert answer["label"] == expected["label"]
    assert [entry["label"] for entry in answer["top"]] == [e["label"] for e in expected["top"]]
    got = [entry["probability"] for entry in answer["top"]]
    assert got == pytest.approx([e["probability"] for e in expected["top"]], abs=1e-6)


class TestPredict:
    def test_a_raw_body_is_one_photo(self, server, expected):
        status, content = server.json("POST", "/v1/predict", PHOTOS[0].read_bytes())
        assert status == 200
        assert (content["model"], content["version"]) == ("fruit", "1")
        # To the digit: the same engine, the same batch of one.
        assert content["predictions"][0]["top"] == expected[0]["top"]

    def test_a_form_has_many(self, server, expected):
        status, body, _ = server.ask("POST", "/v1/predict", *form(PHOTOS))
        assert status == 200
        answers = json.loads(body)["predictions"]
        assert [answer["name"] for answer in answers] == [path.name for path in PHOTOS]
        for answer, right in zip(answers, expected, strict=True):
            same(answer, right)

    def test_json_has_base64_or_pixels(self, server, expected):
        encoded = base64.b64encode(PHOTOS[0].read_bytes()).decode()
        pixels = cv2.imread(str(PHOTOS[1]))[..., ::-1]
        buffer = io.BytesIO()
        Image.fromarray(pixels[:40, :50]).save(buffer, "PNG")
        content = {
            "images": [
                encoded,
                f"data:image/jpeg;base64,{encoded}",
                {"name": "a.jpg", "b64": encoded},
                pixels[:40, :50].tolist(),
                base64.b64encode(buffer.getvalue()).decode(),
            ]
        }
        status, answer = server.json("POST", "/v1/predict", content)
        assert status == 200
        predictions = answer["predictions"]
        for prediction in predictions[:3]:
            same(prediction, expected[0])
        assert predictions[2]["name"] == "a.jpg"
        # A PNG keeps every pixel: both ways in give one answer.
        same(predictions[3], predictions[4])

    def test_top_k_and_labels(self, server):
        _, content = server.json(
            "POST", "/v1/predict?top_k=1&labels=oat%20milk", PHOTOS[0].read_bytes()
        )
        prediction = content["predictions"][0]
        assert len(prediction["top"]) == 1
        _, content = server.json("POST", "/v1/predict?top_k=99", PHOTOS[0].read_bytes())
        every = {e["label"]: e["probability"] for e in content["predictions"][0]["top"]}
        assert prediction["wanted"] == {"oat milk": every["oat milk"]}
        assert sum(every.values()) == pytest.approx(1, abs=1e-6)

    def test_a_bad_photo_among_good_ones_has_its_error(self, server, tmp_path, expected):
        bad = tmp_path / "bad.jpg"
        bad.write_text("no photo")
        status, body, _ = server.ask("POST", "/v1/predict", *form([PHOTOS[0], bad]))
        assert status == 200
        good, failed = json.loads(body)["predictions"]
        same(good, expected[0])
        assert failed["error"] == "bad.jpg: not an image: it looks like text"

    def test_many_at_once_make_batches_and_stay_right(self, server, expected):
        answers = [None] * 48

        def ask(number):
            photo = PHOTOS[number % len(PHOTOS)].read_bytes()
            answers[number] = server.json("POST", "/v1/predict", photo)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, (status, content) in enumerate(answers):
            assert status == 200
            same(content["predictions"][0], expected[number % len(PHOTOS)])
        metrics = server.ask("GET", "/metrics")[1].decode()
        count = float(re.search(r"ppclas_batch_images_count{.*} (.*)", metrics).group(1))
        photos = float(re.search(r"ppclas_batch_images_sum{.*} (.*)", metrics).group(1))
        assert photos > count  # some batch had more than one

    def test_curl_needs_no_header(self, server):
        photo, kind = PHOTOS[0].read_bytes(), {"content-type": "application/x-www-form-urlencoded"}
        _, plain, _ = server.ask("POST", "/v1/predict", photo, {"content-type": "image/jpeg"})
        status, body, _ = server.ask("POST", "/v1/predict", photo, kind)
        assert status == 200
        same(json.loads(body)["predictions"][0], json.loads(plain)["predictions"][0])


class TestProblems:
    def test_a_wrong_method_is_told_the_right_ones(self, server):
        status, body, headers = server.ask("DELETE", "/v2/models/fruit/infer")
        assert (status, headers["allow"]) == (405, "POST")
        assert json.loads(body)["allow"] == ["POST"]
        assert server.ask("POST", "/v1/models")[2]["allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        ("path", "body", "kind", "status", "words"),
        [
            ("/v1/predict", b"", "image/jpeg", 422, "one photo or more, got none"),
            ("/v1/predict", b"no photo", "image/jpeg", 422, "it looks like text"),
            ("/v1/predict", b"{", "application/json", 400, "not JSON"),
            ("/v1/predict", b"[" * 100_000, "application/json", 400, "not JSON"),
            ("/v1/predict", b"[]", "application/json", 422, '{"images": [...]}'),
            ("/v1/predict", b'{"images": [7]}', "application/json", 422, "string in base64"),
            ("/v1/predict", b'{"images": ["?"]}', "application/json", 422, "not base64"),
            ("/v1/predict", b'{"images": [[[1, 2], [3]]]}', "application/json", 422, "lengths"),
            ("/v1/predict", b'{"images": [[[1, 256]]]}', "application/json", 422, "0..255"),
            ("/v1/predict", b"x", "text/plain", 415, "'text/plain' is not read"),
            ("/v1/predict", b"x", "multipart/form-data", 400, "form cannot be read"),
            ("/v1/predict?top_k=0", b"x", "image/jpeg", 422, "whole number of 1 or more"),
            ("/v1/predict?labels=paer", b"x", "image/jpeg", 422, "Did you mean 'pear'"),
            ("/v1/predict?model=friut", b"x", "image/jpeg", 404, "Did you mean 'fruit'"),
            ("/v1/predict?version=7", b"x", "image/jpeg", 404, "no version '7'; it has 1"),
            ("/v1/nothing", b"x", "image/jpeg", 404, "/docs lists"),
            ("/v2", b"x", "image/jpeg", 405, "does not take POST"),
        ],
    )
    def test_what_is_wrong_is_said(self, server, path, body, kind, status, words):
        got, answer, headers = server.ask("POST", path, body, {"content-type": kind})
        content = json.loads(answer)
        assert (got, content["status"]) == (status, status)
        assert words in content["detail"]
        assert headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("limits", "photos", "status", "name"),
        [
            ({"max_body_mb": 0.001}, PHOTOS[:1], 413, "max_body_mb"),
            ({"max_pixels": 100}, PHOTOS[:1], 413, "max_pixels"),
            ({"max_images": 2}, PHOTOS[:3], 413, "max_images"),
        ],
    )
    def test_a_limit_is_named_with_its_value(
        self, start_server, onnx_export, limits, photos, status, name
    ):
        # The proof itself must pass: it sends up to four photos of everyday size.
        server = start_server(onnx_export, limits=Limits(**limits))
        got, body, _ = server.ask("POST", "/v1/predict", *form(photos))
        content = json.loads(body)
        assert (got, content["limit"], content["value"]) == (status, name, limits[name])

    def test_a_body_that_comes_too_slowly_is_ended(self, start_server, onnx_export):
        server = start_server(onnx_export, limits=Limits(timeout=0.3))
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")

    def test_more_than_may_wait_is_refused(self, start_server, onnx_export):
        server = start_server(onnx_export, limits=Limits(max_waiting=2, max_batch=1))
        found = []

        def ask():
            found.append(server.ask("POST", "/v1/predict", *form(PHOTOS[:2])))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = [status for status, _, _ in found]
        assert set(statuses) == {200, 429}
        refused = next(answer for answer in found if answer[0] == 429)
        assert json.loads(refused[1])["limit"] == "max_waiting"
        assert refused[2]["retry-after"] == "1"

    def test_a_compressed_body_is_refused_before_it_is_opened(self, server):
        status, content = server.json(
            "POST", "/v1/predict", b"\x1f\x8b" + bytes(20), {"content-encoding": "gzip"}
        )
        assert (status, "gzip" in content["detail"]) == (415, True)


class TestSafety:
    def test_a_token_is_wanted_everywhere_but_for_health_and_page(self, start_server, onnx_export):
        server = start_server(onnx_export, token="geheim")
        assert server.ask("GET", "/v2/health/ready")[0] == 200
        assert server.ask("GET", "/")[0] == 200
        for path in ("/v1/models", "/metrics", "/v2", "/openapi.json"):
            for given in (
                None,
                "Bearer",
                "Bearer geheim2",
                "Basic geheim",
                "geheim",
                "Bearer \xff",
            ):
                headers = {} if given is None else {"authorization": given}
                status, _, answered = server.ask("GET", path, headers=headers)
                assert (status, answered["www-authenticate"]) == (401, "Bearer")
            assert server.ask("GET", path, headers={"authorization": "Bearer geheim"})[0] == 200

    def test_every_answer_carries_the_policy(self, server):
        for path in ("/", "/page.js", "/v1/models", "/nothing", "/docs"):
            headers = server.ask("GET", path)[2]
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"

    def test_other_origins_may_ask_only_if_told(self, server, start_server, onnx_export):
        origin = {"origin": "https://shop.example"}
        assert "access-control-allow-origin" not in server.ask("GET", "/v1/models", None, origin)[2]
        open_to = start_server(onnx_export, cors=("https://shop.example",))
        headers = open_to.ask("GET", "/v1/models", None, origin)[2]
        assert headers["access-control-allow-origin"] == "https://shop.example"

    def test_nothing_that_a_request_says_is_opened(self, server, tmp_path):
        secret = tmp_path / "secret.jpg"
        secret.write_bytes(PHOTOS[0].read_bytes())
        for said in (str(secret), f"file://{secret}", "http://127.0.0.1:1/a.jpg"):
            status, _ = server.json("POST", "/v1/predict", {"images": [said]})
            assert status == 422
        for path in ("/../app.py", "/page/../../app.py", "/%2e%2e/app.py", "//etc/passwd"):
            assert server.ask("GET", path)[0] == 404


class TestOldForms:
    def test_feed_and_fetch_of_2020(self, server, onnx_export):
        images = [base64.b64encode(path.read_bytes()).decode() for path in PHOTOS[:2]]
        content = {"feed": [{"image": image} for image in images], "fetch": ["prediction"]}
        status, answer = server.json("POST", "/image/prediction", content)
        assert status == 200
        bundle = Bundle.load(onnx_export)
        assert np.shape(answer["result"]["prediction"]) == (2, len(bundle.labels))
        for row, right in zip(answer["result"]["prediction"], self.rows(bundle), strict=True):
            assert row == pytest.approx(right, abs=1e-6)

    def test_keys_and_values_of_2x(self, server, expected):
        image = base64.b64encode(PHOTOS[0].read_bytes()).decode()
        status, answer = server.json(
            "POST", "/imagenet/prediction", {"key": ["image"], "value": [image]}
        )
        assert status == 200
        assert (answer["err_no"], answer["err_msg"], answer["tensors"]) == (0, "", [])
        assert answer["key"] == ["label", "prob"]
        label, probability = expected[0]["label"], expected[0]["probability"]
        assert answer["value"] == [f"['{label}']", f"[{probability}]"]

    @pytest.mark.parametrize(
        "content",
        [{}, {"feed": []}, {"feed": [{}]}, {"feed": [1]}, {"feed": [{"image": 1}]},
         {"feed": [{"image": ""}], "fetch": ["x"]}, {"key": ["image"]}, {"key": [], "value": []},
         {"key": ["a"], "value": [""]}],
    )  # fmt: skip
    def test_what_is_no_such_form_is_4xx(self, server, content):
        status, answer = server.json("POST", "/image/prediction", content)
        assert (status, bool(answer["detail"])) == (422, True)

    @staticmethod
    def rows(bundle):
        from ppclas_deploy.answers import read_photos

        engine = open_engine(bundle, threads=1)
        pixels = read_photos(bundle, [str(path) for path in PHOTOS[:2]])
        return bundle.probabilities(engine.logits(engine.prepare(pixels)))


def test_a_request_under_way_is_answered_when_the_server_stops(start_server, onnx_export):
    server = start_server(onnx_export, limits=Limits(max_batch=1))
    body, headers = form(PHOTOS * 8)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/predict", body, headers)
    time.sleep(0.02)
    server.server.should_exit = True
    answer = connection.getresponse()
    assert answer.status == 200
    assert len(json.loads(answer.read())["predictions"]) == 64
    connection.close()
    server.thread.join(20)
    assert not server.thread.is_alive()


def workers_of(process):
    return [
        child.pid
        for child in psutil.Process(process.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]


def server_metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


@pytest.mark.slow
def test_several_processes_heal_and_end_cleanly(onnx_export, ppclas_command, tmp_path):
    process = subprocess.Popen(
        [*ppclas_command, "serve", str(onnx_export), "--port", "0", "--workers", "2",
         "--threads", "1"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        port = int(re.search(r":(\d+)/", process.stderr.readline()).group(1))

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/v1/predict", PHOTOS[0].read_bytes())
            status = connection.getresponse().status
            connection.close()
            return status

        assert ask() == 200
        first = workers_of(process)
        assert len(first) == 2
        subprocess.run(["kill", "-9", str(first[0])], check=True)
        while first[0] in workers_of(process):  # what it had accepted dies with it
            time.sleep(0.05)
        # The other one answers alone, and the new one asks for nothing before it is proven.
        assert [ask() for _ in range(50)] == [200] * 50
        deadline = time.monotonic() + 30
        while len(workers_of(process)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        metrics = server_metrics(port)
        assert (
            float(re.search(r'requests_total{route="/v1/predict",status="200"} (.*)', metrics)[1])
            > 2
        )
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()

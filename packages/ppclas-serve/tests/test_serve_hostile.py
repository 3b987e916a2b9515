"""Requests that were mutated by a machine: never a traceback, never a 5xx but 503."""

import base64
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ppclas_deploy.proof import proof_photos
from ppclas_serve.http.openapi import description

PHOTO = proof_photos()[0].read_bytes()
OFTEN = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    found = start_server(onnx_export, names=["fruit"])
    yield found
    # After all of that it still gives the right answer.
    status, content = found.json("POST", "/v1/predict", PHOTO)
    assert (status, len(content["predictions"])) == (200, 1)
    assert "Traceback" not in found.said.getvalue()


def check(server, method, path, body, headers):
    status, answer, answered = server.ask(method, path, body, headers)
    assert status < 500 or status == 503, answer
    if status >= 400:
        content = json.loads(answer)
        assert answered["content-type"] == "application/problem+json"
        assert content["status"] == status
        assert "Traceback" not in content["detail"]
        assert ".py" not in content["detail"]
    return status


def mutated(data, count, cut):
    rng = np.random.default_rng(count)
    content = np.frombuffer(data, np.uint8).copy()
    for position in rng.integers(0, len(content), 1 + count % 40):
        content[position] = rng.integers(0, 256)
    return content[: max(1, int(len(content) * cut))].tobytes()


@OFTEN
@given(count=st.integers(0, 10**6), cut=st.floats(0.01, 1.0))
def test_mutated_photos(server, count, cut):
    check(server, "POST", "/v1/predict", mutated(PHOTO, count, cut), {"content-type": "image/jpeg"})


@OFTEN
@given(content=JSON, key=st.sampled_from(["images", "image", "feed", "key", "value", "inputs"]))
def test_json_of_any_shape(server, content, key):
    body = json.dumps({key: content}).encode()
    for path in ("/v1/predict", "/image/prediction", "/v2/models/fruit/infer"):
        check(server, "POST", path, body, {"content-type": "application/json"})


@OFTEN
@given(count=st.integers(0, 10**6), cut=st.floats(0.01, 1.0))
def test_mutated_forms_and_tensors(server, count, cut):
    form = (
        b'--edge\r\ncontent-disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
        + PHOTO[:2000] + b"\r\n--edge--\r\n"
    )  # fmt: skip
    kind = {"content-type": "multipart/form-data; boundary=edge"}
    check(server, "POST", "/v1/predict", mutated(form, count, cut), kind)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 104}}]}).encode()
    body = head + b"\x64\0\0\0" + PHOTO[:100]
    length = {"inference-header-content-length": str(len(head))}
    check(server, "POST", "/v2/models/fruit/infer", mutated(body, count, cut), length)


@OFTEN
@given(
    path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
)
def test_any_path_query_and_method(server, path, query, method):
    address = "/" + path.replace("#", "").replace("?", "") + "?" + query.replace("#", "")
    if method == "HEAD":
        status, _, _ = server.ask(method, address)
        assert status < 500
    else:
        check(server, method, address, None, {})


def every_operation():
    for path, methods in description(False)["paths"].items():
        for method, facts in methods.items():
            yield pytest.param(path, method, facts, id=f"{method} {path}")


@pytest.mark.parametrize(("path", "method", "facts"), [*every_operation()])
def test_every_operation_of_the_description_is_there_and_answers_as_it_says(
    server, path, method, facts
):
    encoded = base64.b64encode(PHOTO).decode()
    bodies = {
        "/v1/predict": {"images": [encoded]},
        "/{service}/prediction": {"feed": [{"image": encoded}], "fetch": ["prediction"]},
    }
    infer = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}
    content = infer if path.endswith("/infer") else bodies.get(path)
    where = path.format(name="fruit", version="1", service="image")
    body = None if content is None else json.dumps(content).encode()
    kind = {"content-type": "application/json"} if body else {}
    status, answer, headers = server.ask(method.upper(), where, body, kind)
    assert status == (404 if path == "/v1/shadow" else 200)  # nothing runs in the shadow here
    schemas = {"components": description(False)["components"]}
    if content is not None:
        reference = facts["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator({**reference, **schemas}).validate(content)
    if headers["content-type"] == "application/json":
        reference = facts["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**reference, **schemas}).validate(json.loads(answer))


def test_stray_bytes_in_a_form_do_not_fill_the_log(server, caplog):
    body = b"--x\r\ncontent-disposition: form-data; filename=a\r\n\r\n1\r\n--x--" + b"y" * 5000
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert server.ask("POST", "/v1/predict", body, kind)[0] in (400, 422)
    assert caplog.records == []


def test_a_pixel_bomb_is_refused_before_it_is_decoded(server):
    import random
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    tiny = bomb + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    bomb += chunk(b"IDAT", random.Random(0).randbytes(20_000)) + chunk(b"IEND", b"")
    status, content = server.json("POST", "/v1/predict", bomb)
    assert (status, content["limit"]) == (413, "max_pixels")
    status, content = server.json("POST", "/v1/predict", tiny)
    assert status == 422
    assert "a file so small that claims" in content["detail"]

"""The Open Inference Protocol, by Triton's own client over a real socket."""

import base64
import json
import struct

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_deploy.answers import read_photos
from ppclas_deploy.proof import proof_photos
from ppclas_engine.scoring.predictors import open_engine

triton = pytest.importorskip("tritonclient.http")
PHOTOS = proof_photos()[:3]


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


@pytest.fixture
def client(server):
    found = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield found
    found.close()


@pytest.fixture(scope="module")
def bundle(onnx_export):
    return Bundle.load(onnx_export)


@pytest.fixture(scope="module")
def images(bundle):
    """What the engine takes of the photos."""
    engine = open_engine(bundle, threads=1)
    return engine.prepare(read_photos(bundle, [str(path) for path in PHOTOS]))


@pytest.fixture(scope="module")
def logits(bundle, images):
    return open_engine(bundle, threads=1).logits(images)


def test_the_client_lists_and_checks(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fruit")
    assert client.is_model_ready("fruit", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "ppclas"
    (entry,) = client.get_model_repository_index()
    assert (entry["name"], entry["state"]) == ("fruit", "READY")
    metadata = client.get_model_metadata("fruit", "1")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "images", "datatype": "FP32", "shape": [-1, 3, 48, 64]},
    ]
    assert {output["name"] for output in metadata["outputs"]} == {
        "probabilities",
        "logits",
        "label",
    }
    assert client.get_model_config("fruit")["input"][1]["dims"] == [3, 48, 64]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tensors_in_json_and_in_binary(client, images, logits, bundle, binary_in, binary_out):
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary_in)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary_out)
        for name in ("logits", "probabilities", "label")
    ]
    answer = client.infer("fruit", [tensor], outputs=wanted, request_id="7")
    np.testing.assert_allclose(answer.as_numpy("logits"), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        answer.as_numpy("probabilities"), bundle.probabilities(logits), rtol=1e-5
    )
    labels = [value.decode() if isinstance(value, bytes) else value
              for value in answer.as_numpy("label")]  # fmt: skip
    assert labels == [bundle.labels[index] for index in logits.argmax(axis=1)]
    assert answer.get_response()["id"] == "7"


def test_photos_as_they_are_beside_the_float_tensor(client, logits):
    tensor = triton.InferInput("image", [len(PHOTOS)], "BYTES")
    tensor.set_data_from_numpy(np.array([path.read_bytes() for path in PHOTOS], dtype=object))
    answer = client.infer("fruit", [tensor], model_version="1")
    np.testing.assert_allclose(answer.as_numpy("logits"), logits, rtol=1e-5, atol=1e-6)


def test_photos_in_base64_as_kserve_sends_them(server, logits):
    data = [base64.b64encode(path.read_bytes()).decode() for path in PHOTOS]
    content = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [3], "data": data}]}
    status, answer = server.json("POST", "/v2/models/fruit/infer", content)
    assert status == 200
    by_name = {output["name"]: output for output in answer["outputs"]}
    assert by_name["logits"]["shape"] == list(logits.shape)
    np.testing.assert_allclose(by_name["logits"]["data"], logits.ravel(), rtol=1e-5, atol=1e-6)


def test_classification_names_the_best(client, images, logits, bundle):
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    wanted = triton.InferRequestedOutput("logits", class_count=2)
    answer = client.infer("fruit", [tensor], outputs=[wanted]).as_numpy("logits")
    assert answer.shape == (3, 2)
    value, index, label = answer[0][0].decode().split(":")
    assert float(value) == pytest.approx(logits[0].max(), abs=1e-5)
    assert (int(index), label) == (logits[0].argmax(), bundle.labels[logits[0].argmax()])


def test_the_client_is_told_what_is_wrong(client):
    tensor = triton.InferInput("images", [1, 3, 8, 8], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(triton.InferenceServerException, match=r"should be \[N, 3, 48, 64\]"):
        client.infer("fruit", [tensor])
    with pytest.raises(triton.InferenceServerException, match="No model 'friut'"):
        client.get_model_metadata("friut")


def infer(server, content, binary=b"", length=None):
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"inference-header-content-length": str(len(head) if length is None else length)}
    status, body, _ = server.ask("POST", "/v2/models/fruit/infer", head + binary, headers)
    return status, json.loads(body)["detail"]


def photo(size, shape=(1,), **more):
    return {
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": list(shape),
             "parameters": {"binary_data_size": size}, **more}
        ]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "binary", "length", "words"),
    [
        (photo(9), b"123", None, "3 bytes are left"),
        (photo(-1), b"", None, "binary_data_size is -1"),
        (photo(3), b"123", None, "ends within a length"),
        (photo(8), struct.pack("<I", 2**31) + b"1234", None, "ends within an element"),
        (photo(4), bytes(4) + b"more", None, "4 bytes after the last tensor"),
        (photo(4, shape=(3,)), bytes(4), None, "has 3 elements, got 1"),
        (photo(4, shape=(-1,)), bytes(4), None, "list of whole numbers"),
        (photo(4, shape=(2**40,)), bytes(4), None, "list of whole numbers"),
        (photo(4, datatype="FP7"), bytes(4), None, "datatype should be"),
        (photo(4, name="other"), bytes(4), None, "takes 'image' or 'images'"),
        (photo(4), bytes(4), 10**9, "and the body has"),
        (photo(4), bytes(4), "x", "should be a whole number"),
        ({"inputs": []}, b"", None, "Expected one input"),
        ({"inputs": 3}, b"", None, "list of tensors"),
        ({}, b"", None, "list of tensors"),
        (b"\xff", b"", None, "not JSON"),
    ],
)
def test_malformed_requests_are_4xx_with_a_reason(server, content, binary, length, words):
    status, detail = infer(server, content, binary, length)
    assert 400 <= status < 500
    assert words in detail


def test_a_number_that_is_not_finite_is_refused(server):
    tensor = np.full((1, 3, 48, 64), np.nan, np.float32).tobytes()
    asked = {"name": "images", "datatype": "FP32", "shape": [1, 3, 48, 64]}
    content = {"inputs": [{**asked, "parameters": {"binary_data_size": len(tensor)}}]}
    assert infer(server, content, tensor)[0] == 422

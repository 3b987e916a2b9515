"""The Open Inference Protocol over gRPC, by Triton's own client and by raw bytes."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ppclas_core.bundle import Bundle
from ppclas_deploy.answers import read_photos
from ppclas_deploy.proof import proof_photos
from ppclas_engine.scoring.predictors import open_engine
from ppclas_serve.backend.problems import Limits
from ppclas_serve.rpc.messages import MESSAGES

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
PHOTOS = proof_photos()[:3]


def port_of(server):
    return int(re.search(r"grpc://127.0.0.1:(\d+)", server.said.getvalue()).group(1))


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"], grpc_port=0)


@pytest.fixture
def client(server):
    found = triton.InferenceServerClient(f"127.0.0.1:{port_of(server)}")
    yield found
    found.close()


@pytest.fixture(scope="module")
def bundle(onnx_export):
    return Bundle.load(onnx_export)


@pytest.fixture(scope="module")
def images(bundle):
    engine = open_engine(bundle, threads=1)
    return engine.prepare(read_photos(bundle, [str(path) for path in PHOTOS]))


@pytest.fixture(scope="module")
def logits(bundle, images):
    return open_engine(bundle, threads=1).logits(images)


THEIRS = {
    "TensorMetadata": "ModelMetadataResponse.TensorMetadata",
    "ModelIndex": "RepositoryIndexResponse.ModelIndex",
    "Tensor": "ModelInferRequest.InferInputTensor",
    "WantedTensor": "ModelInferRequest.InferRequestedOutputTensor",
    "Pair": "ModelInferRequest.ParametersEntry",
    "Parameter": "InferParameter",
    "Contents": "InferTensorContents",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_goes_over_the_wire_is_what_tritons_compiler_made(name):
    theirs = service_pb2
    for part in THEIRS.get(name, name).split("."):
        theirs = getattr(theirs, part)

    def facts(descriptor):
        return {
            (f.number, "" if f.message_type else f.name, f.type, f.message_type is not None)
            for f in descriptor.fields
        }

    assert facts(MESSAGES[name].DESCRIPTOR) <= facts(theirs.DESCRIPTOR)


def test_the_client_lists_and_checks(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fruit")
    assert client.is_model_ready("fruit", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "ppclas"
    (entry,) = client.get_model_repository_index().models
    assert (entry.name, entry.version, entry.state) == ("fruit", "1", "READY")
    metadata = client.get_model_metadata("fruit", "1", as_json=True)
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][1] == {
        "name": "images", "datatype": "FP32", "shape": ["-1", "3", "48", "64"]
    }  # fmt: skip


def test_tensors(client, images, logits, bundle):
    tensor = triton.InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    answer = client.infer("fruit", [tensor], request_id="7")
    np.testing.assert_allclose(answer.as_numpy("logits"), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        answer.as_numpy("probabilities"), bundle.probabilities(logits), rtol=1e-5
    )
    labels = [value.decode() for value in answer.as_numpy("label")]
    assert labels == [bundle.labels[index] for index in logits.argmax(axis=1)]
    assert answer.get_response().id == "7"


def test_photos_and_the_best_of_each(client, logits, bundle):
    tensor = triton.InferInput("image", [len(PHOTOS)], "BYTES")
    tensor.set_data_from_numpy(np.array([path.read_bytes() for path in PHOTOS], dtype=object))
    wanted = triton.InferRequestedOutput("logits", class_count=2)
    best = client.infer("fruit", [tensor], outputs=[wanted], model_version="1").as_numpy("logits")
    assert best.shape == (3, 2)
    value, index, label = best[0][0].decode().split(":")
    assert float(value) == pytest.approx(logits[0].max(), abs=1e-5)
    assert (int(index), label) == (logits[0].argmax(), bundle.labels[logits[0].argmax()])


def call(server, name, request, **options):
    """One call by the messages that Triton's compiler made."""
    with grpc.insecure_channel(f"127.0.0.1:{port_of(server)}") as channel:
        ask = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
        content = request if isinstance(request, bytes) else request.SerializeToString()
        return ask(content, timeout=60, **options)


def test_contents_instead_of_raw_bytes(server, images, logits):
    request = service_pb2.ModelInferRequest(model_name="fruit")
    tensor = request.inputs.add(name="images", datatype="FP32", shape=images.shape)
    tensor.contents.fp32_contents.extend(images.ravel().tolist())
    request.outputs.add(name="logits")
    answer = service_pb2.ModelInferResponse.FromString(call(server, "ModelInfer", request))
    assert (answer.model_version, answer.outputs[0].datatype) == ("1", "FP32")
    found = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(logits.shape)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)


def infer_request(name="images", datatype="FP32", shape=(1,), raw=(), model="fruit", **contents):
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=raw)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (infer_request(model="friut"), "NOT_FOUND", "No model 'friut'"),
        (infer_request(model="fruit/versions/1"), "NOT_FOUND", "fruit%2Fversions%2F1"),
        (infer_request(raw=[b"1", b"2"]), "INVALID_ARGUMENT", "2 raw_input_contents for 1 inputs"),
        (infer_request(raw=[b"123"]), "INVALID_ARGUMENT", "has 4 bytes, got 3"),
        (infer_request(fp32_contents=[1.0]), "INVALID_ARGUMENT", r"should be \[N, 3, 48, 64\]"),
        (infer_request(datatype="FP16"), "INVALID_ARGUMENT", "no field for the datatype 'FP16'"),
        (
            infer_request(datatype="INT8", int_contents=[300]),
            "INVALID_ARGUMENT",
            "out of bounds",
        ),
        (infer_request("image", "BYTES", bytes_contents=[b"no"]), "INVALID_ARGUMENT", "image 1"),
        (b"\xff\xff", "INVALID_ARGUMENT", "no ModelInferRequest"),
        (b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(server, request_, code, words):
    with pytest.raises(grpc.RpcError) as error:
        call(server, "ModelInfer", request_)
    assert error.value.code() is getattr(grpc.StatusCode, code)
    assert re.search(words, error.value.details())


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=200), name=st.sampled_from(["ModelInfer", "ModelMetadata"]))
def test_any_bytes_are_refused_in_a_sentence(server, content, name):
    refused = None
    try:
        call(server, name, content)
    except grpc.RpcError as error:
        refused = error
    if refused is not None:
        assert refused.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        assert ".py" not in refused.details()


def test_token_limits_and_the_end(start_server, onnx_export):
    server = start_server(
        onnx_export, names=["fruit"], grpc_port=0, token="geheim", limits=Limits(max_body_mb=0.01)
    )
    metadata = service_pb2.ModelMetadataRequest(name="fruit")
    with pytest.raises(grpc.RpcError) as error:
        call(server, "ModelMetadata", metadata)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    token = (("authorization", "Bearer geheim"),)
    assert b"image" in call(server, "ModelMetadata", metadata, metadata=token)
    large = infer_request("image", "BYTES", bytes_contents=[bytes(20_000)])
    with pytest.raises(grpc.RpcError, match="takes up to 10000") as error:
        call(server, "ModelInfer", large, metadata=token)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    larger = infer_request("image", "BYTES", bytes_contents=[bytes(200_000)])
    with pytest.raises(grpc.RpcError) as error:
        call(server, "ModelInfer", larger, metadata=token)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.stop()
    with pytest.raises(grpc.RpcError) as error:
        call(server, "ModelMetadata", metadata, metadata=token)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_without_the_library_it_says_what_to_install(python):
    said = python(
        "import sys; sys.modules['grpc'] = None\n"
        "from ppclas_cli.main import main; main(['serve', 'x', '--grpc-port', '0'])"
    )
    assert 'pip install "ppclas-serve[grpc]"' in said

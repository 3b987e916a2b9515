"""Ready means proven: what is wrong with a model is found before it answers, and said."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
from ppclas_core.bundle import (
    LABELS,
    MANIFEST,
    PARITY,
    Manifest,
    labels_text,
    write_bundle,
    write_manifest,
)
from ppclas_core.weights import read_state
from ppclas_deploy.export import export_bundle
from ppclas_deploy.proof import proof_photos

PHOTO = proof_photos()[0].read_bytes()


def reasons(server):
    """Why a server is not ready, as a client reads it."""
    status, content = server.json("GET", "/v2/health/ready")
    assert status == 503
    for path in ("/v1/predict", "/v2/models/m/infer"):
        assert server.ask("POST", path, PHOTO, {"content-type": "image/jpeg"})[0] == 503
    return content["detail"]


def edit(folder, change, *, seal=False):
    """Change ``bundle.json``; with ``seal`` as someone would who writes it anew."""
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    change(content)
    if seal:
        manifest = Manifest.model_validate({**content, "files": {}})
        (folder / LABELS).write_text(labels_text(manifest.labels))
        written = write_manifest(folder, manifest)
        parity = json.loads((folder / PARITY).read_text())
        files = {name: written.files[name].sha256 for name in parity["files"]}
        parity |= {"meaning": manifest.meaning(), "files": files}
        (folder / PARITY).write_text(json.dumps(parity))
        write_manifest(folder, manifest)
    else:
        path.write_text(json.dumps(content))


def take_marks_out(folder):
    """As in files from before the marks; every file keeps its length."""
    for file in (folder / "model.onnx", folder / "proof.safetensors"):
        file.write_bytes(file.read_bytes().replace(b"ppclas-meaning:", b"ppclas-nothing:"))


def flip_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def set_field(*path, value):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def swap_labels(content):
    content["labels"][:2] = content["labels"][1::-1]


CORRUPTIONS = {
    "a weight": (lambda f: flip_byte(f / "model.safetensors"), "model.safetensors is not the file"),
    "weights cut short": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-9]
        ),
        "model.safetensors is not the file",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "other weights with their hash": (
        lambda f: edit(f, set_field("files", "model.safetensors", "sha256", value="0" * 64)),
        "changed after it was written: files",
    ),
    "the mean": (
        lambda f: edit(
            f, set_field("preprocessing", "normalize", "mean", value=[0.5, 0.456, 0.406])
        ),
        "changed after it was written: preprocessing",
    ),
    "the standard deviation": (
        lambda f: edit(f, set_field("preprocessing", "normalize", "std", value=[0.1, 0.2, 0.3])),
        "changed after it was written: preprocessing",
    ),
    "the order of the labels": (
        lambda f: edit(f, swap_labels),
        "changed after it was written: labels",
    ),
    "a label gone": (
        lambda f: edit(f, lambda c: c["labels"].pop()),
        "labels has 2 values for 3 classes",
    ),
    "the order of the colours": (
        lambda f: edit(f, set_field("preprocessing", "color", value="BGR")),
        "preprocessing.color",
    ),
    "the activation": (
        lambda f: edit(f, set_field("activation", value="sigmoid")),
        "changed after it was written: activation",
    ),
    "the resize": (
        lambda f: edit(f, set_field("preprocessing", "transforms", 0, "short", value=90)),
        "changed after it was written: preprocessing",
    ),
    "a manifest cut short": (
        lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text()[:-20]),
        "bundle.json cannot be read",
    ),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_damaged_bundle_is_never_ready_and_says_why(start_server, make_bundle, tmp_path, kind):
    damage, words = CORRUPTIONS[kind]
    make_bundle(tmp_path / "m")
    damage(tmp_path / "m")
    assert words in reasons(start_server(tmp_path / "m", engine="dygraph"))


def test_the_same_bundle_undamaged_is_ready(start_server, make_bundle, tmp_path):
    make_bundle(tmp_path / "m")
    server = start_server(tmp_path / "m", engine="dygraph")
    assert server.json("GET", "/v2/health/ready")[0] == 200
    (card,) = server.json("GET", "/v1/models")[1]["models"]
    assert "8 photos through HTTP" in card["proof"]


def test_a_change_that_is_meant_is_taken(start_server, make_bundle, tmp_path):
    make_bundle(tmp_path / "m")
    edit(tmp_path / "m", set_field("labels", value=["a", "b", "c"]))
    server = start_server(tmp_path / "m", engine="dygraph", allow_edited=True)
    answer = server.json("POST", "/v1/predict", PHOTO)[1]["predictions"][0]
    assert {entry["label"] for entry in answer["top"]} == {"a", "b", "c"}


WORDS = {
    "labels": (swap_labels, "labels are not those of its proof: class 0 is 'oat milk'"),
    "mean": (
        set_field("preprocessing", "normalize", "mean", value=[0.5, 0.456, 0.406]),
        "preprocessing.normalize.mean is [0.5, 0.456, 0.406]; its proof was made with [0.485",
    ),
    "activation": (set_field("activation", value="sigmoid"), "activation is sigmoid"),
    "crop": (
        set_field("preprocessing", "transforms", 0, "short", value=90),
        "preprocessing.transforms",
    ),
}


@pytest.mark.parametrize("kind", WORDS)
def test_an_export_that_was_sealed_anew_is_found_out_by_its_proof(
    start_server, onnx_export, tmp_path, kind
):
    change, words = WORDS[kind]
    shutil.copytree(onnx_export, tmp_path / "m")
    edit(tmp_path / "m", change, seal=True)
    assert "model.onnx was made with other labels" in reasons(start_server(tmp_path / "m"))
    take_marks_out(tmp_path / "m")
    edit(tmp_path / "m", lambda content: None, seal=True)
    assert words in reasons(start_server(tmp_path / "m"))


@pytest.mark.parametrize(
    ("kind", "words"), [("weight", "weights, the graph or the engine"), ("colours", "red and blue")]
)
def test_another_network_under_the_right_words_is_found_out_by_its_answers(
    start_server, onnx_export, tmp_path, kind, words
):
    import onnx
    from onnx import numpy_helper

    shutil.copytree(onnx_export, tmp_path / "m")
    file = tmp_path / "m" / "model.onnx"
    model = onnx.load(str(file))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if value.ndim == 4 and value.shape[1] == 3:
            if kind == "weight":
                value[:, 0, 0, 0] = -3 * value[:, 0, 0, 0] - 1
            else:
                value = value[:, ::-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, str(file))
    edit(tmp_path / "m", lambda content: None, seal=True)
    said = reasons(start_server(tmp_path / "m"))
    assert "its answers are not the trained model's" in said
    assert words in said


def other_weights(folder, bundle, scale):
    """The same bundle with its classifier scaled: other probabilities, the same words."""
    state = {name: np.asarray(value) for name, value in read_state(bundle.weights_file).items()}
    state["fc.weight"] = state["fc.weight"] * np.float32(scale)
    return write_bundle(folder, bundle.manifest, state)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_changed_folder_takes_over_when_it_is_proven_and_no_request_fails(
    start_server, make_bundle, tmp_path
):
    first = make_bundle(tmp_path / "m")
    server = start_server(tmp_path / "m", engine="dygraph", reload_seconds=0.1)
    answers, stop = [], threading.Event()

    def keep_asking():
        while not stop.is_set():
            status, content = server.json("POST", "/v1/predict", PHOTO)
            answers.append((status, content.get("predictions", [{}])[0].get("probability")))

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()

    def revision():
        return server.json("GET", "/v1/models")[1]["models"][0]["revision"]

    try:
        old = revision()
        other_weights(tmp_path / "m", first, 0.25)
        wait_for(lambda: revision() != old)
        count = len(answers)
        wait_for(lambda: len(answers) > count + 20)
        new = revision()
        # A damaged one does not take over, and what answered before goes on.
        flip_byte(tmp_path / "m" / "model.safetensors")
        wait_for(lambda: server.json("GET", "/v1/models")[1]["models"][0]["reason"])
        card = server.json("GET", "/v1/models")[1]["models"][0]
        assert (card["ready"], card["revision"]) == (True, new)
        assert "model.safetensors is not the file" in card["reason"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert len({round(probability, 5) for _, probability in answers}) == 2  # the old, the new


def test_the_shadow_is_compared_and_answers_nobody(start_server, make_bundle, tmp_path):
    from ppclas_serve.run import Model

    live = make_bundle(tmp_path / "live")
    other_weights(tmp_path / "other", live, -1)
    server = start_server(
        tmp_path / "live",
        engine="dygraph",
        shadow=Model(name="shadow", path=str(tmp_path / "other")),
    )
    wait_for(lambda: server.json("GET", "/v1/shadow")[1]["ready"])
    photos = [path.read_bytes() for path in proof_photos()]
    tops = [
        server.json("POST", "/v1/predict", photo)[1]["predictions"][0]["label"] for photo in photos
    ]
    wait_for(lambda: server.json("GET", "/v1/shadow")[1]["compared"] == len(photos))
    report = server.json("GET", "/v1/shadow")[1]
    # Which ones disagree is what the two bundles say by themselves.
    from ppclas_deploy import load

    others = load(tmp_path / "other", threads=1).predict([str(path) for path in proof_photos()])
    disagreed = sum(top != other.label for top, other in zip(tops, others, strict=True))
    assert report["disagreed"] == disagreed > 0
    assert sum(pair["photos"] for pair in report["pairs"]) == disagreed
    metrics = server.ask("GET", "/metrics")[1].decode()
    assert f"ppclas_shadow_disagreements_total {float(disagreed)}" in metrics


def test_several_models_and_versions_answer_side_by_side(start_server, make_bundle, tmp_path):
    first = make_bundle(tmp_path / "a")
    other_weights(tmp_path / "b", first, 0.25)
    server = start_server(
        tmp_path / "a", tmp_path / "b", tmp_path / "a",
        names=["fruit", "fruit", "also"], engine="dygraph",
    )  # fmt: skip

    def ask(query):
        content = server.json("POST", f"/v1/predict?{query}", PHOTO)[1]
        return content["version"], content["predictions"][0]["probability"]

    one, two = ask("model=fruit&version=1"), ask("model=fruit&version=2")
    assert (one[0], two[0]) == ("1", "2")
    assert one[1] != two[1]
    assert ask("") == ask("model=fruit") == two
    assert ask("model=also") == one


def test_one_bad_model_does_not_keep_the_others_from_answering(start_server, make_bundle, tmp_path):
    make_bundle(tmp_path / "good")
    make_bundle(tmp_path / "bad")
    flip_byte(tmp_path / "bad" / "model.safetensors")
    server = start_server(tmp_path / "good", tmp_path / "bad", engine="dygraph")
    assert server.json("POST", "/v1/predict?model=good", PHOTO)[0] == 200
    assert server.json("POST", "/v1/predict?model=bad", PHOTO)[0] == 503
    status, content = server.json("GET", "/v2/health/ready")
    assert (status, list(content["reasons"])) == (503, ["bad/1"])


def test_probabilities_inside_the_graph_are_proven_too(start_server, make_bundle, tmp_path):
    bundle = make_bundle(tmp_path / "m")
    export_bundle(bundle, "onnx", tmp_path / "e", options={"with_preprocess": True}, num_photos=2)
    server = start_server(tmp_path / "e", names=["m"])
    inputs = server.json("GET", "/v2/models/m")[1]["inputs"]
    assert inputs[1] == {"name": "pixels", "datatype": "UINT8", "shape": [-1, 48, 64, 3]}
    proof = server.json("GET", "/v1/models")[1]["models"][0]["proof"]
    assert "largest log-probability difference" in proof

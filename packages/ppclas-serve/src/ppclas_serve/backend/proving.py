"""Before a model answers anybody: the built-in photos go through the server's own HTTP path.

Every request that a proof makes is parsed, read, queued, answered and written as a stranger's would
be. What comes back is compared with the trained model's answers in the export, or, where there are
none, with what the bundle's own engine says without the server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.errors import BundleError, ParityError
from ppclas_core.normalize import normalize_batch
from ppclas_deploy import parity
from ppclas_deploy.answers import read_photos
from ppclas_deploy.proof import Proof, first_difference, proof_names, proof_photos, read_proof

from ppclas_serve.backend.inside import ask
from ppclas_serve.backend.served import CANDIDATE, Served
from ppclas_serve.backend.tensors import write_bytes

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_SAME = 1e-5
"""As a share of the logits' root mean square: the same engine, asked in batches of another size."""
_PROBABILITY = 1e-3
"""Largest difference of a probability beside what the logits' tolerance brings about."""


async def prove(app: ASGIApp, served: Served) -> str:
    """Ask ``served`` through ``app``; a sentence that says what it was compared with.

    Raises:
        BundleError: the bundle says other things than its proof.
        ParityError: the answers differ.
    """
    proof = read_proof(served.bundle)
    loop = asyncio.get_running_loop()
    if proof is None:
        reference = await loop.run_in_executor(None, _own_answers, served)
        manifest = served.bundle.manifest
        expected = Proof.of(manifest, reference, _SAME)
        against = "what its own engine says without the server (it has no answers of its training)"
    else:
        _check_words(served, proof)
        expected, against = proof, "the trained model's answers"
    photos = [path.read_bytes() for path in proof_photos()]
    # One by itself, and the others at the same time: both kinds of batches are proven.
    answers = [await _ask(app, served, photos[:1])]
    answers += await asyncio.gather(*(_ask(app, served, [photo]) for photo in photos[1:4]))
    answers += [await _ask(app, served, photos[4:])]
    logits = np.concatenate([part for part, _ in answers])
    named = [row for _, rows in answers for row in rows]
    inside = (served.bundle.manifest.export or {}).get("output") == "probabilities"
    if inside:
        logits = served.bundle.probabilities(logits)
    activate = served.bundle.probabilities if inside else None
    result = parity.compare(expected.logits, logits, expected.photos, expected.tolerance, activate)
    if not result.agrees:
        raise ParityError(
            f"its answers are not {against}: {result.summary()}."
            f"{await loop.run_in_executor(None, _diagnosis, served, expected)}"
        )
    _check_names(served, expected, named)
    return f"{len(named)} photos through HTTP gave {against}; {result.summary()}"


def _own_answers(served: Served) -> NDArray[np.float32]:
    pixels = read_photos(served.bundle, [str(path) for path in proof_photos()])
    images = served.engine.prepare(pixels)
    size = served.limits.max_batch
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return np.concatenate([served.engine.logits(part) for part in parts])


def _check_words(served: Served, proof: Proof) -> None:
    """What the bundle says in words, against what the proof says."""
    manifest = served.bundle.manifest
    if difference := first_difference(proof.labels, manifest.labels):
        raise BundleError(f"its labels are not those of its proof: {difference}.")
    if manifest.activation != proof.activation:
        raise BundleError(
            f"its activation is {manifest.activation}; its proof was made with {proof.activation}."
        )
    said = manifest.preprocessing.model_dump(mode="json")
    for path, now, then in _differences(said, proof.preprocessing, "preprocessing"):
        raise BundleError(f"its {path} is {now}; its proof was made with {then}.")


def _differences(now: Any, then: Any, path: str) -> Sequence[tuple[str, Any, Any]]:
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        return [
            found
            for key in dict.fromkeys([*now, *then])
            for found in _differences(now.get(key), then.get(key), f"{path}.{key}")
        ]
    return [] if now == then else [(path, now, then)]


def _check_names(served: Served, expected: Proof, named: Sequence[Mapping[str, float]]) -> None:
    """The names and probabilities that a client reads, against the logits that were proven."""
    bundle = served.bundle
    proven = bundle.manifest.replace(activation=expected.activation, labels=expected.labels)
    probabilities = type(bundle)(bundle.folder, proven, bundle.weights_file).probabilities(
        expected.logits
    )
    for photo, row, said in zip(expected.photos, probabilities, named, strict=True):
        for label, probability in by_label(zip(expected.labels, row.tolist(), strict=True)).items():
            slack = _PROBABILITY + 4 * expected.tolerance * float(np.abs(expected.logits).max())
            if label not in said or abs(said[label] - probability) > slack:
                raise ParityError(
                    f"{photo}: {label!r} should have {probability:.4f}; the server says "
                    f"{said.get(label, 'nothing')}."
                )


def by_label(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The probability of each name: ImageNet has two classes called crane."""
    found: dict[str, float] = {}
    for label, probability in pairs:
        found[label] = found.get(label, 0.0) + probability
    return found


def _diagnosis(served: Served, expected: Proof) -> str:
    """The commonest mistakes, tried: which one gives the right answers."""
    bundle, engine = served.bundle, served.engine
    pixels = read_photos(bundle, [str(path) for path in proof_photos()])
    trials: dict[str, NDArray[Any]] = {
        "red and blue are swapped": engine.prepare(np.ascontiguousarray(pixels[..., ::-1]))
    }
    if (bundle.manifest.export or {}).get("input") != "pixels":
        right = engine.prepare(pixels)
        trials["red and blue are swapped in the graph"] = np.ascontiguousarray(right[:, ::-1])
        trials["the mean and std are not those of ImageNet"] = normalize_batch(
            pixels, NormalizeConfig()
        )
    for cause, images in trials.items():
        try:
            found = parity.compare(
                expected.logits, engine.logits(images), proof_names(), 10 * expected.tolerance
            )
        except ParityError:
            continue
        if found.agrees:
            return f" Cause: {cause}."
    return (
        " No swap of colours explains it: the weights, the graph or the engine are others. Export "
        "the model again."
    )


async def _ask(
    app: ASGIApp, served: Served, photos: Sequence[bytes]
) -> tuple[NDArray[np.float32], list[dict[str, float]]]:
    """Logits [N, C] by the Open Inference Protocol, and names with probabilities by /v1/predict."""
    where = f"model={served.name}&version={served.version}"
    parts = b"".join(
        b'--proof\r\ncontent-disposition: form-data; name="images"; filename="%d.jpg"\r\n\r\n'
        b"%s\r\n" % (number, photo)
        for number, photo in enumerate(photos)
    )
    body, _ = await _post(
        app,
        served,
        "/v1/predict",
        f"{where}&top_k={len(served.bundle.labels)}",
        {"content-type": "multipart/form-data; boundary=proof"},
        parts + b"--proof--\r\n",
    )
    named = []
    for prediction in json.loads(body)["predictions"]:
        if "error" in prediction:
            raise ParityError(f"it cannot read a built-in photo: {prediction['error']}")
        pairs = [(entry["label"], entry["probability"]) for entry in prediction["top"]]
        named.append(by_label(pairs))
    data = write_bytes(photos)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(photos)]}
    asked = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(asked).encode()
    body, headers = await _post(
        app,
        served,
        f"/v2/models/{served.name}/versions/{served.version}/infer",
        "",
        {"inference-header-content-length": str(len(head))},
        head + data,
    )
    length = int(headers["inference-header-content-length"])
    logits = np.frombuffer(body[length:], "<f4").astype(np.float32)
    return logits.reshape(len(photos), -1), named


async def _post(
    app: ASGIApp, served: Served, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> tuple[bytes, Mapping[str, str]]:
    """The body and the headers of the answer to a POST request.

    Raises:
        ParityError: it is no success.
    """
    scope = {CANDIDATE: served}
    reply = await ask(app, "POST", path, query=query, headers=headers, body=body, **scope)
    if reply.status != 200:
        try:
            said = json.loads(reply.body)["detail"]
        except (ValueError, KeyError):
            said = reply.body[:200].decode(errors="replace")
        raise ParityError(f"{path} answers a built-in photo with {reply.status}: {said}")
    return reply.body, reply.headers

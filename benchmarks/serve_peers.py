"""The same model file and preprocessing behind LitServe and behind mlserver, for serve.py.

Run in an interpreter that has the peer, onnxruntime and ppclas-engine:

    python benchmarks/serve_peers.py litserve EXPORT PORT
    python benchmarks/serve_peers.py mlserver EXPORT PORT

Both batch as ppclas serve does: up to 16 photos, waiting up to 5 ms.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_data.loading.pipeline import bundle_pipeline

MAX_BATCH, MAX_DELAY = 16, 0.005
EXPORT = "PPCLAS_BENCH_EXPORT"


class Model:
    """An ONNX export: encoded photos in, names and probabilities out."""

    def __init__(self, export: str) -> None:
        self.bundle = Bundle.load(export)
        self._pipeline, self._draw = bundle_pipeline(self.bundle), Draw(np.random.default_rng(0))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(self.bundle.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def read(self, photo: bytes) -> Any:
        """Pixels [H, W, 3]."""
        return self._pipeline(photo, self._draw, "photo")

    def answer(self, pixels: list[Any]) -> list[dict[str, Any]]:
        """The five best of each."""
        logits = self._session.run(None, {"images": self.bundle.normalize(np.stack(pixels))})[0]
        probabilities = self.bundle.probabilities(logits)
        best = np.argsort(-probabilities, axis=1)[:, :5]
        return [
            {"top": [[self.bundle.labels[i], float(row[i])] for i in indices]}
            for row, indices in zip(probabilities, best, strict=True)
        ]


def serve_mlserver(export: str, port: int) -> None:
    """Mlserver, one worker."""
    from mlserver.cli import main

    with tempfile.TemporaryDirectory() as folder:
        os.environ[EXPORT] = export
        settings = {
            "http_port": port,
            "grpc_port": port + 1,
            "metrics_port": port + 2,
            "host": "127.0.0.1",
            "parallel_workers": 0,
            "debug": False,
        }
        model = {
            "name": "bench",
            "implementation": "serve_peers.MlModel",
            "max_batch_size": MAX_BATCH,
            "max_batch_time": MAX_DELAY,
        }
        for name, content in (("settings.json", settings), ("model-settings.json", model)):
            (Path(folder) / name).write_text(json.dumps(content))
        sys.path.insert(0, str(Path(__file__).parent))
        sys.argv = ["mlserver", "start", folder]
        main()


try:
    from mlserver import MLModel
    from mlserver.codecs import StringCodec
    from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
except ImportError:  # the interpreter of the other peer
    pass
else:

    class MlModel(MLModel):  # type: ignore[misc]
        """Photos in base64, as mlserver takes them."""

        async def load(self) -> bool:
            self._served = Model(os.environ[EXPORT])
            return True

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            given = payload.inputs[0].data.root
            photos = [base64.b64decode(text) for text in given]
            answers = self._served.answer([self._served.read(photo) for photo in photos])
            texts = [json.dumps(answer) for answer in answers]
            output: ResponseOutput = StringCodec.encode_output("answers", texts)
            return InferenceResponse(model_name=self.name, outputs=[output])


try:
    import litserve
except ImportError:
    pass
else:

    class Api(litserve.LitAPI):  # type: ignore[misc]
        """Photos in base64 in JSON."""

        def setup(self, device: str) -> None:
            """Called in the worker's process."""
            self.model = Model(os.environ[EXPORT])

        def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
            """Of one request. LitServe looks at the parameter's name and type; this means JSON."""
            return self.model.read(base64.b64decode(request["image"]))

        def predict(self, x: Any) -> Any:
            """Of a batch."""
            return self.model.answer(list(x))

        def batch(self, inputs: Any) -> Any:
            """Photos of other requests beside them."""
            return inputs

        def unbatch(self, output: Any) -> Any:
            """One answer for each."""
            return output

        def encode_response(self, output: Any) -> Any:
            """It is plain data already."""
            return output


def serve_litserve(export: str, port: int) -> None:
    """LitServe, one worker."""
    os.environ[EXPORT] = export
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=MAX_DELAY)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=port, host="127.0.0.1", log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    _, peer, given_export, given_port = sys.argv
    {"litserve": serve_litserve, "mlserver": serve_mlserver}[peer](given_export, int(given_port))

"""Bundles of small models that an outside plugin brings, and exports that need no exporter."""

import http.client
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from ppclas_cli.serving.run import Model, Settings, application, listen, named
from ppclas_core.bundle import (
    Architecture,
    Bundle,
    Manifest,
    Preprocessing,
    architecture_of,
    write_bundle,
    write_manifest,
)
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.models import create_model
from ppclas_core.plugins import get_plugin_manager
from ppclas_deploy.export import export_bundle
from ppclas_engine.console import Console

PLUGIN = Path(__file__).parent / "plugin"
SIZE = (4, 5)
"""Height and width of a linear export's images."""
LABELS = ("pear", "oat milk", "番茄")


@pytest.fixture(scope="module", autouse=True)
def outside_plugin():
    """Make ``deploy_test_models`` an installed plugin, here and in the processes that are
    started.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
        )
        get_plugin_manager.cache_clear()
        yield
    get_plugin_manager.cache_clear()
    for module in ("deploy_test_models", "deploy_test_layers", "deploy_test_targets"):
        sys.modules.pop(module, None)


def write_random_bundle(
    folder: Path, model: str = "Tiny", size: tuple[int, int] = (48, 64), seed: int = 0
) -> Bundle:
    """A bundle of ``model`` with random weights and logits of everyday size, for images of
    ``size``.
    """
    rng = np.random.default_rng(seed)
    state = {
        name: rng.normal(0.0, 0.3, value.shape).astype(np.float32)
        for name, value in create_model(model, len(LABELS)).state_dict().items()
    }
    state["norm._variance"] = np.abs(state["norm._variance"]) + 0.5
    height, width = size
    manifest = Manifest(
        architecture=architecture_of(model, len(LABELS), {}),
        preprocessing=Preprocessing(
            image_size=size,
            transforms=(
                ComponentConfig(name="Resize", short=72),
                ComponentConfig(name="CenterCrop", size=(height, width)),
            ),
        ),
        labels=LABELS,
    )
    return write_bundle(folder, manifest, state)


@pytest.fixture(scope="session")
def make_bundle():
    return write_random_bundle


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return write_random_bundle(tmp_path / "bundle")


def linear_weights(size: tuple[int, int] = SIZE, num_classes: int = 2) -> np.ndarray:
    """float32 [3 * H * W, num_classes]"""
    rng = np.random.default_rng(3)
    return rng.normal(size=(3 * size[0] * size[1], num_classes)).astype(np.float32)


def linear_manifest(size: tuple[int, int] = SIZE, **facts) -> Manifest:
    """Of a linear classifier of the classes a and b, exported to ONNX unless ``facts`` say
    otherwise.
    """
    return Manifest(
        kind="export",
        architecture=Architecture(name="Linear", num_classes=2),
        preprocessing=Preprocessing(
            image_size=size, transforms=(ComponentConfig(name="Resize", size=size),)
        ),
        labels=("a", "b"),
        export={"engine": "onnxruntime", "target": "onnx", "model": "model.onnx", **facts},
    )


def write_linear_export(folder: Path, size: tuple[int, int] = SIZE, **facts) -> Bundle:
    """A linear classifier without an exporter: ``model.onnx``, and ``weights.npy`` for the plugin's
    engines.
    """
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    folder.mkdir(parents=True)
    np.save(folder / "weights.npy", linear_weights(size))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", kind, ["batch", 3, *size])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 2])],
        [onnx.numpy_helper.from_array(linear_weights(size), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    write_manifest(folder, linear_manifest(size, **facts))
    return Bundle.load(folder)


@pytest.fixture(scope="session")
def make_export():
    return write_linear_export


@pytest.fixture
def export(tmp_path) -> Bundle:
    """A linear classifier as an ONNX export."""
    return write_linear_export(tmp_path / "export")


@pytest.fixture
def rewrite():
    """Give an export other facts in its ``bundle.json``, with the hashes of its files as they
    are.
    """

    def change(export: Bundle, **facts) -> Bundle:
        manifest = export.manifest.replace(export={**export.manifest.export, **facts}, files={})
        write_manifest(export.folder, manifest)
        return Bundle.load(export.folder)

    return change


@pytest.fixture(scope="session")
def weights():
    """What a linear export's images, flattened, are multiplied with."""
    return linear_weights()


@pytest.fixture
def python():
    """Run Python code in a process of its own; its output, once it has ended well unless
    ``code`` says otherwise.
    """

    def run(source: str, *, code: int = 0, cwd: Path | None = None, **environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **environment},
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    return run


_EXPORTS: dict[str, Path] = {}


@pytest.fixture(scope="module")
def onnx_export(tmp_path_factory) -> Path:
    """An ONNX export of a small random model, made once for all modules; copy it to change it."""
    if "onnx" not in _EXPORTS:
        folder = tmp_path_factory.mktemp("served")
        export_bundle(write_random_bundle(folder / "bundle"), "onnx", folder / "onnx", num_photos=2)
        _EXPORTS["onnx"] = folder / "onnx"
    return _EXPORTS["onnx"]


class Running:
    """A server in a thread of this process, on a real socket."""

    def __init__(self, settings: Settings) -> None:
        self.said = io.StringIO()
        app = application(settings, Console(stream=self.said))
        listening = listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=10)
        )
        self.thread = threading.Thread(target=self.server.run, args=([listening],))
        self.thread.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status, body, _ = self.ask("GET", "/v2/health/ready")
            waiting = "being loaded" in body.decode()
            if status == 200 or (status == 503 and not waiting):
                return
            time.sleep(0.02)
        raise AssertionError(self.said.getvalue())

    def ask(self, method, path, body=None, headers=None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def json(self, method, path, content=None, headers=None):
        """Status and content of an answer to JSON."""
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        kind = "image/jpeg" if isinstance(content, bytes) else "application/json"
        status, answer, _ = self.ask(method, path, body, {"content-type": kind, **(headers or {})})
        return status, json.loads(answer)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def start_server():
    """Start servers: ``start_server(path, ..., settings=...)``; all end with the module."""
    running = []

    def start(*paths, names=(), **settings) -> Running:
        paths = [str(path) for path in paths]
        models = tuple(
            Model(name=name, version=version, path=path)
            for path, (name, version) in zip(paths, named(paths, names), strict=True)
        )
        running.append(Running(Settings(models=models, **{"threads": 1, **settings})))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def ppclas_command() -> list[str]:
    """The command line, without its entry point."""
    return [sys.executable, "-m", "ppclas_cli"]

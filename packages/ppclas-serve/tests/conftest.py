"""Servers in this process, and bundles of a small model that an outside plugin brings."""

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
from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, write_bundle
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.models import create_model
from ppclas_core.plugins import get_plugin_manager
from ppclas_deploy.export import export_bundle
from ppclas_engine.console import Console
from ppclas_serve.run import Model, Settings, application, listen, named

PLUGIN = Path(__file__).parent / "plugin"
LABELS = ("pear", "oat milk", "番茄")


@pytest.fixture(scope="module", autouse=True)
def outside_plugin():
    """Make ``serve_test_models`` an installed plugin, here and in the processes that are
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
    sys.modules.pop("serve_test_models", None)


def write_random_bundle(folder: Path, seed: int = 0) -> Bundle:
    """A bundle of a small model with random weights and logits of everyday size, for images of 48 x
    64 pixels.
    """
    rng = np.random.default_rng(seed)
    state = {
        name: rng.normal(0.0, 0.3, value.shape).astype(np.float32)
        for name, value in create_model("FakeNet", len(LABELS)).state_dict().items()
    }
    for name, value in state.items():
        if name.endswith("._variance"):
            state[name] = np.abs(value) + 0.5
    manifest = Manifest(
        architecture=architecture_of("FakeNet", len(LABELS), {}),
        preprocessing=Preprocessing(
            image_size=(48, 64),
            transforms=(
                ComponentConfig(name="Resize", short=72),
                ComponentConfig(name="CenterCrop", size=(48, 64)),
            ),
        ),
        labels=LABELS,
    )
    return write_bundle(folder, manifest, state)


@pytest.fixture(scope="session")
def make_bundle():
    return write_random_bundle


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


@pytest.fixture
def python():
    """Run Python code in a process of its own; what it says on stderr."""

    def run(source: str) -> str:
        command = [sys.executable, "-c", source]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    return run


@pytest.fixture(scope="session")
def ppclas_command() -> list[str]:
    """The command line, without its entry point."""
    return [sys.executable, "-m", "ppclas_cli"]

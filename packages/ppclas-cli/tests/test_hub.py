"""``ppclas hub`` against a stand-in for Hugging Face on this machine.

It speaks as much of the hub's protocol as a small repository needs; the client is the real one.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import pytest
import yaml
from ppclas_core.bundle import Bundle

pytest.importorskip("huggingface_hub")
pytest.importorskip("paddle", reason="needs the extra [cpu]")

TOKEN = "hf_stand_in"


class Hub(ThreadingHTTPServer):
    """Repositories: name → file → content. Who writes needs the token."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.lie: dict[str, int] = {}
        """File → the size that the hub says it has."""

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo):
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """The hub's side of the protocol."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, code, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(headers.pop("length", len(body))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        self.server.asked.append(self.path)
        content = self.body()
        if found := re.fullmatch(r"/api/models/(.+)/paths-info/.+", self.path):
            if content[:1] == b"{":
                wanted = json.loads(content)["paths"]
            else:
                wanted = parse_qs(content.decode())["paths"]
            files = self.server.repos[found[1]]
            return self.answer(
                200,
                [
                    {
                        "type": "file",
                        "path": name,
                        "oid": "0" * 40,
                        "size": self.server.lie.get(name, len(files[name])),
                    }
                    for name in wanted
                    if name in files
                ],
            )
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            said = json.loads(content)
            name = "/".join(filter(None, (said.get("organization"), said["name"])))
            self.server.repos.setdefault(name, {})
            return self.answer(200, {"url": f"{self.server.address}/{name}"})
        if re.fullmatch(r"/api/models/.+/preupload/.+", self.path):
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]
            return self.answer(200, {"files": modes})
        if found := re.fullmatch(r"/api/models/(.+)/commit/.+", self.path):
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    self.server.repos[found[1]][file["path"]] = base64.b64decode(file["content"])
            oid = self.server.commit(found[1])
            url = f"{self.server.address}/{found[1]}/commit/{oid}"
            return self.answer(
                200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}
            )
        return self.answer(404)

    def do_GET(self):
        self.server.asked.append(self.path)
        path = unquote(self.path.partition("?")[0])
        if found := re.fullmatch(r"/api/models/(.+?)(?:/revision/.+)?", path):
            if found[1] not in self.server.repos:
                missing = {"X-Error-Code": "RepoNotFound"}
                return self.answer(404, {"error": "Repository not found"}, **missing)
            files = [{"rfilename": name} for name in self.server.repos[found[1]]]
            return self.answer(
                200, {"id": found[1], "sha": self.server.commit(found[1]), "siblings": files}
            )
        if found := re.fullmatch(r"/(.+)/resolve/(\w+)/(.+)", path):
            content = self.server.repos[found[1]][found[3]]
            return self.answer(
                200,
                content,
                ETag=f'"{hashlib.sha1(content).hexdigest()}"',
                X_Repo_Commit=found[2],
                Content_Type="application/octet-stream",
            )
        return self.answer(404)

    do_HEAD = do_GET  # noqa: N815 - http.server asks for this name


@pytest.fixture
def server(tmp_path, monkeypatch):
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture
def hub(ppclas, server, tmp_path, monkeypatch):
    """``ppclas hub``, signed in at the stand-in."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def run(*arguments, **options):
        return ppclas("hub", *arguments, "--endpoint", server.address, cwd=tmp_path, **options)

    return run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from ppclas_core.bundle import (
        Manifest,
        Preprocessing,
        architecture_of,
        versions,
        write_bundle,
    )
    from ppclas_core.models import create_model
    from ppclas_core.weights import model_state
    from ppclas_data.loading.pipeline import default_eval_transforms

    manifest = Manifest(
        architecture=architecture_of("MobileNetV3_small_x0_35", 2, {}),
        preprocessing=Preprocessing(
            image_size=(64, 64), transforms=default_eval_transforms((64, 64), 73, "bilinear")
        ),
        labels=("a `tick`\n", "玫瑰"),
        metrics={"top1": 0.5, "macro_f1": 0.25, "loss": 1.0},
        versions=versions(),
    )
    model = create_model("MobileNetV3_small_x0_35", 2)
    folder = tmp_path_factory.mktemp("bundles") / "mine"
    return write_bundle(folder, manifest, model_state(model))


def test_what_was_pushed_is_pulled_and_loads(hub, server, bundle, tmp_path):
    pushed = hub("push", str(bundle.folder), "me/plants", "--license", "cc-by-4.0")
    assert pushed.code == 0, pushed.err
    assert pushed.out.strip().startswith(f"{server.address}/me/plants/commit/")
    assert server.repos["me/plants"].keys() == {"bundle.json", "model.safetensors", "README.md"}
    pulled = hub("pull", "me/plants")
    assert pulled.code == 0, pulled.err
    assert "MobileNetV3_small_x0_35, 2 classes, commit" in pulled.out
    there = Bundle.load(tmp_path / "plants")
    assert there.manifest == bundle.manifest
    assert sorted(path.name for path in (tmp_path / "plants").iterdir()) == [
        "bundle.json",
        "model.safetensors",
    ]
    again = hub("pull", "me/plants")
    assert (again.code, "is there already" in again.err) == (1, True)


def test_the_card_has_front_matter_that_the_hub_takes(hub, server, bundle):
    from huggingface_hub import ModelCard

    hub("push", str(bundle.folder), "me/plants", "--license", "cc-by-4.0")
    text = server.repos["me/plants"]["README.md"].decode()
    card = ModelCard(text)
    assert card.data.license == "cc-by-4.0"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "ppclas"
    assert card.data.metrics == ["accuracy", "f1"]
    assert yaml.safe_load(text.split("---")[1])["tags"][-1] == "MobileNetV3_small_x0_35"
    # A class name cannot end its own quoting, nor begin a line.
    assert "`a tick\\n`, `玫瑰`" in text
    assert "| top1 | 0.5000 |" in text
    assert "ppclas hub pull me/plants plants" in text


def test_who_is_not_signed_in_cannot_push(hub, server, bundle):
    result = hub("push", str(bundle.folder), "me/plants", env={"HF_TOKEN": "wrong"})
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1
    assert "me/plants" in result.err
    assert server.repos == {}


@pytest.mark.parametrize("repo", ["me/none", "not a name", "a/b/c"])
def test_a_repository_that_is_not_there_is_one_line(hub, repo):
    result = hub("pull", repo)
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert repo in result.err


def test_a_hub_that_does_not_answer_is_one_line(ppclas, tmp_path):
    result = ppclas("hub", "pull", "a/b", "--endpoint", "http://127.0.0.1:9", cwd=tmp_path)
    assert result.code == 1
    assert "cannot be reached for a/b" in result.err


def test_nothing_is_asked_offline(ppclas, tmp_path):
    result = ppclas("hub", "pull", "a/b", cwd=tmp_path, env={"PPCLAS_OFFLINE": "1"})
    assert (result.code, "PPCLAS_OFFLINE" in result.err) == (1, True)


def put(server, bundle, **changes):
    """A stranger's repository: the bundle's files, some of them changed."""
    names = ("bundle.json", "model.safetensors")
    files = {name: (bundle.folder / name).read_bytes() for name in names}
    server.repos["x/y"] = {**files, **{k.replace("__", "."): v for k, v in changes.items()}}
    return json.loads(files["bundle.json"])


def hostile(server, bundle, kind):
    manifest = put(server, bundle)
    if kind == "other weights":
        put(server, bundle, model__safetensors=b"x" * 1000)
    elif kind == "edited":
        manifest["labels"][0] = "something else"
        put(server, bundle, bundle__json=json.dumps(manifest).encode())
    elif kind == "a path outside":
        manifest["files"]["../../evil"] = {"bytes": 1, "sha256": "0" * 64}
        manifest["seals"] = {}
        put(server, bundle, bundle__json=json.dumps(manifest).encode())
    elif kind == "no json":
        put(server, bundle, bundle__json=b"\x1b[2J" + b"[" * 1000)
    elif kind == "an export":
        manifest |= {"kind": "export", "export": {"engine": "onnx", "model": "model.onnx"}}
        manifest["seals"] = {}
        put(server, bundle, bundle__json=json.dumps(manifest).encode())
    elif kind == "no weights":
        del server.repos["x/y"]["model.safetensors"]
    else:
        server.lie = {"model.safetensors": 10**13, "bundle.json": 10}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("other weights", "model.safetensors is not the file"),
        ("edited", "was changed after it was written"),
        ("a path outside", "lies outside the bundle"),
        ("no json", "cannot be read"),
        ("an export", "is an export"),
        ("no weights", "holds no model.safetensors"),
        ("huge", r"model.safetensors has 10,000,000,000,000 bytes"),
    ],
)
def test_a_strangers_repository_is_checked_before_anything_stays(
    hub, server, bundle, tmp_path, kind, said
):
    hostile(server, bundle, kind)
    result = hub("pull", "x/y", "here")
    assert result.code == 1
    assert said in result.err
    assert "\x1b" not in result.err
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert list(tmp_path.iterdir()) == []


def test_only_the_two_files_are_asked_for(hub, server, bundle, tmp_path):
    put(server, bundle, train__py=b"print('run me')", weights__pkl=b"\x80")
    assert hub("pull", "x/y", "here").code == 0
    resolved = {path.rpartition("/")[2] for path in server.asked if "/resolve/" in path}
    assert resolved == {"bundle.json", "model.safetensors"}

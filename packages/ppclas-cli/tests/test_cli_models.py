"""``ppclas models``: sorting the real catalogue, downloading and profiling."""

from __future__ import annotations

import csv
import http.server
import io
import json
import pickle
import threading

import numpy as np
import pytest

pytest.importorskip("ppclas_models", reason="ppclas-models has the catalogue")

from ppclas_models.catalog import load_catalog
from ppclas_models.shapes import shapes_of


def test_the_catalogue_sorted_as_csv(ppclas):
    result = ppclas("models", "list", "*vd*", "--sort", "top1", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert (result.code, result.err) == (0, "")
    assert all("vd" in row["name"] for row in rows)
    accuracies = [float(row["top1"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    by_name = {row["name"]: row for row in rows}
    assert by_name["ResNet50_vd"]["latency_ms.v100_fp32_bs1"] == "3.165"  # the published table
    assert "series_description" not in rows[0]


@pytest.mark.parametrize(
    ("key", "fact"), [("params", "params"), ("flops", "flops_g"), ("params_m", "params_m")]
)
def test_smallest_first(ppclas, key, fact):
    rows = json.loads(ppclas("models", "list", "mobilenet", "--sort", key, "--json").out)
    values = [row[fact] for row in rows if row[fact] is not None]
    assert values == sorted(values)
    assert [row[fact] for row in rows[: len(values)]] == values


def test_the_beginning_of_a_key_takes_the_one_that_most_models_have(ppclas):
    result = ppclas("models", "list", "MobileNetV3", "--sort", "latency")
    assert "sorted by latency_ms.sd855_bs1\n" in result.err
    assert result.out.splitlines()[0].endswith("  latency_ms.sd855_bs1")
    assert result.out.splitlines()[2].startswith("MobileNetV3_small_x0_35 ")
    assert result.out.splitlines()[2].endswith("  2.635")  # the published table


def test_info_has_the_series_and_what_to_cite(ppclas):
    row = json.loads(ppclas("models", "info", "Fix_ResNet50_vd_ssld_v2", "--json").out)
    assert row["architecture"] == "ResNet50_vd"
    assert "average pooling in the shortcuts" in row["series_description"]
    assert row["citations"][0].startswith("He, T., Zhang, Z., ")
    assert not {"pretrained", "about"} & row.keys()


def test_every_series_has_its_words():
    from ppclas_models.series import about

    for name in load_catalog():
        facts = about(name)
        assert facts["series_description"].endswith(".")
        assert all("http" in citation for citation in facts["citations"])


@pytest.fixture
def mirror():
    """The address of a server that has every file, all of them SqueezeNet1_0's."""
    content = pickle.dumps(
        {key: np.zeros(shape, "float32") for key, shape in shapes_of("SqueezeNet1_0").items()}
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def environment(home, offline=None):
    """Where the cache is, and whether the network is left alone."""
    return {"PPCLAS_HOME": str(home), "PPCLAS_OFFLINE": offline, "no_proxy": "*"}


def test_download(ppclas, mirror, tmp_path):
    env = environment(tmp_path / "home")
    cached = tmp_path / "home" / "weights" / "SqueezeNet1_0_pretrained.pdparams"
    result = ppclas("models", "download", "SqueezeNet1_0", "--mirror", mirror, env=env)
    assert (result.code, result.out) == (0, f"{cached}\n")
    assert result.err.startswith("downloading SqueezeNet1_0_pretrained.pdparams from 127.0.0.1:")
    result = ppclas(
        "models",
        "download",
        "SqueezeNet1_0",
        "-p",
        str(tmp_path / "here"),
        "--mirror",
        mirror,
        "--json",
        env=env,
    )
    here = tmp_path / "here" / cached.name
    assert json.loads(result.out) == {
        "name": "SqueezeNet1_0",
        "path": str(here),
        "bytes": cached.stat().st_size,
    }
    assert here.read_bytes() == cached.read_bytes()


def test_download_of_something_else_is_one_line(ppclas, mirror, tmp_path):
    env = environment(tmp_path / "home")
    result = ppclas("models", "download", "ResNet18", "--mirror", mirror, env=env)
    assert (result.code, result.out) == (1, "")
    _, error = result.err.splitlines()
    assert error.startswith(
        f"error: {mirror}/dygraph/legendary_models/ResNet18_pretrained.pdparams gives something "
        "else"
    )
    assert "107 of the 107 tensors are missing" in error


def test_download_mistakes(ppclas, tmp_path):
    env = environment(tmp_path, offline="1")
    result = ppclas("models", "download", "ResNet18", env=env)
    assert result.code == 1
    assert "nothing is downloaded while PPCLAS_OFFLINE is set" in result.err
    assert str(tmp_path / "weights" / "ResNet18_pretrained.pdparams") in result.err
    assert "Did you mean 'ResNet18'" in ppclas("models", "download", "ResNet19", env=env).err
    assert (
        "no .pdparams weights of ResNet50_vd_v2 are published"
        in ppclas("models", "download", "ResNet50_vd_v2", env=env).err
    )


def test_profile(ppclas):
    row = json.loads(ppclas("models", "profile", "MobileNetV3_small_x0_35", "--json").out)
    published = load_catalog()["MobileNetV3_small_x0_35"]
    assert row["params"] == published.params
    assert row["macs"] / 1e9 == pytest.approx(published.macs_g, abs=6e-5)
    assert row["published_flops_g"] == published.flops_g
    assert sum(layer["macs"] for layer in row["layers"]) == row["macs"]
    assert row["layers"][0]["output"] == [8, 112, 112]
    result = ppclas(
        "models", "profile", "MobileNetV3_small_x0_35", "--image-size", "64", "--layers"
    )
    assert "published" not in result.out
    assert "conv.conv " in result.out
    assert "8x32x32" in result.out


def test_convert_there_and_back(ppclas, tmp_path):
    state = {
        key: np.full(shape, 0.5, "float32") for key, shape in shapes_of("SqueezeNet1_1").items()
    }
    (tmp_path / "mine.pdparams").write_bytes(pickle.dumps(state))
    convert = ["models", "convert", "--model", "SqueezeNet1_1"]
    result = ppclas(*convert, "mine.pdparams", "--to", "scattered", cwd=tmp_path)
    assert result == (0, "SqueezeNet1_1: 52/52 tensors taken\n", "")
    assert (tmp_path / "SqueezeNet1_1" / "fire2_expand1x1_weights").is_file()
    result = ppclas(*convert, "SqueezeNet1_1", "--json", cwd=tmp_path)
    report = json.loads(result.out)
    assert (report["output"], report["format"]) == ("SqueezeNet1_1.safetensors", "safetensors")
    assert (report["origin"], report["taken"]) == ("legacy", 52)


def test_convert_mistakes(ppclas, tmp_path):
    (tmp_path / "x.pdparams").write_bytes(b"\x80nonsense")
    (tmp_path / "there.safetensors").write_bytes(b"")

    def error(*arguments, model="SqueezeNet1_1"):
        words = ["models", "convert", *arguments, "--model", model]
        result = ppclas(*words, cwd=tmp_path)
        assert result.code != 0
        return result.err

    there = error("x.pdparams", "-o", "there.safetensors")
    assert "there.safetensors is there already" in there
    assert "damaged" in error("x.pdparams")
    assert "is no state dict as torch.save writes it" in error("x.pdparams", "--from", "torch")
    assert "'MyNet' is no name of the catalogue" in error("x.pdparams", model="MyNet")
    assert "there are no weights at nothing" in error("nothing", model="ResNet18")

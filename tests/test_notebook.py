"""What people try first in a notebook, in a real kernel: each call gives what it promises, and
nothing is written on stderr but warnings that are meant.
"""

import functools
import http.server
import re
import threading

import pytest
from ppclas_data.testing import make_tiny_dataset

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("paddle")
pytestmark = pytest.mark.slow

CALLS = {
    "import": "import io, numpy as np, ppclas\nfrom PIL import Image",
    "default": "model = ppclas.load()\nmodel",
    "path": "model.predict('photos/class_00/000.png')",
    "by name": "ppclas.load('mobilenet_v2').predict('photos/class_00/000.png', top_k=2)",
    "url": "model.predict('ADDRESS/class_00/000.png')",
    "bytes": "model.predict(open('photos/class_00/000.png', 'rb').read())",
    "pillow": "picture = Image.open('photos/class_00/000.png')\nmodel.predict(picture)",
    "rgb": "pixels = np.asarray(picture.convert('RGB'))\nmodel.predict(pixels)",
    "grey": "model.predict(np.asarray(picture.convert('L')))",
    "rgba": "model.predict(np.asarray(picture.convert('RGBA')))",
    "chw": "model.predict(pixels.transpose(2, 0, 1), layout='CHW')",
    "list": "model.predict(['photos/class_00/000.png', pixels, picture])",
    "folder": "found = model.predict('photos')\nfound",
    "row": "[(one.path, one.label, one.probability) for one in found][:3]",
    "train": (
        "result = ppclas.train('photos', model='MobileNetV2', epochs=1, image_size=64,"
        " augment='light', batch_size=6, overrides=['data.workers=0'])"
    ),
    "run": "mine = ppclas.load(result.run.path)\nmine.labels",
    "own": "mine.predict('photos/class_01')",
    "scores": "ppclas.evaluate(result.run.path).metrics['top1']",
    "config": (
        "config = ppclas.Config()\n"
        "config = config.replace("
        "data=config.data.replace(train='photos', image_size=64, batch_size=6, workers=0),"
        " train=config.train.replace(epochs=1))\n"
        "ppclas.train(config).run.path.name"
    ),
    "names": "ppclas.list_models('*vd*', pretrained=True)[:2]",
    "model": "net = ppclas.create_model('mobilenetv2', pretrained=True, num_classes=5)\ntype(net)",
    "features": (
        "import paddle\n"
        "maps = ppclas.create_model('MobileNetV2', features_only=True)"
        "(paddle.zeros([1, 3, 64, 64]))\n[list(one.shape) for one in maps]"
    ),
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    photos, _ = make_tiny_dataset(folder / "photos", per_class=8)
    handler = functools.partial(_Quiet, directory=str(photos))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    sources = [call.replace("ADDRESS", address) for call in CALLS.values()]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
    try:
        where = {"metadata": {"path": str(folder)}}
        _Client(book, timeout=240, kernel_name="python3", resources=where).execute()
    finally:
        server.shutdown()
        server.server_close()
    return dict(zip(CALLS, book.cells, strict=True))


class _Client(nbclient.NotebookClient):
    """Keeps what was shown and replaced since, which the notebook itself forgets."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "update_display_data":
            page = msg["content"]["data"].get("text/html", "")
            cell.metadata.setdefault("replaced", []).append(page)
        return super().process_message(msg, cell, cell_index)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


def shown(cell, kind="text/html"):
    return "\n".join(one["data"][kind] for one in cell.outputs if kind in one.get("data", {}))


def streams(cell, name):
    return "".join(one["text"] for one in cell.outputs if one.get("name") == name)


def test_every_call_runs_clean(cells):
    for name, cell in cells.items():
        assert not streams(cell, "stderr"), name
        assert not any(one.output_type == "error" for one in cell.outputs), name


@pytest.mark.parametrize("call", ["path", "bytes", "pillow", "rgb", "chw", "rgba", "by name"])
def test_an_answer_is_a_thumbnail_and_bars(cells, call):
    page = shown(cells[call])
    assert page.count("src='data:image/jpeg;base64,") == 1
    assert len(re.findall(r"width:[\d.]+%", page)) == (2 if call == "by name" else 5)


def test_every_form_of_the_photo_gets_one_answer(cells):
    rows = {
        call: re.findall(r"<td>([^<]*)</td>.*?([\d.]+%)</td>", shown(cells[call]))
        for call in ("path", "url", "bytes", "pillow", "rgb", "chw", "rgba")
    }
    assert len(rows["path"]) == 5
    assert {call: row == rows["path"] for call, row in rows.items()} == dict.fromkeys(rows, True)


def test_a_photo_of_the_web_is_shown_from_there(cells):
    assert re.search(
        r"<img [^>]*src='http://127\.0\.0\.1:\d+/class_00/000\.png'", shown(cells["url"])
    )


def test_many_answers_show_the_first_ones(cells):
    assert shown(cells["list"]).count("<img") == 3
    assert shown(cells["folder"]).count("<img") == 20
    assert "and 4 more" in shown(cells["folder"])


def test_training_says_its_epochs_in_lines_and_leaves_no_bar(cells):
    said = shown(cells["train"])
    assert re.search(r"epoch 1/1", said)
    assert "<progress" not in said
    assert "'class_01'" in shown(cells["run"], "text/plain")
    assert 0 <= float(shown(cells["scores"], "text/plain").split()[-1]) <= 1


def test_the_bar_moved_while_it_trained(cells):
    bars = [page for page in cells["train"].metadata["replaced"] if "<progress" in page]
    assert bars
    assert any(re.search(r"epoch 1.*<progress value=\d+ max=\d+>.*loss", page) for page in bars)
    assert cells["train"].metadata["replaced"][-1] == ""


def test_models_are_listed_and_built(cells):
    assert "vd" in shown(cells["names"], "text/plain")
    assert "MobileNetV2" in shown(cells["model"], "text/plain")
    assert shown(cells["features"], "text/plain").startswith("[[1, ")

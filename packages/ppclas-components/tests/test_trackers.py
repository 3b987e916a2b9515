"""Event files are read back with their makers' own readers."""

import struct

import pytest
from ppclas_components.trackers import TensorBoard, VisualDL, flat_settings, tag_of
from ppclas_core.config.schema import ComponentConfig, Config, DataSection, ModelSection
from ppclas_core.errors import MissingDependencyError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.planning.plan import make_plan
from ppclas_engine.testing import FakePlugin

ROWS = [
    {
        "epoch": 0,
        "step": 0,
        "lr": 0.0,
        "train_loss": None,
        "loss": 2.0,
        "top1": 0.25,
        "num_images": 4,
    },
    {
        "epoch": 1,
        "step": 5,
        "lr": 0.1,
        "train_loss": 1.5,
        "loss": 1.0,
        "top1": 0.5,
        "num_images": 4,
    },
]


def track(tracker, run, rows=ROWS):
    run.mkdir(parents=True, exist_ok=True)
    tracker.start(
        run, {"train": {"seed": 3, "freeze": ("a",)}, "model": {"name": "Net"}, "x": True}
    )
    for row in rows:
        tracker.log(row, row["step"])
    tracker.finish()


def events(folder):
    pb2 = pytest.importorskip(
        "tensorboardX.proto.event_pb2", reason="tensorboardX is not installed"
    )
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data, place = file.read_bytes(), 0
        while place < len(data):  # TFRecord: length, checksum, content, checksum
            (length,) = struct.unpack_from("<Q", data, place)
            yield pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16


def scalars(folder):
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append(
                    (event.step, pytest.approx(value.simple_value))
                )
    return found


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    track(TensorBoard(), tmp_path / "run")
    found = scalars(tmp_path / "run" / "tensorboard")
    assert found["validation/loss"] == [(0, 2.0), (1, 1.0)]
    assert found["train/loss"] == [(1, 1.5)]
    assert found["result/top1"] == [(0, 0.5)]
    assert not {"validation/epoch", "validation/step", "validation/num_images"} & found.keys()
    plugins = {
        value.metadata.plugin_data.plugin_name
        for event in events(tmp_path / "run" / "tensorboard")
        for value in event.summary.value
    }
    assert "hparams" in plugins


def test_a_resumed_run_replaces_its_own_records_alone(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    logs = tmp_path / "logs"
    (tmp_path / "other").mkdir()
    track(TensorBoard(dir=str(logs)), tmp_path / "run")
    track(TensorBoard(dir=str(logs)), tmp_path / "other" / "run")  # the same name elsewhere
    track(
        TensorBoard(dir=str(logs)), tmp_path / "run", [*ROWS, {"epoch": 2, "step": 10, "loss": 0.5}]
    )
    assert sorted(scalars(logs / "run")["validation/loss"]) == [
        (0, 2.0),
        (0, 2.0),
        (1, 1.0),
        (1, 1.0),
        (2, 0.5),
    ]


def test_visualdl(tmp_path):
    visualdl = pytest.importorskip(
        "visualdl", reason="VisualDL, with some 40 dependencies, is not installed"
    )
    track(VisualDL(), tmp_path / "run")
    track(VisualDL(), tmp_path / "run")
    (file,) = (tmp_path / "run" / "vdl").glob("vdlrecords.*")
    reader = visualdl.LogReader(file_path=str(file))
    assert [(point.id, point.value) for point in reader.get_data("scalar", "validation/loss")] == [
        (0, 2.0),
        (1, 1.0),
    ]
    assert "hyper_parameters" in reader.get_tags()


@pytest.mark.parametrize(
    ("tracker", "module", "extra"),
    [(TensorBoard, "tensorboardX", "tensorboard"), (VisualDL, "visualdl", "vdl")],
)
def test_a_missing_package_is_named_before_training(tracker, module, extra, tmp_path):
    assert (tracker.package, tracker.extra) == (module, extra)

    class Elsewhere(tracker):
        package = "not_installed_anywhere"

    class Stranger:
        @hookimpl
        def register_trackers(self, registry):
            registry.register("Elsewhere", Elsewhere)

    said = rf'needs the package not_installed_any.* pip install "ppclas-engine\[{extra}\]"'
    with pytest.raises(MissingDependencyError, match=said):
        Elsewhere().check()
    make_tiny_dataset(tmp_path, classes=2, per_class=4, size=40)
    config = Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(tmp_path), batch_size=2),
        trackers=(ComponentConfig(name="Elsewhere"),),
    )
    with (
        use_plugin(FakePlugin()),
        use_plugin(Stranger(), "stranger"),
        pytest.raises(MissingDependencyError, match=said),
    ):
        make_plan(config, "cpu")


def test_names():
    assert [tag_of(name) for name in ("train_top1", "ema_loss", "lr")] == [
        "train/top1",
        "validation/ema_loss",
        "run/lr",
    ]
    settings = dict(flat_settings({"a": {"b": 1, "c": None, "d": (1, 2)}, "e": True}))
    assert settings == {"a.b": 1, "e": "true"}

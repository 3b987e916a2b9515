"""A pipeline: what its file may say, and stages that are done, gone on with, or changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from ppclas_core.config.load import load_config
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_distill.stages import load_pipeline, shipped

RECIPES = Path(__file__).parents[4] / "shared" / "spec" / "recipes.json"


def write(folder, stages, **more):
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump({"stages": stages, **more}))
    return str(file)


@pytest.mark.parametrize("name", ["ssld-mobilenetv3-large", "ssld-resnet50-vd"])
def test_the_pipelines_that_ship_are_right(name):
    assert name in shipped()
    pipeline = load_pipeline(name, ["stages.0.select.pool=/data/pool", "common.data.root=/data"])
    assert pipeline.stages[0].select is not None
    assert pipeline.stages[0].select.pool == "/data/pool"
    assert [stage.name for stage in pipeline.stages][:4] == [
        "select",
        "dedup",
        "distil",
        "finetune",
    ]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a"}], "exactly one of select, dedup and train"),
        (
            [{"name": "a", "train": "demo", "weights_from": "b"}],
            "stage a refers to 'b'; before it there are: none",
        ),
        (
            [{"name": "a", "train": "demo"}, {"name": "a", "train": "demo"}],
            "two stages are called 'a'",
        ),
        ([{"name": "a", "dedup": {"against": "val"}}], "give either pool"),
        ([{"name": "../a", "train": "demo"}], "name"),
        ([{"name": "a", "trian": "demo"}], "trian"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, stages, message):
    with pytest.raises(ConfigError, match=message):
        load_pipeline(write(tmp_path, stages))


def test_unknown_pipelines_are_told_with_near_names():
    with pytest.raises(ConfigError, match="Did you mean 'ssld-resnet50-vd'"):
        load_pipeline("ssld-resnet50")


def test_what_is_not_there_is_told_before_anything_runs(tmp_path):
    """Not after a week of the stages before it."""
    from ppclas_distill.pipeline import run_pipeline
    from ppclas_engine.console import Console

    (tmp_path / "pool").mkdir()
    stages = [
        {
            "name": "select",
            "select": {
                "pool": str(tmp_path / "pool"),
                "teacher": {"source": "big.onnx"},
                "per_class": 1,
            },
        },
        {"name": "dedup", "dedup": {"pool_from": "select"}},
        {
            "name": "distil",
            "train": "demo",
            "extra_from": "dedup",
            "set": {"data": {"train": "nowhere"}},
        },
    ]
    file = write(tmp_path, stages, common={"data": {"val": "val.txt"}})
    with pytest.raises(ConfigError) as told:
        run_pipeline(load_pipeline(file), tmp_path / "out", Console(quiet=True))
    words = str(told.value)
    assert (
        "There is no big.onnx (stage select, teacher); no val.txt (stage dedup, against); no "
        "nowhere (stage" in words
    )
    assert words.endswith("Nothing has been started.")
    assert not (tmp_path / "out").exists()


def test_the_validation_photos_are_those_of_the_stages_that_train(tmp_path):
    given = ["common.data.val=/data/val.txt", "common.data.root=/photos"]
    pipeline = load_pipeline("ssld-resnet50-vd", given)
    assert pipeline.stages[1].dedup is not None
    assert pipeline.against(pipeline.stages[1].dedup) == ("/data/val.txt", "/photos")
    with pytest.raises(
        ConfigError, match=r"stage a: give against, or the validation photos as common\.data\.val"
    ):
        load_pipeline(write(tmp_path, [{"name": "a", "dedup": {"pool": "photos"}}]))


@pytest.mark.parametrize(
    ("recipe", "old"),
    [
        ("ssld-mobilenetv3-large", "Distillation/R50_vd_distill_MV3_large_x1_0.yaml"),
        ("ssld-resnet50-vd", "Distillation/ResX101_32x16d_wsl_distill_R50_vd.yaml"),
    ],
)
def test_recipes_have_the_published_settings(recipe, old):
    if not RECIPES.is_file():
        pytest.skip(f"needs {RECIPES}, which is not part of the repository")
    published = next(
        r["config"] for r in json.loads(RECIPES.read_text())["recipes"] if r["file"] == old
    )
    config = load_config(recipe).config
    teacher, student = published["ARCHITECTURE"]["name"].split("_distill_")
    assert config.model.name == student
    assert config.objective.params["teachers"][0]["source"].removesuffix("_ssld") == teacher
    assert config.objective.params["losses"] == ({"name": "ssld"},)
    assert (config.train.epochs, config.data.batch_size) == (
        published["epochs"],
        published["TRAIN"]["batch_size"],
    )
    rate = published["LEARNING_RATE"]
    assert (config.schedule.name, config.schedule.params["lr"]) == (
        rate["function"],
        rate["params"]["lr"],
    )
    optimizer = published["OPTIMIZER"]
    assert (config.optimizer.name, config.optimizer.params) == (
        optimizer["function"],
        optimizer["params"],
    )
    assert config.optimizer.weight_decay == optimizer["regularizer"]["factor"]
    assert "label_smoothing" not in config.loss.params


def test_every_recipe_is_a_config():
    names = [name for name in get_registries().recipes if name.startswith("ssld")]
    assert len(names) == 5
    for name in names:
        load_config(name)


@pytest.mark.slow
def test_a_pipeline_runs_its_stages_and_goes_on(tmp_path):
    pytest.importorskip("paddle")
    from ppclas_core.config.schema import Config, DataSection, ModelSection, TrainSection
    from ppclas_core.testing import use_plugin
    from ppclas_data.sources.photo_files import image_files
    from ppclas_data.testing import make_tiny_dataset
    from ppclas_distill.pipeline import run_pipeline
    from ppclas_engine.console import Console
    from ppclas_engine.session import train
    from ppclas_engine.testing import FakePlugin
    from safetensors.numpy import load_file

    make_tiny_dataset(tmp_path / "photos" / "train", classes=3, per_class=8, size=40)
    make_tiny_dataset(tmp_path / "photos" / "val", classes=3, per_class=4, size=40)
    (tmp_path / "pool").mkdir()
    for number, photo in enumerate(image_files(tmp_path / "photos" / "val")):
        shutil.copy(
            photo, tmp_path / "pool" / f"{number}{Path(photo).suffix}"
        )  # look-alikes to be found
    common = {
        "model": {"name": "FakeNet"},
        "data": {
            "image_size": 32,
            "batch_size": 8,
            "workers": 0,
            "train": str(tmp_path / "photos" / "train"),
        },
        "schedule": {"name": "Constant", "lr": 0.02},
        "train": {"epochs": 1, "device": "cpu"},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(common))
    (tmp_path / "distil.yaml").write_text(
        yaml.safe_dump(
            {
                **common,
                "objective": {
                    "name": "Distill",
                    "teachers": [{"source": str(tmp_path / "teacher")}],
                },
            }
        )
    )
    stages = [
        {
            "name": "select",
            "select": {
                "pool": str(tmp_path / "pool"),
                "teacher": {"source": str(tmp_path / "teacher")},
                "per_class": 4,
            },
        },
        {"name": "distil", "train": str(tmp_path / "distil.yaml"), "extra_from": "select"},
        {"name": "fix", "train": str(tmp_path / "base.yaml"), "weights_from": "distil"},
    ]
    stages[2]["set"] = {
        "train": {"freeze": ["backbone"], "probe_head": False},
        "data": {"image_size": 40},
    }
    # The pool is made of the validation photos: with these, nothing would be left to train on.
    val = str(tmp_path / "photos" / "train")
    file = write(tmp_path, stages, common={"data": {"val": val}})
    out = tmp_path / "out"
    with use_plugin(FakePlugin()):
        plain = Config(
            model=ModelSection(name="FakeNet", pretrained=False),
            data=DataSection(
                train=str(tmp_path / "photos" / "train"), image_size=32, batch_size=8, workers=0
            ),
            train=TrainSection(epochs=1, output=str(tmp_path / "teacher"), device="cpu"),
        )
        train(plain, Console(quiet=True))
        run_pipeline(load_pipeline(file), out, Console(quiet=True))
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
        shutil.rmtree(out / "fix")
        run_pipeline(load_pipeline(file), out, Console(quiet=True))
        for path, changed in before.items():
            assert (path.stat().st_mtime_ns == changed) == ("fix" not in path.parts)
        # Of the last stage nothing but the classifier moved.
        first, last = (
            load_file(out / name / "bundle" / "model.safetensors") for name in ("distil", "fix")
        )
        assert {key for key in first if (first[key] != last[key]).any()} == {"fc.weight", "fc.bias"}
        with pytest.raises(
            ConfigError,
            match=r"stage distil is done in .* with other settings \(train.train.epochs",
        ):
            run_pipeline(
                load_pipeline(file, ["stages.1.set.train.epochs=2"]), out, Console(quiet=True)
            )
        # A key that came with a newer version, at its default, is no change.
        note = out / "distil" / "stage.json"
        known = note.read_text()
        older = json.loads(known)
        del older["stage"]["train"]["train"]["patience"]
        note.write_text(json.dumps(older))
        run_pipeline(load_pipeline(file), out, Console(quiet=True))
        note.write_text(known)
        # Stopped between the end of a training and its note: trained once, and only with the same
        # settings.
        finished = (out / "fix" / "summary.json").stat().st_mtime_ns
        (out / "fix" / "stage.json").unlink()
        with pytest.raises(
            ConfigError, match=r"started with another recipe: train\.epochs was 1, now 2"
        ):
            run_pipeline(
                load_pipeline(file, ["stages.2.set.train.epochs=2"]), out, Console(quiet=True)
            )
        run_pipeline(load_pipeline(file), out, Console(quiet=True))
        assert (out / "fix" / "summary.json").stat().st_mtime_ns == finished
        # A stage whose input has been made anew is not done.
        (out / "select" / "selected.txt").write_text("")
        with pytest.raises(
            ConfigError,
            match=r"stage distil is done in .*, and stage select, which it started from",
        ):
            run_pipeline(load_pipeline(file), out, Console(quiet=True))

"""The published training settings: the files against the old configs, and that they train."""

import json
from pathlib import Path

import pytest
from ppclas_core.config.load import load_config
from ppclas_core.plugins import get_registries
from ppclas_paddleclas.recipes import facts_of

SPEC = Path(__file__).parents[3] / "../shared/spec/recipes.json"


@pytest.fixture(scope="module")
def old():
    """Source → the old config, as it was parsed."""
    if not SPEC.is_file():
        pytest.skip(f"no reference data at {SPEC}")
    recipes = json.loads(SPEC.read_text(encoding="utf-8"))["recipes"]
    return {f"configs/{recipe['file']} of PaddleClas 2020": recipe["config"] for recipe in recipes}


@pytest.mark.parametrize("name", facts_of())
def test_a_recipe_has_the_published_settings(old, name):
    theirs, ours = old[facts_of()[name]["source"]], load_config(name).config
    params = theirs["LEARNING_RATE"]["params"]
    assert ours.train.epochs == theirs["epochs"]
    assert ours.data.batch_size == theirs["TRAIN"]["batch_size"]
    assert ours.schedule.params["lr"] == params["lr"]
    assert ours.optimizer.weight_decay == theirs["OPTIMIZER"]["regularizer"]["factor"]
    smoothing = theirs.get("ls_epsilon", -1)
    if not theirs.get("use_distillation"):
        assert ours.loss.params.get("label_smoothing", 0.0) == max(0.0, smoothing)
    assert bool(ours.data.batch_transforms) == bool(theirs.get("use_mix"))
    assert ours.model.name.startswith(theirs["ARCHITECTURE"]["name"].rpartition("_distill_")[2])


def test_every_old_file_that_trains_is_a_recipe(old):
    missing = {"CSPResNet50", "EfficientLite0", "ResNet_ACNet"}  # models that are not here
    training = {
        source
        for source, config in old.items()
        if config["mode"] == "train" and "kunlun" not in source
    }
    left = training - {facts["source"] for facts in facts_of().values()}
    assert {Path(source.split(" ")[0]).stem for source in left} <= missing


def test_what_was_published():
    published = {name: facts["published"] for name, facts in facts_of().items()}
    assert published["flowers102-ssld-erasing"] == 0.9627
    assert published["ResNet50_Cutmix"] == 0.7839
    assert published["ResNet50_vd"] == 0.791  # the catalogue's
    entry = get_registries().recipes.entry("flowers102-scratch")
    assert (entry.metadata["hardware"], entry.metadata["measured"]) == ("1 V100", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV3_small_x0_35", "ResNet50_Cutmix", "flowers102-ssld-erasing"]
)
def test_a_recipe_of_each_series_trains(name, tmp_path):
    from ppclas_data.testing import make_tiny_dataset
    from ppclas_engine.session import train

    photos, _ = make_tiny_dataset(tmp_path / "photos", 2, 4)
    overrides = (
        f"data.train={photos}",
        "data.val=null",
        "data.root=null",
        "data.batch_size=4",
        "data.workers=0",
        "data.eval_batch_size=4",
        "train.epochs=1",
        "model.pretrained=false",
        "schedule={name: Constant, lr: 0.01}",
        f"train.output={tmp_path / 'run'}",
    )
    rows = train(load_config(name, overrides).config).history
    assert rows[-1]["train_loss"] > 0

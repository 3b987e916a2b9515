"""The published training settings: the files against the old configs, and that they train."""

import json
import re
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


OF_2020 = [name for name, facts in facts_of().items() if "of PaddleClas 2020" in facts["source"]]
# From the files below ppcls/configs/ImageNet, for as many devices as they say their rates are for:
# epochs, images per step, rate, weight decay, end of the cosine.
OF_2X = {
    "ConvNeXt_tiny": (300, 1024, 4e-3, 0.05, 1e-6),
    "MobileViT_S": (300, 1024, 0.002, 0.01, 0.0002),
    "PPHGNetV2_B0": (200, 1024, 0.5, 2e-5, None),
    "PPHGNet_small": (600, 128, 0.5, 4e-5, None),
    "PPLCNetV2_base": (480, 500, 0.8, 4e-5, None),
    "PPLCNet_x1_0": (360, 512, 0.8, 3e-5, None),
    "PVT_V2_B0": (300, 1024, 1e-3, 0.05, 1e-5),
    "RepVGG_A0": (120, 64, 0.1, 1e-4, None),
    "SwinTransformer_tiny_patch4_window7_224": (300, 128, 5e-4, 0.05, 1e-5),
}


@pytest.mark.parametrize("name", sorted(set(facts_of()) - set(OF_2020)))
def test_a_recipe_of_2x_has_the_published_settings(name):
    config = load_config(name).config
    assert (
        config.train.epochs,
        config.data.batch_size,
        config.schedule.params["lr"],
        config.optimizer.weight_decay,
        config.schedule.params.get("end_lr"),
    ) == OF_2X[name]
    assert config.model.name == name


@pytest.mark.parametrize("name", OF_2020)
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


def of_each_series():
    """The lightest recipe of each series, one with a mix, one of the quick start."""
    registries = get_registries()
    lightest: dict[str, tuple[float, str]] = {}
    for name in facts_of():
        # Loading all of them would take seconds of every collection.
        text = Path(registries.recipes.build(name)).read_text(encoding="utf-8")
        model = re.search(r"^model:\n(?:  .*\n)*?  name: (\w+)", text, re.MULTILINE)
        facts = registries.models.entry(model[1]).metadata
        found = (facts["params"], name)
        lightest[facts["series"]] = min(found, lightest.get(facts["series"], found))
    return sorted({name for _, name in lightest.values()} | {"ResNet50_Cutmix"})


@pytest.mark.slow
@pytest.mark.parametrize("name", [*of_each_series(), "flowers102-ssld-erasing"])
def test_a_recipe_of_each_series_trains(name, tmp_path):
    from ppclas_data.testing import make_tiny_dataset
    from ppclas_engine.session import train

    photos, _ = make_tiny_dataset(tmp_path / "photos", 2, 3)
    overrides = (
        f"data.train={photos}",
        "data.val=null",
        "data.root=null",
        "data.batch_size=2",
        "train.accumulate=1",
        "train.device=cpu",
        "train.precision=float32",
        "data.workers=0",
        "data.eval_batch_size=2",
        "train.epochs=1",
        "model.pretrained=false",
        "schedule={name: Constant, lr: 0.01}",
        f"train.output={tmp_path / 'run'}",
    )
    rows = train(load_config(name, overrides).config).history
    assert rows[-1]["train_loss"] > 0

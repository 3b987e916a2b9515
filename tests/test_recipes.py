"""The recipes that ship with the packages."""

import json
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.config.load import load_config
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.weights import model_state, save_state
from ppclas_engine.planning.plan import make_plan


def test_the_recipes_that_ship_are_right():
    recipes = get_registries().recipes
    assert {"demo", "finetune", "imagenet-resnet50"} <= set(recipes.names())
    for name in recipes:
        load_config(name)


def test_imagenet_recipe_has_the_published_settings():
    # spec/recipes.json, ResNet/ResNet50.yaml
    config = load_config("imagenet-resnet50").config
    assert (config.train.epochs, config.data.batch_size, config.data.eval_batch_size) == (
        120,
        256,
        64,
    )
    assert config.schedule.model_dump() == {
        "name": "Piecewise",
        "lr": 0.1,
        "decay_epochs": (30, 60, 90),
        "gamma": 0.1,
    }
    assert (config.optimizer.weight_decay, config.optimizer.params) == (1e-4, {"momentum": 0.9})
    assert (config.data.image_size, config.data.resize_short, config.loss.params) == (224, 256, {})


def test_demo_recipe_is_what_train_infers_for_the_built_in_photos():
    inferred = make_plan(load_config().config, "cpu").config
    written = make_plan(load_config("demo").config, "cpu").config
    assert {**written.model_dump(), "optimizer": None} == {
        **inferred.model_dump(),
        "optimizer": None,
    }
    # The recipe also writes out the optimizer's own defaults.
    assert written.optimizer.replace(momentum=0.9) == inferred.optimizer.replace(momentum=0.9)


FACTS = Path(__file__).parents[2] / "shared" / "zoo" / "modern" / "models.json"
IMAGENET = {
    "imagenet-deit-tiny": "DeiT_tiny_patch16_224",
    "imagenet-swin-tiny": "SwinTransformer_tiny_patch4_window7_224",
    "imagenet-convnext-tiny": "ConvNeXt_tiny",
}
IMAGES_PER_STEP = {  # 8 devices; with 4 batches accumulated for ConvNeXt
    "imagenet-deit-tiny": 8 * 256,
    "imagenet-swin-tiny": 8 * 128,
    "imagenet-convnext-tiny": 8 * 128 * 4,
}
SMALL = {
    "deit": ["model.params.depth=1", "model.params.embed_dim=48"],
    "swin": ["model.params.depths=[1,1,1,1]", "model.params.embed_dim=32"],
    "convnext": ["model.params.depths=[1,1,1,1]", "model.params.channels=[8,16,24,32]"],
}
"""What makes the models of the recipes small."""
SIZE = "data.train_transforms.0.size=64"


@pytest.mark.skipif(not FACTS.is_file(), reason=f"no reference data at {FACTS}")
@pytest.mark.parametrize("recipe", IMAGENET)
def test_recipes_of_transformers_have_the_published_settings(recipe):
    facts = {fact["name"]: fact for fact in json.loads(FACTS.read_text(encoding="utf-8"))}
    fact = facts[IMAGENET[recipe]]
    wanted, config = fact["train_recipe"], load_config(recipe).config
    assert config.model.name == IMAGENET[recipe]
    assert get_registries().recipes.entry(recipe).metadata["published"] == fact["top1"]
    optimizer = config.optimizer
    assert optimizer.name == wanted["optimizer"] == "AdamW"
    assert optimizer.weight_decay == wanted["weight_decay"]
    assert optimizer.no_decay_norm_bias is wanted["one_dim_param_no_weight_decay"]
    assert config.data.batch_size == config.train.lr_batch_size == IMAGES_PER_STEP[recipe]
    assert config.schedule.lr == wanted["lr"]["learning_rate"]
    assert config.schedule.warmup_epochs == wanted["warmup_epochs"]
    assert config.train.epochs == wanted["epochs"]
    assert config.loss.label_smoothing == wanted["label_smoothing"]
    assert wanted["drop_path"] in (None, config.model.params["drop_path_rate"])
    assert wanted["ema"] in (None, config.train.ema_decay)
    (mix,) = config.data.batch_transforms
    operators = wanted["mixup"][0]["OpSampler"]
    assert mix.mixup["alpha"] == operators["MixupOperator"]["alpha"]
    assert mix.cutmix["alpha"] == operators["CutmixOperator"]["alpha"]
    assert mix.cutmix_share == operators["CutmixOperator"]["prob"]
    assert len(config.data.train_transforms) == len(wanted["augment"])
    assert (config.data.resize_short, config.data.image_size, config.data.interpolation) == (
        fact["eval"]["resize_short"],
        fact["eval"]["image_size"],
        fact["eval"]["interpolation"],
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """``weights(family)``: a file of random weights of the small model of a recipe."""

    def make(recipe: str, family: str) -> Path:
        config = load_config(recipe, [*SMALL[family]]).config
        file = tmp_path_factory.mktemp(family) / "random.safetensors"
        model = create_model(config.model.name, 10, **config.model.params)
        save_state(file, model_state(model))
        return file

    return make


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_a_few_steps_of_fine_tuning_a_transformer(family, tiny_photos, weights, ppclas, tmp_path):
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    recipe = f"finetune-{family}"
    overrides = ["data.batch_size=8", "data.workers=0", "schedule.warmup_epochs=0.5", SIZE]
    ppclas(
        *("train", tiny_photos, "-c", recipe, "--image-size", 64, "--epochs", 2),
        *("--pretrained", weights(recipe, family), "-o", f"train.output={tmp_path / 'run'}"),
        *(word for override in [*overrides, *SMALL[family]] for word in ("-o", override)),
    )
    assert "fitted to the frozen features" in (tmp_path / "run" / "log.txt").read_text()
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert max(row["epoch"] for row in rows) == 2
    losses = [row["train_loss"] for row in rows if row["train_loss"] is not None]
    assert len(losses) == 2  # the fitted classifier comes before the first epoch
    assert np.isfinite(losses).all()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", IMAGENET)
def test_a_few_steps_from_random_weights(recipe, tiny_photos, ppclas, tmp_path):
    pytest.importorskip("paddle", reason="needs the extra [cpu]")
    family = recipe.split("-")[1]
    overrides = ["data.batch_size=8", "data.workers=0", "schedule.warmup_epochs=0.5", SIZE]
    overrides += ["data.val=null", "data.root=null"]
    ppclas(
        *("train", tiny_photos, "-c", recipe, "--image-size", 64, "--epochs", 1),
        *("-o", f"train.output={tmp_path / 'run'}"),
        *(word for override in [*overrides, *SMALL[family]] for word in ("-o", override)),
    )
    assert (tmp_path / "run" / "bundle" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("model", "given", "name", "decay"),
    [
        ("DeiT_tiny_patch16_224", [], "AdamW", 0.75),
        ("ConvNeXt_tiny", [], "AdamW", 0.7),
        ("ConvNeXt_tiny", ["optimizer.layer_decay=0.9"], "Momentum", 0.9),
        ("ConvNeXt_tiny", ["optimizer.name=Momentum"], "Momentum", None),
        ("ResNet18", [], "Momentum", None),
    ],
)
def test_families_are_fine_tuned_in_their_way(model, given, name, decay, tiny_photos, tmp_path):
    (tmp_path / "any.safetensors").write_bytes(b"")
    overrides = [
        f"model.name={model}",
        f"model.pretrained={tmp_path / 'any.safetensors'}",
        f"data.train={tiny_photos}",
        *given,
    ]
    planned = make_plan(load_config(None, overrides).config, "cpu").config
    assert (planned.optimizer.name, planned.optimizer.layer_decay) == (name, decay)
    if name == "AdamW":
        assert planned.optimizer.weight_decay == 0.05
        assert planned.optimizer.no_decay_norm_bias
    # From random weights the family's way of fine-tuning does not matter.
    overrides[1] = "model.pretrained=false"
    fresh = make_plan(load_config(None, overrides).config, "cpu").config
    assert fresh.optimizer.name == "Momentum"
    # What was planned once is planned again.
    assert make_plan(planned, "cpu").config.optimizer == planned.optimizer


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        ("DeiT_tiny_patch16_224", 64, "of 224x224 pixels is resized for 64x64"),
        ("LeViT_128S", 96, "of 224x224 pixels is resized for 96x96"),
        ("DeiT_tiny_patch16_224", 224, None),
        ("SwinTransformer_tiny_patch4_window7_224", 64, None),  # its windows stay
    ],
)
def test_a_plan_says_that_positions_are_resized(model, size, said, tiny_photos):
    overrides = [
        f"model.name={model}",
        "model.pretrained=false",
        f"data.train={tiny_photos}",
        f"data.image_size={size}",
    ]
    notes = make_plan(load_config(None, overrides).config, "cpu").notes
    found = [note for note in notes if "is resized for" in note]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]

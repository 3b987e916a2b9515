"""The recipes that ship with the packages."""

from ppclas_core.config.load import load_config
from ppclas_core.plugins import get_registries
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

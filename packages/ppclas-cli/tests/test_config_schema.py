"""The JSON Schema of a config says what the loader says."""

import jsonschema
import pytest
from ppclas_cli.config_schema import config_schema
from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
)
from ppclas_core.config.yaml_source import parse_yaml
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries

FULL = Config(
    model=ModelSection(name="ResNet50", pretrained="weights/1e-4 中文.pdparams"),
    data=DataSection(
        train="yes",
        image_size=(160, 224),
        train_transforms=(
            ComponentConfig(name="RandomResizedCrop", size=(160, 224)),
            ComponentConfig(name="RandomFlip"),
        ),
        batch_transforms=(ComponentConfig(name="Mixup", alpha=0.2),),
    ),
    optimizer=OptimizerSection(name="AdamW", weight_decay=1e-6, lr_mult={"backbone": 0.1}),
)


@pytest.fixture(scope="module")
def validator():
    schema = config_schema(get_registries())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["demo", "finetune", "imagenet-resnet50"])
def test_schema_accepts_the_recipes(validator, name):
    path = get_registries().recipes.build(name)
    validator.validate(parse_yaml(path.read_text(encoding="utf-8"), name).value)


@pytest.mark.parametrize("config", [Config(), FULL], ids=["default", "full"])
def test_schema_accepts_what_is_dumped(validator, config):
    validator.validate(parse_yaml(dump_config(config), "f").value)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("schedule: {lr: 0.1}", True),
        ("schedule: {decay_epochs: [3]}", False),
        ("schedule: {name: Piecewise, decay_epochs: [3]}", True),
        ("optimizer: {name: AdamW, weight_decay: 0.05}", True),
        ("optimizer: {name: AdamW, beta3: 0.05}", False),
        ("optimizer: {momentum: 0.8, lr_mult: {backbone: 0.1}}", True),
        ("data: {batchsize: 3}", False),
        ("data: {train_transforms: [{name: RandomFlip}]}", True),
        ("data: {train_transforms: [{name: Nope}]}", False),
        ("data: {train_transforms: null}", True),
        ("data: {batch_transforms: null}", False),
        ("model: {name: Nope}", False),
        ("train: {epochs: 0}", False),
        ("{}", True),
    ],
)
def test_schema_and_loader_agree(validator, tmp_path, text, valid):
    assert validator.is_valid(parse_yaml(text, "f").value) == valid
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_config(file)
    except ConfigError:
        assert not valid
    else:
        assert valid


def test_schema_has_words_for_every_own_field():
    schema = config_schema(get_registries())
    for section in ("ModelSection", "DataSection", "TrainSection"):
        for name, field in schema["$defs"][section]["properties"].items():
            assert field.get("description") or "$ref" in field or name == "device", (
                f"{section}.{name} has no docstring"
            )

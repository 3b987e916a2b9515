"""What is written of a config: YAML that comes back equal, origins beside it, and the JSON
Schema.
"""

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ppclas_core.config.dump import annotate
from ppclas_core.config.load import config_schema, dump_config, load_config
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
)
from ppclas_core.config.yaml_source import parse_yaml
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


@pytest.mark.parametrize("config", [Config(), FULL], ids=["default", "full"])
def test_dump_loads_back_equal(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file).config == config


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), plain, max_size=3))
def test_any_plain_values_come_back(value):
    config = Config(model=ModelSection(params=value))
    assert parse_yaml(dump_config(config), "f").value["model"]["params"] == value


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_text_stays_text_for_yaml_1_1_readers_too(text):
    dumped = dump_config(Config(model=ModelSection(params={"text": text})))
    assert yaml.safe_load(dumped)["model"]["params"]["text"] == text


def test_origins_stand_beside_their_values():
    loaded = load_config(
        None, ["data.batch_transforms=[{name: Mixup, alpha: 0.4}]", "data.workers=0"]
    )
    lines = annotate(dump_config(loaded.config), loaded.origins).splitlines()
    assert [" ".join(line.split()) for line in lines if "# -o" in line] == [
        "- name: Mixup # -o data.batch_transforms=[{name: Mixup, alpha: 0.4}]",
        "alpha: 0.4 # -o data.batch_transforms=[{name: Mixup, alpha: 0.4}]",
        "workers: 0 # -o data.workers=0",
    ]
    assert "epochs: null # default" in [" ".join(line.split()) for line in lines]


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
    except Exception:
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

"""What is written of a config: YAML that comes back equal."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
)
from ppclas_core.config.yaml_source import parse_yaml

FULL = Config(
    model=ModelSection(name="ResNet18", pretrained="weights/1e-4 中文.pdparams"),
    data=DataSection(
        train="yes",
        image_size=(160, 224),
        train_transforms=(
            ComponentConfig(name="Crop", size=(160, 224)),
            ComponentConfig(name="Crop", size=8, mode="random"),
        ),
        batch_transforms=(ComponentConfig(name="Mix", alpha=0.2),),
    ),
    optimizer=OptimizerSection(name="Momentum", weight_decay=1e-6, lr_mult={"backbone": 0.1}),
)


PLAIN = Config(model=ModelSection(name="ResNet18"))


@pytest.mark.parametrize("config", [PLAIN, FULL], ids=["plain", "full"])
def test_dump_loads_back_equal(config, registries, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file, registries=registries).config == config


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

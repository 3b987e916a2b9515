"""The commands that look things up: models, recipes, plugins, config, data."""

import csv
import io
import json

import click
import pytest
import yaml
from ppclas_cli.commands.models.listing import print_info, print_models
from ppclas_cli.commands.plugins import print_plugins
from ppclas_components import plugin as components_plugin
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config, TrainSection
from ppclas_core.errors import UnknownNameError
from ppclas_core.plugins import PluginInfo, Registries, make_plugin_manager
from ppclas_data.testing import make_tiny_dataset


@pytest.fixture
def catalogue():
    registry = Registries().models
    add = registry.register
    add(
        "ResNet50",
        "m:a",
        metadata={
            "top1": 0.765,
            "params_m": 25.56,
            "pretrained": "m:locate",
            "paper": {"year": 2015},
        },
    )
    add(
        "ResNet50_vd",
        "m:b",
        aliases=("R50vd",),
        metadata={"top1": 0.791, "params_m": 25.58, "flops_g": 8.67},
    )
    add("SqueezeNet1_1", "m:c", summary="small", metadata={"top1": 0.601, "params_m": 1.23})
    add("MyNet", "m:d")
    return registry


def names(text):
    return [row["name"] for row in json.loads(text)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["ResNet50", "ResNet50_vd", "SqueezeNet1_1", "MyNet"]),
        ({"pattern": "resnet"}, ["ResNet50", "ResNet50_vd"]),
        ({"pattern": "*50"}, ["ResNet50"]),
        ({"pattern": "*50_VD*"}, ["ResNet50_vd"]),
        ({"pattern": "r50VD"}, ["ResNet50_vd"]),
        ({"pattern": "nothing"}, []),
        ({"key": "top1"}, ["ResNet50_vd", "ResNet50", "SqueezeNet1_1", "MyNet"]),
        ({"key": "params_m"}, ["SqueezeNet1_1", "ResNet50", "ResNet50_vd", "MyNet"]),
        ({"key": "name"}, ["MyNet", "ResNet50", "ResNet50_vd", "SqueezeNet1_1"]),
    ],
)
def test_models_as_json(catalogue, capsys, asked, found):
    print_models(catalogue, **asked, as_json=True)
    shown = capsys.readouterr()
    assert names(shown.out) == found
    assert shown.err == ""


def test_models_for_people(catalogue, capsys):
    print_models(catalogue)
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "  name            top-1  params (M)  FLOPs (G)  weights",
        "  -------------  ------  ----------  ---------  --------",
        "",
        "ppclas-core",
        "  ResNet50       76.50%       25.56          -  to fetch",
        "  ResNet50_vd    79.10%       25.58      8.670  -",
        "  SqueezeNet1_1  60.10%        1.23          -  -",
        "  MyNet               -           -          -  -",
    ]
    assert shown.err == "4 of 4 models\n"
    print_models(catalogue, key="top1")
    assert capsys.readouterr().out.splitlines()[2:4] == [
        "ResNet50_vd    79.10%       25.58      8.670  -",
        "ResNet50       76.50%       25.56          -  to fetch",
    ]


def test_models_as_csv(catalogue, capsys):
    print_models(catalogue, as_csv=True)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == ["ResNet50", "ResNet50_vd", "SqueezeNet1_1", "MyNet"]
    assert rows[2]["top1"] == "0.601"
    assert rows[3]["top1"] == ""
    assert "paper" not in rows[0]


def test_models_that_are_not_there(catalogue, ppclas):
    with pytest.raises(UnknownNameError) as raised:
        print_models(catalogue, "resnet5O")
    assert str(raised.value) == (
        "No model fits 'resnet5O'. Did you mean 'ResNet50' or 'ResNet50_vd'? Run 'ppclas models "
        "list' to see all 4."
    )
    with pytest.raises(click.BadParameter, match="no model has 'size'; there are: name, package, "):
        print_models(catalogue, key="size")
    result = ppclas("models", "list", "--sort", "size")
    assert (result.code, result.out) == (2, "")
    assert "no model has 'size'; there are: name, package" in result.err


def test_all_facts_of_a_model(catalogue, capsys):
    print_info(catalogue, "ResNet50", as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "name": "ResNet50",
        "package": "ppclas-core",
        "top1": 0.765,
        "params_m": 25.56,
        "paper": {"year": 2015},
    }
    print_info(catalogue, "R50vd")
    assert capsys.readouterr().out.splitlines()[0] == "name      ResNet50_vd"
    with pytest.raises(UnknownNameError, match="Did you mean 'ResNet50'"):
        print_info(catalogue, "ResNet5")


def test_the_real_catalogue(ppclas):
    pytest.importorskip("ppclas_models", reason="ppclas-models has the catalogue")
    row = json.loads(ppclas("models", "info", "ResNet50_vd", "--json").out)
    assert (row["top1"], row["params_m"]) == (0.791, 25.58)  # the published table


def test_recipes(ppclas, tmp_path):
    rows = json.loads(ppclas("recipes", "list", "--json").out)
    assert {"demo", "finetune", "imagenet-resnet50"} <= {row["name"] for row in rows}
    assert "demo " in ppclas("recipes", "list").out
    mine = tmp_path / "mine.yaml"
    mine.write_text(ppclas("recipes", "show", "finetune").out, encoding="utf-8")
    assert load_config(mine).config == load_config("finetune").config
    assert "Did you mean 'demo'?" in ppclas("recipes", "show", "demmo").err


def test_recipes_say_what_was_published_and_what_was_measured(ppclas):
    out = ppclas("recipes", "list", "flowers102-ssld*").out
    assert "flowers102-ssld-erasing  96.27 %                -  flowers102: " in out
    assert "demo" not in out


def test_a_recipe_is_planned_on_other_photos(ppclas, tmp_path):
    photos, _ = make_tiny_dataset(tmp_path / "photos", 2, 4)
    arguments = ("--dry-run", "-o", "data.batch_size=4", "-o", "data.workers=0")
    result = ppclas("recipes", "run", "MobileNetV3_small_x0_35", str(photos), *arguments)
    assert result.code == 0, result.err
    assert "MobileNetV3_small_x0_35" in result.out + result.err
    assert "Did you mean" in ppclas("recipes", "run", "MobileNetV3_smal_x0_35", str(photos)).err


def test_config_show(ppclas, tmp_path):
    result = ppclas("config", "show", "demo", "-o", "train.epochs=3")
    assert (result.code, result.err) == (0, "")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "epochs: 3 # -o train.epochs=3" in lines
    assert "batch_size: 16 # recipe demo:10" in lines
    assert "seed: 0 # default" in lines
    file = tmp_path / "x.yaml"
    file.write_text(ppclas("config", "show", "demo", "--plain").out, encoding="utf-8")
    assert "#" not in file.read_text(encoding="utf-8")
    assert load_config(file).config == load_config("demo").config
    mixup = "data.batch_transforms=[{name: Mixup, alpha: 0.4}]"
    said = ppclas("config", "show", "-o", mixup, "-o", "data.workers=0").out.splitlines()
    assert [" ".join(line.split()) for line in said if "# -o" in line] == [
        f"- name: Mixup # -o {mixup}",
        f"alpha: 0.4 # -o {mixup}",
        "workers: 0 # -o data.workers=0",
    ]
    shown = json.loads(ppclas("config", "show", "-o", "train.seed=7", "--json").out)
    assert shown["config"]["train"]["seed"] == 7
    assert shown["origins"]["train.seed"] == "-o train.seed=7"


def test_config_validate(ppclas, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("train: {epochs: 3}", encoding="utf-8")
    bad.write_text("train: {epochs: x, sed: 3}", encoding="utf-8")
    assert ppclas("config", "validate", str(good)) == (0, f"{good}: ok\n", "")
    result = ppclas("config", "validate", str(bad), str(good))
    assert (result.code, result.out) == (1, f"{good}: ok\n")
    assert result.err.splitlines() == [
        "error: the config has 2 mistakes:",
        f"  {bad}:1:17: train.epochs: expected a whole number, got the text 'x'.",
        f"  {bad}:1:20: train.sed: unknown key 'sed'. Did you mean 'seed'? Expected one of: "
        f"{', '.join(TrainSection.model_fields)}.",
    ]


def test_config_schema_is_json(ppclas):
    schema = json.loads(ppclas("config", "schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(Config.model_fields)


def test_plugins(capsys):
    manager = make_plugin_manager(discover=False)
    manager.add(components_plugin, "components", "ppclas-components")
    manager.plugins.append(
        PluginInfo(
            "bad", "bad-plugin", "1.2", "bad.module", "ImportError: no x", "Traceback …\nno x\n"
        )
    )
    print_plugins(manager)
    out = capsys.readouterr().out
    assert "(plugin 'components', ppclas_components.plugin)\n" in out
    assert "  losses: CrossEntropy, BinaryCrossEntropy, Focal, Asymmetric\n" in out
    assert "bad-plugin 1.2  (plugin 'bad', bad.module)\n  failed: ImportError: no x\n" in out
    assert "Traceback" not in out
    print_plugins(manager, verbose=True)
    assert "    Traceback …\n    no x\n" in capsys.readouterr().out
    print_plugins(manager, as_json=True)
    builtin, bad = json.loads(capsys.readouterr().out)
    assert builtin["ok"]
    assert builtin["registers"]["losses"][0] == "CrossEntropy"
    assert (bad["ok"], bad["reason"], bad["registers"]) == (False, "ImportError: no x", {})


def test_installed_plugins(ppclas):
    rows = json.loads(ppclas("plugins", "--json").out)
    assert {"ppclas-cli", "ppclas-engine"} <= {row["package"] for row in rows if row["ok"]}
    assert "(plugin 'cli', ppclas_cli.plugin)" in ppclas("plugins").out


def test_data_check_of_the_built_in_photos(ppclas):
    result = ppclas("data", "check", "--json")
    report = json.loads(result.out)
    assert (result.code, report["ok"]) == (0, True)
    assert (report["train"]["num_images"], report["val"]["num_images"]) == (192, 96)
    out = ppclas("data", "check").out
    assert "0 Cantaloupe             24          12\n" in out
    assert out.endswith("These photos can be trained on.\n")


def test_data_check_of_nothing(ppclas, tmp_path):
    result = ppclas("data", "check", str(tmp_path))
    assert result.code == 1
    assert result.out.startswith(
        f"error: {tmp_path}: expected a folder of class folders with photos in them"
    )
    assert json.loads(ppclas("data", "check", str(tmp_path), "--json").out)["ok"] is False


def test_a_config_of_paddleclas_is_migrated_as_yaml_alone(ppclas, tmp_path):
    old = tmp_path / "old.yaml"
    old.write_text(
        "{Global: {epochs: 3}, Arch: {name: ResNet50}, Optimizer: {name: SGD, lr: "
        "{name: Constant, learning_rate: 0.1}}, Loss: {Train: [CELoss: {weight: 1}]}, "
        "DataLoader: {Train: {dataset: {name: ImageNetDataset, image_root: photos, "
        "cls_label_path: train.txt}, sampler: {batch_size: 8}}}}"
    )
    result = ppclas("config", "migrate", str(old), "-o", "Global.epochs=7")
    assert result.code == 0, result.out + result.err
    assert yaml.safe_load(result.out)["train"]["epochs"] == 7
    assert "Arch.name → model.name: ResNet50\n" in result.err


def test_a_config_for_evaluation_is_not_trained_with(ppclas, tmp_path):
    old = tmp_path / "eval.yaml"
    old.write_text(
        "{mode: valid, ARCHITECTURE: {name: ResNet50_vd}, pretrained_model: ./w, "
        "VALID: {batch_size: 16, file_list: val.txt, data_dir: photos}}"
    )
    result = ppclas("train", "-c", str(old), "--dry-run")
    assert result.code == 1
    assert "there is nothing to train on" in result.err
    assert "ppclas eval --model ResNet50_vd --weights ./w --data val.txt" in result.err

"""Files, overrides and flags become one checked config that knows where each value came from."""

import subprocess
import sys

import pytest
from ppclas_core.config.explain import Problem
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.contracts.config_format import ConfigFormat, TranslatedConfig
from ppclas_core.errors import ConfigError, PpclasError


@pytest.fixture
def load(registries, tmp_path):
    def load(text="", overrides=(), flags=None):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides, flags, registries=registries)

    return load


@pytest.fixture
def errors(load, tmp_path):
    """The lines of the error that a config gives, without the folder of the file."""

    def errors(text="", overrides=()):
        with pytest.raises(PpclasError) as caught:
            load(text, overrides)
        lines = str(caught.value).replace(f"{tmp_path}/", "").split("\n  ")
        if len(lines) > 1:
            assert lines.pop(0) == f"the config has {len(lines)} mistakes:"
        return lines

    return errors


def test_nothing_is_all_defaults(load, registries):
    for text in ("", "# only a comment\n"):
        assert load(text).config == Config()
        assert load(text).notes[0].endswith("run.yaml is empty: everything is at its default")
    loaded = load_config(registries=registries)
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}


def test_later_ones_win_and_each_value_knows_its_origin(load, tmp_path):
    text = "data:\n  batch_size: 8\n  workers: 1\nschedule:\n  lr: 1e-4\ntrain: {epochs: 5}\n"
    loaded = load(
        text,
        ["data.batch_size=16", "data.batch_size=32"],
        {"--epochs": ("train.epochs", 7), "--val": ("data.val", None)},
    )
    assert loaded.config.data.batch_size == 32
    assert loaded.config.data.workers == 1
    assert loaded.config.schedule.params == {"lr": 1e-4}
    assert loaded.config.train.epochs == 7
    assert {key: origin for key, origin in loaded.origins.items() if origin != "default"} == {
        "data.batch_size": "-o data.batch_size=32",
        "data.workers": f"{tmp_path}/run.yaml:3",
        "schedule.lr": f"{tmp_path}/run.yaml:5",
        "train.epochs": "--epochs",
    }
    assert loaded.origins["schedule.name"] == "default"


def test_origin_of_one_item_of_a_default_list(load):
    loaded = load("data: {workers: 1}", ["data.normalize.std.0=1/255"])
    assert loaded.config.data.normalize.std == (1 / 255, 0.224, 0.225)
    assert loaded.origins["data.normalize.std"] == "-o data.normalize.std.0=1/255, default"
    assert loaded.origins["data.normalize.mean"] == "default"


def test_override_replaces_what_stood_below(load, tmp_path):
    text = "schedule:\n  name: CosineWarmup\n  warmup_epochs: 3\n"
    loaded = load(text, ["schedule={lr: 0.5}"])
    assert loaded.config.schedule.params == {"lr": 0.5}
    assert loaded.origins["schedule.lr"] == "-o schedule={lr: 0.5}"


def test_components_in_lists(load):
    loaded = load(
        "data:\n  train_transforms:\n  - {name: Crop, size: [8, 9]}\n",
        ["data.train_transforms.-1.mode=random"],
    )
    assert loaded.config.data.train_transforms[0].params == {"size": (8, 9), "mode": "random"}
    assert (
        loaded.origins["data.train_transforms.0.mode"] == "-o data.train_transforms.-1.mode=random"
    )


def test_component_without_a_name_is_the_default_one(load):
    assert load("loss: {label_smoothing: 0.1}").config.loss.name == "CrossEntropy"


def test_unknown_keys(errors):
    assert errors("data:\n  batchsize: 8\n")[0].startswith(
        "run.yaml:2:3: data.batchsize: unknown key 'batchsize'. Did you mean 'batch_size'? "
        "Expected one of: train, val,"
    )
    assert errors("batch_size: 8\n")[0].startswith(
        "run.yaml:1:1: batch_size: unknown key 'batch_size'. Did you mean 'data.batch_size'?"
    )
    assert errors("lr: 8\n")[0].startswith(
        "run.yaml:1:1: lr: unknown key 'lr'. Did you mean 'schedule.lr'?"
    )
    assert errors("optimizer: {momentun: 0.9}")[0] == (
        "run.yaml:1:13: optimizer.momentun: Momentum: unknown key 'momentun'. Did you mean "
        "'momentum'? Expected one of: momentum, weight_decay, no_decay_norm_bias, clip_norm, "
        "lr_mult, layer_decay."
    )
    assert errors("", ["foo.bar=1"]) == [
        "-o foo.bar=1: foo: unknown key 'foo'. Expected one of: "
        "model, data, loss, objective, optimizer, schedule, metrics, trackers, train."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epochs: ten}", "train.epochs: expected a whole number, got the text 'ten'."),
        ("train: {epochs: 1.5}", "train.epochs: expected a whole number, got 1.5."),
        ("train: {epochs: 0}", "train.epochs: expected more than 0, got 0."),
        ("train: {epochs: true}", "train.epochs: expected a whole number, got true."),
        ("train: {epochs: [1]}", "train.epochs: expected a whole number, got a list ([1])."),
        ("train: {seed: -1}", "train.seed: expected 0 or more, got -1."),
        (
            "train: {seed: 18446744073709551616}",
            "train.seed: expected less than 18446744073709551616",
        ),
        (
            "train: {device: cuda}",
            "train.device: expected 'auto', 'cpu' or 'gpu', got the text 'cuda'.",
        ),
        ("train: 3", "train: expected a map (key: value), got 3."),
        (
            "train: {output: 3}",
            "train.output: expected text, got 3. Put it in quotes to make it text.",
        ),
        ("train: {freeze: head}", "train.freeze: expected a list, got the text 'head'."),
        ("data: {val_fraction: 1}", "data.val_fraction: expected less than 1, got 1."),
        (
            "data: {image_size: big}",
            "data.image_size: expected a whole number or a list, got the text 'big'.",
        ),
        (
            "data: {image_size: [224, x]}",
            "data.image_size.1: expected a whole number, got the text 'x'.",
        ),
        (
            "data: {normalize: {mean: [.inf]}}",
            "data.normalize.mean.0: expected a finite number, got inf.",
        ),
        (
            "data: {normalize: {mean: [0.5]}}",
            "data.normalize: expected a mean and a std per channel, got 1 and 3.",
        ),
        (
            "optimizer: {no_decay_norm_bias: yes}",
            "optimizer.no_decay_norm_bias: expected true or false, got the text 'yes'. "
            "Write true or false; yes, no, on and off are text.",
        ),
        (
            "model: {pretrained: yes}",
            "model.pretrained: expected true, false or the path of a weights file, got the text "
            "'yes'.",
        ),
        (
            "model: {name: ResNet19}",
            "model.name: Unknown model 'ResNet19'. Did you mean 'ResNet18'?",
        ),
        ("model: {params: {depth: x}}", "model.name: Unknown model 'MobileNetV2'."),
        (
            "model: {name: ResNet18, params: {depth: x}}",
            "model.params.depth: ResNet18: expected a whole number, got the text 'x'.",
        ),
        (
            "model: {name: r18, params: {num_classes: 5}}",
            "model.params.num_classes: the class count comes from the data; leave it out.",
        ),
        (
            "loss: {name: CrossEntrpy}",
            "loss.name: Unknown loss 'CrossEntrpy'. Did you mean 'CrossEntropy'?",
        ),
        (
            "loss: {label_smoothing: a}",
            "loss.label_smoothing: CrossEntropy: expected a number, got the text 'a'.",
        ),
        ("schedule: {lr: -1}", "schedule.lr: CosineWarmup: expected more than 0, got -1."),
        (
            "data: {train_transforms: [Crop]}",
            "data.train_transforms.0: expected a map (key: value), got the text 'Crop'. Write "
            "{name: Crop}.",
        ),
        (
            "data: {train_transforms: [{size: 3}]}",
            "data.train_transforms.0: the key 'name' is missing.",
        ),
        (
            "data: {train_transforms: [{name: Crop}]}",
            "data.train_transforms.0: Crop: the key 'size' is missing.",
        ),
        (
            "data: {batch_transforms: [{name: Crop}]}",
            "data.batch_transforms.0.name: Unknown batch transform 'Crop'. Known: Mix. "
            "It belongs in data.train_transforms or data.eval_transforms.",
        ),
    ],
)
def test_wrong_values(errors, text, message):
    [line] = errors(text)
    place, _, said = line.partition(": ")
    assert place.startswith("run.yaml:1:")
    assert said.startswith(message)


def test_all_mistakes_are_reported_in_the_order_of_the_file(errors):
    lines = errors(
        "train:\n  epochs: x\nloss:\n  label_smoothing: y\ndata:\n  nope: 1\n", ["train.seed=z"]
    )
    assert [line.split(": ")[0] for line in lines] == [
        "run.yaml:2:11",
        "run.yaml:4:20",
        "run.yaml:6:3",
        "-o train.seed=z",
    ]


def test_not_a_map(errors):
    assert errors("- 1\n") == [
        "run.yaml:1:1: expected a map with the keys model, data, loss, objective, optimizer, "
        "schedule, metrics, trackers, train."
    ]


def test_a_component_that_cannot_be_imported(errors):
    [line] = errors("loss: {name: Broken}")
    assert line.startswith(
        "'no_such_module:Loss' is registered and cannot be imported (No module named "
        "'no_such_module')."
    )


def test_model_params_without_paddle_are_noted(load):
    loaded = load("model: {name: NeedsPaddle, params: {depth: 3}}")
    assert loaded.config.model.params == {"depth": 3}
    assert loaded.notes == (
        "model.params is not checked here. PaddlePaddle is needed and is not installed.",
    )


def test_recipes_and_files(registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load_config("quick", registries=registries)
    assert loaded.config.train.epochs == 2
    assert loaded.origins["train.epochs"] == "recipe quick:2"
    (tmp_path / "quick").mkdir()  # a folder of that name changes nothing
    assert load_config("quick", registries=registries).config.train.epochs == 2
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}", encoding="utf-8")
    assert load_config("mine.yaml", registries=registries).config.train.epochs == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("quik", "There is no file quik here. Unknown recipe 'quik'. Did you mean 'quick'?"),
        ("minee.yaml", "There is no file minee.yaml. Did you mean 'mine.yaml'?"),
        ("quick.yml", "There is no file quick.yml. Did you mean 'quick'?"),
        ("zzz/zzz.yaml", "There is no file zzz/zzz.yaml. Recipes: quick."),
        ("recipes", "recipes is a folder; expected a YAML file."),
    ],
)
def test_files_that_are_not_there(registries, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(source, registries=registries)
    assert str(caught.value).startswith(message)


def test_loading_does_not_import_paddle():
    code = (
        "import sys; from ppclas_core.config.load import load_config; load_config(); "
        "print('paddle' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


class Terse(ConfigFormat):
    """Configs of one key: ``passes: 3``."""

    description = "a terse config (passes:)"
    keys = frozenset({"passes"})
    implied = "as the terse program trains"

    def recognises(self, values):
        return "passes" in values

    def translate(self, values):
        unknown = [key for key in values if key not in self.keys]
        return TranslatedConfig(
            {"train": {"epochs": values["passes"], "seed": 7}},
            {("train", "epochs"): ("passes",), ("train", "seed"): ()},
            (f"passes → train.epochs: {values['passes']}",),
            tuple(Problem((key,), "this key is not known.", about_key=True) for key in unknown),
        )


def test_a_plugin_can_bring_a_schema_of_its_own(registries, load):
    registries.config_formats.register("terse", Terse)
    loaded = load("passes: 3\n", ["passes=5", "train.patience=2"])
    train = loaded.config.train
    assert (train.epochs, train.seed, train.patience) == (5, 7, 2)
    assert loaded.notes[0] == "translated: passes → train.epochs: 5"
    assert loaded.origins["train.epochs"] == "-o passes=5 (passes)"
    assert loaded.origins["train.seed"] == "as the terse program trains"


def test_what_a_foreign_schema_does_not_know_is_named_with_its_place(registries, errors):
    registries.config_formats.register("terse", Terse)
    assert errors("passes: 3\nrate: 1\n") == ["run.yaml:2:1: rate: this key is not known."]

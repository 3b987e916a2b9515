"""PaddleClas configs as they are: every recipe of 2020, its overrides, and the 2.x schema."""

import json
from pathlib import Path

import pytest
import yaml
from ppclas_core.config.load import load_config, migrate
from ppclas_core.errors import ConfigError

RECIPES = Path(__file__).parents[3] / "../shared/spec/recipes.json"
NO_RECIPES = pytest.mark.skipif(not RECIPES.is_file(), reason=f"no reference data at {RECIPES}")
UNKNOWN_MODELS = (
    "CSPResNet50_leaky",
    "EfficientNetLite0",
    "ResNet50_ACNet",
)
"""Beginnings of names that no table of published weights has."""

MIXUP = """
mode: train
ARCHITECTURE:
  name: ResNet50
pretrained_model: ""
classes_num: 1000
total_images: 1281167
epochs: 200
topk: 5
image_shape: [3, 224, 224]
use_mix: True
ls_epsilon: 0.1
LEARNING_RATE:
  function: Cosine
  params:
    lr: 0.1
OPTIMIZER:
  function: Momentum
  params:
    momentum: 0.9
  regularizer:
    function: L2
    factor: 1e-4
TRAIN:
  batch_size: 256
  num_workers: 4
  file_list: train_list.txt
  data_dir: ./photos/
  shuffle_seed: 0
  transforms:
    - DecodeImage: {to_rgb: True, to_np: False, channel_first: False}
    - RandCropImage: {size: 224}
    - RandFlipImage: {flip_code: 1}
    - NormalizeImage:
        {scale: 1./255., mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}
    - ToCHWImage:
  mix:
    - MixupOperator: {alpha: 0.2}
VALID:
  batch_size: 64
  file_list: val_list.txt
  data_dir: photos
  transforms:
    - DecodeImage: {to_rgb: True, to_np: False, channel_first: False}
    - ResizeImage: {resize_short: 256}
    - CropImage: {size: 224}
    - NormalizeImage:
        {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}
    - ToCHWImage:
"""

NEWER = """
Global:
  pretrained_model: null
  output_dir: ./output/
  device: gpu
  save_interval: 1
  eval_during_train: True
  eval_interval: 2
  epochs: 120
  print_batch_step: 10
  update_freq: 4
  use_visualdl: False
  image_shape: [3, 224, 224]
  save_inference_dir: ./inference
Arch:
  name: MobileNetV3_small_x1_0
  class_num: 1000
  pretrained: True
  lr_mult_list: [0.25, 0.25, 0.5, 0.5, 0.75]
  use_sync_bn: True
AMP:
  scale_loss: 128.0
  use_dynamic_loss_scaling: True
  level: O2
EMA:
  decay: 0.9999
Loss:
  Train:
    - CELoss: {weight: 1.0, epsilon: 0.1}
  Eval:
    - CELoss: {weight: 1.0}
Optimizer:
  name: Momentum
  momentum: 0.9
  lr: {name: Cosine, learning_rate: 1.3, warmup_epoch: 5}
  regularizer: {name: L2, coeff: 0.00002}
DataLoader:
  Train:
    dataset:
      name: ImageNetDataset
      image_root: ./photos/
      cls_label_path: train_list.txt
      transform_ops:
        - DecodeImage: {to_rgb: True, channel_first: False}
        - RandCropImage: {size: 224, scale: [0.64, 1.0], use_log_aspect: True, interpolation: 2}
        - RandFlipImage: {flip_code: 1}
        - NormalizeImage:
            {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}
    sampler: {name: DistributedBatchSampler, batch_size: 512, drop_last: False, shuffle: True}
    loader: {num_workers: 4, use_shared_memory: True}
  Eval:
    dataset:
      name: ImageNetDataset
      image_root: ./photos/
      cls_label_path: val_list.txt
      transform_ops:
        - DecodeImage: {to_rgb: True, channel_first: False}
        - ResizeImage: {resize_short: 256}
        - CropImage: {size: 224}
        - NormalizeImage:
            {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}
    sampler: {name: DistributedBatchSampler, batch_size: 64, drop_last: False, shuffle: False}
    loader: {num_workers: 4, use_shared_memory: True}
Infer:
  infer_imgs: docs/images/a.jpg
  PostProcess: {name: Topk, topk: 5, class_id_map_file: labels.txt}
Metric:
  Train: [{TopkAcc: {topk: [1, 5]}}]
  Eval: [{TopkAcc: {topk: [1, 5]}}]
"""


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> Path:
        path = tmp_path / "old.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_a_recipe_of_2020_keeps_its_numbers(write):
    loaded = load_config(write(MIXUP))
    config = loaded.config
    assert (config.model.name, config.model.pretrained) == ("ResNet50", False)
    assert (config.train.epochs, config.data.batch_size, config.data.eval_batch_size) == (
        200,
        256,
        64,
    )
    assert (config.schedule.name, config.schedule.params) == ("Cosine", {"lr": 0.1})
    assert (config.optimizer.name, config.optimizer.weight_decay, config.optimizer.lr_mult) == (
        "Momentum",
        1e-4,
        {},
    )
    assert config.loss.params == {"label_smoothing": 0.1}
    assert [transform.name for transform in config.data.train_transforms] == [
        "RandomResizedCrop",
        "RandomFlip",
    ]
    assert [transform.params for transform in config.data.eval_transforms] == [
        {"short": 256},
        {"size": 224},
    ]
    (mixup,) = config.data.batch_transforms
    assert (mixup.name, mixup.params["alpha"]) == ("Mixup", 0.2)
    assert (config.data.train, config.data.val, config.data.root) == (
        "train_list.txt",
        "val_list.txt",
        "./photos/",
    )
    # What this project adds to fine-tuning is left out.
    assert (config.train.probe_head, config.train.freeze_norm_statistics) == (False, False)
    assert loaded.origins["optimizer.weight_decay"].endswith(
        "old.yaml:23 (OPTIMIZER.regularizer.factor)"
    )
    assert any("total_images" in note and "counted from the data" in note for note in loaded.notes)


@NO_RECIPES
def test_every_recipe_of_2020_is_read_or_names_what_is_missing(tmp_path):
    data = json.loads(RECIPES.read_text(encoding="utf-8"))
    recipes = data["recipes"] + data["extra"]
    assert len(recipes) == 127
    read = 0
    for recipe in recipes:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe["config"], sort_keys=False), encoding="utf-8")
        name = recipe["config"]["ARCHITECTURE"]["name"]
        if name.startswith(UNKNOWN_MODELS):
            with pytest.raises(
                ConfigError, match=f"{name} is a model of PaddleClas that ppclas does not have"
            ):
                load_config(path)
            continue
        config = load_config(path).config
        read += 1
        assert config.model.name == name.rpartition("_distill_")[2]
        if recipe["config"]["mode"] == "train":
            assert config.train.epochs == recipe["config"]["epochs"]
            assert config.schedule.params["lr"] == recipe["config"]["LEARNING_RATE"]["params"]["lr"]
            assert (
                config.optimizer.weight_decay
                == recipe["config"]["OPTIMIZER"]["regularizer"]["factor"]
            )
            assert config.data.batch_size == recipe["config"]["TRAIN"]["batch_size"]
    assert read == 124


@NO_RECIPES
def test_the_published_pair_becomes_a_teacher_and_a_student(tmp_path):
    data = json.loads(RECIPES.read_text(encoding="utf-8"))
    (pair,) = (
        r for r in data["recipes"] if r["file"] == "quick_start/R50_vd_distill_MV3_large_x1_0.yaml"
    )
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump(pair["config"]), encoding="utf-8")
    config = load_config(path).config
    assert (config.model.name, config.model.pretrained) == (
        "MobileNetV3_large_x1_0",
        "./pretrained/MobileNetV3_large_x1_0_pretrained/",
    )
    assert config.objective.name == "Distill"
    (teacher,) = config.objective.params["teachers"]
    assert teacher == {
        "source": "ResNet50_vd",
        "weights": "./pretrained/flowers102_R50_vd_final/ppcls",
    }


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("epochs=20", "train.epochs", 20),
        ("use_gpu=False", "train.device", "cpu"),
        ("use_gpu=false", "train.device", "cpu"),
        ("use_mix=False", "data.batch_transforms", ()),
        ("LEARNING_RATE.params.lr=0.1/8", "schedule.lr", 0.0125),
        ("ls_epsilon=1e-1", "loss.label_smoothing", 0.1),
        ("ls_epsilon=-1", "loss.label_smoothing", 0.0),
        ("TRAIN.transforms.1.RandCropImage.size=160", "data.train_transforms.0.size", 160),
        ("VALID.transforms.1.ResizeImage.resize_short=300", "data.eval_transforms.0.short", 300),
        ('TRAIN.mix=[{"MixupOperator":{"alpha":0.4}}]', "data.batch_transforms.0.alpha", 0.4),
        ("pretrained_model=./a/b", "model.pretrained", "./a/b"),
        ('pretrained_model=""', "model.pretrained", False),
        ("ARCHITECTURE.name=ResNet18", "model.name", "ResNet18"),
        ("data.workers=0", "data.workers", 0),
    ],
)
def test_overrides_in_the_old_words_and_in_the_new_ones(write, override, key, value):
    found = load_config(write(MIXUP), [override]).config.model_dump()
    for part in key.split("."):
        found = found[int(part)] if part.isdigit() else found[part]
    assert found == value


def test_what_the_erasing_operators_did_is_said_and_their_zero_is_black(write):
    listed = "".join(
        f"    - {name}:\n"
        for name in ("RandFlipImage", "RandomErasing", "HideAndSeek", "AutoAugment")
    )
    text = MIXUP.replace("    - RandFlipImage: {flip_code: 1}\n", listed).replace(
        "{alpha: 0.2}", ""
    )
    loaded = load_config(
        write(text.replace("mean: [0.485, 0.456, 0.406]", "mean: [0.5, 0.4, 0.2]"))
    )
    lines = " ".join(loaded.notes)
    for name in ("RandomErasing", "HideAndSeek", "AutoAugment"):
        assert name in lines
    transforms = {
        transform.name: transform.params for transform in loaded.config.data.train_transforms
    }
    assert transforms["RandomErasing"]["color"] == (0, 0, 0)
    assert loaded.config.data.batch_transforms[0].params["alpha"] == 0.2  # of 2020; 1.0 in 2.x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("use_mix: True", "use_mux: True"), r"old.yaml:11:1: use_mux: this key is not known"),
        (
            ("function: Cosine", "function: Poly"),
            r"old.yaml:14:13: LEARNING_RATE.function: .*got the text 'Poly'",
        ),
        (("to_rgb: True", "to_rgb: False"), "models here take RGB"),
        (
            ("scale: 1./255.", "scale: __import__('os').getcwd()"),
            "expected a number, or a number over a number",
        ),
        (
            ("- RandFlipImage: {flip_code: 1}", "- Rotate: {}"),
            r"TRAIN.transforms.2: there is no transform .* Rotate",
        ),
        (("function: L2", "function: L1"), "expected L2, got the text 'L1'"),
        (
            ("RandCropImage: {size: 224}", "RandCropImage: {size: 224, sise: 3}"),
            "RandCropImage has sise",
        ),
    ],
)
def test_what_cannot_be_translated_is_an_error_with_its_place(write, change, message):
    assert change[0] in MIXUP
    with pytest.raises(ConfigError, match=message):
        load_config(write(MIXUP.replace(*change, 1)))


def test_the_2x_schema(write):
    loaded = load_config(write(NEWER))
    config = loaded.config
    assert (config.model.name, config.model.pretrained) == ("MobileNetV3_small_x1_0", True)
    assert (config.train.epochs, config.train.eval_every, config.train.device) == (120, 2, "gpu")
    assert (config.train.precision, config.train.amp_level, config.train.ema_decay) == (
        "fp16",
        "O2",
        0.9999,
    )
    assert (config.train.accumulate, config.train.sync_batch_norm) == (4, True)
    assert config.schedule.name == "CosineWarmup"
    assert config.schedule.params == {"lr": 1.3, "warmup_epochs": 5}
    assert (config.optimizer.weight_decay, config.optimizer.lr_mult) == (
        2e-5,
        (0.25, 0.25, 0.5, 0.5, 0.75),
    )
    crop = config.data.train_transforms[0].params
    assert (crop["scale"], crop["sampling"], crop["interpolation"]) == (
        (0.64, 1.0),
        "one_draw_log",
        "bicubic",
    )
    assert any("with n devices give 512·n" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epsilon: 0.1", "epsilon: 0.1, gamma: 2"), "CELoss has gamma"),
        (
            ("- RandFlipImage: {flip_code: 1}", "- RandomErasing: {mode: rand}"),
            "expected const or pixel, got 'rand'",
        ),
        (("level: O2", "level: O3"), "'O1' or 'O2'"),
        (
            ("name: Cosine,", "name: Cyclic,"),
            "expected one of Constant, ConstLR, Cosine, Linear, .* got the text 'Cyclic'",
        ),
        (("eval_interval: 2", "eval_intervall: 2"), "eval_intervall: this key is not known"),
        (("Infer:", "Slim:\n  prune: {name: fpgm}\nInfer:"), "pruning"),
    ],
)
def test_what_2x_has_and_this_project_has_not(write, change, message):
    assert change[0] in NEWER
    with pytest.raises(ConfigError, match=message):
        load_config(write(NEWER.replace(*change, 1)))


@pytest.mark.parametrize("text", [MIXUP, NEWER])
def test_migrated_it_is_the_same_config(write, tmp_path, text):
    old = write(text)
    written, lines = migrate(old)
    new = tmp_path / "new.yaml"
    new.write_text(written, encoding="utf-8")
    assert load_config(new).config == load_config(old).config
    assert not load_config(new).notes
    assert len(lines) > 20


@pytest.mark.parametrize(
    ("text", "override"), [(MIXUP, "use_dali=True"), (NEWER, "Global.use_dali=True")]
)
def test_dali_is_a_reader(write, text, override):
    new, lines = migrate(write(text), [override])
    assert yaml.safe_load(new)["data"]["reader"] == {"name": "dali"}
    assert any("use_dali → data.reader.name" in line for line in lines)


def test_overrides_in_the_new_words_are_migrated_too(write):
    text, _ = migrate(write(MIXUP), ["data.workers=0", "epochs=7"])
    assert yaml.safe_load(text)["data"]["workers"] == 0
    assert yaml.safe_load(text)["train"]["epochs"] == 7


def test_only_old_configs_are_migrated(write):
    with pytest.raises(ConfigError, match="expected a PaddleClas config"):
        migrate(write("model: {name: ResNet50}"))

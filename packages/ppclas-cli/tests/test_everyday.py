"""The everyday switches of ``ppclas train``: what they change in a run, what they refuse; what is
meant by options that other programs have.
"""

import json
import re

import pytest
import yaml
from ppclas_augment.presets import PRESETS
from ppclas_cli.augmenting import augmented
from ppclas_cli.main import cli
from ppclas_cli.meanings import _MEANT
from ppclas_cli.training_screen import about_fonts, spoken
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.plugins import get_registries
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.planning.plan import make_plan

pytest.importorskip("paddle", reason="needs the extra [cpu]")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return str(make_tiny_dataset(tmp_path_factory.mktemp("everyday") / "photos", per_class=6)[0])


SHORT = ("--model", "SqueezeNet1_1", "--epochs", "1", "--image-size", "32", "--workers", "0")


def test_a_run_with_a_name_a_preset_and_photos_to_test(ppclas, photos, tmp_path):
    say = ("train", photos, *SHORT, "--name", "stripes", "--freeze", "backbone")
    done = ppclas(
        *say, "--augment", "strong", "--test", photos, "--optimizer", "AdamW", cwd=tmp_path
    )
    assert done.code == 0, done.err
    run = tmp_path / "runs" / "stripes"
    config = yaml.safe_load((run / "config.yaml").read_text())
    names = [one["name"] for one in config["data"]["train_transforms"]]
    assert names == ["RandomResizedCrop", "RandomFlip", "RandAugment", "RandomErasing"]
    assert [one["name"] for one in config["data"]["batch_transforms"]] == ["MixupOrCutMix"]
    assert config["train"]["freeze"] == ["backbone"]
    assert config["optimizer"]["name"] == "AdamW"
    # The held-out photos are measured once, as 'ppclas eval' measures them.
    said = re.search(r"Test: top-1 (\S+), loss (\S+) on 18 photos of", done.err)
    scored = json.loads(ppclas("eval", str(run), "--data", photos, "--json").out)
    assert said.groups() == (f"{scored['top1']:.2%}", f"{scored['loss']:.4f}")
    assert (run / "test" / "report.html").is_file()
    assert "top-5" not in done.err  # of three classes
    again = ppclas(*say, "--mixup", cwd=tmp_path)
    assert again.code == 0
    config = yaml.safe_load((tmp_path / "runs" / "stripes-2" / "config.yaml").read_text())
    assert config["data"]["batch_transforms"] == [{"name": "Mixup", "alpha": 0.2}]


@pytest.mark.parametrize(
    ("text", "train", "batch"),
    [
        ("- {name: ColorJitter, hue: 0.1}", ["ColorJitter"], []),
        ("batch_transforms: [{name: CutMix}]", [], ["CutMix"]),
        (
            "train_transforms: [{name: Cutout}]\nbatch_transforms: [{name: FMix}]",
            ["Cutout"],
            ["FMix"],
        ),
    ],
)
def test_a_file_of_augmentations(photos, tmp_path, monkeypatch, text, train, batch):
    (tmp_path / "mine.yaml").write_text(text)
    plan = make_plan(load_config(None, [], {"DATA": ("data.train", photos)}).config, "cpu")
    assert plan.config.data.train_transforms[-1:] == plan.augmentation
    monkeypatch.chdir(tmp_path)
    plan = augmented(plan, "mine.yaml")
    names = [one.name for one in plan.config.data.train_transforms]
    assert names == ["RandomResizedCrop", "RandomFlip", *train]  # no colours but one's own
    assert [one.name for one in plan.config.data.batch_transforms] == batch
    assert plan.notes[-1] == f"augmentation mine.yaml: {', '.join([*train, *batch])}"
    assert not any("also change" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--augment", "huge"), 1, "expected light, medium, strong, or a YAML file"),
        (("--augment", "bad.yaml"), 1, r"--augment bad.yaml: .*Did you mean 'ColorJitter'"),
        (("--augment", "map.yaml"), 1, "expected a list of transforms"),
        (("--augment", "light", "--resume", "runs/a"), 2, "--augment is for a new run"),
        (("--test", "nowhere"), 2, "--test nowhere: there is no such folder"),
        (
            ("--model", "SqueezeNet1_1", "--freeze", "5"),
            1,
            "has no stage '5' to freeze. It has: stem",
        ),
        (("--name", "a/b"), 2, "expected a plain name"),
        (("--name", "a", "--output", "b"), 2, "--output and --name both say where"),
    ],
)
def test_what_is_refused(ppclas, photos, tmp_path, more, code, words):
    (tmp_path / "bad.yaml").write_text("- {name: ColorJiter}")
    (tmp_path / "map.yaml").write_text("transforms: []")
    done = ppclas("train", photos, *more, "--dry-run", cwd=tmp_path)
    assert done.code == code
    assert re.search(words, done.err), done.err


def test_presets_are_registered_transforms_with_parameters_that_fit():
    registries = get_registries()
    for preset in PRESETS.values():
        for one in preset.transforms:
            registries.transforms.build(one.name, **one.params)
        for one in preset.batch_transforms:
            registries.batch_transforms.build(one.name, **one.params)


def test_a_preset_is_drawn(ppclas, photos, tmp_path):
    done = ppclas("data", "preview", photos, "--augment", "medium", cwd=tmp_path)
    assert (done.code, done.out) == (0, "preview.png\n")
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_says_settings_and_time_and_verbose_the_rest(ppclas, photos):
    short = ppclas("train", photos, *SHORT, "--dry-run").err
    lines = short.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["model", "data", "schedule", "time"]
    assert re.search(r"time +about [\d.]+ (seconds|minutes|hours) on this machine", short)
    assert "warms up" not in short
    long = ppclas("train", photos, *SHORT, "--dry-run", "--verbose").err
    assert "the learning rate warms up" in long
    assert len(long.splitlines()) > len(lines) + 5


def test_a_dry_run_of_a_model_with_auxiliary_answers(ppclas, photos):
    said = ppclas(
        "train", photos, "--model", "GoogLeNet", "--from-scratch", "--image-size", 64, "--dry-run"
    )
    assert said.code == 0, said.err
    assert re.search(r"time +about", said.err)


def test_a_dry_run_looks_at_the_weights_and_fetches_none(ppclas, photos, tmp_path):
    (tmp_path / "wrong.safetensors").write_bytes(
        b"\x3b\0\0\0\0\0\0\0"
        + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(59)
        + b"\0\0\0\0"
    )
    say = ("train", photos, *SHORT, "--dry-run")
    wrong = ppclas(*say, "--pretrained", str(tmp_path / "wrong.safetensors"))
    assert wrong.code == 1
    assert "none of the file's 1 tensors belongs to this SqueezeNet" in wrong.err
    gone = ppclas(*say, "--pretrained", str(tmp_path / "gone"))
    assert (gone.code, "there are no weights at" in gone.err) == (1, True)
    fits = ppclas(*say)
    assert "52/52 tensors loaded" in fits.err or "tensors loaded, head re-initialised" in fits.err
    # An address that nothing listens at: a download would fail.
    home = {"PPCLAS_HOME": str(tmp_path), "PPCLAS_MIRROR": "http://127.0.0.1:9"}
    there = ppclas(
        "train", photos, "--model", "ResNet18", "--image-size", "32", "--dry-run", env=home
    )
    assert there.code == 0, there.err
    assert "the published weights of ResNet18 are not on this machine: to download" in there.err


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        (("train", "--wandb"), "--tracker"),
        (("train", "--gpus", "2"), "--devices"),
        (("train", "--learning_rate", "1"), "--lr"),
        (("distill", "train", "--early-stopping"), "--patience"),
        (("predict", "x", "--conf", "1"), "--min-confidence"),
        (("train", "--warmup", "3"), "-o schedule.warmup_epochs=…"),
        # Of Ultralytics, timm and Keras.
        (("train", "--lr0", "0.1"), "--lr"),
        (("train", "--imgsz", "64"), "--image-size"),
        (("train", "--batch", "8"), "--batch-size"),
        (("train", "--batch_size", "8"), "--batch-size"),
        (("train", "--data", "photos"), "--train"),
        (("train", "--weights", "x.pdparams"), "--pretrained"),
        (("train", "--project", "x"), "--name"),
        (("train", "--cos-lr"), "-o schedule.name=…"),
        (("train", "--lrf", "0.1"), "-o schedule.name=…"),
        (("train", "--momentum", "0.9"), "-o optimizer.momentum=…"),
        (("train", "--dropout", "0.1"), "-o model.params=…"),
        (("train", "--fliplr", "0.5"), "--augment"),
        (("train", "--reprob", "0.2"), "--augment"),
        (("train", "--validation-split", "0.2"), "-o data.val_fraction=…"),
        (("train", "--save-period", "5"), "-o train.checkpoint_minutes=…"),
        (("train", "--crop-pct", "0.9"), "-o data.resize_short=…"),
        (("train", "--num-classes", "3"), "The classes are those of the photos."),
        (("train", "--exist-ok"), "--name"),
        (("train", "--log-dir", "x"), "--output"),
    ],
)
def test_an_option_of_other_programs_is_told_by_its_name_here(ppclas, arguments, here):
    done = ppclas(*arguments)
    assert done.code == 2
    assert (
        f"No such option {arguments[-2] if arguments[-1][0] != '-' else arguments[-1]}" in done.err
    )
    assert f" {here}" in done.err


def test_every_option_that_is_advised_is_an_option():
    context = cli.make_context("ppclas", ["train"])
    commands = [cli.get_command(context, name) for name in ("train", "predict", "eval")]
    options = {name for command in commands for one in command.params for name in one.opts}
    for _, here in _MEANT:
        assert here in options or not here.startswith("--")
        if not here.startswith("--") and not here.endswith("."):
            section, key = here.split(".")[:2]
            known = type(getattr(Config(), section)).model_fields
            assert key in known or section in ("optimizer", "schedule", "loss")


def test_a_run_to_go_on_with_that_is_none(ppclas, photos, tmp_path):
    for more in ((), (photos,), (photos, "--dry-run")):
        done = ppclas("train", *more, "--resume", "last", cwd=tmp_path)
        assert done.code == 1
        assert "last is not a run folder" in done.err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3, "5 seconds"),
        (80, "80 seconds"),
        (300, "5 minutes"),
        (9000, "2.5 hours"),
        (400_000, "4.6 days"),
    ],
)
def test_times_as_people_say_them(seconds, said):
    assert spoken(seconds) == said


def test_a_line_says_which_font_is_missing(monkeypatch):
    import matplotlib.font_manager
    from ppclas_engine.results import fonts

    assert about_fonts(["cat", "Äpfel"]) == ""
    monkeypatch.setattr(matplotlib.font_manager, "findSystemFonts", list)
    fonts._system_fonts.cache_clear()
    said = about_fonts(["苹果", "แอปเปิ้ล", "🍎"])
    assert (
        "Install Noto Emoji (the one without colour) and Noto Sans CJK and Noto Sans Thai" in said
    )
    fonts._system_fonts.cache_clear()

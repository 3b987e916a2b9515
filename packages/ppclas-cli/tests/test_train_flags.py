"""What the flags of ``ppclas train`` set in a config."""

import pytest
from ppclas_cli.commands.train import command
from ppclas_cli.train_flags import flags_of
from ppclas_core.config.load import load_config

SAID = [
    "--val=b",
    "--model=SqueezeNet1_1",
    "--pretrained=true",
    "--epochs=3",
    "--batch-size=8",
    "--lr=0.1",
    "--image-size=32",
    "--resize-mode=squash",
    "--device=cpu",
    "--devices=cpu:2",
    "--output=c",
    "--seed=5",
    "--workers=0",
    "--reader=workers",
    "--class-weights=balanced",
    "--tracker=TensorBoard",
    "--amp=bf16",
    "--ema=0.9",
    "--accumulate=2",
    "--compile",
    "--label-smoothing=0.1",
    "--optimizer=AdamW",
    "--weight-decay=0.01",
    "--freeze=backbone",
    "--patience=3",
    "--mixup=0.4",
]


@pytest.mark.parametrize("photos", ["--train=a", "a"])
def test_every_flag_sets_a_key_of_the_config(photos):
    flags = flags_of(command.make_context("train", [photos, *SAID]).params)
    given = {option: said for option, said in flags.items() if said[1] is not None}
    options = {option.partition("=")[0] for option in SAID}
    assert given.keys() == options | {"--train" if photos.startswith("--") else "DATA"}
    origins = load_config(None, (), given).origins
    for option, (key, _) in given.items():
        inside = {"trackers": ".0.name", "data.batch_transforms": ".0.alpha"}.get(key, "")
        assert origins[f"{key}{inside}"] == option


def test_what_no_flag_says_stays_as_it_is():
    flags = flags_of(command.make_context("train", []).params)
    assert set(load_config(None, (), flags).origins.values()) == {"default"}

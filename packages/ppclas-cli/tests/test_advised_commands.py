"""Every command that an error, a report, a model card or a last line advises is taken from what was
printed, and run as it stands there; only words in capitals are filled in.
"""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import click
import pytest
from ppclas_cli.main import cli
from ppclas_data.testing import make_tiny_dataset

paddle = pytest.importorskip("paddle", reason="needs the extra [cpu]")
PACKAGES = Path(__file__).parents[2]
MODEL = ("--model", "MobileNetV2", "--image-size", "32", "--workers", "0")
SHORT = (*MODEL, "--epochs", "1")
CAPITALS = {
    "PHOTO": "photos/class_00/000.png",
    "PHOTOS": "photos/",
    "DATA": "photos/",
    "LIST": "audit/audit.csv",
    "COPY": "cleaned",
    "DIR": "written",
    "RUN": "runs/full",
    "MODEL": "runs/full",
    "NAME": "MobileNetV2",
    "NAME...": "MobileNetV2",
    "K": "2",
    "new/": "photos/class_01",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Photos of three classes, and a run on them."""
    from ppclas_cli.main import main

    place = tmp_path_factory.mktemp("advised")
    make_tiny_dataset(place / "photos", classes=3, per_class=6)
    with pytest.MonkeyPatch.context() as there:
        there.chdir(place)
        assert main(("train", "photos/", *SHORT, "--output", "runs/full")) == 0
    return place


@pytest.fixture
def shop(trained, tmp_path, monkeypatch):
    """A copy of it, which a test may change, as the current folder."""
    shutil.copytree(trained, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path / "home"))
    return tmp_path / "shop"


def advised(text, start):
    """The commands in ``text`` that begin with ``start``, each to the end of its line, sentence or
    quotes.
    """
    found = re.findall(
        rf"'({start}[^'\n]*)'|({start}[^\n;]*?)(?=$|[;)]|, |(?<!\.)\. |\.$)", text, re.M
    )
    return [quoted or plain for quoted, plain in found]


def filled(command):
    """The words behind ``ppclas``."""
    program, *words = (CAPITALS.get(word, word) for word in shlex.split(command))
    assert program == "ppclas"
    return words


def take(ppclas, text, start, *more, code=0):
    """Run the first command in ``text`` that begins with ``start``; what it printed."""
    commands = advised(text, start)
    assert commands, f"no '{start} …' in:\n{text}"
    done = ppclas(*filled(commands[0]), *more)
    assert done.code == code, f"{commands[0]}\n{done.err}"
    return done


def said(ppclas, *words, code=1):
    done = ppclas(*words)
    assert done.code == code, done.err
    return done.out + done.err


@pytest.mark.slow
class TestLastLines:
    def test_of_a_training(self, ppclas, shop):
        text = said(ppclas, "train", "photos/", *SHORT, "--output", "runs/new", code=0)
        for start in ("ppclas eval", "ppclas predict", "ppclas export"):
            take(ppclas, text, start)

    def test_of_what_the_curves_show(self, ppclas, shop):
        from ppclas_core.config.load import load_config
        from ppclas_engine.results.advice import advice

        config = load_config("runs/full/config.yaml").config
        names = {
            "heart": {"train_top1": 1.0, "top1": 0.5},
            "held": {"train_top1": 0.2, "top1": 0.9},
        }
        for name, row in names.items():
            rows = [{"epoch": 0, "top1": 0.1}, {"epoch": 1, **row}]
            shutil.copytree("runs/full", f"runs/{name}")
            for _, again in advice(rows, 1, config, Path(f"runs/{name}")):
                shutil.rmtree(f"runs/{name}-next", ignore_errors=True)
                take(ppclas, again, "ppclas train", *SHORT[2:])

    def test_of_a_report_and_a_model_card(self, ppclas, shop, monkeypatch):
        page = html.unescape((shop / "runs/full/report.html").read_text("utf-8"))
        commands = re.findall(r"<code>(ppclas [^<]*)</code>", page)
        assert {shlex.split(one)[1] for one in commands} >= {"predict", "eval", "export"}
        for command in commands:
            if not command.startswith("ppclas train"):  # how the run was started
                assert ppclas(*filled(command)).code == 0, command
        shutil.rmtree("written", ignore_errors=True)
        card = (shop / "runs/full/bundle/README.md").read_text("utf-8")
        monkeypatch.setitem(CAPITALS, "PHOTO", str(shop / CAPITALS["PHOTO"]))
        monkeypatch.setitem(CAPITALS, "DATA", str(shop / "photos"))
        monkeypatch.chdir(shop / "runs/full/bundle")
        commands = re.findall(r"^(ppclas .*)$|`(ppclas [^`]*)`", card, re.M)
        assert len(commands) == 4
        for command in map("".join, commands):
            more = ("--help",) if command.startswith("ppclas serve") else ()
            done = ppclas(*filled(command), *more)
            assert done.code == 0, f"{command}: {done.err}"

    def test_of_exports(self, ppclas, shop):
        pytest.importorskip("paddle2onnx")
        text = said(ppclas, "export", "runs/full", "--target", "onnx", "-o", "an export", code=0)
        take(ppclas, text, "ppclas predict")
        words = ("quantize", "an export", "--guard", "1", "--calibrate", "photos/")
        text = said(ppclas, *words, "--data", "photos/", "-o", "a small one", code=0)
        take(ppclas, text, "ppclas predict")

    def test_of_a_fused_model(self, ppclas, shop):
        words = ("train", "photos/", "--model", "PPLCNetV2_small", "--from-scratch", *SHORT[2:])
        said(ppclas, *words, "--output", "runs/branches", code=0)
        text = said(ppclas, "models", "fuse", "runs/branches", "-o", "a fused one", code=0)
        take(ppclas, text, "ppclas predict")

    def test_of_folds_and_of_an_audit(self, ppclas, shop):
        pytest.importorskip("sklearn")
        text = said(ppclas, "train", "photos/", *SHORT, "--kfold", "2", code=0)
        text = take(ppclas, text, "ppclas data audit")
        take(ppclas, text.out + text.err, "ppclas data apply")
        assert (shop / "cleaned").is_dir()

    def test_of_a_search(self, ppclas, shop):
        pytest.importorskip("optuna")
        words = ("search", "photos/", "-m", "MobileNetV2", "--trials", "1", "-o", "train.epochs=1")
        text = said(ppclas, *words, "-o", "data.image_size=32", code=0)
        take(ppclas, text, "ppclas predict")
        take(ppclas, text, "ppclas train", *SHORT[2:])

    def test_of_a_distillation(self, ppclas, shop):
        Path("steps.yaml").write_text(
            "common: {data: {train: photos/, image_size: 32, workers: 0}}\n"
            "stages:\n- name: one\n  train: student.yaml\n"
        )
        Path("student.yaml").write_text(
            "model: {name: MobileNetV2, pretrained: true}\ntrain: {epochs: 1}\n"
            "objective: {name: Distill, teachers: [{source: runs/full}]}\n"
        )
        words = ("distill", "pipeline", "-c", "steps.yaml", "--output", "runs/steps")
        take(ppclas, said(ppclas, *words, code=0), "ppclas predict")

    def test_of_runs(self, ppclas, shop):
        take(ppclas, said(ppclas, "runs", "show", "runs/full", code=0), "ppclas eval")
        half_done(shop)
        text = said(ppclas, "runs", "show", "runs/half", code=0)
        take(ppclas, text, "ppclas train")

    def test_of_suggestions(self, ppclas, shop):
        text = said(ppclas, "models", "suggest", "--size-mb", "20", "--latency-ms", "50", code=0)
        take(ppclas, text, "ppclas benchmark", "--seconds", "0.1")
        (Path("measured.csv")).unlink()
        # Weights that are not here: the reason names the command that fetches them.
        told = take(ppclas, text, "ppclas train", *SHORT[4:], code=1)
        assert advised(told.err, "ppclas models download")


def half_done(shop):
    """The run ``half``, as one that was stopped after its first epoch of two."""
    from ppclas_cli.main import main

    stop = ("-o", "train.max_minutes=0.0001", "--output", "runs/half")
    assert main(("train", "photos/", *MODEL, "--epochs", "2", *stop)) == 0
    (shop / "runs/half/summary.json").unlink()
    for line in ("finished",):
        (shop / "runs/half" / line).unlink(missing_ok=True)


@pytest.mark.slow
class TestErrors:
    """Exit code, the words that fail, the command that the message advises."""

    @pytest.mark.parametrize(
        ("code", "words", "start", "more"),
        [
            (2, "predict runs/full", "ppclas predict", ()),
            (0, "train --resume runs/full", "ppclas eval", ()),
            (1, "train --resume photos/", "ppclas train", SHORT),
            (1, "train photos/ --model MobileNetV9", "ppclas models list", ()),
            (1, "train photos/ -c nothing", "ppclas recipes list", ()),
            (2, "train photos/ --warmup 3", "ppclas config show", ()),
            (1, "runs list photos/", "ppclas train", SHORT),
            (1, "runs show photos/", "ppclas runs list", ()),
            (1, "train photos/ --devices 0", "ppclas doctor", ()),
            (1, "distill train photos/ --teacher MobileNetV2", "ppclas train", SHORT[2:]),
            (1, "data audit -m runs/full/bundle", "ppclas data audit", ()),
            (1, "models suggest --size-mb 4 --flops-g 0.001", "ppclas models list", ()),
            pytest.param(
                1,
                "models list --latency speed.csv",
                "ppclas benchmark",
                ("--seconds", "0.1"),
                marks=pytest.mark.sweep,
            ),
            (1, "client http://127.0.0.1:9 photos/", "ppclas serve", ("--help",)),
        ],
    )
    def test_of_a_command(self, ppclas, shop, code, words, start, more):
        Path("speed.csv").write_bytes(b"\xff\xfe\x00")
        take(ppclas, said(ppclas, *words.split(), code=code), start, *more)

    def test_of_a_run_without_an_epoch(self, ppclas, shop):
        half_done(shop)
        for name in ("bundle", "checkpoints"):
            shutil.rmtree(f"runs/half/{name}")
        for file in Path("runs/half").glob("metrics.*"):
            file.unlink()
        take(ppclas, said(ppclas, "eval", "runs/half"), "ppclas train")

    def test_of_photos_that_cannot_be_read(self, ppclas, shop):
        for photo in Path("photos/class_00").glob("*.png"):
            photo.write_bytes(b"\x89PNG\r\n\x1a\n" + b"?" * 99)
        text = said(ppclas, "train", "photos/", *SHORT)
        take(ppclas, text, "ppclas data check", "photos/", code=1)

    def test_of_a_bundle_that_was_edited(self, ppclas, shop):
        file = Path("runs/full/bundle/bundle.json")
        content = json.loads(file.read_text())
        content["labels"][0] = "plum"
        file.write_text(json.dumps(content))
        text = said(ppclas, "predict", CAPITALS["PHOTO"], "-m", "runs/full")
        take(ppclas, text, "ppclas bundle set", "--help")

    def test_of_weights_that_must_be_converted(self, ppclas, shop):
        from ppclas_core.models import create_model

        paddle.save(create_model("MobileNetV2").state_dict(), "whole.pdparams")
        words = ("models", "convert", "whole.pdparams", "--model", "MobileNetV2")
        said(ppclas, *words, "--to", "scattered", "-o", "an old one", code=0)
        with tarfile.open("an old one.tar", "w") as archive:
            archive.add("an old one", "old")
        text = said(ppclas, "train", "photos/", *SHORT, "--pretrained", "an old one.tar")
        take(ppclas, text, "ppclas models convert")


SAID = re.compile(r"(?:^|[\s'\"(:`>])ppclas((?: [a-z]+)+)((?: (?!ppclas)[^\s'\"`;)]+)*)")


def strings():
    """Where each text of the program stands that a person can see, with X for what is filled in."""
    for file in sorted(PACKAGES.glob("*/src/**/*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "X"
                         for part in node.values]  # fmt: skip
                yield file, node.lineno, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield file, node.lineno, node.value


def test_every_command_in_a_text_of_the_program_exists():
    context = cli.make_context("ppclas", ["models"])
    seen = 0
    for file, line, text in strings():
        for words, rest in SAID.findall(text):
            names = words.split()
            group, known = cli, []
            while names and isinstance(group, click.Group):
                found = group.get_command(context, names[0])
                if found is None:
                    break
                known.append(names.pop(0))
                group = found
            if not known:
                continue  # "ppclas writes …": a sentence about the program
            seen += 1
            options = {name for one in group.params for name in (*one.opts, *one.secondary_opts)}
            given = re.findall(r"(?<= )--[a-z][a-z0-9-]*", f" {' '.join(names)} {rest}")
            where = f"{file.relative_to(PACKAGES)}:{line}: ppclas{words}{rest}"
            assert set(given) <= {*options, "--help", "--offline", "--debug"}, where
    assert seen > 150

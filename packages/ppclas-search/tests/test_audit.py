"""Wrong labels: confident learning against cleanlab, copies, the list, and applying it."""

import csv
import doctest
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from ppclas_cli.main import main
from ppclas_core.errors import DataError
from ppclas_data.builtin import builtin_photos
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.bundles import open_model
from ppclas_engine.console import Console
from ppclas_search.audit import confident
from ppclas_search.audit.answers import from_file, from_probe
from ppclas_search.audit.applying import apply_decisions, read_decisions
from ppclas_search.audit.auditing import COLUMNS, COPY, LABEL, audit, write_audit
from ppclas_search.audit.confident import confident_joint, doubtful, label_quality
from ppclas_search.audit.photos import open_all
from ppclas_search.audit.twins import find_twins

FLOWERS = Path(__file__).parents[4] / "shared" / "data" / "flowers14"
needs_flowers = pytest.mark.skipif(not FLOWERS.is_dir(), reason=f"no photos at {FLOWERS}")


def noisy(seed, classes=4, count=400):
    """Labels of which a tenth are wrong, and probabilities that mostly know better."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    logits = rng.normal(0, 1.0, (count, classes))
    logits[np.arange(count), true] += 2.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = rng.random(count) < 0.1
    return np.where(wrong, (true + 1) % classes, true), probabilities


@pytest.mark.parametrize("seed", range(5))
def test_confident_learning_agrees_with_cleanlab(seed):
    labels, probabilities = noisy(seed)
    theirs = compute_confident_joint(labels, probabilities, calibrate=False)
    assert confident_joint(labels, probabilities).tolist() == theirs.tolist()
    issues = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert doubtful(labels, probabilities).tolist() == issues.tolist()
    assert label_quality(labels, probabilities) == pytest.approx(
        get_label_quality_scores(labels, probabilities, method="self_confidence")
    )


def test_examples_of_docstrings():
    result = doctest.testmod(confident)
    assert result.attempted
    assert not result.failed


# Photos


@pytest.fixture
def photos(tmp_path):
    folder, _ = make_tiny_dataset(tmp_path / "photos", per_class=10, size=48)
    return folder


def decoded(path):
    return cv2.imread(str(path))


def natural(seed):
    """A photo with enough in it to be told from others."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)


def test_copies_with_another_label_are_found(tmp_path):
    for number in range(12):
        folder = tmp_path / "data" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:02d}.png"), natural(number))
    source = tmp_path / "data" / "cat" / "01.png"
    shutil.copy(source, tmp_path / "data" / "dog" / "bytes.png")
    pixels = decoded(tmp_path / "data" / "cat" / "03.png")
    cv2.imwrite(str(tmp_path / "data" / "dog" / "jpeg.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])
    mirrored = cv2.resize(decoded(tmp_path / "data" / "cat" / "05.png")[:, ::-1], (64, 48))
    cv2.imwrite(str(tmp_path / "data" / "dog" / "mirrored.png"), mirrored)
    shutil.copy(tmp_path / "data" / "cat" / "07.png", tmp_path / "data" / "cat" / "same label.png")
    opened = list(open_all(str(tmp_path / "data"), []))
    labels = np.array([photo.record.label for photo in opened])
    found = {
        Path(opened[a].path).name: Path(opened[b].path).name
        for a, b in find_twins(opened, labels).items()
    }
    assert found == {
        **{"bytes.png": "01.png", "jpeg.jpg": "03.png", "mirrored.png": "05.png"},
        **{"01.png": "bytes.png", "03.png": "jpeg.jpg", "05.png": "mirrored.png"},
    }


def planted(photos):
    """The photos with two moved into another folder, and those two."""
    moved = []
    for number, name in enumerate(("002.png", "007.jpg")):
        source = photos / f"class_0{number}" / name
        moved.append(source.rename(photos / f"class_0{number + 1}" / f"moved_{name}"))
    return [str(path) for path in moved]


def test_probe_and_list_name_the_planted_labels(photos, tmp_path):
    wrong = planted(photos)
    opened = open_all(str(photos), [])
    bundle = open_model("SqueezeNet1_1", download=False)
    answers = from_probe(opened, bundle, Console(quiet=True))
    assert answers[1].sum(axis=1) == pytest.approx(np.ones(30))
    doubts = audit(opened, answers, most=2)
    listed = [doubt for doubt in doubts if LABEL in doubt.reasons]
    assert sorted(doubt.photo.path for doubt in listed) == sorted(wrong)
    assert {doubt.new_label for doubt in listed} == {"class_00", "class_01"}
    # Of two copies with two labels, not both can be proposed another one without the model.
    by_copies = audit(opened, (answers[0][:0], answers[1][:0]))
    assert {(doubt.new_label == doubt.photo.label, doubt.reasons) for doubt in by_copies} <= {
        (True, (COPY,))
    }

    write_audit(tmp_path / "audit", opened, doubts, "a probe")
    with (tmp_path / "audit" / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["action"] for row in rows} == {""}
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert page.count("data:image/jpeg") == len(doubts) + sum(bool(d.copy) for d in doubts)
    assert "http" not in page.replace("http://www.w3.org", "")
    with pytest.raises(DataError, match=r"perhaps with decisions in it; it is not overwritten"):
        write_audit(tmp_path / "audit", opened, doubts, "a probe")


def test_answers_of_folds(photos, tmp_path):
    opened = open_all(str(photos), [])
    names, every = opened.class_names, list(opened)
    lines = ["path,fold,labels,predicted,probability,p(class_02),p(class_00),p(class_01)"]
    lines += [f"{photo.path},1,{photo.label},class_00,0.7,0.1,0.7,0.2" for photo in every[5:]]
    table = tmp_path / "out_of_fold.csv"
    table.write_text("\n".join(lines) + "\n")
    places, probabilities = from_file(table, every, names)
    assert places.tolist() == list(range(5, 30))
    assert probabilities[0].tolist() == [0.7, 0.2, 0.1]
    with pytest.raises(DataError, match=r"expected the classes of the photos, got others"):
        from_file(table, every, ("class_00", "cat"))
    with pytest.raises(DataError, match="expected answers for these photos, got none"):
        from_file(table, [replace(every[0], index=1)], names)
    table.write_text("\n".join([*lines[:3], lines[3] + ",0.5"]) + "\n")
    with pytest.raises(DataError, match=r"csv:4: expected 3 probabilities, got 4 of them"):
        from_file(table, every, names)
    table.write_text("path,label\na,b\n")
    with pytest.raises(DataError, match=r"'ppclas train --kfold K' writes out_of_fold\.csv"):
        from_file(table, every, names)


def real_photos(name):
    """(path, class) of every photo."""
    if name == "produce8":
        return [(p, p.parent.name) for p in sorted(builtin_photos().rglob("*.jpg"))]
    names = dict(
        line.split(" ", 1) for line in (FLOWERS / "label_list.txt").read_text().splitlines()
    )
    lines = [
        line.rsplit(" ", 1)
        for part in ("train", "val")
        for line in (FLOWERS / f"{part}_list.txt").read_text().splitlines()
    ]
    return [(FLOWERS / path, names[label]) for path, label in lines]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param("produce8", 0, marks=pytest.mark.slow),
        *(
            pytest.param("flowers14", seed, marks=[pytest.mark.sweep, needs_flowers])
            for seed in range(3)
        ),
    ],
)
def test_most_of_what_is_listed_of_real_photos_was_planted(tmp_path, capsys, name, seed):
    """5 % wrong labels: of a list as long, at least 70 % are those; of copies, all are found."""
    rng, photos = np.random.default_rng(seed), real_photos(name)
    classes = sorted({label for _, label in photos})

    def another(label):
        return str(rng.choice([each for each in classes if each != label]))

    order = rng.permutation(len(photos)).tolist()
    wrong, copied = order[: round(0.05 * len(photos))], order[-12:]
    rows = [
        (str(path), another(label) if place in wrong else label)
        for place, (path, label) in enumerate(photos)
    ]
    for number, place in enumerate(copied):
        path, label = photos[place]
        target, pixels = tmp_path / f"copy{number}.jpg", decoded(path)
        if number % 4 == 0:
            shutil.copy(path, target)
        else:  # mirrored, smaller, or of a lower quality
            pixels = pixels[:, ::-1] if number % 4 == 1 else pixels
            pixels = cv2.resize(pixels, None, fx=0.6, fy=0.6) if number % 4 == 2 else pixels
            cv2.imwrite(str(target), pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])
        rows.append((str(target), another(label)))
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    words = ["data", "audit", str(tmp_path / "photos.csv"), "-m", "SqueezeNet1_1"]
    # The copies have wrong labels too.
    most = len(wrong) + len(copied)
    assert main([*words, "-o", str(tmp_path / "audit"), "--most", str(most), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = [row["path"] for row in found if LABEL in row["reason"]]
    planted_at = {rows[place][0] for place in wrong} | {row[0] for row in rows[len(photos) :]}
    precision = sum(path in planted_at for path in listed) / most
    copies = {row["path"]: row["copy"] for row in found if COPY in row["reason"]}
    print(f"{name}, seed {seed}: {precision:.0%} of {most}")
    assert len(listed) == most
    assert precision >= 0.7
    for number, place in enumerate(copied):
        assert copies[str(tmp_path / f"copy{number}.jpg")] == str(photos[place][0])


# Applying


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_list(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*row, *[""] * (len(COLUMNS) - len(row))] for row in rows)
    return path


def test_a_copy_is_written_and_nothing_else_changes(photos, tmp_path):
    before = contents(photos)
    first, second, third, fourth = (photos / "class_00" / f"{n:03d}.png" for n in (0, 2, 4, 6))
    decided = write_list(
        tmp_path / "audit.csv",
        [
            (first, "class_00", "relabel", "class_01"),
            (second, "class_00", "Remove", "class_01"),
            (third, "class_00", "", "class_01"),
            (fourth, "class_00", "relabel", "a new class"),
        ],
    )
    opened = open_all(str(photos), [])
    counts = apply_decisions(opened, read_decisions(decided), tmp_path / "clean")
    assert counts == {"relabelled": 2, "removed": 1, "kept": 27, "undecided": 1}
    assert contents(photos) == before
    wanted = dict(before)
    del wanted["class_00/002.png"]
    wanted["a new class/006.png"] = wanted.pop("class_00/006.png")
    # The class has a photo of that name already.
    names = {"class_01/000-2.png", "class_01/000.png"}
    found = contents(tmp_path / "clean")
    assert {found.pop(name) for name in names} == {
        wanted.pop("class_00/000.png"),
        wanted.pop("class_01/000.png"),
    }
    assert found == wanted

    counts = apply_decisions(opened, read_decisions(decided, accept=True), tmp_path / "clean.csv")
    assert counts == {"relabelled": 3, "removed": 1, "kept": 26}
    again = {photo.path: photo.label for photo in open_all(str(tmp_path / "clean.csv"), [])}
    assert len(again) == 29
    assert again[str(third)] == "class_01"
    assert again[str(fourth)] == "a new class"


def test_parts_and_archives(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data" / "train")
    shutil.copytree(photos / "class_01", tmp_path / "data" / "val" / "class_01")
    opened = open_all(str(tmp_path / "data"), [])
    assert {photo.part for photo in opened} == {"train", "val"}
    path = tmp_path / "data" / "val" / "class_01" / "003.jpg"
    decided = write_list(tmp_path / "a.csv", [(path, "class_01", "relabel", "class_02")])
    apply_decisions(opened, read_decisions(decided), tmp_path / "clean")
    assert (tmp_path / "clean" / "val" / "class_02" / "003.jpg").is_file()
    assert len(contents(tmp_path / "clean" / "train")) == 30
    apply_decisions(opened, read_decisions(decided), tmp_path / "clean.csv")
    with (tmp_path / "clean.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "val"}

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name, content in contents(photos).items():
            archive.writestr(name, content)
    opened = open_all(str(tmp_path / "data.zip"), [])
    (first, *_) = opened
    decided = write_list(tmp_path / "z.csv", [(first.path, first.label, "remove", "")])
    apply_decisions(opened, read_decisions(decided), tmp_path / "unpacked")
    assert len(contents(tmp_path / "unpacked")) == 29
    with pytest.raises(DataError, match=r"in an archive, which a list cannot name\. Give --output"):
        apply_decisions(opened, read_decisions(decided), tmp_path / "z2.csv")


def test_lists_that_cannot_be_carried_out(photos, tmp_path):
    opened = open_all(str(photos), [])
    path = photos / "class_00" / "000.png"

    def refused(rows, words, output=tmp_path / "clean"):
        decided = write_list(tmp_path / "l.csv", rows)
        with pytest.raises(DataError, match=words):
            apply_decisions(opened, read_decisions(decided), output)
        assert not (tmp_path / "clean").exists()

    refused([(path, "class_00", "move", "x")], r"l\.csv:2: expected keep, relabel, remove or noth")
    refused([(path, "class_00", "relabel", "")], "expected a new_label to relabel with")
    refused([(path, "class_01", "remove", "")], "have changed since; run 'ppclas data audit' again")
    refused([("/else.png", "class_01", "remove", "")], r"1 photo\(s\) of the list are not in")
    refused([(path, "class_00", "relabel", "a/b")], "no folder can have the name of this class")
    refused([(path, "class_00", "remove", "")], "nothing is overwritten", photos)
    refused([(path, "class_00", "remove", "")], "would be mixed with their copies", photos / "new")
    (tmp_path / "l.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="got no action and no new_label"):
        read_decisions(tmp_path / "l.csv")


# Commands


def test_the_commands(photos, tmp_path, capsys):
    wrong = planted(photos)
    audit_at = str(tmp_path / "audit")
    words = ["data", "audit", str(photos), "-m", "SqueezeNet1_1", "-o", audit_at, "--most", "2"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "moved_002.png" in printed.out
    assert "are to be looked at" in printed.err
    facts = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert facts["data"] == str(photos)
    clean = str(tmp_path / "clean")
    assert main(["data", "apply", f"{audit_at}/audit.csv", "-o", clean, "--accept"]) == 0
    with (tmp_path / "audit" / "audit.csv").open() as file:
        changed = sum(row["label"] != row["new_label"] for row in csv.DictReader(file))
    said = f"{changed} relabelled, 0 removed, {30 - changed} kept"
    assert said in capsys.readouterr().out
    assert (tmp_path / "clean" / "class_00" / Path(wrong[0]).name).is_file()
    assert main(words) == 1
    assert "perhaps with decisions in it" in capsys.readouterr().err
    assert main(["data", "apply", str(tmp_path / "none.csv"), "-o", clean]) == 1
    assert "expected the list of 'ppclas data audit'" in capsys.readouterr().err
    assert main(["data", "audit", "--oof", "x", "-m", "y"]) == 2

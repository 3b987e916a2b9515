"""What ``ppclas data preview`` draws: which rows, of what, and that nothing overlaps."""

import numpy as np
import pytest
from PIL import Image as Pillow
from ppclas_core.config.schema import ComponentConfig, DataSection
from ppclas_core.contracts.data import Transform
from ppclas_core.errors import DataError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.inspection.contact_sheet import Row, draw_sheet
from ppclas_data.inspection.preview import choose_photos, preview_config, preview_everything
from ppclas_data.sources.opening import load_image_set
from ppclas_data.testing import make_tiny_dataset


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, _ = make_tiny_dataset(
        tmp_path_factory.mktemp("preview") / "photos", classes=4, per_class=4, size=64
    )
    return choose_photos(load_image_set(folder), 4, [])


def test_photos_are_of_several_classes_and_bad_ones_are_passed_over(tmp_path):
    folder, names = make_tiny_dataset(tmp_path / "photos", classes=3, per_class=4)
    (folder / names[0] / "000.png").write_bytes(b"nothing")
    notes = []
    assert len(choose_photos(load_image_set(folder), 3, notes)) == 3
    (note,) = notes
    bad = folder / names[0] / "000.png"
    assert note.startswith(f"1 photo(s) that cannot be read are passed over (the first: {bad}: ")
    assert len(choose_photos(load_image_set(folder), 50, [])) == 11
    lines = tmp_path / "list.txt"
    lines.write_text("".join(f"{path} 0\n" for path in sorted((folder / names[0]).iterdir())))
    notes = []
    choose_photos(load_image_set(lines), 4, notes)
    assert f"(the first: {lines}:1: {bad}: " in notes[0]
    for file in folder.glob("*/*"):
        file.write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"expected photos to preview, and none can be read: .*nothing|text"
    ):
        choose_photos(load_image_set(folder), 3, [])


class _Needy(Transform):
    """Needs something."""

    strength: float
    """How much."""

    def __call__(self, image, draw):
        return image


class _Shadow(Transform):
    """Darken by chance."""

    share: float = 0.5
    """How much is left."""

    def __call__(self, image, draw):
        return (image * self.share).astype(np.uint8) if draw.rng.random() < 0.7 else image


class _Broken(Transform):
    """Never works."""

    def __call__(self, image, draw):
        return 1 // 0


class _Stranger:
    """A plugin with transforms of every kind."""

    @hookimpl
    def register_transforms(self, registry):
        registry.register("Needy", _Needy)
        registry.register("Shadow", _Shadow, summary="darken by chance")
        registry.register("Deep", _Shadow, metadata={"preview": {"share": 0.0}})
        registry.register("Fixed", _Shadow, metadata={"preview": None})
        registry.register("Broken", _Broken)


def test_a_strangers_transforms_are_shown_or_named(photos):
    before = {row.title for row in preview_everything(photos, side=48).rows}
    with use_plugin(_Stranger()):
        shown = preview_everything(photos, side=48)
    original, *rows = (row for row in shown.rows if row.title not in before - {"original"})
    assert (original.title, original.details) == ("original", "")
    assert [(row.title, row.details) for row in rows] == [
        ("Shadow", "darken by chance"),
        ("Deep", "share 0"),
    ]
    assert {image.shape for row in rows for image in row.images} == {(48, 48, 3)}
    assert any(not image.any() for image in rows[1].images)
    (needy,) = (note for note in shown.notes if note.startswith("Needy"))
    (broken,) = (note for note in shown.notes if note.startswith("Broken"))
    assert needy == "Needy is left out: it needs strength. Show it with a config (-c)."
    assert broken.startswith(
        "Broken is left out: photo 1: transform _Broken() failed on an image [48, 48, 3]"
    )
    assert "ZeroDivisionError" in broken


def test_a_config_is_shown_step_by_step(photos):
    data = DataSection(
        train_transforms=(
            ComponentConfig(name="Resize", size=40),
            ComponentConfig(name="RandomFlip", probability=1.0),
            ComponentConfig(name="Normalize"),
        ),
        eval_transforms=(ComponentConfig(name="CenterCrop", size=30),),
    )
    rows = preview_config(photos, data, epochs=3).rows
    assert [row.title for row in rows] == [
        "original",
        "1. Resize",
        "2. RandomFlip",
        "3. Normalize",
        "evaluation",
    ]
    np.testing.assert_array_equal(rows[2].images[0], rows[1].images[0][:, ::-1])
    np.testing.assert_array_equal(rows[3].images[0], rows[2].images[0])  # shown as pixels again
    assert rows[4].images[0].shape == (30, 30, 3)


def test_shares_are_written_below_mixed_photos(photos):
    pytest.importorskip("paddle")
    pytest.importorskip("ppclas_augment")
    data = DataSection(
        train_transforms=(ComponentConfig(name="Resize", size=40),),
        eval_transforms=(ComponentConfig(name="Resize", size=40),),
        batch_transforms=(ComponentConfig(name="Mixup", alpha=1.0),),
    )
    rows = preview_config(photos, data, epochs=3).rows
    mixed = rows[2]
    for own, (image, caption) in enumerate(zip(mixed.images, mixed.captions, strict=True)):
        (share, first), (rest, second) = (part.split("% ") for part in caption.split(", "))
        assert int(first) == own + 1
        assert int(share) + int(rest) == 100
        blend = (
            int(share) / 100 * rows[1].images[own]
            + int(rest) / 100 * rows[1].images[int(second) - 1]
        )
        assert np.abs(image - blend).max() < 3


def test_nothing_overlaps_on_the_sheet(tmp_path):
    # Pictures in a colour that no text has: each must be there in full, whatever the texts say.
    cell, pink = 50, (255, 0, 200)
    picture = np.full((50, 50, 3), pink, np.uint8)
    wide = np.full((20, 100, 3), pink, np.uint8)
    rows = [
        Row(
            "AVeryLongNameWithoutAnySpaceThatIsWiderThanTheColumnOfNames",
            "many " * 60,
            (picture, picture),
        ),
        Row("short", "", (wide, picture), ("50% 1, 50% 2", "1% 2")),
    ]
    draw_sheet(rows, tmp_path / "sheet.png", cell)
    sheet = np.asarray(Pillow.open(tmp_path / "sheet.png"))
    pictures = (sheet == pink).all(axis=2)
    assert pictures.sum() == 3 * 50 * 50 + 50 * 10
    text = (sheet < 200).all(axis=2)
    left = np.flatnonzero(pictures.any(axis=0))[0]
    assert text[:, :left].any()
    assert not text[:, left - 6 : left].any()  # names end before the pictures
    assert not text[-8:].any()  # and captions before the edge

"""``ppclas data preview``."""

import cv2


def test_a_config_is_drawn_step_by_step(ppclas, tmp_path):
    target = tmp_path / "steps.png"
    overrides = ["--override", "data.image_size=48", "--override", "data.resize_mode=letterbox"]
    result = ppclas(
        "data", "preview", "-o", str(target), "--photos", "3", "--cell", "64", *overrides
    )
    assert (result.code, result.out) == (0, f"{target}\n"), result.err
    height, width = cv2.imread(str(target)).shape[:2]
    # Original, Letterbox, RandomFlip, evaluation; three photos of at most 64 pixels beside their
    # names.
    assert 3 * 48 < height < 5 * 70
    assert 3 * 64 < width < 3 * 70 + 230


def test_mistakes(ppclas, tmp_path):
    nowhere = ppclas("data", "preview", "-o", str(tmp_path / "nowhere" / "grid.png"))
    assert nowhere.code == 2
    assert "There is no folder" in nowhere.err
    precious = tmp_path / "my.yaml"
    precious.write_text("data: {}\n")
    swapped = ppclas("data", "preview", "-o", str(precious))
    assert (swapped.code, precious.read_text()) == (2, "data: {}\n")
    assert "the picture is a PNG; give a name that ends with .png" in swapped.err
    (tmp_path / "folder.png").mkdir()
    assert (
        "folder.png cannot be written: Is a directory"
        in ppclas(
            "data",
            "preview",
            "-o",
            str(tmp_path / "folder.png"),
            "--override",
            "data.image_size=32",
        ).err
    )
    misspelt = ppclas("data", "preview", "--override", "data.resize_mode=letterboxed")
    assert misspelt.code == 1
    assert "Did you mean 'letterbox'?" in misspelt.err

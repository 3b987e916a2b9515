"""Odd images go through ``ppclas predict`` and get the answer of the picture that a person sees;
Pillow is the judge.

The decoder itself is held to Pillow pixel by pixel in
``packages/ppclas-core/tests/test_data_decode.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from ppclas_core.bundle import write_bundle
from ppclas_core.weights import read_state
from ppclas_data.builtin import builtin_photos
from ppclas_engine.bundles import bundle_from_weights, pretrained_path

pytestmark = pytest.mark.slow


def photo() -> Image.Image:
    """A picture that a turn or other colours would change the answer for."""
    with Image.open(min(builtin_photos().rglob("*.jpg"))) as opened:
        return opened.convert("RGB")


def write_all(folder: Path) -> list[Path]:
    seen = photo()
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = seen.copy()
    alpha.putalpha(Image.radial_gradient("L").resize(seen.size))
    seen.save(folder / "turned.jpg", quality=95, exif=turned)
    alpha.save(folder / "alpha.png")
    seen.convert("L").save(folder / "grey.jpg", quality=95)
    seen.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    seen.quantize(64).save(folder / "palette.png")
    seen.save(
        folder / "animated.gif", save_all=True, append_images=[ImageOps.invert(seen)], duration=100
    )
    deep = np.asarray(seen)[..., ::-1].astype(np.uint16) * 257
    (folder / "deep.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    return sorted(folder.iterdir())


def as_seen(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def test_predict_says_itself_what_is_wrong_with_a_photo_and_nobody_else_does(tmp_path):
    """In a process of its own: libjpeg writes to the file descriptor."""
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (96, 1))
    whole = cv2.imencode(".jpg", np.dstack([ramp] * 3))[1].tobytes()
    behind = 4 + int.from_bytes(whole[4:6], "big")  # the first segment
    (tmp_path / "junk.jpg").write_bytes(whole[:behind] + b"\0\1\2\3\4" + whole[behind:])
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    code = (
        "import sys, ppclas_data.decoding.jpeg as jpeg; jpeg.simplejpeg = None\n"
        "from ppclas_cli.main import main; sys.exit(main(['predict', *sys.argv[1:]]))"
    )
    photos = [str(tmp_path / name) for name in ("junk.jpg", "cut.jpg")]
    done = subprocess.run([sys.executable, "-c", code, *photos], capture_output=True, text=True)
    assert "junk.jpg: " in done.stdout
    for words in ("Corrupt JPEG data", "Premature end"):
        assert words not in done.stderr


def test_predict_sees_what_a_person_sees(ppclas, tmp_path):
    published = bundle_from_weights("SqueezeNet1_1", pretrained_path("SqueezeNet1_1"))
    write_bundle(tmp_path / "bundle", published.manifest, read_state(published.weights_file))
    (tmp_path / "odd").mkdir()
    (tmp_path / "seen").mkdir()
    odd = write_all(tmp_path / "odd")
    for path in odd:
        as_seen(path).save(tmp_path / "seen" / f"{path.stem}.png")
    upright = tmp_path / "seen" / "upright.png"
    photo().save(upright)

    said = ppclas(
        "predict", "odd", "seen", "-m", "bundle", "--top-k", 1000, "--format", "json", cwd=tmp_path
    ).stdout
    answers = {
        row["path"]: np.array(
            [one["probability"] for one in sorted(row["top"], key=lambda one: one["label"])]
        )
        for row in json.loads(said)
    }
    assert len(answers) == 2 * 7 + 1
    for path in odd:
        difference = np.abs(answers[f"odd/{path.name}"] - answers[f"seen/{path.stem}.png"]).max()
        assert difference < 0.02, f"{path.name}: {difference}"
    # Were the orientation, the colours or the alpha channel ignored, the answers would be those of
    # the plain photo.
    for name in ("turned.jpg", "grey.jpg", "alpha.png"):
        assert np.abs(answers[f"odd/{name}"] - answers["seen/upright.png"]).max() > 0.05, name

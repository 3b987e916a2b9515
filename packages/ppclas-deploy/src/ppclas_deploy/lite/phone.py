"""What goes with a .nb to a phone: the commands, and code that calls it with the bundle's own
preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ppclas_core.files import write_text

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.config.schema import ComponentConfig

    from ppclas_deploy.exporters.base import Interface

TEMPLATES = Path(__file__).with_name("templates")
FILES = ("README.md", "classify.cc", "Classifier.java")

_LIBRARIES = {
    "arm": "the phone's architecture",
    "armv8-fp16": "armv8, built with half precision (`--with_arm82_fp16=ON`)",
    "opencl": "the phone's architecture, built with OpenCL (`--with_opencl=ON`)",
    "x86": "x86; on a phone a model for `x86` does not run, so export another with `--place arm`",
}
_ANSWERS = {
    "softmax": "The largest output is the answer with and without it.",
    "sigmoid": "Of several labels those count whose probability reaches its threshold; the "
    "largest is the likeliest.",
    "none": "The largest output is the answer.",
}


def write_phone_files(bundle: Bundle, folder: Path, interface: Interface, place: str) -> None:
    """Fill the templates with the bundle's constants and write them into ``folder``."""
    preprocessing = bundle.manifest.preprocessing
    height, width = bundle.image_size
    rows = interface["batch"] or 1
    normalize = preprocessing.normalize
    steps = [
        f"{number}. {_sentence(step)}" for number, step in enumerate(preprocessing.transforms, 2)
    ]
    given = bundle.manifest.activation
    activation = given if interface["output"] == "logits" else "none"
    output = (
        interface["output"]
        if activation == "none"
        else f"logits; {activation} makes probabilities of them"
    )
    values = {
        "name": bundle.manifest.architecture.name,
        "height": str(height),
        "short_side": str(_short_side(preprocessing.transforms)),
        "width": str(width),
        "classes": str(len(bundle.labels)),
        "mean": ", ".join(f"{value!r}f" for value in normalize.mean),
        "std": ", ".join(f"{value!r}f" for value in normalize.std),
        "activation": activation,
        "answer": _ANSWERS[given if given == "sigmoid" else activation],
        "rows": str(rows),
        "library": _LIBRARIES[place],
        "mean_text": ", ".join(map(str, normalize.mean)),
        "std_text": ", ".join(map(str, normalize.std)),
        "pixels": "true" if interface["input"] == "pixels" else "false",
        "place": place,
        "steps": "\n".join(steps),
        "input": (
            f"uint8 [N, {height}, {width}, 3], RGB"
            if interface["input"] == "pixels"
            else f"float32 [N, 3, {height}, {width}], RGB planes, (pixel / 255 - mean) / std"
        ),
        "shape": f"{rows},{height},{width},3"
        if interface["input"] == "pixels"
        else f"{rows},3,{height},{width}",
        "output": output,
        "batch": "any" if interface["batch"] is None else str(interface["batch"]),
        "threads": "1 2 4",
    }
    for name in FILES:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        write_text(folder / name, Template(text).substitute(values))


def _short_side(steps: Sequence[ComponentConfig]) -> int:
    """What the short side is resized to before the middle is kept; 0 where all of the photo gets
    the model's size; -1 for everything else.
    """
    names = [step.name for step in steps]
    if names == ["Resize", "CenterCrop"] and "short" in steps[0].params:
        return int(steps[0].params["short"])
    return 0 if names == ["Resize"] and "size" in steps[0].params else -1


def _sentence(step: ComponentConfig) -> str:
    """A transform and its parameters in words that a programmer can follow."""
    params = ", ".join(f"{key} {value}" for key, value in step.params.items())
    return f"{step.name}: {params}." if params else f"{step.name}."

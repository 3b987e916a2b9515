"""Measure every architecture of the zoo through every export target; write docs/en/exports.md.

    python docs/generate_exports.py --minutes 5    # measure what docs/exports.json lacks, so long
    python docs/generate_exports.py                # only write the page

Each architecture gets a process of its own, which converts and answers target after target; when it
crashes, the target that it was at gets the blame and another process goes on with the rest.
Weights: the published ones where ``--weights FOLDER`` has ``<name>_pretrained.pdparams``, else
random ones with batch norms that have seen photos.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DATA = Path(__file__).with_name("exports.json")

TARGETS: dict[str, tuple[str, dict[str, str]]] = {
    "paddle": ("paddle", {}),
    "paddle old IR": ("paddle", {"ir": "old"}),
    "onnx": ("onnx", {}),
    "openvino": ("openvino", {}),
    "lite x86": ("lite", {"place": "x86"}),
}
"""Column → target and its options."""
MAX_PARAMS = 60.0  # millions
SIZES = (96, 224)
"""Sides of the photos, in pixels: the second where the network cannot take the first."""
NUM_PHOTOS = 3
STATISTICS_PHOTOS = 32
"""For batch norms: from few photos a channel may have next to no variance, and then blow rounding
errors up."""
SEED = 20
SECONDS = 1200.0
"""For all targets of one architecture."""
LAST_LINE = -1


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Work in ``folder`` for a while (contextlib.chdir is Python 3.11's)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def architectures() -> dict[str, float]:
    """Architecture → millions of parameters, the small ones first; names that share weights' shapes
    are one.
    """
    from ppclas_core.plugins import get_registries

    models = get_registries().models
    found: dict[str, float] = {}
    for name in models:
        facts = models.entry(name).metadata
        params = (facts.get("params") or 1e6 * MAX_PARAMS) / 1e6
        if facts.get("architecture") == name and params < MAX_PARAMS:
            found[name] = params
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _families_first() -> list[str]:
    """The smallest architecture of each family, then the second, and so on: a part tells the
    most.
    """
    from ppclas_core.plugins import get_registries

    models, seen, order = get_registries().models, Counter[str](), []
    for rank, name in enumerate(architectures()):
        family = models.entry(name).metadata["family"]
        order.append((seen[family], rank, name))
        seen[family] += 1
    return [name for _, _, name in sorted(order)]


def measure(minutes: float, weights: Path | None, only: str | None) -> None:
    """Fill in what is missing in the data, for about ``minutes``."""
    end = time.monotonic() + 60 * minutes
    for name in [only] if only else _families_first():
        if time.monotonic() > end:
            return
        if name in _read() and not only:
            continue
        started = time.monotonic()
        row = _measure_one(name, weights)
        row["seconds"] = round(time.monotonic() - started, 1)
        DATA.write_text(
            json.dumps(_read() | {name: row}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        marks = {target: _mark(row["targets"].get(target)) for target in TARGETS}
        print(name, row["size"], f"{row['seconds']} s", marks, flush=True)


def _read() -> dict[str, Any]:
    """Anew each time: another process may measure another architecture meanwhile."""
    rows: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8")) if DATA.is_file() else {}
    return rows


def _measure_one(name: str, weights: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {"date": date.today().isoformat(), "size": 0, "targets": {}}
    end = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory(prefix="ppclas-") as folder:
        while missing := [target for target in TARGETS if target not in row["targets"]]:
            command = [
                sys.executable,
                __file__,
                "--one",
                name,
                "--folder",
                folder,
                "--targets",
                ",".join(missing),
            ]
            with open(Path(folder) / "log", "wb") as log:
                process = subprocess.Popen(
                    [*command, *(["--weights", str(weights)] if weights else [])],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                try:
                    said, _ = process.communicate(timeout=max(1.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    said, _ = process.communicate()
            answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
            for answer in answers:
                row["size"] = answer.get("size", row["size"])
                row["weights"] = answer.get("weights", row.get("weights"))
                row["targets"].update(answer.get("targets", {}))
            if process.returncode:
                at = next(target for target in missing if target not in row["targets"])
                row["targets"][at] = {"error": _cause(process.returncode, Path(folder) / "log")}
    return row


def _cause(code: int, log: Path) -> str:
    from ppclas_deploy.isolate import last_words

    how = f"crashed (signal {-code})" if code < 0 else f"failed (exit code {code})"
    return f"{how}: {last_words(log.read_text(encoding='utf-8', errors='replace'))}"


def one(name: str, folder: Path, targets: list[str], weights: Path | None) -> None:
    """In its own process: a line of JSON a target."""
    import numpy as np
    from ppclas_core.bundle import Bundle
    from ppclas_core.errors import PpclasError
    from ppclas_core.plugins import get_registries
    from ppclas_core.registry import resolve
    from ppclas_deploy import parity
    from ppclas_deploy.answers import exact_predictor, read_photos
    from ppclas_deploy.export import export_manifest, make_exporter, write_manifest

    # Converters run here instead of in processes of their own: starting Paddle ten times takes
    # longer than the rest.
    from ppclas_deploy.exporters import lite, onnx, openvino, paddle
    from ppclas_deploy.worker import STEPS

    def here(step: str, job: Mapping[str, Any], log: Path, timeout: float) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=folder) as work, _inside(work):
            return resolve(STEPS[step])(job)

    def written(job: Mapping[str, Any], path: Path) -> None:
        shutil.copyfile(folder / "onnx" / "model.onnx", path)

    real_write = onnx.write_onnx
    for module in (lite, onnx, openvino, paddle):
        module.run_isolated = here
    openvino.write_onnx = lambda job, path: (
        written if (folder / "onnx" / "model.onnx").is_file() else real_write
    )(job, path)

    if not (folder / "bundle" / "bundle.json").is_file():
        print(json.dumps(_make_bundle(name, folder / "bundle", weights)), flush=True)
    bundle = Bundle.load(folder / "bundle")
    photos = [str(path) for path in _photos()[:NUM_PHOTOS]]
    from ppclas_engine.scoring.predictors import model_predictor

    predict = model_predictor(bundle.build_model(), bundle.manifest.preprocessing.normalize)
    pixels = read_photos(bundle, photos)
    reference, exact = predict(pixels), None
    for column in targets:
        target, options = TARGETS[column]
        out = folder / (target + "".join(options.values()))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        started = time.monotonic()
        try:
            exporter = make_exporter(target, options)
            exporter.check()
            facts = exporter.export(bundle, out)
            write_manifest(out, export_manifest(bundle, target, facts))
            engine = get_registries().engines.build(facts["engine"], threads=1)
            export = Bundle.load(out)
            engine.load(export)
            inputs = engine.prepare(pixels)
            answers = np.concatenate([engine.answers(inputs[:1]), engine.answers(inputs[1:])])
            result = parity.compare(reference, answers, photos, exporter.tolerance)
            if not result.agrees:
                if exact is None:
                    normalize = bundle.manifest.preprocessing.normalize
                    exact = exact_predictor(bundle.build_model(), normalize)(pixels)
                result = parity.compare_exactly(
                    exact, reference, answers, photos, exporter.tolerance
                )
            own = (
                {}
                if result.own_rounding is None
                else {"own_rounding": float(f"{result.own_rounding:.3g}")}
            )
            answer = {
                "agrees": result.agrees,
                "max_rel_diff": float(f"{result.max_rel_diff:.3g}"),
                **own,
                "top1": result.top1_agreement,
                "bytes": sum(entry.bytes for entry in export.manifest.files.values()),
                "versions": engine.versions(),
            }
        except PpclasError as error:
            answer = {"error": str(error)}
        except Exception as error:  # a converter's own, of no known class
            answer = {
                "error": f"{type(error).__name__}: {str(error).strip().splitlines()[LAST_LINE]}"
            }
        answer["seconds"] = round(time.monotonic() - started, 1)
        print(json.dumps({"targets": {column: answer}}), flush=True)


def _make_bundle(name: str, folder: Path, weights: Path | None) -> dict[str, Any]:
    """Write a bundle of ``name``; what it came to."""
    import paddle
    from ppclas_core.bundle import Manifest, Preprocessing, architecture_of, write_bundle
    from ppclas_core.models import create_model
    from ppclas_core.weights import model_state, read_state
    from ppclas_data.loading.pipeline import default_eval_transforms
    from ppclas_engine.bundles import bundle_from_weights

    published = weights / f"{name}_pretrained.pdparams" if weights is not None else None
    if published is not None and published.is_file():
        source = bundle_from_weights(name, published)
        write_bundle(folder, source.manifest, read_state(published))
        return {"size": source.image_size[0], "weights": "published"}
    paddle.set_device("cpu")
    paddle.seed(SEED)
    model = create_model(name)
    for size in SIZES:
        manifest = Manifest(
            architecture=architecture_of(name, 1000, {}),
            preprocessing=Preprocessing(
                image_size=(size, size), transforms=default_eval_transforms(size, None, "bilinear")
            ),
            labels=tuple(str(label) for label in range(1000)),
        )
        try:
            _show_photos(model, manifest)
        except ValueError as error:
            # Too small for the last layers; anything else is seen again at the larger size.
            print(f"{name} at {size}: {error}", file=sys.stderr)
            continue
        write_bundle(folder, manifest, model_state(model))
        return {"size": size, "weights": "random"}
    raise ValueError(f"{name} takes none of {SIZES}")


def _show_photos(model: Any, manifest: Any) -> None:
    """One forward pass in training, after which batch norms have the statistics of real photos."""
    import paddle
    from ppclas_core.bundle import Bundle
    from ppclas_data.loading.device import normalize_on_device
    from ppclas_deploy.answers import read_photos

    bundle = Bundle(Path(), manifest, Path())
    for layer in model.sublayers():
        if hasattr(layer, "_momentum"):
            layer._momentum = 0.0
    pixels = read_photos(
        bundle, [str(path) for path in _photos()[NUM_PHOTOS : NUM_PHOTOS + STATISTICS_PHOTOS]]
    )
    images = normalize_on_device(pixels, manifest.preprocessing.normalize)
    with paddle.no_grad():
        model.train()
        model(images)
        model.eval()
        model(images[:1])


def _photos() -> list[Path]:
    """Built-in photos, one class after the other."""
    from ppclas_data.builtin import builtin_photos

    classes = sorted(path for path in (builtin_photos() / "val").iterdir() if path.is_dir())
    ranks = [sorted(folder.iterdir()) for folder in classes]
    return [photo for rank in zip(*ranks, strict=False) for photo in rank]


def _mark(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "not measured"
    if "error" in answer:
        return "fails"
    mark = f"{answer['max_rel_diff']:.1e}" + ("†" if "own_rounding" in answer else "")
    return mark + ("" if answer["agrees"] else " differs")


def _agrees(answer: Mapping[str, Any] | None) -> bool:
    return answer is not None and bool(answer.get("agrees"))


def render(language: str = "en") -> str:
    """The page."""
    return "\n".join(_lines(_read(), architectures(), language)) + "\n"


def _lines(data: Mapping[str, Any], names: Mapping[str, float], language: str) -> Iterator[str]:
    rows = {name: data[name] for name in names if name in data}
    english = language == "en"
    if english:
        yield "# What exports\n"
        yield "Generated by `docs/generate_exports.py` from `docs/exports.json`.\n"
        yield (
            f"Architectures of the zoo under {MAX_PARAMS:g} million parameters, through every "
            f"target that runs on a CPU, on {NUM_PHOTOS} real photos, the first by itself and the "
            "others as a batch. The number is the largest difference of a logit from the trained "
            "model's, as a share of the logits' root mean square; `ppclas export` accepts 1e-4. "
            "Weights are random, with batch norms that have seen photos, except where marked *. A "
            "difference marked † is one from the trained model in double precision, asked where "
            "single precision is not enough: random weights make some networks ill-conditioned. "
            "Then the larger of 1e-4 and twice the model's own distance from double precision "
            "is accepted. `ppclas export` does the same for differences up to 1e-3."
        )
    else:
        yield "# 各模型的导出情况\n"
        yield "本页由 `docs/generate_exports.py` 根据 `docs/exports.json` 生成。\n"
        yield (
            f"模型库中参数少于 {MAX_PARAMS:g} 百万的网络结构，导出到能在 CPU 上运行的每个目标，"
            f"并用 {NUM_PHOTOS} 张真实图像比对：第一张单独处理，其余组成一批。"
            "数字是 logits 与训练模型的最大差异，以 logits 均方根的比例表示；"
            "`ppclas export` 接受不超过 1e-4 的差异。"
            "除标 * 的以外，权重是随机的，批归一化统计过真实图像。"
            "标 † 的差异是与双精度的训练模型相比：随机权重使某些网络对误差很敏感，"
            "单精度不足以判断，此时接受 1e-4 与模型自身双精度差异两倍中的较大者。"
            "`ppclas export` 对不超过 1e-3 的差异也这样判断。"
        )
    versions = {
        key: value
        for row in rows.values()
        for a in row["targets"].values()
        for key, value in _versions(a)
    }
    if versions:
        said = ", ".join(f"{key} {value}" for key, value in sorted(versions.items()))
        day = max(row["date"] for row in rows.values())
        yield f"\nMeasured {day} with {said}.\n" if english else f"\n测量于 {day}，使用 {said}。\n"
    counts = {
        target: sum(_agrees(row["targets"].get(target)) for row in rows.values())
        for target in TARGETS
    }
    yield f"| | {'pixels' if english else '像素'} | {' | '.join(TARGETS)} |"
    yield f"| --- | --- |{' --- |' * len(TARGETS)}"
    agree = f"agree, of {len(rows)}" if english else f"一致（共 {len(rows)} 个）"
    yield f"| **{agree}** | | {' | '.join(str(count) for count in counts.values())} |"
    causes: dict[str, list[str]] = {}
    for name in names:
        if name not in rows:
            continue
        row, cells = rows[name], []
        for target in TARGETS:
            answer = row["targets"].get(target)
            cells.append(_mark(answer))
            if answer is not None and not _agrees(answer):
                causes.setdefault(
                    f"{target}: {answer.get('error', 'larger than 1e-4')}", []
                ).append(name)
        star = "*" if row.get("weights") == "published" else ""
        yield f"| {name}{star} | {row['size']} | {' | '.join(cells)} |"
    yield (
        "\n## Gaps and their causes\n"
        if english
        else "\n## 未能一致的原因\n\n原因为工具给出的英文信息。\n"
    )
    if missing := len(names) - len(rows):
        yield (
            f"- {missing} of {len(names)} architectures: not measured yet; the script goes on "
            "where it stopped."
            if english
            else f"- {len(names)} 个网络结构中有 {missing} 个尚未测量，脚本会从中断处继续。"
        )
    elif not causes:
        yield "None."
    for cause, affected in causes.items():
        yield f"- {', '.join(affected)}: {cause}"


def _versions(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in answer.get("versions", {}).items():
        if key in ("paddle", "onnxruntime", "openvino", "paddlelite"):
            yield key, value


def main() -> None:
    """Measure if told for how long, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--weights", type=Path, help="a folder of published weights")
    parser.add_argument("--only", metavar="NAME", help="measure this one, again if need be")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--targets", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one, given.folder, given.targets.split(","), given.weights)
        return
    if given.minutes or given.only:
        measure(given.minutes or 60.0, given.weights, given.only)
    for language in ("en", "zh"):
        (DOCS / language / "exports.md").write_text(render(language), encoding="utf-8")


if __name__ == "__main__":
    main()

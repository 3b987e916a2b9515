"""How long training waits for its photos: MobileNetV3_large_x1_0 at 224 pixels, two workers.

    python benchmarks/loader_wait.py [DATA] [STEPS] [BATCH]

Trains as ``ppclas train`` does, on a list of photos (default: ../shared/data/flowers14 beside the
clone), and prints the share of the time of all steps but the first few that the training process
waited for the loader. The target is less than 2 %. Training takes the cores that the workers need,
so the machine should do nothing else; the load average is printed with the result.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ppclas_core.config.schema import DataSection
from ppclas_core.models import create_model
from ppclas_data.decoding.jpeg import decoder_name
from ppclas_data.loading.device import normalize_on_device
from ppclas_data.loading.loader import Loader, available_cpus
from ppclas_data.loading.pipeline import Pipeline, build_transforms, default_train_transforms
from ppclas_data.sources.splits import open_splits

TARGET, WARM_UP, WORKERS = 0.02, 2, 2


def main() -> None:
    """Print one table; exit with 1 if the target is missed."""
    import paddle
    from paddle.nn import functional

    beside = Path(__file__).parents[2] / "shared" / "data" / "flowers14"
    given = dict(enumerate(sys.argv[1:]))
    section = DataSection(train=str(given.get(0, beside)))
    steps, batch_size = int(given.get(1, 12)), int(given.get(2, 32))
    photos = open_splits(section).train
    model = create_model("MobileNetV3_large_x1_0", num_classes=len(photos.class_names))
    optimizer = paddle.optimizer.Momentum(0.01, parameters=model.parameters())
    model.train()
    waits, times = [], []
    pipeline = Pipeline(build_transforms(default_train_transforms(224, "bilinear")))
    with Loader(
        photos, pipeline, batch_size, shuffle=True, workers=WORKERS, drop_last=True
    ) as loader:
        started, epoch = time.perf_counter(), 0
        while len(times) < steps + WARM_UP:
            for batch in loader.epoch(epoch):
                logits = model(normalize_on_device(batch.images, section.normalize))
                loss = functional.cross_entropy(logits, paddle.to_tensor(batch.labels))
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                loss.item()
                now = time.perf_counter()
                waits.append(batch.wait_seconds)
                times.append(now - started)
                started = now
                if len(times) == steps + WARM_UP:
                    break
            epoch += 1
    waited, total = sum(waits[WARM_UP:]), sum(times[WARM_UP:])
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(
        f"{decoder_name()}, Paddle {paddle.__version__}, {available_cpus()} cores, load average "
        f"{load}"
    )
    print(f"{'steps':>6} {'batch':>6} {'s/step':>8} {'images/s':>9} {'waited':>8} {'longest':>9}")
    print(
        f"{steps:>6} {batch_size:>6} {total / steps:>8.2f} {steps * batch_size / total:>9.1f} "
        f"{waited / total:>8.2%} {1000 * max(waits[WARM_UP:]):>6.0f} ms"
    )
    sys.exit(waited / total >= TARGET)


if __name__ == "__main__":
    main()

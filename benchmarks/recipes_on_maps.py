"""How a few photos change MobileNetV2 best: recipes compared on maps that are computed once.

    python benchmarks/recipes_on_maps.py WEIGHTS.safetensors SET [SET …] [-o KEY=VALUE …]

Needs PyTorch, whose training steps take less than half of Paddle's time on a CPU; ``save_state`` of
``ppclas_core.weights`` writes the safetensors. SET is a folder with train/CLASS/*.jpg and
val/CLASS/*.jpg. The maps that leave the early stages are kept of ``views`` crops of each training
photo, and what comes after learns from them: a stand-in for training that costs a fraction of it. A
line for each set: top-1 on the validation photos of scikit-learn's logistic regression (256/224),
and at a short side of ``frame`` pixels of the classifier fitted to photos and mirror images, of the
last weights, and of half way between those two.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from ppclas_engine.loop.probe import logistic_regression
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6,
        320, 1, 1),
)  # fmt: skip
EARLY = 4
"""Stages that are not trained: the stem and three of seven."""
SIZE = 224
MEAN = torch.tensor([0.485, 0.456, 0.406]) * 255
STD = torch.tensor([0.229, 0.224, 0.225]) * 255


@dataclass(frozen=True)
class Recipe:
    """What is compared."""

    rate: float = 0.02
    backbone: float = 0.5
    photos: int = 4500
    frame: int = 240
    smoothing: float = 0.1
    clip: float = 1.0
    decay: float = 1e-4
    batch: int = 16
    views: int = 10
    jitter: float = 0.3
    seed: int = 0


class Conv(nn.Module):
    """Convolution and batch norm, with the names of the published weights."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, relu: bool
    ) -> None:
        super().__init__()
        self._conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self._batch_norm, self.relu = nn.BatchNorm2d(outputs), relu

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, outputs, H / stride, W / stride]."""
        x = self._batch_norm(self._conv(x))
        return nnf.relu6(x) if self.relu else x


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden, self.residual = inputs * expansion, stride == 1 and inputs == outputs
        self._expand_conv = Conv(inputs, hidden, 1, 1, 1, True)
        self._bottleneck_conv = Conv(hidden, hidden, 3, stride, hidden, True)
        self._linear_conv = Conv(hidden, outputs, 1, 1, 1, False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, outputs, H / stride, W / stride]."""
        y = self._linear_conv(self._bottleneck_conv(self._expand_conv(x)))
        return x + y if self.residual else y


class Net(nn.Module):
    """MobileNetV2 that can be entered after its early stages; batch norms keep their statistics."""

    def __init__(self, weights: Path, classes: int) -> None:
        super().__init__()
        self.order, channels = ["conv1"], 32
        self.conv1 = Conv(3, channels, 3, 2, 1, True)
        for stage, (expansion, outputs, depth, stride) in enumerate(STAGES, start=2):
            blocks = nn.Sequential()
            for place in range(depth):
                block = Block(channels, outputs, expansion, 1 if place else stride)
                blocks.add_module(f"conv{stage}_{place + 1}" if place else "_first_block", block)
                channels = outputs
            self.add_module(f"conv{stage}", blocks)
            self.order.append(f"conv{stage}")
        self.conv9 = Conv(channels, 1280, 1, 1, 1, True)
        self.order.append("conv9")
        self.out = nn.Linear(1280, classes)
        published = load_file(weights)
        own = self.state_dict()
        for key in own:
            name = key.replace("running_mean", "_mean").replace("running_var", "_variance")
            if name in published and not key.startswith("out."):
                own[key] = torch.from_numpy(np.ascontiguousarray(published[name]))
        self.load_state_dict(own)
        self.eval().to(memory_format=torch.channels_last)

    def early(self, images: Tensor) -> Tensor:
        """The map that leaves the early stages."""
        for name in self.order[:EARLY]:
            images = getattr(self, name)(images)
        return images

    def features(self, maps: Tensor) -> Tensor:
        """[N, 1280] from the maps of the early stages."""
        for name in self.order[EARLY:]:
            maps = getattr(self, name)(maps)
        return maps.mean((2, 3))


def photos(folder: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Photos [H, W, 3] and labels of train/ or val/."""
    images, labels = [], []
    for label, name in enumerate(sorted(p.name for p in (folder.parent / "train").iterdir())):
        for file in sorted((folder / name).iterdir()):
            images.append(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB))
            labels.append(label)
    return images, np.array(labels)


def center(image: NDArray[np.uint8], short: int) -> NDArray[np.uint8]:
    """The middle of a photo whose short side is resized."""
    scale = short / min(image.shape[:2])
    height, width = (max(SIZE, round(side * scale)) for side in image.shape[:2])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    return image[top : top + SIZE, left : left + SIZE]


def crop(image: NDArray[np.uint8], rng: np.random.Generator, jitter: float) -> NDArray[np.uint8]:
    """A random crop of half of the photo or more, mirrored or not, in other colours."""
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(0.5, 1.0)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if wide <= width and high <= height:
            top = rng.integers(0, height - high + 1)
            left = rng.integers(0, width - wide + 1)
            break
    else:
        high = wide = min(height, width)
        top, left = (height - high) // 2, (width - wide) // 2
    image = cv2.resize(image[top : top + high, left : left + wide], (SIZE, SIZE))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if not jitter:
        return np.ascontiguousarray(image)
    low, most = 1 - jitter, 1 + jitter
    seen = image.astype(np.float32) * rng.uniform(low, most)
    seen = seen.mean() + (seen - seen.mean()) * rng.uniform(low, most)
    grey = (seen @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    seen = grey + (seen - grey) * rng.uniform(low, most)
    return np.clip(seen, 0, 255).astype(np.uint8)


@torch.no_grad()
def maps_of(net: Net, images: list[NDArray[np.uint8]]) -> tuple[Tensor, NDArray[np.float32]]:
    """Maps in half precision, and features [N, 1280]."""
    maps, features = [], []
    for start in range(0, len(images), 16):
        pixels = torch.from_numpy(np.stack(images[start : start + 16])).float()
        left = net.early(((pixels - MEAN) / STD).permute(0, 3, 1, 2))
        maps.append(left.half())
        features.append(net.features(left).numpy())
    return torch.cat(maps), np.concatenate(features)


def learn(net: Net, views: Tensor, labels: NDArray[np.int64], recipe: Recipe) -> None:
    """Train what comes after the early stages on ``views`` [V, N, C, H, W]."""
    rng, count = np.random.default_rng(recipe.seed), len(labels)
    head = list(net.out.parameters())
    body = [p for name in net.order[EARLY:] for p in getattr(net, name).parameters()]
    optimizer = torch.optim.SGD(
        [{"params": body}, {"params": head}],
        lr=0.0,
        momentum=0.9,
        weight_decay=recipe.decay,
    )
    steps = count // recipe.batch
    total = steps * min(30, max(5, round(recipe.photos / count)))
    warm = max(1, total // 10)
    for step in range(total):
        if step % steps == 0:
            order = rng.permutation(count)
        chosen = order[step % steps * recipe.batch :][: recipe.batch]
        shown = views[rng.integers(0, len(views), len(chosen)), chosen].float()
        shown = shown.contiguous(memory_format=torch.channels_last)
        done = max(0.0, (step - warm) / max(1, total - warm))
        rate = recipe.rate * min(step / warm, 0.5 * (1 + math.cos(math.pi * done)))
        for group, factor in zip(optimizer.param_groups, (recipe.backbone, 1.0), strict=True):
            group["lr"] = rate * factor
        loss = nnf.cross_entropy(
            net.out(net.features(shown)),
            torch.from_numpy(labels[chosen]),
            label_smoothing=recipe.smoothing,
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head + body, recipe.clip)
        optimizer.step()


def compare(weights: Path, folder: Path, recipe: Recipe) -> str:
    """The line of a set."""
    began = time.process_time()
    known, labels = photos(folder / "train")
    asked, answers = photos(folder / "val")
    classes = int(labels.max()) + 1
    net = Net(weights, classes)
    shown = [center(image, recipe.frame) for image in known]
    mirrored = [image[:, ::-1].copy() for image in shown]
    features = np.concatenate([maps_of(net, part)[1] for part in (shown, mirrored)])
    rng = np.random.default_rng(1)
    views = [
        maps_of(net, [crop(image, rng, recipe.jitter) for image in known])[0]
        for _ in range(recipe.views)
    ]
    val, _ = maps_of(net, [center(image, recipe.frame) for image in asked])
    peers = [maps_of(net, [center(image, 256) for image in part])[1] for part in (known, asked)]
    peer = LogisticRegression(max_iter=500).fit(peers[0], labels).score(peers[1], answers)

    def score() -> float:
        with torch.no_grad():
            logits = [net.out(net.features(part.float())) for part in val.split(32)]
        return float((torch.cat(logits).argmax(1).numpy() == answers).mean())

    weight, bias = logistic_regression(features, np.tile(labels, 2), classes)
    with torch.no_grad():
        net.out.weight.copy_(torch.from_numpy(weight.T.copy()))
        net.out.bias.copy_(torch.from_numpy(bias))
    start = {key: value.clone() for key, value in net.state_dict().items()}
    scores = [float(peer), score()]
    learn(net, torch.stack(views), labels, recipe)
    scores.append(score())
    end = net.state_dict()
    net.load_state_dict(
        {k: (v + end[k]) / 2 if v.is_floating_point() else v for k, v in start.items()}
    )
    scores.append(score())
    said = " | ".join(f"{100 * value:.1f}" for value in scores)
    return f"| {folder.name} | {said} | {(time.process_time() - began) / 60:.1f} |"


def main() -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("-o", dest="said", action="append", default=[])
    asked = parser.parse_args()
    said = dict(part.split("=", 1) for part in asked.said)
    types = {field.name: type(getattr(Recipe(), field.name)) for field in fields(Recipe)}
    recipe = replace(Recipe(), **{key: types[key](value) for key, value in said.items()})
    torch.set_num_threads(1)
    print("| set | probe | fitted | last | half way | CPU minutes |\n| --- " + "| --- " * 5 + "|")
    for folder in asked.sets:
        print(compare(asked.weights, folder, recipe), flush=True)


if __name__ == "__main__":
    main()

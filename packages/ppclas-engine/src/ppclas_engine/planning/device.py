"""Which device a run trains on."""

from __future__ import annotations

import os
from typing import Literal

from ppclas_core.config.schema import Config
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.paddle_runtime import require_paddle

from ppclas_engine.ranks.gpus import allotted_gpu
from ppclas_engine.ranks.launch import Devices

Device = Literal["cpu", "gpu"]


def select_device(wanted: str, devices: str | None = None) -> Device:
    """Make ``wanted`` (auto, cpu or gpu) Paddle's device and return which it is.

    Where ``devices`` is the number of one GPU, it is that one; a rank has its GPU from its
    launcher.

    Raises:
        TrainingError: a GPU is wanted and Paddle cannot use one.
        ConfigError: ``devices`` is a GPU that this process may not use.
    """
    paddle = require_paddle("training")
    usable = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not usable:
        reason = (
            "it sees no GPU"
            if paddle.device.is_compiled_with_cuda()
            else "the installed build is for the CPU alone"
        )
        raise TrainingError(
            f"device gpu: Paddle cannot use one ({reason}). Run 'ppclas doctor', or use --device "
            "cpu."
        )
    device: Device = "gpu" if usable and wanted != "cpu" else "cpu"
    name: str = device
    if device == "gpu" and (devices or "").isdecimal() and "FLAGS_selected_gpus" not in os.environ:
        name = f"gpu:{allotted_gpu(str(devices))[0]}"
    paddle.set_device(name)
    return device


def device_of(config: Config) -> str:
    """What the config asks for: auto, cpu or gpu.

    Raises:
        ConfigError: ``train.device`` and ``train.devices`` disagree.
    """
    if config.train.devices is None:
        return config.train.device
    kind = Devices.parse(config.train.devices).kind
    if config.train.device not in ("auto", kind):
        raise ConfigError(
            f"train.devices {config.train.devices!r} and train.device {config.train.device!r} "
            "disagree: give one."
        )
    return kind

"""Published weights in a model with another number of input channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.errors import WeightsError
from ppclas_core.weights import LoadReport, fit_state, read_state, without_prefix

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel


def load_fitting(model: ImageModel, path: str | Path) -> tuple[LoadReport, str]:
    """``load_weights``, where filters on the input fit the model's channels: for one channel those
    of the file's three are summed, for more they are repeated in turn and scaled by 3 / channels.
    The report, and in words what was done.

    A grey image, shown to the one channel, then gives what it gives as three equal ones.

    Raises:
        WeightsError: the file cannot be read or does not fit; the message begins with its path.
    """
    target = model.state_dict()
    found, prefix = without_prefix(read_state(path), target)
    state = dict(found)
    channels = model.config.in_channels
    usual = ModelConfig().in_channels
    filters = [
        key
        for key, tensor in target.items()
        if channels != usual
        and key in state
        and state[key].ndim == 4
        and state[key].shape[1] == usual
        and list(tensor.shape) == [len(state[key]), channels, *state[key].shape[2:]]
    ]
    for key in filters:
        if channels == 1:
            state[key] = state[key].sum(axis=1, keepdims=True)
        else:
            scale = state[key].dtype.type(usual / channels)
            state[key] = state[key][:, np.arange(channels) % usual] * scale
    try:
        report = replace(fit_state(model, state), prefix=prefix)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    if not filters:
        return report, str(report)
    how = "summed" if channels == 1 else "repeated"
    named = f"{', '.join(filters)} {how} from {usual} to {channels} channels"
    return report, f"{report}, {named.removesuffix('s') if channels == 1 else named}"

"""How many channels pictures have on their way to the model, and how they are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppclas_core.config.schema import ComponentConfig, DataSection, NormalizeConfig
from ppclas_core.errors import ConfigError

from ppclas_data.decoding.samples import decoding_of
from ppclas_data.loading.pipeline import Pipeline, build_transforms

_RGB = 3
_GREY = NormalizeConfig(mean=(0.449,), std=(0.226,))
"""The means of ImageNet's values of red, green and blue."""
_LISTS = ("train_transforms", "eval_transforms")


def model_params(data: DataSection, params: Mapping[str, Any]) -> dict[str, Any]:
    """The model's parameters with as many input channels as ``data.channels`` says.

    Raises:
        ConfigError: they say another number.
    """
    channels = params.get("in_channels", data.channels)
    if data.channels is not None and channels != data.channels:
        raise ConfigError(
            f"data.channels is {data.channels} and model.params.in_channels {channels}: leave one "
            "of the two out."
        )
    return {**params, **({} if channels is None else {"in_channels": channels})}


def fit_channels(
    data: DataSection, said: DataSection, channels: int | None, notes: list[str]
) -> DataSection:
    """``data`` for a model of so many input ``channels``: lists of transforms that ``said`` leaves
    open begin with Decode for others than one or three, and end with Grayscale for one. None: as
    many as its transforms give.

    Raises:
        ConfigError: transforms or ``data.normalize`` are for another number of channels.
    """
    open_lists = not any(getattr(said, field) for field in _LISTS)
    data = _decoded(data, channels if open_lists else _RGB, notes)
    if channels is None:
        _check_normalize(data)
        return data
    lists = {field: getattr(data, field) for field in _LISTS}
    if channels == 1 and open_lists:
        lists = {
            field: (*given, ComponentConfig(name="Grayscale")) for field, given in lists.items()
        }
        data = data.replace(**lists)
        if data.normalize == NormalizeConfig():
            data = data.replace(normalize=_GREY)
        notes.append("the model takes one channel: photos become grey (Grayscale)")
    for field, given in lists.items():
        shape = Pipeline(build_transforms(given, f"data.{field}")).output_shape()
        own = any(component.name == "Normalize" for component in given)
        values = channels if own else len(data.normalize.mean)
        if not shape[2] == channels == values:
            raise ConfigError(
                f"model.params.in_channels is {channels}, data.{field} give {shape[2]} channel(s) "
                f"and data.normalize has {values} value(s): expected as many. Photos are read as "
                "RGB; Grayscale at the end of both lists makes one channel of them, Decode at the "
                "beginning reads more of a TIFF."
            )
    return data


def _decoded(data: DataSection, channels: int | None, notes: list[str]) -> DataSection:
    """``data`` with Decode at the head of lists that have none, where files are no usual photos."""
    lists = {field: getattr(data, field) for field in _LISTS}
    if any(given and given[0].name == "Decode" for given in lists.values()):
        return data
    needed = decoding_of(channels, data.max_sample)
    if needed is None:
        return data
    decoding = ComponentConfig(name="Decode", **needed.model_dump())
    data = data.replace(**{field: (decoding, *given) for field, given in lists.items()})
    if data.max_sample is not None:
        notes.append(f"of files of more than 8 bits, the sample {data.max_sample} becomes white")
    if channels == needed.channels != _RGB:
        notes.append(f"pictures have {channels} channels, all that their TIFFs hold")
        if data.normalize == NormalizeConfig():
            mean, std = (
                tuple(values[place % _RGB] for place in range(channels))
                for values in (data.normalize.mean, data.normalize.std)
            )
            data = data.replace(normalize=NormalizeConfig(mean=mean, std=std))
    return data


def _check_normalize(data: DataSection) -> None:
    means = len(data.normalize.mean)
    for field in _LISTS:
        given = getattr(data, field)
        *_, channels = Pipeline(build_transforms(given, f"data.{field}")).output_shape()
        own = any(component.name == "Normalize" for component in given)
        if means != channels and not own:
            raise ConfigError(
                f"data.normalize has {means} mean{'s' * (means != 1)}, data.{field} give photos of "
                f"{channels} channels: expected as many."
            )

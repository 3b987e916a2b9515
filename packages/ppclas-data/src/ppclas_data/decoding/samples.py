"""Pictures of other channels or ranges than a photo's: 12 bits in a file of 16, five bands of a
satellite. ``Decode`` says how a file becomes pixels, as the first of a list of transforms.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import Draw, Image, Transform
from ppclas_core.errors import ImageError, MissingDependencyError, ShapeError
from pydantic import PositiveInt

from ppclas_data.decoding.decode import MAX_PIXELS, decode, size_in_header
from ppclas_data.decoding.depth import deep_samples, read_tiff_header, to_8_bits

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RGB = 3


class Decode(Transform):
    """How a file becomes pixels: the channels that are read, and the sample that becomes 255.

    The first transform of a list, in training and evaluation alike; ``data.channels`` and
    ``data.max_sample`` put it there. Without it files become RGB by the range that they declare.
    """

    channels: PositiveInt = 3
    """3: RGB, of grey files too. Others: all samples of a TIFF's pixel, or its pages, as many."""
    max_sample: PositiveInt | None = None
    """Becomes 255, larger ones too: 4095 for 12 bits in a file of 16. Nothing: the largest that the
    file's depth allows. Files of 8 bits stay as they are."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """Pixels that were read already: [H, W, channels], unchanged."""
        if image.shape[2] != self.channels:
            raise ShapeError(
                f"expected an image of {self.channels} channels, as the model was trained on; got "
                f"{image.shape[2]}"
            )
        return image

    def read(self, data: bytes, where: str) -> Image:
        """[H, W, channels] uint8 of an encoded image.

        Raises:
            ImageError: it cannot be read, or has another number of channels.
            MissingDependencyError: tifffile is not installed.
        """
        if self.channels != _RGB:
            return self._scaled(_all_samples(data, self.channels, where), where)
        if self.max_sample is None:
            return decode(data, where)
        size_in_header(data, where)  # refused where it is too large to be decoded
        samples = deep_samples(data)
        if samples is None:
            return decode(data, where)
        pixels = to_8_bits(samples, self.max_sample)
        return np.repeat(pixels[..., None], _RGB, axis=2) if pixels.ndim == 2 else pixels

    def _scaled(self, samples: NDArray[Any], where: str) -> Image:
        if samples.dtype == np.uint8:
            return samples
        most = self.max_sample or (65535 if samples.dtype == np.uint16 else None)
        if most is None:
            raise ImageError(
                f"{where}: its samples are {samples.dtype}, whose range nobody knows; say with "
                "data.max_sample which one becomes 255"
            )
        if samples.dtype == np.uint16:
            return to_8_bits(samples, most)
        return np.rint(np.clip(np.nan_to_num(samples / most), 0, 1) * 255).astype(np.uint8)


def decoding_of(channels: int | None, max_sample: int | None) -> Decode | None:
    """What pictures of so many ``channels`` need; None for usual photos, which become RGB by the
    range that they declare. One channel is made of RGB later."""
    read = _RGB if channels is None or channels == 1 else channels
    if read == _RGB and max_sample is None:
        return None
    return Decode(channels=read, max_sample=max_sample)


def reader_of(section: DataSection) -> Callable[[bytes, str], Image]:
    """How the files of a data section become pixels: by ``channels`` and ``max_sample``."""
    decoding = decoding_of(section.channels, section.max_sample)
    return decode if decoding is None else decoding.read


def three_bands(data: bytes) -> NDArray[np.uint8] | None:
    """Something to look at, [H, W, 3], of a TIFF of more than four channels: its first three, each
    from its darkest to its brightest sample. None of other files.
    """
    header = read_tiff_header(data)
    if header is None or header.samples <= 4:
        return None
    try:
        samples = _all_samples(data, header.samples, "")[..., :_RGB].astype(np.float64)
    except (ImageError, MissingDependencyError):
        return None
    low, high = np.nanmin(samples, axis=(0, 1)), np.nanmax(samples, axis=(0, 1))
    scaled = (samples - low) / np.maximum(high - low, 1e-12)
    return np.rint(np.nan_to_num(scaled) * 255).astype(np.uint8)


def _all_samples(data: bytes, channels: int, where: str) -> NDArray[Any]:
    """[H, W, channels] of a TIFF, in the file's own units."""
    if not data.startswith(_TIFF):
        raise ImageError(
            f"{where}: expected a TIFF of {channels} channels, as data.channels says; this is "
            "none. Photos have 3: leave data.channels out"
        )
    try:
        import tifffile
    except ImportError:
        raise MissingDependencyError(
            f"Pictures of {channels} channels are read by tifffile, which is not installed. Run: "
            "pip install 'ppclas-data[tiff]'"
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            pages = 1 if page.samplesperpixel > 1 else len(file.pages)
            found = page.samplesperpixel * pages
            if found != channels:
                raise ImageError(
                    f"{where}: expected {channels} channels, as data.channels says; it has {found}"
                )
            if page.imagelength * page.imagewidth * channels > MAX_PIXELS:
                raise ImageError(f"{where}: more than the {MAX_PIXELS:,} samples that are read")
            if pages > 1:
                return np.stack([file.pages[n].asarray() for n in range(pages)], axis=2)
            samples = page.asarray()
            if samples.ndim == 2:
                return samples[..., None]
            return np.moveaxis(samples, 0, 2) if page.axes == "SYX" else samples
    except ImageError:
        raise
    except Exception as error:  # tifffile raises whatever the damage leads to
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{where}: cannot be decoded: {said}") from error

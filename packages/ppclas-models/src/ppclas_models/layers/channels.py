"""Channel counts of scaled networks."""

from __future__ import annotations


def round_channels(channels: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to ``channels``, at least ``divisor``, never below 90 %
    of ``channels``.

    From the MobileNet reference code,
    https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded

"""Which GPUs this process may use, by the numbers that people give them.

``CUDA_VISIBLE_DEVICES`` is what a cluster or a person has allotted to this process. Its numbers are
those of ``--devices``, as in Paddle's own launcher (``Device.get_selected_devices`` in
``paddle/distributed/launch/context/device.py``); inside, CUDA counts the allotted ones from 0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ppclas_core.errors import ConfigError


def allotted_gpu(number: str, environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """The GPU ``number``: its place among those allotted, and what ``CUDA_VISIBLE_DEVICES`` calls
    it.

    Where names of cards stand there (``GPU-…``, ``MIG-…``), ``number`` is the place.

    Raises:
        ConfigError: it is not among them.

    >>> allotted_gpu("5", {"CUDA_VISIBLE_DEVICES": "4,5"})
    (1, '5')
    >>> allotted_gpu("1", {"CUDA_VISIBLE_DEVICES": "GPU-8932f937,GPU-b1ca4d63"})
    (1, 'GPU-b1ca4d63')
    >>> allotted_gpu("3", {})
    (3, '3')
    """
    said = environment.get("CUDA_VISIBLE_DEVICES")
    if said is None or said.strip() == "all":
        return int(number), number
    names = [name.strip() for name in said.split(",")]
    if number in names:
        return names.index(number), number
    by_name = not any(name.lstrip("-").isdecimal() for name in names)
    if by_name and names[0] and int(number) < len(names):
        return int(number), names[int(number)]
    raise ConfigError(
        f"GPU {number} is not among those that this process may use: CUDA_VISIBLE_DEVICES is "
        f"{said!r}. Give numbers of that list to --devices, or set the variable anew."
    )

"""Knowledge distillation for ppclas: SSLD and its relatives, as plugins.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_distill.attention import AFD
    from ppclas_distill.features import MGD, PEFD, RKD, Distance, FitNet, Similarity
    from ppclas_distill.losses import DIST, DKD, JS, KL, SKD, SSLD, WSL, SoftCE
    from ppclas_distill.mutual import Mutual
    from ppclas_distill.objective import Distill
    from ppclas_distill.opening import open_teacher
    from ppclas_distill.teacher import TeacherConfig

__all__ = [
    "AFD",
    "DIST",
    "DKD",
    "JS",
    "KL",
    "MGD",
    "PEFD",
    "RKD",
    "SKD",
    "SSLD",
    "WSL",
    "Distance",
    "Distill",
    "FitNet",
    "Mutual",
    "Similarity",
    "SoftCE",
    "TeacherConfig",
    "open_teacher",
]

_HOMES = {
    "losses": ("DIST", "DKD", "JS", "KL", "SKD", "SSLD", "WSL", "SoftCE"),
    "attention": ("AFD",),
    "features": ("MGD", "PEFD", "RKD", "Distance", "FitNet", "Similarity"),
    "mutual": ("Mutual",),
    "objective": ("Distill",),
    "opening": ("open_teacher",),
    "teacher": ("TeacherConfig",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"ppclas_distill.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

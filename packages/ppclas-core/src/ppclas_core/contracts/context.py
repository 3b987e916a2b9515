"""What the run-time hooks see."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_core.config.schema import Config
    from ppclas_core.contracts.image_model import ImageModel


@dataclass
class TrainContext:
    """One object for all ``on_*`` hooks, updated in place. Hooks read it and may set ``stop``."""

    config: Config
    run: Path
    """The run folder."""
    model: ImageModel
    steps_per_epoch: int
    epochs: int
    epoch: int = 0
    """0-based."""
    step: int = 0
    """Optimizer steps done since the start of the run."""
    last_loss: float = float("nan")
    metrics: dict[str, Any] = field(default_factory=dict)
    """The newest row of ``metrics.jsonl``."""
    stop: bool = False
    """Set it to end the run after this epoch as if it were the last."""

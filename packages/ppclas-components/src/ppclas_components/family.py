"""What the package of a model says of its family, for a plan: how it is fine-tuned, and what other
image sizes mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppclas_core.config.schema import Config, OptimizerSection, Size


def with_usual_optimizer(config: Config, facts: Mapping[str, Any], notes: list[str]) -> Config:
    """``config`` with the optimizer that models like this are fine-tuned with, which ``facts``, a
    model's metadata, has under ``fine_tuning``; as it is where it says something of it itself.
    """
    usual = facts.get("fine_tuning")
    if not usual or config.optimizer.model_fields_set:
        return config
    optimizer = OptimizerSection(**usual)
    notes.append(
        f"{optimizer.name}, as the family of this model is trained with; each stage learns "
        f"{optimizer.layer_decay:g} times as fast as the next"
        if optimizer.layer_decay is not None
        else f"{optimizer.name}, as the family of this model is trained with"
    )
    return config.replace(optimizer=optimizer)


def positions_note(facts: Mapping[str, Any], size: Size | None) -> list[str]:
    """A sentence where a model learned something for each place of an image of another size than
    ``size``, (height, width) or a side in pixels; ``facts`` is its metadata.
    """
    own = facts.get("image_size")
    height, width = (size, size) if isinstance(size, int) or size is None else size
    if not facts.get("learned_positions") or size is None or (height, width) == (own, own):
        return []
    return [
        f"what the model learned for each place of {own}x{own} pixels is resized for "
        f"{height}x{width}"
    ]

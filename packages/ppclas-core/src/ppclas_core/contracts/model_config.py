"""``ModelConfig``: what every architecture takes. Importing this module does not import Paddle."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from ppclas_core.params import Params


class ModelConfig(Params):
    """What every architecture takes. A family adds its own fields; a variant fixes them."""

    in_channels: PositiveInt = 3
    """Channels of the input images."""
    num_classes: NonNegativeInt = 1000
    """Width of the logits; 0 leaves the classifier out, the model then gives pooled features."""

"""What training from published weights does where nothing is said of its rates and stages.

The numbers and what they were measured on: docs/en/training.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppclas_core.config.schema import ComponentConfig, Config
from ppclas_core.contracts.data import ImageSet
from ppclas_core.plugins import get_registries

FEW = 2000
"""Photos up to which the bold way was tried (700 were the most)."""
DEMO_PHOTOS = 2400
"""That all epochs show of the built-in photos: a first run is to be short."""


@dataclass(frozen=True)
class FineTuning:
    """How the weights may change once the classifier was fitted to what they see."""

    backbone: float
    """Factor on its learning rate."""
    photos: int
    """That all epochs show together."""
    rate: float | None = None
    """For 32 images per step. None: that of the optimizer."""
    freeze: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    augmentation: tuple[ComponentConfig, ...] = ()
    """Behind the crop and flip of training, of photos with three channels."""
    clip_norm: float = 1.0
    """Largest norm of all gradients. Without it batch norms that keep their statistics let a
    tenfold rate end at chance."""

    def epochs(self, images: int) -> int:
        """For so many training photos."""
        return min(30, max(5, round(self.photos / images)))


CAREFUL = FineTuning(backbone=0.2, photos=1500)
# A classifier that was fitted first is right on nearly all training photos: only smoothed labels
# leave it something to learn. Early stages see edges and textures, which are the same in all
# photos, and cost more time than the others.
BOLD = FineTuning(
    backbone=0.5,
    photos=4500,
    rate=0.02,
    freeze=("early",),
    label_smoothing=0.1,
    augmentation=(
        ComponentConfig(name="ColorJitter", brightness=0.3, contrast=0.3, saturation=0.3),
    ),
)

# A teacher's answers are soft already, and as many photos as the careful way shows were enough.
LED = replace(BOLD, photos=CAREFUL.photos, label_smoothing=0.0, augmentation=())
_BOLD_WAYS = {"Supervised": BOLD, "Distill": LED}


def fine_tuning_of(config: Config, train: ImageSet) -> FineTuning:
    """The bold way where it was tried: few photos, one label each, the optimizer of the default."""
    optimizer = config.optimizer
    tried = (
        train.task == "classification"
        and len(train) <= FEW
        and config.objective.name in _BOLD_WAYS
        and optimizer.name == "Momentum"
        and optimizer.lr_mult is None
        and optimizer.layer_decay is None
    )
    if not tried:
        return CAREFUL
    bold = _BOLD_WAYS[config.objective.name]
    if config.data.train is None:
        return replace(bold, photos=min(bold.photos, DEMO_PHOTOS))
    return bold


def augmentation_of(tuning: FineTuning | None, config: Config) -> tuple[ComponentConfig, ...]:
    """What the photos of training go through besides crop and flip; nothing where the config lists
    transforms, where pictures are no RGB, or where the package that has them is not installed.
    """
    data, known = config.data, get_registries().transforms
    channels = data.channels or config.model.params.get("in_channels", 3)
    if tuning is None or data.train_transforms is not None or channels not in (1, 3):
        return ()
    return tuple(one for one in tuning.augmentation if one.name in known)

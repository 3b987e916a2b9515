"""Augmentations for ppclas: random erasing, mixup and more, as plugins."""

"""Every error that ppclas raises on purpose: all are a ``PpclasError``, shown in one line."""

from __future__ import annotations


class PpclasError(Exception):
    """What the user can put right. The message says what was expected, what came, what to try."""


class ConfigError(PpclasError):
    """A config file, an override or the parameters of a component."""


class UnknownNameError(PpclasError):
    """A name that a registry does not know."""


class PluginError(PpclasError):
    """A plugin that fails to load, is too old or too new, or registers a name twice."""


class DataError(PpclasError):
    """A data set, a list file or a label that cannot be used."""


class ImageError(DataError):
    """One image that cannot be read."""


class ShapeError(PpclasError):
    """An array or tensor of the wrong shape, layout or dtype."""


class WeightsError(PpclasError):
    """Weights that cannot be read or do not fit the model."""


class BundleError(PpclasError):
    """A bundle, run folder or export that cannot be read."""


class CheckpointError(PpclasError):
    """A checkpoint that cannot be written, read or resumed from."""


class TrainingError(PpclasError):
    """A training run that cannot go on."""


class ExportError(PpclasError):
    """A converter that failed; the message ends with the converter's own last words."""


class ParityError(ExportError):
    """An export whose answers differ from the trained model's."""


class MissingDependencyError(PpclasError):
    """A needed package that is not installed; the message names the command that installs it."""

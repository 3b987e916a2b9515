"""What this package registers, by "module:attribute" so that listing names imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = -1  # before the packages that add to these


@hookimpl
def register_losses(registry: Registry) -> None:
    """Add the losses every run can use."""
    for name, summary in {
        "CrossEntropy": "softmax cross entropy; label smoothing, class weights, mixed and soft "
        "targets",
        "BinaryCrossEntropy": "sigmoid cross entropy of every class, for images with several "
        "labels",
        "Focal": "cross entropy that counts easy cases less, for one label or several",
        "Asymmetric": "sigmoid cross entropy that counts absent classes less, for few of many "
        "labels",
    }.items():
        registry.register(name, f"ppclas_components.losses:{name}", summary=summary)


@hookimpl
def register_objectives(registry: Registry) -> None:
    """Add the comparison with the labels."""
    registry.register(
        "Supervised",
        "ppclas_components.objectives:Supervised",
        summary="the loss between the outputs and the labels",
    )


@hookimpl
def register_schedulers(registry: Registry) -> None:
    """Add the learning-rate schedules."""
    for name, summary in {
        "Constant": "the same rate throughout",
        "Cosine": "half a cosine, a new value each epoch",
        "CosineWarmup": "linear warmup, then half a cosine, a new value each step",
        "CosineRestarts": "half a cosine again and again, each longer than the one before",
        "ExponentialWarmup": "linear warmup, then a factor every few epochs",
        "Linear": "a straight line down",
        "Piecewise": "a factor at given epochs",
    }.items():
        registry.register(name, f"ppclas_components.schedulers:{name}", summary=summary)


@hookimpl
def register_optimizers(registry: Registry) -> None:
    """Add the optimizers."""
    for name, summary in {
        "SGD": "plain gradient descent, L2 penalty",
        "Momentum": "gradient descent with momentum, Nesterov on request, L2 penalty",
        "RMSProp": "rate divided by the root of the mean square gradient, L2 penalty",
        "Adam": "adaptive moments, L2 penalty",
        "AdamW": "adaptive moments, decoupled weight decay",
        "Lamb": "adaptive moments with steps as long as the weights say, for large batches",
    }.items():
        registry.register(name, f"ppclas_components.optimizers:{name}", summary=summary)


@hookimpl
def register_metrics(registry: Registry) -> None:
    """Add the metrics of an evaluation."""
    for name, summary in {
        "TopK": "share of images whose label is among the k most probable classes",
        "MacroF1": "precision, recall and F1, averaged over classes",
        "CalibrationError": "how far confidence and accuracy are apart (ECE)",
        "AUROC": "area under the ROC curve, averaged over classes",
        "MeanAveragePrecision": "average precision, averaged over classes (mAP)",
        "ThresholdF1": "F1 and exact matches of the labels above a threshold, for several labels",
    }.items():
        registry.register(name, f"ppclas_components.metrics:{name}", summary=summary)


@hookimpl
def register_trackers(registry: Registry) -> None:
    """Add the experiment trackers; their packages are extras."""
    for name, summary in {
        "TensorBoard": "event files for TensorBoard (extra: tensorboard)",
        "VisualDL": "log files for VisualDL (extra: vdl)",
    }.items():
        registry.register(name, f"ppclas_components.trackers:{name}", summary=summary)

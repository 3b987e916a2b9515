"""The typed config of a run. YAML, ``-o`` overrides, command-line flags and Python all end up here.

Every field states its unit and range; ``ppclas config schema`` prints all of it as JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ppclas_core.params import Params

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Side = Annotated[int, Field(gt=0, le=16384)]
"""Of an image, in pixels."""
Size = Side | tuple[Side, Side]
"""A side for squares, or (height, width), in pixels."""
ResizeMode = Literal["center", "squash", "letterbox", "none"]
"""How a photo gets the image size; see ``DataSection.resize_mode``."""
Task = Literal["classification", "multilabel"]
"""One label per image, or any number of them."""


class ComponentConfig(Params):
    """A registered component: its ``name``, and its parameters beside it.

    ``{name: RandomFlip, probability: 0.5}`` names the transform RandomFlip. The parameters are
    checked against the component's own model when the config is loaded.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    """Registered name; ``ppclas plugins`` lists them."""

    @property
    def params(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class NormalizeConfig(Params):
    """``(image / 255 - mean) / std`` on RGB, done once a batch on the device."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """One value a channel, for images in 0..1. The default is ImageNet's."""
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    """One value a channel, for images in 0..1."""

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> NormalizeConfig:
        if (means := len(self.mean)) != (stds := len(self.std)) or not means:
            raise ValueError(f"expected a mean and a std per channel, got {means} and {stds}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if max(map(abs, values)) > 1:
                largest = f"{max(values, key=abs):g}"
                raise ValueError(f"{name} is for images in 0..1, got {largest}; divide it by 255")
        return self


class SamplingConfig(Params):
    """Which training images an epoch shows, and how often. An epoch stays as long as the set."""

    balance: Fraction = 0.0
    """How far classes are evened out: at 0 each image is shown once, at 1 each class equally often,
    at 0.5 as often as the square root of its size says."""
    weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Class name → factor on how often its images are shown; 1 for the others."""
    repeats: PositiveInt = 1
    """Repeated augmentation (Berman et al. 2019, "MultiGrain"): times an image comes in a row,
    augmented otherwise each time. An epoch shows as many fewer images."""


class ModelSection(Params):
    """What is trained, and from which weights."""

    name: str = "MobileNetV2"
    """A name of ``ppclas models list``."""
    pretrained: bool | str | None = None
    """A path: the weights in that file; false: random weights. true, or nothing: the published
    weights of this name, downloaded where they are not on this machine; nothing also stands for
    random weights where the package that brings the model publishes none."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the architecture, except the class count: that is the data's."""

    @field_validator("pretrained")
    @classmethod
    def _not_an_old_boolean(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", ""):
            raise ValueError(
                f"expected true, false or the path of a weights file, got the text {value!r}"
            )
        return value


class DataSection(Params):
    """Where the photos are and what happens to them on the way to the model."""

    train: str | None = None
    """A folder of class folders, a list file or a CSV. Nothing: the built-in photos."""
    val: str | None = None
    """The same for validation. Nothing: ``val``/``test`` beside ``train``, else a split by rule."""
    train_extra: str | None = None
    """Photos without labels to train on as well (Distill): a folder, or a file with their paths."""
    root: str | tuple[str, str] | None = None
    """Folder that paths in list files and CSVs are relative to; of two, the first is for ``train``
    and the second for ``val``. Nothing: the list's own."""
    labels: str | None = None
    """File with a class name, or an id and a name, a line. Nothing: what the source knows."""
    task: Task | None = None
    """``classification``: one label per image; ``multilabel``: any number. Nothing: as written."""
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of each class that is held out where there is no validation set."""
    channels: PositiveInt | None = None
    """Of a picture, read from TIFFs: as many as the model takes. Nothing: 3, or ``in_channels``."""
    max_sample: PositiveInt | None = None
    """White, of files above 8 bits: 4095 for 12 bits in 16. Nothing: what the file declares."""
    image_size: Size | None = None
    """(height, width) or a side that the model sees. Nothing: inferred from photos and weights."""
    resize_mode: ResizeMode = "center"
    """How photos get the image size. ``center``: short side resized, middle kept in evaluation,
    random boxes in training; ``squash``: all of the photo, whatever that does to its aspect;
    ``letterbox``: all of it, with bars; ``none``: a part of it, not resized. Bundles keep it."""
    resize_short: PositiveInt | None = None
    """Short side before the centre crop. Nothing: 256/224 of the size, 240/224 in fine-tuning."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] | None = None
    """Resampling of default resizes. Nothing: what the model was published with."""
    train_transforms: tuple[ComponentConfig, ...] | None = None
    """On each training image. Nothing: RandomResizedCrop, RandomFlip."""
    repeat_draws_after: PositiveInt | None = None
    """Epochs after which a photo's random crops and flips come again; 1: it looks the same in each,
    but for transforms that grow with the epochs (GridMask). Nothing: never."""
    eval_transforms: tuple[ComponentConfig, ...] | None = None
    """Everywhere else, and kept in the bundle. Nothing: Resize (short side), CenterCrop."""
    sampling: SamplingConfig = SamplingConfig()
    """How often each training image is shown."""
    batch_transforms: tuple[ComponentConfig, ...] = ()
    """On whole normalised batches with their labels, for example Mixup."""
    normalize: NormalizeConfig = NormalizeConfig()
    batch_size: PositiveInt | None = None
    """Images per step, over all devices. Nothing: inferred from the number of photos."""
    eval_batch_size: PositiveInt | None = None
    """Images per step in evaluation. Nothing: the training batch size."""
    reader: ComponentConfig = ComponentConfig(name="workers")
    """Who reads the batches: ``workers``, processes of our own, or what a plugin brings. One that
    cannot run here says so in a line, and the workers read."""
    workers: NonNegativeInt | None = None
    """Processes that read images, or threads of another reader; 0 reads in the training process.
    Nothing: inferred from the machine."""
    max_bad_fraction: Fraction = 0.01
    """Share of unreadable images that is skipped, each with a line; more is an error."""


class OptimizerSection(ComponentConfig):
    """The optimizer and what applies to all of them."""

    name: str = "Momentum"
    weight_decay: NonNegativeFloat = 1e-4
    """L2 penalty for SGD, Momentum and RMSProp (added to the gradient), decoupled for AdamW."""
    no_decay_norm_bias: bool = False
    """Leave batch-norm scales, offsets and all biases out of weight decay."""
    clip_norm: PositiveFloat | None = None
    """Largest global gradient norm."""
    lr_mult: dict[str, NonNegativeFloat] | tuple[NonNegativeFloat, ...] | None = None
    """Stage name → factor on the learning rate, ``head`` included; ``backbone`` means every stage
    but the head. Or a factor for each stage but the head, from the input on, as
    ``lr_mult_list`` of older configs has them. Nothing: a smaller rate for the backbone where
    training starts from pretrained weights."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Factor on the learning rate from each stage to the one before it, 1 at the head: early layers
    change least. What ``lr_mult`` says of a stage counts more. Nothing: no such factor."""


class TrainSection(Params):
    """How long, where and under which name."""

    epochs: PositiveInt | None = None
    """Passes over the training images. Nothing: inferred from their number."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Every random draw comes from (seed, epoch, sample)."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where training runs; ``auto``: on a GPU where Paddle can use one."""
    devices: str | None = None
    """Several processes that train together: GPU numbers (``0,1,2,3``), or processes on the CPU
    (``cpu:2``). Each takes its part of every batch. Nothing: this process alone."""
    shard: Literal["none", "optimizer", "gradients"] = "none"
    """What each of several devices keeps a part of: the optimizer's state, or gradients as well."""
    sync_batch_norm: bool = False
    """Normalise by the batch's mean and variance over all devices, not over each one's part."""
    join_seconds: PositiveFloat = 300.0
    """Longest time for all devices to find each other before the first step."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Of the forward pass; weights stay float32. bf16 where the device has it, fp16 on a GPU."""
    amp_level: Literal["O1", "O2"] = "O1"
    """What ``precision`` is for: the layers that Paddle lists as safe and worth it (O1), or all but
    those it lists as unsafe (O2)."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Evaluate a moving average of the weights too, and keep the better. Nothing: no average."""
    ema_statistics: bool = False
    """Average the statistics of batch norms as well; otherwise they are those of the weights."""
    accumulate: PositiveInt = 1
    """Batches whose gradients make one step, of ``data.batch_size · accumulate`` images."""
    lr_batch_size: PositiveInt | None = None
    """Images per step that ``schedule.lr`` is meant for; with another number it is scaled by
    ``lr_scaling``. Nothing: ``schedule.lr`` is taken as it is."""
    lr_scaling: Literal["linear", "sqrt"] = "linear"
    """How the rate follows the images per step: in proportion (SGD), or as their root (Adam)."""
    bad_steps: NonNegativeInt = 3
    """Steps in a row left out for a loss or gradient that is not finite; one more ends the run."""
    patience: PositiveInt | None = None
    """Epochs without ``monitor`` improving by ``min_delta`` that end the run. Nothing: never."""
    min_delta: Fraction = 0.0
    """Improvement of ``monitor`` that counts for ``patience``; shares are in 0..1."""
    max_minutes: PositiveFloat | None = None
    """Time for the run with its resumes: then it is evaluated and finished. Nothing: no limit."""
    average_last: Annotated[int, Field(ge=2)] | None = None
    """Evaluate the mean of so many last epochs' weights too, and keep it if it is the best."""
    compile: bool = False
    """Train a traced graph (``paddle.jit.to_static``) of the model; the first step takes longer."""
    output: str | None = None
    """The run folder itself. Nothing: ``runs/<model>-<n>``. Never overwritten."""
    probe_head: bool | None = None
    """Fit the new classifier to the frozen features before the first epoch. Nothing: where training
    starts from pretrained weights and the classifier is one layer, linear or a 1x1 convolution."""
    freeze_norm_statistics: bool | None = None
    """Keep the running statistics of batch norms and normalise by them in training as well.
    Nothing: where training starts from pretrained weights."""
    freeze: tuple[str, ...] = ()
    """Stages that are not trained; ``backbone``: all but the head, ``early``: their first half."""
    monitor: str | None = None
    """Metric that decides which epoch is the best: ``loss``, ``top1``, ``macro_f1``, ``map`` or one
    of ``metrics``. Nothing: ``top1``; ``map`` with several labels."""
    thresholds: Literal["half", "tuned"] = "half"
    """With several labels: the probability from which a class is said to be there. ``half``: 0.5;
    ``tuned``: for each class the one with the highest F1 on the validation photos."""
    eval_every: PositiveInt = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Longest time between checkpoints inside an epoch; there is one after every epoch too."""
    log_every: PositiveInt = 10
    """Steps between progress lines where there is no terminal."""


class Config(Params):
    """A whole run."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    loss: ComponentConfig = ComponentConfig(name="CrossEntropy")
    """How far the model's outputs are from the labels."""
    objective: ComponentConfig = ComponentConfig(name="Supervised")
    """What a step minimises: ``loss`` against the labels, or a plugin's choice (distillation)."""
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ComponentConfig = ComponentConfig(name="CosineWarmup")
    """The learning-rate schedule; ``lr`` is its peak. Nothing given for ``lr``: inferred."""
    metrics: tuple[ComponentConfig, ...] = ()
    """Numbers of each evaluation beside the ones always given: loss, top1, top5, macro_f1 and ece;
    loss, map, auroc, macro_f1, micro_f1, exact_match and ece where images have several labels."""
    trackers: tuple[ComponentConfig, ...] = ()
    """Where the rows of ``metrics.jsonl`` go as well."""
    train: TrainSection = TrainSection()

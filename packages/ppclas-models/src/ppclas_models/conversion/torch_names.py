"""Which torch models are built like those of this zoo, under which names, and what else is
different.

Most differences that are not of names can be made up for exactly, in evaluation: a layer that only
the models here have becomes the identity; where these models scale features (a dropout of the old
kind), the next layer's weights do the opposite; another epsilon of the batch norms goes into the
variances; a convolution's bias goes into the mean that the batch norm behind it subtracts. What
cannot be made up for is said, or refused where the shapes differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ppclas_core.errors import WeightsError

from ppclas_models.conversion import torch_families as families
from ppclas_models.conversion import torch_light_families as light
from ppclas_models.conversion.parts import parts_of
from ppclas_models.conversion.torch_layout import LEAVES, UNREAD, Layout, matched, renamed
from ppclas_models.conversion.torch_mobile import MOBILE, MOBILE_EPSILONS, MOBILE_REFUSED
from ppclas_models.conversion.torch_modern import MODERN
from ppclas_models.conversion.torch_transformers import TRANSFORMERS
from ppclas_models.shapes import shapes_of


@dataclass(frozen=True)
class TorchNames:
    """How the weights of a torch model become those of an architecture."""

    layout: Layout
    names: dict[str, str | None]
    """State-dict name here → there; None for a tensor of a layer that the torch model lacks."""
    factors: dict[str, float]
    """State-dict name here → what its values are multiplied by."""
    biases: dict[str, str]
    """Name of a batch norm's mean here → torch's of the convolution's bias that it takes up."""
    variance: float
    """What is added to the batch norms' variances."""
    joined: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    """State-dict name here → the torch tensors that make it up; None: zeros."""
    pieces: dict[str, tuple[int, int]] = field(default_factory=dict)
    """State-dict name here → which of how many equal parts of the torch tensor it is."""

    @property
    def sources(self) -> set[str]:
        """The torch tensors that are read."""
        joined = (name for names in self.joined.values() for name in names)
        every = {*self.names.values(), *self.biases.values(), *joined}
        return {name for name in every if name is not None}


def torch_names(architecture: str) -> list[TorchNames]:
    """The layouts that weights for ``architecture`` may have, the likeliest first.

    Raises:
        WeightsError: torchvision and timm have no model that is built like this one.
    """
    for pattern, layouts in _LAYOUTS.items():
        if re.fullmatch(pattern, architecture):
            epsilon = next(
                (value for name, value in _EPSILONS.items() if re.fullmatch(name, architecture)),
                1e-5,
            )
            return [
                _names(architecture, layout, epsilon)
                if layout.family
                else _renamed(architecture, layout, epsilon)
                for layout in layouts
            ]
    reasons = (
        reason for pattern, reason in _REFUSED.items() if re.fullmatch(pattern, architecture)
    )
    raise WeightsError(
        f"no torch weights fit {architecture}: "
        f"{next(reasons, 'torchvision and timm have no such model')}"
    )


def _names(architecture: str, layout: Layout, epsilon: float) -> TorchNames:
    """By the layers."""
    assert layout.family is not None
    parts = parts_of(architecture)
    namer = layout.family(architecture, list(dict.fromkeys(part.unit for part in parts.values())))
    names: dict[str, str | None] = {}
    biases: dict[str, str] = {}
    for key, part in parts.items():
        module = namer(part.unit, part.kind == "norm")
        names[key] = None if module is None else f"{module}.{LEAVES[part.leaf]}"
        if part.leaf == "_mean" and re.fullmatch(layout.biased, part.unit):
            biases[key] = f"{namer(part.unit, False)}.bias"
    factors = {key: factor for key, factor in layout.factors.items() if key in parts}
    return TorchNames(layout, names, factors, biases, layout.epsilon - epsilon)


def _renamed(architecture: str, layout: Layout, epsilon: float) -> TorchNames:
    """By the tensors' names."""
    naming = TorchNames(layout, {}, {}, {}, layout.epsilon - epsilon)
    for key in shapes_of(architecture):
        for pattern, names in layout.joined.items():
            if match := re.fullmatch(pattern, key):
                naming.joined[key] = tuple(name and match.expand(name) for name in names)
        for pattern, factor in layout.factors.items():
            if re.fullmatch(pattern, key):
                naming.factors[key] = factor
        if bias := matched(key, layout.folded):
            naming.biases[key] = bias
        name, _, piece = renamed(key, layout.rules).partition("[")
        naming.names[key] = None if name == UNREAD or key in naming.joined else name
        if piece:
            number, of = piece.rstrip("]").split("/")
            naming.pieces[key] = int(number), int(of)
    return naming


_EPSILONS = {r"EfficientNetB\d|.*_deeplab": 1e-3, **MOBILE_EPSILONS}
"""Pattern of the architectures' names → epsilon of their batch norms here, where it is not 1e-5."""

_SYMMETRIC = (
    "its strided convolutions pad both sides alike, those here as TensorFlow does: build the "
    "model with padded_for=null (-o model.params.padded_for=null) to get the same answers"
)
_NO_BIASES = (
    "the convolutions here have no biases: those of the file are left out, and only fine-tuning "
    "makes up for it"
)

_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    r"ResNet(18|34|50|101|152)": (
        Layout(("torchvision/resnet*", "timm/resnet*"), families.resnet),
    ),
    r"ResNet\d+_v[cd]": (Layout(("timm/resnet*c", "timm/resnet*d"), families.resnet),),
    r"ResNeXt\d+_\d+x\d+d(_wsl)?": (
        Layout(("torchvision/resnext*", "timm/resnext*"), families.resnet),
    ),
    r"ResNeXt\d+_vd_\d+x4d": (Layout(("timm/resnext*d_*",), families.resnet),),
    r"SE_ResNet50_vd|SE_ResNeXt.*|SENet154_vd": (Layout(("timm/seresne*",), families.resnet),),
    r"Res2Net(50|101)_.*": (
        Layout(
            ("timm/res2net*",),
            families.resnet,
            differences=(
                "where a stage begins, its pool counts the zeros around the map; and its very "
                "first block pools the last rung and adds nothing from rung to rung, the one here "
                "does the opposite",
            ),
        ),
    ),
    r"MobileNetV1": (
        Layout(
            ("timm/mobilenetv1_*",),
            light.mobilenet_v1_timm,
            differences=("its activations stop at 6 (ReLU6), those here do not",),
        ),
    ),
    r"MobileNetV2": (
        Layout(("torchvision/mobilenet_v2",), light.mobilenet_v2),
        Layout(("timm/mobilenetv2_*",), light.mobilenet_v2_timm),
    ),
    r"MobileNetV2_x2_0": (Layout(("torchvision/mobilenet_v2",), light.mobilenet_v2),),
    r"ShuffleNetV2(_x0_25|_x0_33|_x0_5|_x1_0|_x1_5)?": (
        Layout(("torchvision/shufflenet_v2_*",), light.shufflenet_v2),
    ),
    r"SqueezeNet1_0": (
        Layout(
            ("torchvision/squeezenet1_0",),
            families.squeezenet,
            factors={"_conv9.weight": 2.0},
            differences=(
                "its pools also take windows that reach over the border: the answers are the same "
                "for 227 pixels (in general 16 n + 3), and differ for 224",
            ),
        ),
    ),
    r"SqueezeNet1_1": (
        Layout(
            ("torchvision/squeezenet1_1",),
            families.squeezenet,
            factors={"_conv9.weight": 2.0},
            differences=(
                "its first convolution does not pad: build the model with stem_padding=0 (-o "
                "model.params.stem_padding=0) to get the same answers, for 224 pixels (in general "
                "16 n)",
            ),
        ),
    ),
    r"DenseNet\d+": (Layout(("torchvision/densenet*", "timm/densenet*"), families.densenet),),
    r"VGG\d+": tuple(
        Layout(
            (f"{package}/vgg*",),
            family,
            factors={"fc2.weight": 2.0, "fc3.weight": 2.0},
            dropped=r"features\.\d+\.bias",
            differences=(_NO_BIASES,),
        )
        for package, family in (("torchvision", families.vgg), ("timm", families.vgg_timm))
    ),
    r"AlexNet": (
        Layout(
            ("torchvision/alexnet",),
            families.alexnet,
            factors={"_fc6.weight": 2.0, "_fc7.weight": 2.0},
        ),
    ),
    **{
        f"EfficientNetB{size}": (
            Layout(("timm/tf_efficientnet_b*",), light.efficientnet_timm, 1e-3),
            Layout(("timm/efficientnet_b*",), light.efficientnet_timm, differences=(_SYMMETRIC,)),
            Layout(
                ("torchvision/efficientnet_b*",),
                light.efficientnet,
                1e-5 if size < 5 else 1e-3,
                differences=(_SYMMETRIC,),
            ),
        )
        for size in range(8)
    },
    r"HRNet_W\d+_C": (
        Layout(("timm/hrnet_w*",), families.hrnet_timm, biased=r"cls_head_conv_list\.\d|conv_last"),
    ),
    r"DPN\d+": (Layout(("timm/dpn*",), families.dpn_timm, 1e-3),),
    r"Xception\d+_deeplab": (
        Layout(
            ("timm/xception41", "timm/xception65"),
            families.xception_timm,
            1e-3,
            factors={"_fc.weight": 2.0},
            differences=(
                "its last three depthwise convolutions are not dilated: build the model with "
                "last_dilation=1 (-o model.params.last_dilation=1) to get the same answers",
            ),
        ),
    ),
    r"DarkNet53": (
        Layout(
            ("timm/darknet53",),
            families.darknet_timm,
            differences=("its activations leak (0.01 of what is negative), those here do not",),
        ),
    ),
    **MOBILE,
    **MODERN,
    **TRANSFORMERS,
}
"""Pattern of the architectures' names → the layouts."""

_ROUNDED = "torchvision and timm round its channels to multiples of 8, it does not"
_REFUSED = {
    r"MobileNetV2_x.*": _ROUNDED,
    r"MobileNetV3.*": (
        "torchvision and timm round the channels inside squeeze-and-excitation to multiples of 8 "
        "(24 where large_x1_0 has 18), and have a bias in the last convolution"
    ),
    r"ShuffleNetV2_x2_0": "torchvision's second stage has 244 channels, this one 224, as published",
    r"ShuffleNetV2_swish": "torchvision's has ReLUs",
    r"SE_ResNet\d+_vd": "timm has at least 8 channels inside squeeze-and-excitation, its first "
    "stage has 4",
    r"GhostNet.*": (
        "timm rounds the channels inside squeeze-and-excitation to multiples of 4 (20 where there "
        "are 18 here), and has no batch norm behind the last convolution"
    ),
    r"GoogLeNet": "torchvision's has batch norms, and 3x3 convolutions where this one has 5x5",
    r"InceptionV4": "timm's has its 7x1 and 1x7 convolutions in another order",
    r"Xception\d+": "timm's is that of DeepLabv3+ (Xception41_deeplab and Xception65_deeplab here)",
    r"EfficientNetB0_small": "timm's efficientnet_lite0 has ReLU6, this one swish",
    r"ResNet50_ACNet_deploy": "its batch norms are folded into its convolutions",
    **MOBILE_REFUSED,
}
"""Pattern of the architectures' names → why no torch weights fit, where that is not plain."""

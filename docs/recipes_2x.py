"""What PaddleClas' files of 2.x say of the training of one model of each newer series."""

from __future__ import annotations

from typing import Any

SWIN_WORDS = "absolute_pos_embed relative_position_bias_table .bias norm"
PVT_WORDS = "pos_embed1 pos_embed2 pos_embed3 pos_embed4 cls_token"
STRONG = {"policy": "rand-m9-mstd0.5-inc1", "mixup": 0.8, "pillow": True}
"""RandAugment, erasing, Mixup or CutMix, Pillow's resizing: as DeiT trains."""
LIGHT = {"policy": "rand-m7-mstd0.5-inc1", "mixup": 0.2, "pillow": True}


def adam(rate: float, lowest: float, first: float, warmup: int, **more: Any) -> dict[str, Any]:
    """AdamW along a cosine."""
    lr = {"name": "Cosine", "learning_rate": rate, "eta_min": lowest}
    lr |= {"warmup_epoch": warmup, "warmup_start_lr": first}
    return {
        "name": "AdamW",
        "weight_decay": 0.05,
        "one_dim_param_no_weight_decay": True,
        "lr": lr,
        **more,
    }


def momentum(rate: float, decay: float, warmup: int) -> dict[str, Any]:
    """Momentum along a cosine."""
    lr = {"name": "Cosine", "learning_rate": rate, "warmup_epoch": warmup}
    regularizer = {"name": "L2", "coeff": decay}
    return {"name": "Momentum", "momentum": 0.9, "lr": lr, "regularizer": regularizer}


FILES: dict[str, dict[str, Any]] = {
    "PPLCNet/PPLCNet_x1_0": {
        "epochs": 360, "batch": 512, "optimizer": momentum(0.8, 3e-5, 5), "smoothing": 0.1,
    },
    "PPLCNetV2/PPLCNetV2_base": {
        "epochs": 480, "batch": 500, "optimizer": momentum(0.8, 4e-5, 5), "smoothing": 0.1,
        "scales": [160, 192, 224, 288, 320],
    },
    "PPHGNet/PPHGNet_small": {
        "epochs": 600, "batch": 128, "optimizer": momentum(0.5, 4e-5, 5), "smoothing": 0.1,
        "short": 236, "amp": True, **LIGHT,
    },
    "PPHGNetV2/PPHGNetV2_B0": {
        "epochs": 200, "batch": 128, "devices": 8, "optimizer": momentum(0.5, 2e-5, 5),
        "smoothing": 0.1, "short": 232, "amp": True, "pretrained": True, **LIGHT, "mixup": 0.0,
    },
    "RepVGG/RepVGG_A0": {
        "epochs": 120, "batch": 64, "optimizer": momentum(0.1, 1e-4, 0), "smoothing": 0.0,
    },
    "SwinTransformer/SwinTransformer_tiny_patch4_window7_224": {
        "epochs": 300, "batch": 128, "smoothing": 0.1, **STRONG,
        "optimizer": adam(5e-4, 1e-5, 1e-6, 20, no_weight_decay_name=SWIN_WORDS),
    },
    "ConvNeXt/ConvNeXt_tiny": {
        "epochs": 300, "batch": 128, "devices": 8, "smoothing": 0.1, "ema": 0.9999,
        "arch": {"drop_path_rate": 0.1},
        "accumulate": 4, "optimizer": adam(4e-3, 1e-6, 0.0, 20), **STRONG,
    },
    "PVTV2/PVT_V2_B0": {
        "arch": {"drop_path_rate": 0.1},
        "epochs": 300, "batch": 128, "devices": 8, "smoothing": 0.1, **STRONG,
        "optimizer": adam(1e-3, 1e-5, 1e-6, 20, no_weight_decay_name=PVT_WORDS),
    },
    "MobileViT/MobileViT_S": {
        "epochs": 300, "batch": 128, "devices": 8, "smoothing": 0.1, "size": 256, "short": 292,
        "filter": "bilinear", "pillow": True, "plain": True,
        "optimizer": adam(
            0.002, 0.0002, 0.0002, 5, weight_decay=0.01, no_weight_decay_name=".bias norm"
        ),
    },
}  # fmt: skip
"""File below ppcls/configs/ImageNet → its settings; ``devices`` where the file says for how many
its rate is meant: ``batch`` is that of each."""


def tree_of(file: str) -> dict[str, Any]:
    """The settings of one file as a tree of the 2.x schema, for all its devices together."""
    facts = FILES[file]
    size = facts.get("size", 224)
    filters = {"interpolation": facts.get("filter", "bicubic"), "backend": "pil"}
    resize = filters if facts.get("pillow") else {}
    normalize: dict[str, Any] = {"scale": "1.0/255.0"}
    if facts.get("plain"):
        normalize |= {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    train: list[Any] = [
        {"DecodeImage": {"to_rgb": True}},
        {"RandCropImage": {"size": size, **resize}},
        {"RandFlipImage": {"flip_code": 1}},
    ]
    if "policy" in facts:
        train.append({"TimmAutoAugment": {"config_str": facts["policy"], "img_size": size}})
    train.append({"NormalizeImage": normalize})
    if "policy" in facts:
        erasing = {"EPSILON": 0.25, "sl": 0.02, "sh": "1.0/3.0", "r1": 0.3, "attempt": 10}
        train.append({"RandomErasing": {**erasing, "use_log_aspect": True, "mode": "pixel"}})
    images = facts["batch"] * facts.get("devices", 1)
    sampler: dict[str, Any] = {"name": "DistributedBatchSampler", "batch_size": images}
    if "scales" in facts:
        sampler = {"name": "MultiScaleSampler", "scales": facts["scales"], "first_bs": images}
    dataset: dict[str, Any] = {"transform_ops": train}
    if facts.get("mixup"):
        pair = {
            "MixupOperator": {"alpha": facts["mixup"], "prob": 0.5},
            "CutmixOperator": {"alpha": 1.0, "prob": 0.5},
        }
        dataset["batch_transform_ops"] = [{"OpSampler": pair}]
    evaluation = [
        {"DecodeImage": {"to_rgb": True}},
        {"ResizeImage": {"resize_short": facts.get("short", 256), **resize}},
        {"CropImage": {"size": size}},
        {"NormalizeImage": normalize},
    ]
    root = "./dataset/ILSVRC2012/"
    lists = {
        part: {"image_root": root, "cls_label_path": f"{root}{part}_list.txt"}
        for part in ("train", "val")
    }
    tree: dict[str, Any] = {
        "Global": {"epochs": facts["epochs"], "image_shape": [3, size, size], "device": "gpu",
                   "update_freq": facts.get("accumulate", 1), "seed": 0},
        "Arch": {"name": file.rpartition("/")[2], "pretrained": facts.get("pretrained", False),
                 **facts.get("arch", {})},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0, "epsilon": facts["smoothing"]}}]},
        "Optimizer": facts["optimizer"],
        "DataLoader": {
            "Train": {"dataset": {**lists["train"], **dataset}, "sampler": sampler},
            "Eval": {"dataset": {**lists["val"], "transform_ops": evaluation},
                     "sampler": {"batch_size": facts["batch"]}},
        },
    }  # fmt: skip
    if facts.get("amp"):
        tree["AMP"] = {"level": "O1"}
    if "ema" in facts:
        tree["EMA"] = {"decay": facts["ema"]}
    return tree

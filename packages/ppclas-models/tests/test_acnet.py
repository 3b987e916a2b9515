"""ACNet against the answers of the static-graph builder that its weights were published for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import paddle
import pytest
from ppclas_core.models import create_model

ZOO = Path(__file__).parents[3] / "../shared/zoo"
PARTS = {"conv0": "branch2a", "conv1": "branch2b_acsquare", "conv2": "branch2c", "short": "branch1"}
NORM = {"weight": "scale", "bias": "offset", "_mean": "mean", "_variance": "variance"}
BLOCKS = [f"{stage}{'abcdef'[position]}" for stage, depth in zip("2345", (3, 4, 6, 3), strict=True)
          for position in range(depth)]  # fmt: skip


def static_name(key: str) -> str:
    """The 2020 builder's name of a tensor."""
    first, *middle, kind = key.split(".")
    if first == "fc":
        return {"weight": "fc_0.w_0", "bias": "fc_0.b_0"}[kind]
    if first == "stem":
        return {"weight": "conv1_acsquare_weights", "bias": "conv1_acsquare_bias"}[kind]
    block, part, layer = middle
    name = f"{BLOCKS[int(block)]}_{PARTS[part]}"
    return (
        f"bn{name}_{NORM[kind]}"
        if layer == "bn"
        else f"res{name}_{'bias' if kind == 'bias' else 'weights'}"
    )


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"no reference data at {ZOO}")
@pytest.mark.slow
def test_tensors_and_logits_are_those_of_the_static_builder():
    spec = importlib.util.spec_from_file_location("check_zoo", ZOO / "check_zoo.py")
    zoo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(zoo)
    reference = json.loads((ZOO / "parameters/ResNet50_ACNet_deploy.json").read_text())
    golden = reference["golden_with_static_names"]
    model = create_model("ResNet50_ACNet_deploy")
    model.eval()
    shapes = {name: shape for name, _, shape in reference["static_parameters"]}
    assert {
        static_name(key): list(tensor.shape) for key, tensor in model.state_dict().items()
    } == shapes
    for key, tensor in model.state_dict().items():
        kind = key.rsplit(".", 1)[1]
        value = zoo.fill_value(f"{static_name(key)}.{kind}", tensor.shape, golden["seed"])
        tensor.set_value(paddle.to_tensor(value.astype("float32")))
    shape = [golden["batch"], 3, golden["image_size"], golden["image_size"]]
    error, problems = zoo.compare_logits(zoo.forward(model, shape, golden["seed"]), golden, 3e-4)
    assert problems == []
    assert error <= 3e-4

"""Networks that learn from each other: the paper's equations, a plain loop, what a run keeps."""

import json

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.contracts.objective import TrainBatch
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.session import resume, train
from ppclas_engine.testing import FakePlugin
from safetensors.numpy import load_file

paddle = pytest.importorskip("paddle")

CLASSES, RATE, MOMENTUM = 3, 0.05, 0.9


@pytest.fixture(scope="module", autouse=True)
def fake_plugin():
    with use_plugin(FakePlugin()):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=CLASSES, per_class=8, size=40)
    return folder


def config(photos, output, peers=({"name": "FakeNet", "params": {"width": 6}},), **fields):
    given = [{"pretrained": False, **peer} for peer in peers]
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False, params={"width": 4}),
        data=DataSection(train=str(photos), image_size=32, batch_size=8, workers=0),
        schedule=ComponentConfig(name="Constant", lr=RATE),
        optimizer={"name": "Momentum", "momentum": MOMENTUM, "weight_decay": 1e-3},
        objective=ComponentConfig(name="Mutual", peers=given, **fields),
        train=TrainSection(epochs=2, output=str(output), device="cpu"),
    )


def prepared(photos, tmp_path, **fields):
    from ppclas_engine.loop.parts import build_parts
    from ppclas_engine.planning.plan import make_plan

    plan = make_plan(config(photos, tmp_path / "run", **fields), "cpu")
    return build_parts(plan, Console(quiet=True), RATE, None)


def batch_of(seed=0, count=6):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((count, 3, 32, 32)).astype(np.float32)
    labels = paddle.to_tensor(rng.integers(0, CLASSES, count))
    pixels = np.zeros((count, 32, 32, 3), np.uint8)
    return TrainBatch(paddle.to_tensor(images), Targets(labels), pixels, np.arange(count), 0)


def forward(parts):
    return lambda images, other=None: (parts.model if other is None else other)(images)


def networks(parts):
    return [parts.model, *(network for _, network in parts.objective.classifiers().values())]


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("peers", [1, 2])
def test_the_losses_are_those_of_zhang_et_al(photos, tmp_path, peers):
    given = [{"name": "FakeNet", "params": {"width": 6 + n}} for n in range(peers)]
    parts, batch = prepared(photos, tmp_path, peers=given), batch_of()
    result = parts.objective.step(batch, forward(parts))
    values = {name: value.item() for name, value in result.parts.items()}
    p = [softmax(network(batch.images).numpy()) for network in networks(parts)]
    labels, n = batch.targets.labels.numpy(), len(batch.indices)
    total = 0.0
    for i, own in enumerate(p):
        others = [other for j, other in enumerate(p) if j != i]
        cross_entropy = -np.log(own[np.arange(n), labels]).mean()
        # Equation 7: the mean of KL(p_j‖p_i) over the others.
        divergence = np.mean([(q * np.log(q / own)).sum(axis=1).mean() for q in others])
        title = f".peer{i}" if i else ""
        assert values[f"ground_truth{title}"] == pytest.approx(cross_entropy, rel=1e-5)
        assert values[f"kl{title}"] == pytest.approx(divergence, rel=1e-4, abs=1e-7)
        total += cross_entropy + divergence
    assert result.loss.item() == pytest.approx(total, rel=1e-5)
    assert len(values) == 2 * len(p)


def plain_losses(one, two, features, batch):
    """PaddleClas' sum for a pair that learns: both cross entropies, DML and the maps' distance."""
    functional = paddle.nn.functional
    outputs = [network(batch.images) for network in (one, two)]
    logs = [functional.log_softmax(output) for output in outputs]
    # Not kl_div, whose second argument gets no gradient.
    dml = ((logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])).sum(axis=1).mean()
    truth = sum(functional.cross_entropy(output, batch.targets.labels) for output in outputs)
    return truth + dml / 2.0 + 0.5 * functional.mse_loss(*(kept.pop() for kept in features))


def test_both_networks_move_as_in_a_plain_paddle_loop(photos, tmp_path):
    """Gradients through both sides of a symmetric loss are those of each side on its own."""
    maps = {"student_map": "blocks", "teacher_map": "blocks.2"}  # the last one, both times
    terms = [{"name": "ssld"}, {"name": "distance", "weight": 0.5, **maps}]
    peers = [{"name": "FakeNet", "params": {"width": 4}}]
    parts = prepared(photos, tmp_path, peers=peers, losses=terms)
    ours, copies = networks(parts), []
    for network in ours:
        copies.append(type(network)(network.config))
        copies[-1].set_state_dict(network.state_dict())
        copies[-1].train()
    features: list[list] = [[], []]
    for kept, network in zip(features, copies, strict=True):
        layer = dict(network.named_sublayers())[network.feature_info()[-1].layer]
        layer.register_forward_post_hook(lambda _l, _i, output, kept=kept: kept.append(output))
    optimizers = [
        paddle.optimizer.Momentum(RATE, MOMENTUM, network.parameters(), weight_decay=1e-3)
        for network in copies
    ]
    for seed in range(4):
        batch = batch_of(seed)
        parts.model.train()
        parts.objective.step(batch, forward(parts)).loss.backward()
        parts.optimizer.step()
        parts.optimizer.clear_grad()
        plain_losses(*copies, features, batch).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.clear_grad()
    for network, copy in zip(ours, copies, strict=True):
        for key, value in copy.state_dict().items():
            found = network.state_dict()[key].numpy()
            np.testing.assert_allclose(found, value.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)
    a, b = (network.state_dict() for network in ours)
    assert any(not np.allclose(a[key].numpy(), b[key].numpy(), atol=1e-3) for key in a)


def test_each_projection_trains_and_belongs_to_one_direction(photos, tmp_path):
    parts = prepared(photos, tmp_path, losses=[{"name": "fitnet"}])
    names = {name for name in parts.objective.layers() if name.startswith("fitnet")}
    assert names == {"fitnet.01.projection", "fitnet.10.projection"}
    parts.model.train()
    parts.objective.step(batch_of(), forward(parts)).loss.backward()
    assert all(parameter.grad is not None for parameter in parts.parameters().values())


def test_a_run_keeps_both_and_says_which_is_the_bundle(photos, tmp_path):
    run = tmp_path / "run"
    train(config(photos, run), Console(quiet=True))
    log = (run / "log.txt").read_text()
    assert "FakeNet and FakeNet learn together: the bundle holds the former; peer1" in log
    state = load_file(run / "checkpoints" / "best.safetensors")
    for folder, part in ((run, "model/"), (run / "peer1", "layers/peer1.")):
        bundle = Bundle.load(folder)
        weights = load_file(bundle.weights_file)
        assert weights
        assert weights.keys() == {k.removeprefix(part) for k in state if k.startswith(part)}
        assert all(np.array_equal(weights[key], state[part + key]) for key in weights)
        assert bundle.labels == Bundle.load(run).labels
        assert bundle.build_model()(paddle.zeros([1, 3, 32, 32])).shape == [1, CLASSES]
    assert Bundle.load(run / "peer1").manifest.architecture.params["width"] == 6
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train_kl", "train_kl.peer1", "train_ground_truth.peer1"} <= set(rows[0])
    # Both learn: what was there before has moved.
    assert any(key.startswith("optimizer/") and "peer1" in key for key in state)


class StopAt:
    """End the run after a step, as a signal would."""

    @hookimpl
    def on_step_end(self, context):
        if context.step == 4:
            raise TrainingError("Stopped on request")


def test_a_stopped_run_goes_on_bit_for_bit(photos, tmp_path):
    train(config(photos, tmp_path / "whole"), Console(quiet=True))
    with use_plugin(StopAt(), "stopper"), pytest.raises(TrainingError, match="Stopped"):
        train(config(photos, tmp_path / "stopped"), Console(quiet=True))
    resume(tmp_path / "stopped", Console(quiet=True))
    whole, stopped = (
        load_file(tmp_path / name / "checkpoints" / "last.safetensors")
        for name in ("whole", "stopped")
    )
    assert whole.keys() == stopped.keys()
    assert all(np.array_equal(whole[key], stopped[key]) for key in whole)


def test_a_peer_starts_from_the_weights_it_is_given(photos, tmp_path):
    train(config(photos, tmp_path / "first"), Console(quiet=True))
    weights = Bundle.load(tmp_path / "first" / "peer1").weights_file
    peers = [{"name": "FakeNet", "params": {"width": 6}, "pretrained": str(weights)}]
    peer = networks(prepared(photos, tmp_path, peers=peers))[1]
    for key, value in load_file(weights).items():
        assert np.array_equal(peer.state_dict()[key].numpy(), value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"losses": [{"name": "distance", "student_map": "blokcs.1"}]}, "Near ones: blocks.1"),
        ({"losses": [{"name": "fitnet", "teacher_map": 7}]}, "fitnet.teacher_map: expected a"),
        ({"losses": [{"name": "kll"}]}, "Did you mean 'kl'"),
        ({"peers": []}, "at least 1"),
        ({"losses": [{"name": "afd"}]}, "afd learns from the maps of a teacher that stays"),
    ],
)
def test_what_cannot_be_built_is_refused(photos, tmp_path, fields, message):
    with pytest.raises(ConfigError, match=message):
        prepared(photos, tmp_path, **fields)

"""The parts of quantisation against hand calculations: judge, guard, receipt."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.errors import ExportError
from ppclas_deploy.quantize.judge import Judge, Verdict, relative_error
from ppclas_deploy.quantize.network import Node
from ppclas_deploy.quantize.photos import spread
from ppclas_deploy.quantize.ptq import Sensitivity, quantize_guarded, sensitivities
from ppclas_deploy.quantize.receipt import PhotoCount, Receipt, from_plain, report, to_plain
from ppclas_deploy.quantize.training import _log_softmax
from ppclas_deploy.quantize.work import _limits

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

PLAIN = NormalizeConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_log_softmax_is_its_formula():
    scipy = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).normal(0, 30, (5, 7)).astype(np.float32)
    np.testing.assert_allclose(_log_softmax(logits), scipy.log_softmax(logits, 1), atol=1e-4)
    assert np.isfinite(_log_softmax(np.array([[1000.0, -1000.0]], np.float32))).all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_relative_error_is_the_rms_of_the_difference_over_the_reference(scale):
    reference = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32) * np.float32(scale)
    logits = reference + np.array([[0.0, 0.5], [0.0, 0.0]], np.float32) * np.float32(scale)
    assert relative_error(logits, reference) == pytest.approx(0.5 / 5.0)
    assert relative_error(reference, reference) == 0.0


class MeanModel:
    """An ONNX model whose logits are the means of the three planes, plus a bias: [N, 3]."""

    def __init__(self, bias=(0.0, 0.0, 0.0)):
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
                helper.make_node("Add", ["means", "bias"], ["logits"]),
            ],
            "means",
            [helper.make_tensor_value_info("images", kind, ["batch", 3, 2, 2])],
            [helper.make_tensor_value_info("logits", kind, ["batch", 3])],
            [onnx.numpy_helper.from_array(np.array(bias, np.float32), "bias")],
        )
        self.model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
        )


def plain_photos(*colors):
    """uint8 [N, 2, 2, 3], each of one colour."""
    return np.broadcast_to(np.array(colors, np.uint8)[:, None, None], (len(colors), 2, 2, 3)).copy()


class TestJudge:
    """Four photos: red, green, blue, and one between red and green."""

    PIXELS = plain_photos((255, 0, 0), (0, 255, 0), (0, 0, 255), (102, 51, 0))

    def judge(self, labels=None, **options):
        given = None if labels is None else np.array(labels)
        return Judge(self.PIXELS, given, PLAIN, MeanModel().model, 1, **options)

    def test_the_float_network_is_asked_in_its_own_units(self):
        expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.4, 0.2, 0]]
        np.testing.assert_allclose(self.judge().reference, expected, atol=1e-6)

    def test_a_loss_and_a_gain_are_counted_apart(self):
        """Green raised by 0.3: the last photo turns green, which its label says it is. Blue raised
        by 1.2 beside it: red and the last one turn blue.
        """
        judge = self.judge([0, 1, 2, 1])
        assert (judge.labelled, judge.measure, judge.float_accuracy) == (True, "top-1", 0.75)
        better = judge.judge(MeanModel((0.0, 0.3, 0.0)).model)
        assert better == Verdict(accuracy=1.0, agreement=0.75, lost=0, won=1)
        worse = judge.judge(MeanModel((0.0, 0.3, 1.2)).model)
        assert worse == Verdict(accuracy=0.5, agreement=0.5, lost=1, won=0)

    def test_without_labels_the_float_networks_answers_are_right(self):
        judge = self.judge()
        assert (judge.labelled, judge.measure, judge.float_accuracy) == (False, "same answer", 1.0)
        verdict = judge.judge(MeanModel((0.0, 0.3, 0.0)).model)
        assert verdict == Verdict(accuracy=0.75, agreement=0.75, lost=1, won=0)

    def test_labels_may_be_taken_away(self):
        judge = self.judge([1, 2, 0, 2])
        assert judge.float_accuracy == 0.0
        judge.without_labels()
        assert (judge.labelled, judge.measure, judge.float_accuracy) == (False, "same answer", 1.0)
        assert judge.judge(MeanModel().model).accuracy == 1.0

    @pytest.mark.parametrize(("right", "guessing"), [(0, True), (38, True), (39, False)])
    def test_chance_is_a_third_and_two_standard_deviations(self, right, guessing):
        """90 photos of 3 classes: 1/3 + 2 sqrt(1/3 * 2/3 / 90) is 38.94 of them."""
        labels = np.ones(90, np.int64)
        labels[:right] = 0
        pixels = np.repeat(self.PIXELS[:1], 90, axis=0)  # all red: class 0
        judge = Judge(pixels, labels, PLAIN, MeanModel().model, 1)
        assert judge.float_accuracy == pytest.approx(right / 90)
        assert judge.is_guessing() is guessing

    def test_several_labels_are_never_guessed(self):
        limits = np.array([0.5, 0.5, 0.5])
        labels = np.zeros((4, 3), np.float32)
        judge = self.judge(labels, limits=limits)
        assert judge.float_accuracy == 0.25  # the last photo reaches no limit
        assert not judge.is_guessing()
        assert judge.measure == "exact match"

    @pytest.mark.parametrize(
        ("count", "places"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, None)]
    )
    def test_some_photos_are_spread_over_all(self, count, places):
        judge = self.judge()
        expected = [0, 1, 2, 3] if places is None else places
        assert judge.places(count).tolist() == expected
        np.testing.assert_array_equal(
            judge.logits(MeanModel().model, count), judge.reference[expected]
        )

    def test_agreement_of_two_sets_of_logits(self):
        first = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 4, 3]], np.float32)
        second = np.array([[9, 0, 0], [0, 0, 1], [0, 0, 2], [1, 3, 2]], np.float32)
        assert self.judge().agreement(first, second) == 0.5


class FakeNetwork:
    """Networks are the sets of their layers left float."""

    def __init__(self, *names):
        self.names = names

    def nodes(self):
        return [Node(name, "Conv", (1,)) for name in self.names]

    def quantized(self, *, stay_float=(), only=None):
        return frozenset(stay_float) if only is None else frozenset(only)


class FakeJudge:
    """Accuracy is 0.9 less what each quantised layer costs."""

    float_accuracy = 0.9

    def __init__(self, **costs):
        self.costs = costs

    def judge(self, stay_float):
        lost = sum(cost for name, cost in self.costs.items() if name not in stay_float)
        return Verdict(accuracy=0.9 - lost, agreement=1.0 - lost, lost=0, won=0)


class TestGuard:
    """The search alone: eight layers of which the first ones cost."""

    ORDER = tuple("abcdefgh")

    @pytest.mark.parametrize("needed", range(9))
    def test_as_few_layers_as_hold_stay_float(self, needed):
        costs = dict.fromkeys(self.ORDER[:needed], 0.1)
        tried = []
        found = quantize_guarded(
            FakeNetwork(*self.ORDER),
            FakeJudge(**costs),
            self.ORDER,
            0.05,
            lambda count, verdict: tried.append((count, verdict.accuracy)),
        )
        assert found.stay_float == self.ORDER[:needed]
        assert found.model == frozenset(self.ORDER[:needed])
        assert found.verdict.accuracy == pytest.approx(0.9)
        assert list(found.tried) == tried
        counts = [count for count, _ in tried]
        assert counts[0] == 0
        assert len(counts) == len(set(counts)) <= 7  # doubled, then bisected: not all nine

    @pytest.mark.parametrize(("guard", "left"), [(0.02, 0), (0.019, 1), (0.0, 2)])
    def test_what_a_guard_allows(self, guard, left):
        judge = FakeJudge(a=0.01, b=0.01)
        found = quantize_guarded(FakeNetwork(*"ab"), judge, "ab", guard)
        assert len(found.stay_float) == left

    def test_a_network_that_gains_is_within_every_guard(self):
        found = quantize_guarded(FakeNetwork("a"), FakeJudge(a=-0.05), ["a"], 0.0)
        assert found.stay_float == ()
        assert found.verdict.accuracy == pytest.approx(0.95)

    def test_when_nothing_holds_the_numbers_are_said(self):
        judge = FakeJudge(elsewhere=0.2)  # what moves data is quantised always
        with pytest.raises(
            ExportError,
            match=r"guard of 5\.00%: with all of 8 layers .* 70\.00% is left of 90\.00%.*--guard",
        ):
            quantize_guarded(FakeNetwork(*self.ORDER), judge, self.ORDER, 0.05)

    def test_layers_are_ranked_by_what_each_costs_alone(self):
        class LogitJudge:
            """One photo for each layer: quantising it alone moves that photo's logits."""

            def __init__(self):
                self.reference = np.eye(3, dtype=np.float32)
                self.moves = {"a": 0.1, "b": 2.0, "c": 0.5}

            def places(self, count):
                assert count == 32
                return np.arange(3)

            def logits(self, layers, count):
                (name,) = layers
                moved = self.reference.copy()
                moved["abc".index(name), 0] += self.moves[name]
                return moved

            agreement = Judge.agreement

            def _answers(self, logits):
                return logits.argmax(axis=1)

        seen = []
        table = sensitivities(FakeNetwork(*"abc"), LogitJudge(), lambda: seen.append(1))
        assert [row.node.name for row in table] == ["b", "c", "a"]
        assert len(seen) == 3
        # RMS of one moved number of nine, over the RMS of three ones of nine.
        errors = [row.error for row in table]
        assert errors == pytest.approx([2.0 / 3**0.5, 0.5 / 3**0.5, 0.1 / 3**0.5])
        assert [row.agreement for row in table] == pytest.approx([2 / 3, 1.0, 1.0])


RECEIPT = Receipt(
    folder=Path("out"),
    method="ptq",
    calibrated_on=PhotoCount("train", 12),
    judged_by=PhotoCount("val", 200),
    labelled=True,
    measure="top-1",
    float_accuracy=0.9,
    verdict=Verdict(accuracy=0.885, agreement=0.97, lost=5, won=2),
    stay_float=("first",),
    tried=((0, 0.5), (1, 0.885)),
    sensitivities=(Sensitivity(Node("first", "Conv", (8, 3, 3, 3)), 0.5, 0.75),),
    sizes=(4000, 1100),
    latencies={1: (2.0, 1.0), 8: (12.0, 15.0)},
    weight_bits=7,
    threads=None,
    versions={"onnxruntime": "1.30"},
    seconds=12.345,
)


class TestReceipt:
    def test_numbers_by_hand(self):
        said = report(RECEIPT)
        assert said["drop"] == pytest.approx(0.015)
        assert said["bytes"] == {"float": 4000, "int8": 1100, "ratio": 0.275}
        assert said["latency_ms"] == {
            "1": {"float": 2.0, "int8": 1.0, "speedup": 2.0},
            "8": {"float": 12.0, "int8": 15.0, "speedup": 0.8},  # slower
        }
        assert said["accuracy"] == {"float": 0.9, "int8": 0.885}
        assert (said["lost"], said["won"], said["agreement"]) == (5, 2, 0.97)
        assert said["judged"] == [
            {"float_layers": 0, "accuracy": 0.5},
            {"float_layers": 1, "accuracy": 0.885},
        ]
        assert said["photos"] == {
            "calibrated_on": {"origin": "train", "count": 12},
            "judged_by": {"origin": "val", "count": 200},
            "labelled": True,
        }
        assert (said["layers"], said["stay_float"], said["seconds"]) == (1, ["first"], 12.3)
        assert json.loads(json.dumps(said)) == said

    @pytest.mark.parametrize("threads", [None, 4])
    def test_it_survives_the_way_between_processes(self, threads):
        receipt = replace(RECEIPT, threads=threads)
        assert from_plain(json.loads(json.dumps(to_plain(receipt)))) == receipt


class TestLimits:
    """Of several labels per photo: probability → logit."""

    def test_the_inverse_of_the_sigmoid(self, export):
        thresholds = (0.5, 0.9)
        manifest = export.manifest.replace(task="multilabel", thresholds=thresholds)
        limits = _limits(Bundle(export.folder, manifest, export.folder))
        np.testing.assert_allclose(1 / (1 + np.exp(-limits)), thresholds, rtol=1e-9)
        assert limits[0] == 0.0

    def test_one_class_a_photo_has_none(self, export):
        assert _limits(export) is None


@pytest.mark.parametrize(
    ("total", "count", "places"),
    [(10, 4, [0, 2, 5, 7]), (3, 10, [0, 1, 2]), (5, 1, [0]), (6, 3, [0, 2, 4]), (0, 3, [])],
)
def test_places_are_evenly_spaced(total, count, places):
    assert spread(total, count) == places

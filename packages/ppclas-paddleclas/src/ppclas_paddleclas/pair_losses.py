"""``Loss.Train`` of several named models: the losses between them, and those with the labels."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.pair_maps import Watched, attention_term, layer_path
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.training_2x import refuse_weight, set_multilabel_loss
from ppclas_paddleclas.translation import Translation, one_entry

_TRUTH, _SEVERAL_TRUTH = "DistillationGTCELoss", "DistillationMultiLabelLoss"
_TRUTHS = (_TRUTH, _SEVERAL_TRUTH)
_SYMMETRIC, _DISTANCE = "DistillationDMLLoss", "DistillationDistanceLoss"
_LOSSES: dict[str, tuple[str, dict[str, float]]] = {
    _SYMMETRIC: ("ssld", {}),
    "DistillationCELoss": ("soft_ce", {}),
    "DistillationKLDivLoss": ("kl", {"temperature": 4.0}),
    "DistillationDKDLoss": ("dkd", {"temperature": 1.0, "alpha": 1.0, "beta": 1.0}),
    "DistillationDISTLoss": ("dist", {"beta": 1.0, "gamma": 1.0}),
    "DistillationSKDLoss": ("skd", {"temperature": 1.0, "multiplier": 2.0, "alpha": 0.9}),
    "DistillationWSLLoss": ("wsl", {"temperature": 2.0}),
}
"""Old loss between two named models → new one, and the old defaults of its parameters."""
_RELATIONS, _ATTENTION = "DistillationRKDLoss", "AFDLoss"
_PAIR, _BASE = "DistillationPairLoss", "base_loss_name"
"""A loss that names another one, ``DISTLoss``, and takes its parameters."""
_OF_MAPS = ("MGDLoss", "PEFDLoss")
"""What a pair's loss may name to compare feature maps."""
_POOLED = "avg_pool"
"""The layer after which PaddleClas gives PEFDLoss a map; ours pools by itself."""
_WITH_TARGET = ("dkd", "skd", "wsl")
"""Those that look at a target class: the label's, or the teacher's."""
_KNOWN = (*_LOSSES, _DISTANCE, _RELATIONS, _ATTENTION, _PAIR, *_TRUTHS)

Term = dict[str, Any]


class PairLosses:
    """The losses of ``models``: a student and its teachers, or, ``mutual``, networks that learn."""

    def __init__(
        self,
        t: Translation,
        models: list[str],
        *,
        mutual: bool,
        watched: dict[str, Watched] | None = None,
    ) -> None:
        self._t, self._models, self._mutual = t, models, mutual
        self._watched = watched or {}
        self.terms: list[Term] = []
        """Those between the models."""
        self._truths = dict.fromkeys(models if mutual else models[:1], 0.0)

    @property
    def truth(self) -> float:
        """The weight of the loss with the labels."""
        return next(iter(self._truths.values()))

    def translate(self) -> PairLosses:
        """Read them; what cannot be translated is refused where it stands."""
        t = self._t
        t.drop("evaluation measures the cross entropy of the student", "Loss", "Eval")
        if not t.section("Loss", required=True) or not t.require("Loss", "Train"):
            return self
        items = t.items("Loss", "Train")
        for index, item in enumerate(items):
            try:
                name, given = one_entry(item)
                params = OperatorParams(name, given)
                if len(items) == 1:
                    refuse_weight(params)
                # Of several networks PaddleClas sums what Mutual averages.
                others = len(self._models) - 1 if self._mutual and name not in _TRUTHS else 1
                self._add(name, params, params.number("weight", 1.0) * others, index)
                params.finish()
            except ConfigError as error:
                t.refuse(("Loss", "Train", index), str(error))
        if t.refused("Loss"):
            return self
        if not self.terms:
            t.refuse(("Loss", "Train"), "expected a loss between the student and a teacher.")
        elif len(set(self._truths.values())) > 1:
            t.refuse(
                ("Loss", "Train"),
                "expected the loss with the labels to weigh the same for every network, got "
                f"{', '.join(f'{name}: {value:g}' for name, value in self._truths.items())}.",
            )
        return self

    def _add(self, name: str, params: OperatorParams, weight: float, index: int) -> None:
        if name in _TRUTHS:
            self._add_truth(name, params, weight, index)
        elif name == _DISTANCE:
            layer = params.take("key")
            mode = params.take("mode", "l2")
            if mode not in ("l1", "l2", "smooth_l1"):
                raise params.error("mode", f"expected l1, l2 or smooth_l1, got {describe(mode)}.")
            maps = self._maps(params, "key", layer, layer)
            self._check_pairs(params)
            self.terms.append({"name": "distance", "weight": weight, "mode": mode, **maps})
        elif name == _RELATIONS:
            self._add_relations(params, weight)
        elif name == _ATTENTION and not self._mutual:
            pair = (self._models[0], self._models[1])
            self.terms.append({"weight": weight, **attention_term(params, pair, self._watched)})
        elif name == _PAIR and params.peek(_BASE) in _OF_MAPS:
            self._add_maps(params, weight)
        elif (between := _named_loss(name, params)) in _LOSSES:
            self._add_answers(name, between, params, weight)
        else:
            near = near_names(name, _KNOWN)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"expected one of {', '.join(_KNOWN)}, got {name}.{hint}")

    def _add_truth(self, name: str, params: OperatorParams, weight: float, index: int) -> None:
        names = params.take("model_names", self._models[:1])
        known = isinstance(names, list) and names and all(each in self._models for each in names)
        if not known or any(each not in self._truths for each in names):
            expected = ", ".join(self._truths)
            raise params.error("model_names", f"expected [{expected}], got {describe(names)}.")
        for each in dict.fromkeys(names):
            self._truths[each] += weight
        where = ("Loss", "Train", index)
        if name == _SEVERAL_TRUTH:
            set_multilabel_loss(self._t, params, *where)
        else:
            epsilon = params.number("epsilon", 0.0, or_null=True)
            smoothing = epsilon if 0 < epsilon < 1 else 0.0
            self._t.set("loss.label_smoothing", smoothing, *where)
        _drop_names(params)

    def _add_answers(self, name: str, between: str, params: OperatorParams, weight: float) -> None:
        new, defaults = _LOSSES[between]
        if self._mutual and between != _SYMMETRIC:
            raise ConfigError(
                f"{between}: where all networks learn, expected {_SYMMETRIC} or {_DISTANCE}, which "
                "are the same in both directions."
            )
        own: Term = {key: params.number(key, value) for key, value in defaults.items()}
        # PaddleClas hands a pair's loss the two answers alone.
        teachers_own = new in _WITH_TARGET and params.flag("use_target_as_gt")
        if new in _WITH_TARGET and (teachers_own or name == _PAIR):
            own["target"] = "teacher"
        if between == _SYMMETRIC:
            new, own = _symmetric(params, several=self._t.flag("Global", "use_multilabel"))
        self._check_pairs(params)
        if params.take("act", "softmax") != "softmax":
            raise params.error("act", "expected softmax.")
        if params.flag("use_target_as_gt"):
            raise params.error("use_target_as_gt", "true has no setting here.")
        if params.take("epsilon") is not None:
            raise params.error("epsilon", "a teacher's answers are not smoothed here.")
        _drop_names(params)
        self.terms.append({"name": new, "weight": weight, **own})

    def _add_maps(self, params: OperatorParams, weight: float) -> None:
        if self._mutual:
            raise params.error(_BASE, "feature maps of a teacher that learns are not followed.")
        base = params.take(_BASE)
        ours, theirs = (_one_layer(params, side) for side in ("s_key", "t_key"))
        if base == "MGDLoss":
            params.drop("student_channels", "teacher_channels")
            maps = self._maps(params, "s_keys", ours, theirs)
            weight *= params.number("alpha_mgd", 1.756)
            ratio = params.number("lambda_mgd", 0.15)
            term: Term = {"name": "mgd", "weight": weight, "mask_ratio": ratio, **maps}
        else:
            params.drop("student_channel", "teacher_channel")
            ours, theirs = (-1 if layer == _POOLED else layer for layer in (ours, theirs))
            maps = self._maps(params, "s_key", ours, theirs)
            count = params.integer("num_projectors", 3)
            term = {"name": "pefd", "weight": weight, "projectors": count, **maps}
        self._check_pairs(params)
        params.drop("name")
        self.terms.append(term)

    def _add_relations(self, params: OperatorParams, weight: float) -> None:
        """A term for each pair of layers: PaddleClas weighs distances and angles the same."""
        ours, theirs = (params.take(f"{side}_keepkeys", []) for side in ("student", "teacher"))
        if not isinstance(ours, list) or not isinstance(theirs, list) or len(ours) != len(theirs):
            raise params.error(
                "student_keepkeys", "expected as many layers as teacher_keepkeys has."
            )
        if not ours:
            raise params.error("student_keepkeys", "expected the name of a layer, got none.")
        size = params.take("target_size")
        if size not in (None, 1):
            raise params.error("target_size", f"expected 1, or null, got {describe(size)}.")
        pooled = params.flag("avgpool") or size == 1
        self._check_pairs(params)
        for layer, other in zip(ours, theirs, strict=True):
            term: Term = {"name": "rkd", "weight": weight, "distance": 1.0, "angle": 1.0}
            maps = self._maps(params, "student_keepkeys", layer, other)
            self.terms.append({**term, "pooled": pooled, **maps})

    def _maps(self, params: OperatorParams, key: str, ours: Any, theirs: Any) -> Term:
        """Which layers' maps are compared."""
        found: Term = {}
        for side, layer in (("student_map", ours), ("teacher_map", theirs)):
            if layer != -1 and (not isinstance(layer, str) or not layer):
                raise params.error(key, f"expected the name of a layer, got {describe(layer)}.")
            found[side] = layer_path(layer) if layer != -1 else layer
        return found

    def _check_pairs(self, params: OperatorParams) -> None:
        """Every pair is the student with a teacher; or all pairs of networks that learn."""
        params.drop("name")
        pairs = params.take("model_name_pairs", [])
        if isinstance(pairs, list) and len(pairs) == 2 and all(isinstance(p, str) for p in pairs):
            pairs = [pairs]
        given = (
            [frozenset(map(str, pair)) for pair in pairs if isinstance(pair, list)]
            if isinstance(pairs, list)
            else []
        )
        student, *others = self._models
        wanted = (
            [frozenset(pair) for pair in combinations(self._models, 2)]
            if self._mutual
            else [frozenset((student, other)) for other in others]
        )
        if len(given) != len(wanted) or set(given) != set(wanted):
            expected = ", ".join(f"[{', '.join(sorted(pair))}]" for pair in wanted)
            raise params.error(
                "model_name_pairs", f"expected the pair {expected}, got {describe(pairs)}."
            )
        if len(others) > 1 and not self._mutual:
            raise params.error(
                "model_name_pairs",
                "PaddleClas sums the losses with each teacher; here several teachers make one "
                "answer.",
            )


def _symmetric(params: OperatorParams, *, several: bool) -> tuple[str, Term]:
    """DML: of probabilities; where images have several labels, its terms may weigh as theirs do."""
    if params.flag("sum_across_class_dim"):
        raise params.error("sum_across_class_dim", "expected false.")
    weighted = params.flag("weight_ratio")
    if weighted and not several:
        raise params.error("weight_ratio", "expected false: an image has one label.")
    if not several:
        return "ssld", {}
    return "AttributeDML", {} if weighted else {"class_weights": None}


def _one_layer(params: OperatorParams, key: str) -> Any:
    """The layer at ``s_key``, or the only one in the list ``s_keys``."""
    single, several = params.take(key), params.take(f"{key}s")
    if single is not None and several is not None:
        raise params.error(f"{key}s", f"{key} is given too.")
    if isinstance(several, list) and len(several) != 1:
        raise params.error(f"{key}s", f"expected one layer, got {describe(several)}.")
    return several[0] if isinstance(several, list) else single or several


def _named_loss(name: str, params: OperatorParams) -> str:
    """The loss that is meant: itself, or the one that a pair's loss names."""
    if name != _PAIR:
        return name
    base = params.take(_BASE)
    # The loss of a feature map is none between answers, and DKDLoss fails without labels.
    known = [each.removeprefix("Distillation") for each in _LOSSES if "DKD" not in each]
    if base not in known:
        expected = ", ".join((*known, *_OF_MAPS))
        raise params.error(_BASE, f"expected one of {expected}, got {describe(base)}.")
    for key in ("s_key", "t_key"):
        if params.take(key) not in (None, "logits"):
            raise params.error(key, "expected logits: this loss compares answers.")
    return f"Distillation{base}"


def _drop_names(params: OperatorParams) -> None:
    params.drop("name")
    if params.take("key") not in (None, "logits", "output"):
        raise params.error("key", "expected logits: only the models' answers are compared.")

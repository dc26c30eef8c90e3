"""`Evaluation`: the numbers of a tally. In: exact sums. Out: means with error bars, tables by class.

Ratios are taken here, once. Every attribute's name is its key in JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from math import exp, log, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from .estimates import Estimate, Moments, clustered, of_mean, of_proportion, scaled, transformed
from .ranking import ranking_numbers

__all__ = ["ByClass", "Calibration", "Evaluation"]

Floats = npt.NDArray[np.float64]
SCHEMA = "lastlayer.evaluation/1"


@dataclass(frozen=True)
class ByClass:
    """One number for each class; NaN where it is 0 / 0."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Floats
    macro_precision: float
    macro_recall: float
    macro_f1: float


@dataclass(frozen=True)
class Calibration:
    """The rows by their confidence: a reliability diagram."""

    edges: Floats  # B + 1
    weight: Floats  # B
    confidence: Floats  # mean of each bin; NaN of an empty one
    accuracy: Floats


@dataclass(frozen=True)
class Evaluation:
    """The numbers of an evaluation; each mean is an `Estimate`: value, stderr, low, high (95 %).

    ::

        log_loss  = sum w nll / sum w           perplexity = exp(log_loss)      bits = log_loss / log 2
        brier     = mean of sum_j (p_j - q_j)^2
        ece       = sum_b W_b / W |accuracy_b - confidence_b|                   mce: the largest of them
        skill     = 1 - log_loss / baseline     baseline: the loss of predicting the classes' frequencies

    `undefined` names the numbers that are 0 / 0 here, which are NaN. `findings` are those of `check`.
    """

    n: int
    weight: float
    ignored: int
    invalid: int
    unknown: int
    log_loss: Estimate
    bits: Estimate
    perplexity: Estimate
    document_perplexity: float
    bits_per_byte: Estimate
    accuracy: Estimate
    balanced_accuracy: float
    top_k_accuracy: dict[int, Estimate]
    mean_reciprocal_rank: Estimate
    matthews: float
    brier: Estimate
    reliability: float
    resolution: float
    uncertainty: float
    ece: float
    mce: float
    ece_equal_mass: float
    ece_equal_mass_bound: float
    classwise_ece: float | None
    roc_auc: float | None  # binary, or with classwise=True the mean over the classes, each against the rest
    roc_auc_bound: float | None  # how far it can be off; 0: exact
    average_precision: float | None
    average_precision_bound: float | None
    mean_confidence: Estimate
    mean_entropy: Estimate
    overconfidence: float
    baseline: float
    skill: float
    by_class: ByClass
    calibration: Calibration
    confusion: Any  # (V, V): targets by predictions; or [(target, predicted, weight), ...]; or None
    loss_by_class: Floats
    roc_auc_by_class: Floats | None
    average_precision_by_class: Floats | None
    loss_by_group: dict[Any, Estimate]
    accuracy_by_group: dict[Any, Estimate]
    loss_by_position: Floats
    hardest: list[tuple[int, float, int, int]]  # row, loss, target, predicted
    labels: tuple[Any, ...] | None
    kind: str
    temperature: float
    unknown_labels: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Any, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; infinities and NaN as text."""
        return {"schema": SCHEMA} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self, **options: Any) -> str:
        """JSON text; ``options`` are those of ``json.dumps``."""
        return json.dumps(self.to_dict(), allow_nan=False, **options)

    def __str__(self) -> str:
        lines = [f"{self.n} rows ({self.ignored} ignored, {self.invalid} invalid)"]
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (Estimate, float)) and f.name != "weight":
                lines.append(f"{f.name:<22} {value if isinstance(value, Estimate) else f'{value:.6g}'}")
        lines += [f"{f'top_{k}_accuracy':<22} {v}" for k, v in self.top_k_accuracy.items()]
        return "\n".join(lines)


def evaluation_of(tally: Any, findings: tuple[Any, ...] = ()) -> Evaluation:
    """The numbers of a tally."""
    o, means = tally.options, _means(tally)
    loss, accuracy = means["loss"], means["top_1"]
    support, predicted, correct = (c.values() for c in (tally.support, tally.predicted, tally.correct))
    by_class = _by_class(support, predicted, correct)
    weight = tally.moments.total
    bins = _calibration(tally.bins, np.arange(o.bins + 1) / o.bins)
    equal, bound = _equal_mass(tally.fine, o.bins)
    prior = support[support > 0] / support.sum() if support.sum() else support[:0]
    baseline = float(-(prior * np.log(prior)).sum()) if len(prior) else nan
    numbers: dict[str, Any] = {
        "n": tally.n,
        "weight": weight,
        "ignored": tally.ignored,
        "invalid": tally.invalid,
        "unknown": tally.unknown,
        "log_loss": loss,
        "bits": scaled(loss, 1 / log(2)),
        "perplexity": transformed(loss, _exp),
        "document_perplexity": _document_perplexity(tally),
        "bits_per_byte": _per_byte(tally, loss),
        "accuracy": accuracy,
        "balanced_accuracy": by_class.macro_recall,
        "top_k_accuracy": {k: means[f"top_{k}"] for k in o.top_k},
        "mean_reciprocal_rank": means["mean_reciprocal_rank"],
        "matthews": _matthews(support, predicted, correct),
        "brier": means["brier"],
        **_decomposition(bins),
        **_calibration_errors(bins),
        "ece_equal_mass": equal,
        "ece_equal_mass_bound": bound,
        "classwise_ece": None if tally.classwise is None else _classwise(tally.classwise, o.classes, o.bins),
        **ranking_numbers(tally.rankings, o.binary),
        "mean_confidence": means["confidence"],
        "mean_entropy": means["entropy"],
        "overconfidence": means["confidence"].value - accuracy.value,
        "baseline": baseline,
        "skill": 1 - loss.value / baseline if baseline else nan,
    }
    undefined = [name for name, value in numbers.items() if _is_undefined(value)]
    undefined += [
        f"{name}[{k}]"
        for name in ("precision", "recall", "f1")
        for k in np.flatnonzero(np.isnan(getattr(by_class, name)))[:100]
    ]
    confusion, notes = _confusion(tally)
    groups = {name: _by_key(tally.groups, o.top_k, name) for name in ("loss", "top_1")}
    with np.errstate(invalid="ignore", divide="ignore"):
        loss_by_class = tally.class_loss.values() / support
    return Evaluation(
        **numbers,
        by_class=by_class,
        calibration=bins,
        confusion=confusion,
        loss_by_class=loss_by_class,
        loss_by_group=groups["loss"],
        accuracy_by_group=groups["top_1"],
        loss_by_position=_by_position(tally.positions),
        hardest=[(row, loss, t, p) for loss, row, t, p in tally.hardest.rows],
        labels=o.labels,
        kind=o.kind,
        temperature=o.temperature,
        unknown_labels=tuple(sorted(tally.unknown_labels)),
        undefined=tuple(undefined),
        notes=notes,
        findings=tuple(findings),
    )


# --- means --------------------------------------------------------------------------------------------------


def _means(tally: Any) -> dict[str, Estimate]:
    """The mean of each metric; its error knows of documents where they were given."""
    found: dict[str, Estimate] = {}
    m, documents = tally.moments, tally.documents
    for i, name in enumerate(tally.metrics):
        known = name in ("loss", "brier")
        moments = Moments(*m.of(i, known))
        found[name] = of_proportion(moments) if name.startswith("top_") else of_mean(moments)
        if documents.places:
            found[name] = clustered(documents.column(int(known)), documents.column(i + 2))
    return found


def _exp(value: float) -> float:
    try:
        return exp(value)
    except OverflowError:
        return float("inf")


def _document_perplexity(tally: Any) -> float:
    """The mean over documents of each one's perplexity."""
    if not tally.documents.places:
        return nan
    with np.errstate(all="ignore"):
        each = np.exp(tally.documents.column(2) / tally.documents.column(1))
    return float(np.mean(each[tally.documents.column(1) > 0]))


def _per_byte(tally: Any, loss: Estimate) -> Estimate:
    if not tally.n_bytes:
        return Estimate(nan)
    return scaled(loss, tally.moments.total_of_known / log(2) / tally.n_bytes)


def _by_key(keyed: Any, top_k: tuple[int, ...], name: str) -> dict[Any, Estimate]:
    """The mean of a metric for each key, without error bars where the squares are not known."""
    from .counters import names_of

    place = names_of(top_k).index(name)
    w, x = keyed.column(int(name == "loss")), keyed.column(place + 2)
    with np.errstate(all="ignore"):
        means = x / w
    keys = list(zip(keyed.keys(), means, w, strict=True))
    if name != "loss":
        return {key: of_proportion(Moments(n, n, m * n, m * n, m * n)) for key, m, n in keys}
    return {key: Estimate(float(m)) for key, m, _ in keys}


def _by_position(keyed: Any) -> Floats:
    if not keyed.places:
        return np.empty(0)
    found = np.full(max(keyed.places) + 1, np.nan)
    with np.errstate(all="ignore"):
        found[keyed.keys()] = keyed.column(2) / keyed.column(1)
    return found


# --- classes ------------------------------------------------------------------------------------------------


def _by_class(support: Floats, predicted: Floats, correct: Floats) -> ByClass:
    """Precision, recall and F1; the macro means are over the classes with support."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = correct / predicted, correct / support
        f1 = 2 * correct / (support + predicted)
    there = support > 0

    def macro(a: Floats) -> float:
        return float(np.mean(np.nan_to_num(a[there]))) if there.any() else nan

    return ByClass(precision, recall, f1, support, macro(precision), macro(recall), macro(f1))


def _matthews(support: Floats, predicted: Floats, correct: Floats) -> float:
    """Matthews' correlation of several classes (Gorodkin 2004)."""
    s, c = float(support.sum()), float(correct.sum())
    if not s:
        return nan
    t, p = support / s, predicted / s
    product = (1 - float((p * p).sum())) * (1 - float((t * t).sum()))
    return (c / s - float((t * p).sum())) / sqrt(product) if product > 0 else nan


def _confusion(tally: Any) -> tuple[Any, tuple[str, ...]]:
    v = tally.options.classes
    if tally.options.has_confusion:
        return tally.confusion.values().reshape(v, v), ()
    if tally.confusion.sums is None:
        return None, ("confusion: more than 1 000 000 different pairs of target and prediction",)
    return [
        (key // v, key % v, value / (1 << 120)) for key, value in sorted(tally.confusion.sums.items())
    ], ()


# --- calibration --------------------------------------------------------------------------------------------


def _calibration(bins: Any, edges: Floats) -> Calibration:
    weight = bins.weight.values()
    with np.errstate(invalid="ignore", divide="ignore"):
        return Calibration(edges, weight, bins.confidence.values() / weight, bins.hits.values() / weight)


def _calibration_errors(bins: Calibration) -> dict[str, float]:
    total = float(bins.weight.sum())
    if not total:
        return {"ece": nan, "mce": nan}
    gap = np.abs(bins.accuracy - bins.confidence)[bins.weight > 0]
    return {"ece": float((bins.weight[bins.weight > 0] / total * gap).sum()), "mce": float(gap.max())}


def _decomposition(bins: Calibration) -> dict[str, float]:
    """Murphy's decomposition (1973) of the Brier score of "the prediction is right", by confidence."""
    total = float(bins.weight.sum())
    if not total:
        return dict.fromkeys(("reliability", "resolution", "uncertainty"), nan)
    there = bins.weight > 0
    part, right = bins.weight[there] / total, bins.accuracy[there]
    mean = float((part * right).sum())
    return {
        "reliability": float((part * (bins.confidence[there] - right) ** 2).sum()),
        "resolution": float((part * (right - mean) ** 2).sum()),
        "uncertainty": mean * (1 - mean),
    }


def _equal_mass(fine: Any, count: int) -> tuple[float, float]:
    """The calibration error over bins of equal weight, made of whole fine bins, and how far it can be off."""
    weight, hits, confidence = fine.weight.values(), fine.hits.values(), fine.confidence.values()
    total = float(weight.sum())
    if not total:
        return nan, nan
    cumulated = np.cumsum(weight)
    which = np.minimum((np.maximum(cumulated - weight / 2, 0) / total * count).astype(int), count - 1)
    gap = np.zeros(count)
    np.add.at(gap, which, hits - confidence)
    cuts = np.searchsorted(cumulated, total * np.arange(1, count) / count)
    inside = np.unique(cuts[cuts < len(weight)])
    return float(np.abs(gap).sum()) / total, float(weight[inside].sum()) / total


def _classwise(bins: Any, classes: int, count: int) -> float:
    """The mean over classes of the calibration error of each class's probability."""
    weight, hits, p = (c.values().reshape(classes, count) for c in (bins.weight, bins.hits, bins.confidence))
    total = weight.sum(axis=1)
    if not total.any():
        return nan
    return float(np.mean(np.abs(hits - p).sum(axis=1) / total))


# --- JSON ---------------------------------------------------------------------------------------------------


def _is_undefined(value: Any) -> bool:
    number = value.value if isinstance(value, Estimate) else value
    return isinstance(number, float) and number != number


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {k: _plain(v) for k, v in value._asdict().items()}
    if isinstance(value, (ByClass, Calibration)):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "_asdict"):
        return {k: _plain(v) for k, v in value._asdict().items()}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if number - number == 0 else str(number)
    return value.item() if isinstance(value, np.generic) else value

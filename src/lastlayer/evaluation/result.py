"""The numbers of a tally. In: exact sums. Out: `Evaluation`, with error bars and tables by class.

Ratios are taken here, once.
"""

from __future__ import annotations

from math import exp, log, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.errors import OptionError

from .counters import names_of
from .estimates import (
    Estimate,
    Moments,
    clustered,
    clustered_proportion,
    of_mean,
    of_proportion,
    scaled,
    transformed,
)
from .numbers import ByClass, Calibration, Evaluation, RankCounts
from .ranking import ranking_numbers
from .ranks import rank_ends, rank_starts

__all__ = ["SMALLEST", "Evaluation", "evaluation_of", "have_keys"]

Floats = npt.NDArray[np.float64]
SMALLEST = 2.0**-48  # mean of the weights


def evaluation_of(tally: Any, findings: tuple[Any, ...] = ()) -> Evaluation:
    """The numbers of a tally."""
    if (found := tally.moments.total) < tally.n * SMALLEST:
        rule, remedy = "2^-48 or more: sums are exact to 2^-120", "multiply them by one number"
        raise OptionError("Tally.result", "sample_weight", f"{found / tally.n:g} in the mean", rule, remedy)
    o, by_document = tally.options, have_keys(tally.documents, tally.moments)
    means = _means(tally, by_document)
    loss, accuracy = means["loss"], means["top_1"]
    support, predicted, correct = (c.values() for c in (tally.support, tally.predicted, tally.correct))
    by_class = _by_class(support, predicted, correct)
    weight = tally.moments.total
    bins = _calibration(tally.bins, np.arange(o.bins + 1) / o.bins)
    equal, bound = _equal_mass(tally.fine, o.bins)
    prior = support[support > 0] / support.sum() if support.sum() else support[:0]
    baseline = 0.0 - float((prior * np.log(prior)).sum()) if len(prior) else nan
    numbers: dict[str, Any] = {
        "n": tally.n,
        "weight": weight,
        "ignored": tally.ignored,
        "invalid": tally.invalid,
        "unknown": tally.unknown,
        "log_loss": loss,
        "bits": scaled(loss, 1 / log(2)),
        "perplexity": transformed(loss, _exp),
        "document_perplexity": _document_perplexity(tally) if by_document else nan,
        "bits_per_byte": _per_byte(tally, loss),
        "accuracy": accuracy,
        "balanced_accuracy": by_class.macro_recall,
        "top_k_accuracy": {k: means[f"top_{k}"] for k in o.top_k},
        "mean_reciprocal_rank": means["mean_reciprocal_rank"],
        "matthews": _matthews(support, predicted, correct, weight),
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
    if tally.documents.places and not by_document:
        notes += ("documents: some rows have none; the intervals are those of independent rows",)
    if tally.text.value(0) and tally.text.value(1) != tally.moments.total_of_known:
        notes += ("bits_per_byte: some rows have no n_bytes",)
    by_position = _by_position(tally.positions)
    groups = {name: _by_key(tally.groups, o.top_k, name) for name in ("loss", "top_1")}
    with np.errstate(invalid="ignore", divide="ignore"):
        loss_by_class = tally.class_loss.values() / support
    return Evaluation(
        **numbers,
        by_class=by_class,
        calibration=bins,
        ranks=RankCounts(rank_starts(o.classes).copy(), rank_ends(o.classes), tally.ranks.values()),
        confusion=confusion,
        loss_by_class=loss_by_class,
        loss_by_group=groups["loss"],
        accuracy_by_group=groups["top_1"],
        weight_by_group=dict(zip(tally.groups.keys(), tally.groups.column(0).tolist(), strict=True)),
        loss_by_position=by_position[0],
        loss_by_position_stderr=by_position[1],
        weight_by_position=by_position[2],
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


def _means(tally: Any, by_document: bool) -> dict[str, Estimate]:
    """The mean of each metric; its error knows of documents where they were given."""
    found: dict[str, Estimate] = {}
    m, documents = tally.moments, tally.documents
    for i, name in enumerate(tally.metrics):
        known = name in ("loss", "brier")
        moments = Moments(*m.of(i, known))
        found[name] = of_proportion(moments) if name.startswith("top_") else of_mean(moments)
        if by_document:
            of = clustered_proportion if name.startswith("top_") else clustered
            found[name] = of(documents.column(int(known)), documents.column(i + 2))
    return found


def have_keys(keyed: Any, moments: Any) -> bool:
    """Whether all rows have a key, if any has one; both sums are exact."""
    total = keyed.columns[0].whole()
    return bool(keyed.places) and bool(total == moments.rows.total(0) + moments.weight.total(0))


def _exp(value: float) -> float:
    try:
        return exp(value)
    except OverflowError:
        return float("inf")


def _document_perplexity(tally: Any) -> float:
    """The mean over documents of each one's perplexity."""
    with np.errstate(all="ignore"):
        each = np.exp(tally.documents.column(2) / tally.documents.column(1))
    return float(np.mean(each[tally.documents.column(1) > 0]))


def _per_byte(tally: Any, loss: Estimate) -> Estimate:
    total, of = tally.text.value(0), tally.text.value(1)
    if not total or of != tally.moments.total_of_known:  # the bytes of some rows are not known
        return Estimate(nan)
    return scaled(loss, of / log(2) / total)


def _by_key(keyed: Any, top_k: tuple[int, ...], name: str) -> dict[Any, Estimate]:
    """The mean of the loss or of a hit for each key; rows of one key as if they were independent."""
    known, place = int(name == "loss"), names_of(top_k).index(name)
    w, wx = keyed.column(known), keyed.column(place + 2)
    w2, w2x, w2x2 = (keyed.square(i) for i in ((1, 2, 3) if known else (0, 4, 4)))
    of = of_mean if known else of_proportion
    rows = zip(keyed.keys(), *map(np.ndarray.tolist, (w, w2, wx, w2x, w2x2)), strict=True)
    return {key: of(Moments(*sums)) for key, *sums in rows}


def _by_position(keyed: Any) -> tuple[Floats, Floats, Floats]:
    """The mean loss at each position, its standard error and the weight of its rows."""
    if not keyed.places:
        return np.empty(0), np.empty(0), np.empty(0)
    count = max(keyed.places) + 1
    found = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    w, w2, w2x, w2x2 = (keyed.column(1), *(keyed.square(i) for i in (1, 2, 3)))
    with np.errstate(all="ignore"):
        mean, effective = keyed.column(2) / w, w * w / w2
        squares = np.maximum(w2x2 - 2 * mean * w2x + mean * mean * w2, 0.0)
        error = np.sqrt(squares * effective / (effective - 1)) / w
    error[~(effective > 1)] = np.nan
    for into, values in zip(found, (mean, error, keyed.column(0)), strict=True):
        into[keyed.keys()] = values
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


def _matthews(support: Floats, predicted: Floats, correct: Floats, s: float) -> float:
    """Matthews' correlation of several classes (Gorodkin 2004), of rows of weight ``s``.

    Labels that the model does not know are one more class, and so are the predictions of invalid rows.
    """
    c = float(correct.sum())
    if not s:
        return nan
    unknown, none = (max(0.0, s - float(counts.sum())) for counts in (support, predicted))
    t, p = np.append(support, [unknown, 0.0]) / s, np.append(predicted, [0.0, none]) / s
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


def _is_undefined(value: Any) -> bool:
    number = value.value if isinstance(value, Estimate) else value
    return isinstance(number, float) and number != number

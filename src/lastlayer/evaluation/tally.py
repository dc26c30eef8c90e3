"""`Tally`: counts and sums over rows. In: scores and targets, some rows at a time. Out: sums that add.

A tally holds integers and exact sums (`exact`), so it is the same whatever the split and order of the rows.
Ratios are computed once, by `result`.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer import linear_functional
from lastlayer.blocks import to_host
from lastlayer.errors import DtypeError, OptionError, ShapeError
from lastlayer.labels import Labels
from lastlayer.row_statistics import RowStats

from . import fast
from .counters import (
    FINE_EDGES,
    Bins,
    Hardest,
    Keyed,
    Moments,
    Pairs,
    Seen,
    equal_width_bin,
    fine_bin,
    metrics_of,
    names_of,
)
from .exact import Counts, Sums
from .inputs import Facts, Targets, facts_of, refuse_mask, scores_of, targets_of
from .interrupts import whole
from .options import TallyOptions, checked
from .ranking import Ranking, keys_of, limit_of
from .ranks import rank_bucket, rank_starts
from .readers.values import spread
from .result import Evaluation, evaluation_of
from .rows import Rows, as_float64, of_scores, of_stats, probabilities_of
from .saved import NUMBERS, PARTS, as_dict, parsed, restored

__all__ = ["Tally"]

Ints = npt.NDArray[np.int64]


class Tally:
    """The counts and exact sums of an evaluation: rows are added to it, and tallies can be added.

    ::

        tally = Tally(classes)
        for scores, targets in batches:
            tally.update(scores, targets)
        tally.result()                          # `Evaluation`: numbers with error bars

    Parameters
    ----------
    classes : int
        V.
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores are; it is never guessed.
    labels : sequence of V names, optional
        If given, targets are these names; ``None``, NaN and "" are missing targets, and their rows are
        ignored.
    ignore_index : int or None
        Rows with this class index are ignored.
    axis : int
        The class axis of the scores.
    binary : bool
        The scores are one number for each row, that of class 1: shape (N,) or (N, 1).
    temperature : float
        Divides logits.
    top_k : ints
        The k of the top-k accuracies, besides 1; those of k >= V are left out, since they are 1.
    bins : int
        Bins of equal width for the calibration error: bin i holds ``i / bins < c <= (i + 1) / bins``.
    classwise : bool
        Whether to compute the calibration error and the areas under the curves of each class against the
        rest. This reads every probability, so it is slower.
    invalid : {"count", "skip"}
        "count": rows with NaN or +inf count as wrong and make the loss NaN. "skip": they are left out, and
        only their number is kept.
    unknown : {"error", "wrong"}
        "error": a label that is not a class is an error. "wrong": its row counts as wrong, and has no loss.

    Examples
    --------
    >>> import lastlayer as ll
    >>> a, b = ll.Tally(3), ll.Tally(3)
    >>> a.update([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], [2, 0])
    >>> b.update([[0.1, 0.2, 0.3]], [0])
    >>> result = (a + b).result()
    >>> result.n, round(result.accuracy.value, 4), round(result.log_loss.value, 4)
    (3, 0.6667, 0.5756)
    """

    def __init__(
        self,
        classes: int,
        *,
        kind: str = "logits",
        labels: Any = None,
        ignore_index: int | None = -100,
        axis: int = -1,
        binary: bool = False,
        temperature: float = 1.0,
        top_k: Any = (1, 5),
        bins: int = 15,
        classwise: bool = False,
        invalid: str = "count",
        unknown: str = "error",
    ) -> None:
        self.options = checked(
            "Tally", classes=classes, kind=kind, labels=labels, ignore_index=ignore_index, axis=axis,
            binary=binary, temperature=temperature, top_k=top_k, bins=bins, classwise=classwise,
            invalid=invalid, unknown=unknown,
        )  # fmt: skip
        self._labels = None if labels is None else Labels("Tally", self.options.labels or (), classes)
        self._start()

    def _start(self) -> None:
        o = self.options
        self.metrics = names_of(o.top_k)
        v, metrics = o.classes, len(self.metrics)
        self.n = self.ignored = self.invalid = self.unknown = 0  # rows
        self.text = Sums(2)  # of rows that have a loss and a number of bytes: w times the bytes, and w
        self.unknown_labels: set[str] = set()
        self.moments = Moments(metrics)
        self.support, self.predicted, self.correct = Counts(v), Counts(v), Counts(v)
        self.class_loss, self.ranks = Sums(v), Counts(len(rank_starts(v)))
        self.confusion: Any = Counts(v * v) if o.has_confusion else Pairs()
        self.bins, self.fine = Bins(o.bins), Bins(len(FINE_EDGES) - 1)
        self.classwise = Bins(v * o.bins) if o.classwise else None
        rankings = 1 if o.binary else v if o.classwise else 0
        self.rankings = [Ranking(limit_of(rankings)) for _ in range(rankings)]
        self.groups, self.documents = Keyed(metrics, squares=True), Keyed(metrics)
        self.positions, self.hardest = Keyed(metrics, squares=True), Hardest()

    # --- rows -----------------------------------------------------------------------------------------------

    def update(
        self,
        scores: Any,
        targets: Any,
        *,
        sample_weight: Any = None,
        n_bytes: Any = None,
        groups: Any = None,
        documents: Any = None,
        positions: Any = None,
        rows: Any = None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        scores : array (..., V), of any library
            Logits, probabilities or log-probabilities.
        targets : array (...), array (..., V), or tuple
            Class indices, or names with ``labels=``; dense targets, on the scores' axis; top-k targets.
        sample_weight : array (...), optional
            Not negative, at most 2^32; in the mean 2^-48 or more. A row of weight 0 is ignored.
        n_bytes : array (...) of ints, optional
            The bytes of text that each row stands for: ``bits_per_byte`` is divided by their sum.
        groups, documents : array (...), optional
            A name or number for each row. ``groups`` give results by group. ``documents`` give
            ``document_perplexity``, and standard errors that allow for the dependence of rows of one
            document.
        positions : array (...) of ints, optional
            The position of each row in its text; by default its position along the last row axis, if there is
            more than one.
        rows : array (...) of ints, optional
            The number of each row among all rows, for ``hardest``.

        Raises
        ------
        ShapeError, DtypeError, OptionError, TargetError
        """
        o = self.options
        refuse_mask("Tally.update", "targets", targets)
        array, shape = scores_of("Tally.update", scores, o)
        if all(fact is None for fact in (n_bytes, groups, documents, positions)):
            left = fast.count(self, array, shape, targets, rows, sample_weight)
            if left is not None:
                if not len(left):
                    return
                targets = to_host(targets).reshape(-1)[left]
                rows = None if rows is None else to_host(rows).reshape(-1)[left]
                if sample_weight is not None:
                    sample_weight = spread("Tally.update", "sample_weight", sample_weight, shape)[left]
                array, shape = np.asarray(array)[left], (len(left),)
        found = targets_of("Tally.update", targets, shape, o, self._labels)
        facts = facts_of(
            "Tally.update", shape, sample_weight=sample_weight, n_bytes=n_bytes, groups=groups,
            documents=documents, positions=positions, rows=rows,
        )  # fmt: skip
        self._add(of_scores(array, found.classes, o.kind, o.temperature, found.dense), found, facts, array)

    def update_linear(
        self, x: Any, weight: Any, targets: Any, *, bias: Any = None, max_memory: Any = None, **more: Any
    ) -> None:
        """Add rows of logits ``x @ weight.T + bias``, not materialized; targets are indices or names.

        ``more``: `sample_weight`, `n_bytes`, `groups`, `documents`, `positions` and `rows` as in `update`.
        """
        o = self.options
        if o.kind != "logits":
            raise OptionError("Tally.update_linear", "kind", repr(o.kind), "'logits'")
        name = "Tally.update_linear"
        x, weight = (v if hasattr(v, "shape") else np.asarray(v) for v in (x, weight))
        if not len(x.shape):
            raise ShapeError(name, "x", "a single number", "(..., D)")
        if len(weight.shape) == 2 and int(weight.shape[0]) != o.classes:
            raise ShapeError(name, "weight", f"of shape {tuple(weight.shape)}", f"({o.classes}, D)")
        shape = tuple(int(n) for n in x.shape[:-1])
        found = self._indices(name, targets, shape)
        stats = linear_functional.linear_row_stats(
            x, weight, found.classes.clip(min=0).reshape(shape), bias=bias, max_memory=max_memory,
            temperature=o.temperature, ignore_index=None,
        )  # fmt: skip
        self._add_stats(name, stats, found, shape, more)

    def update_stats(self, stats: RowStats, targets: Any, **more: Any) -> None:
        """Add rows whose `RowStats` are known.

        Compute them by ``row_stats(logits, targets, temperature=...)`` with the tally's temperature, the same
        targets, and without smoothing. This is not checked, since a `RowStats` does not hold its options.

        ``more``: `sample_weight`, `n_bytes`, `groups`, `documents`, `positions` and `rows` as in `update`.
        """
        o = self.options
        if not isinstance(stats, RowStats):
            raise DtypeError("Tally.update_stats", "stats", f"a {type(stats).__name__}", "a RowStats")
        if o.kind != "logits":
            raise OptionError("Tally.update_stats", "kind", repr(o.kind), "'logits'")
        if getattr(stats, "gap", None) is None or stats.rank is None:
            rule = "those of row_stats(logits, targets)"
            raise OptionError("Tally.update_stats", "stats", "made without targets", rule)
        largest = (part.max() for part in (stats.argmax, stats.rank) if math.prod(part.shape))
        if any(int(place) >= o.classes for place in largest):
            rule = f"of {o.classes} classes"
            raise OptionError("Tally.update_stats", "stats", "of more classes", rule)
        shape = tuple(int(n) for n in stats.peak.shape)
        found = self._indices("Tally.update_stats", targets, shape)
        self._add_stats("Tally.update_stats", stats, found, shape, more)

    def _indices(self, function: str, targets: Any, shape: tuple[int, ...]) -> Targets:
        """Targets that are class indices or names."""
        found = targets_of(function, targets, shape, self.options, self._labels)
        if found.dense is not None:
            raise DtypeError(function, "targets", "dense", "class indices: the scores are not known")
        for name in ("classwise", "binary"):
            if getattr(self.options, name):
                raise OptionError(function, name, "True", "False where only row statistics are known")
        return found

    def _add_stats(
        self, function: str, stats: RowStats, found: Targets, shape: tuple[int, ...], more: dict[str, Any]
    ) -> None:
        fields = ("peak", "rest", "argmax", "rank", "gap", "mass", "spread", "square")
        flat = RowStats(**{k: to_host(getattr(stats, k)).reshape(-1) for k in fields})
        self._add(of_stats(flat, found.classes), found, facts_of(function, shape, **more), None)

    # --- adding ---------------------------------------------------------------------------------------------

    @whole()
    def _add(self, rows: Rows, targets: Targets, facts: Facts, scores: Any) -> None:
        """Count rows; ignored ones by their number alone."""
        o = self.options
        left_out = targets.ignored if facts.weights is None else targets.ignored | (facts.weights == 0)
        self.ignored += int(np.count_nonzero(left_out))
        broken = rows.invalid & ~left_out
        self.invalid += int(np.count_nonzero(broken))
        left_out = left_out | broken if o.invalid == "skip" else left_out
        if left_out.any():
            kept = np.flatnonzero(~left_out)
            rows = rows.select(kept)
            facts = facts.select(kept)
            scores = None if scores is None else scores[kept]
            targets = targets._replace(dense=None if targets.dense is None else targets.dense[kept])
        self.n += len(rows.target)
        self.unknown += int(np.count_nonzero(rows.target < 0))
        self.unknown_labels |= {str(label) for label in targets.unknown}
        seen = Seen(rows, facts.weights, metrics_of(rows, o.top_k), rows.target >= 0)
        if facts.n_bytes is not None:
            w = np.ones(len(seen.has_loss)) if seen.weights is None else seen.weights
            for place, x in enumerate((w * facts.n_bytes, w)):
                self.text.add(x[seen.has_loss], place)
        self._count(seen, facts)
        if scores is not None:
            self._count_scores(scores, rows, facts.weights)

    def _count(self, seen: Seen, facts: Facts) -> None:
        v, (target, predicted, rank, loss, *_) = self.options.classes, seen.rows
        w = seen.weights
        self.moments.add(seen)
        self._weigh(self.support, target, target >= 0, w)
        self._weigh(self.predicted, predicted, predicted >= 0, w)
        self._weigh(self.correct, target, rank == 0, w)
        self._weigh(self.ranks, rank_bucket(rank), rank >= 0, w)
        has = seen.has_loss
        self.class_loss.add((loss if w is None else w * loss)[has], target[has])
        self._weigh(self.confusion, target * v + predicted, has & (predicted >= 0), w)
        sound = ~seen.rows.invalid
        part = seen if sound.all() else seen.select(sound)
        c = part.rows.confidence
        self.bins.add(part, equal_width_bin(c, self.options.bins))
        self.fine.add(part, fine_bin(c))
        for name in ("groups", "documents", "positions"):
            if (keys := getattr(facts, name)) is not None:
                getattr(self, name).add(seen, keys)
        if facts.numbers is not None:
            self.hardest.add(seen, facts.numbers)

    @staticmethod
    def _weigh(counts: Any, places: Ints, which: Any, w: Any) -> None:
        """Add the rows that ``which`` marks to their places."""
        if not which.all():
            places, w = places[which], None if w is None else w[which]
        counts.add(places, w)

    def _count_scores(self, scores: Any, rows: Rows, w: Any) -> None:
        """Every score with whether its class was the target: by bin of its probability, and in order."""
        o = self.options
        if not (o.binary or o.classwise):
            return
        known = np.flatnonzero((rows.target >= 0) & ~rows.invalid)
        target, w = rows.target[known], None if w is None else w[known]
        if o.binary:
            x = as_float64(scores[known, 1])
            self.rankings[0].add(keys_of(x, o.kind), target == 1, w)
        if self.classwise is None:
            return
        p = probabilities_of(scores[known], o.kind, o.temperature)
        hit = np.arange(o.classes) == target[:, None]
        if not o.binary:
            for j, ranking in enumerate(self.rankings):
                ranking.add(keys_of(p[:, j], "probabilities"), hit[:, j], w)
        place = (np.arange(o.classes) * o.bins + equal_width_bin(p, o.bins)).reshape(-1)
        w = None if w is None else np.repeat(w, o.classes)
        self.classwise.add_numbers(p.reshape(-1), hit.reshape(-1), place, w)

    def __add__(self, other: Tally) -> Tally:
        """The tally of the rows of both."""
        found = copy.copy(self)
        found += other
        return found

    @whole()
    def __iadd__(self, other: Tally) -> Tally:
        if not isinstance(other, Tally):
            raise DtypeError("Tally", "other", f"a {type(other).__name__}", "a Tally")
        for name, mine, theirs in zip(TallyOptions._fields, self.options, other.options, strict=True):
            if mine != theirs:
                raise OptionError("Tally", "other", f"of {name}={theirs!r}", f"{name}={mine!r}")
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unknown_labels |= other.unknown_labels
        for name in PARTS:
            getattr(self, name).merge(getattr(other, name))
        if self.classwise is not None and other.classwise is not None:
            self.classwise.merge(other.classwise)
        for ranking, more in zip(self.rankings, other.rankings, strict=True):
            ranking.merge(more)
        return self

    def __radd__(self, other: Any) -> Tally:
        """So that ``sum(tallies)`` works."""
        return copy.copy(self) if other == 0 else NotImplemented

    def __copy__(self) -> Tally:
        return copy.deepcopy(self)

    # --- files ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The tally as values of JSON: plain lists, integers and text."""
        return as_dict(self)

    def to_bytes(self) -> bytes:
        """The tally as JSON text: the same bytes for the same rows."""
        return json.dumps(as_dict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Tally:
        """Read what `to_dict` returned; anything else is an `OptionError`."""
        return restored(cls, saved)  # type: ignore[no-any-return]

    @classmethod
    def from_bytes(cls, text: bytes) -> Tally:
        """Read what `to_bytes` returned; anything else is an `OptionError`."""
        return restored(cls, parsed("Tally", text))  # type: ignore[no-any-return]

    def result(self) -> Evaluation:
        """The numbers: `Evaluation`."""
        return evaluation_of(self)

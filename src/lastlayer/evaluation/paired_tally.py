"""`PairedTally`: rows of two models. In: scores of both, some rows at a time. Out: exact sums that add."""

from __future__ import annotations

import copy
import json
from math import nan
from typing import Any

import numpy as np

from lastlayer.errors import DtypeError, LastlayerError, OptionError, ShapeError
from lastlayer.labels import Labels

from .counters import Keyed, Moments, Seen
from .divergence import BINS, bin_of, divergence
from .exact import Counts
from .inputs import Facts, Targets, facts_of, refuse_mask, scores_of, targets_of
from .interrupts import whole
from .options import TallyOptions, checked
from .paired import GROUP_METRICS, GROUP_OF_KNOWN, METRICS, OF_KNOWN, group_metrics_of, metrics_of
from .rows import Rows, of_scores
from .saved import parsed
from .saved_pairs import NUMBERS, PARTS, as_dict, restored

__all__ = ["PairedTally", "pair_of", "scores_of_model"]


class PairedTally:
    """Exact sums of two models, a and b: rows are added to it, and tallies can be added.

    ::

        tally = PairedTally(classes)
        for scores_a, scores_b, targets in batches:
            tally.update(scores_a, scores_b, targets)
        print(Comparison.of(tally))

    Its sums are exact, as those of `Tally`: they do not depend on the split and order of the rows.

    Parameters
    ----------
    classes : int
        V.
    kind : {"logits", "probabilities", "log-probabilities"}, or a pair of them
        What the scores are, of both models, or of a and of b; it is never guessed.
    temperature : float, or a pair
        Divides logits.
    invalid : {"count", "skip"}
        "count": rows with NaN or +inf count as wrong in that model and make its loss NaN. "skip": rows that
        are invalid in one of the models are left out of both, and only their number is kept.
    labels, ignore_index, axis, binary, unknown
        As in `Tally`.

    Examples
    --------
    >>> import lastlayer as ll
    >>> first, second = ll.PairedTally(3), ll.PairedTally(3)
    >>> first.update([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], [[1.0, 1.1, 3.5], [3.2, 0.2, 1.9]], [2, 0])
    >>> second.update([[0.1, 0.2, 0.3]], [[0.4, 0.2, 0.3]], [0])
    >>> result = ll.Comparison.of(first + second)
    >>> result.n, result.flips.only_a, result.flips.only_b
    (3, 0, 1)
    """

    def __init__(
        self,
        classes: int,
        *,
        kind: Any = "logits",
        labels: Any = None,
        ignore_index: int | None = -100,
        axis: int = -1,
        binary: bool = False,
        temperature: Any = 1.0,
        invalid: str = "count",
        unknown: str = "error",
    ) -> None:
        both = zip(pair_of("kind", kind), pair_of("temperature", temperature), strict=True)
        first, second = (
            checked(
                "PairedTally", classes=classes, kind=k, labels=labels, ignore_index=ignore_index, axis=axis,
                binary=binary, temperature=t, invalid=invalid, unknown=unknown,
            )
            for k, t in both
        )  # fmt: skip
        self.options: tuple[TallyOptions, TallyOptions] = first, second
        self.names = None if labels is None else Labels("PairedTally", first.labels or (), classes)
        self.n = self.ignored = self.invalid_a = self.invalid_b = self.unknown = 0  # rows
        self.only_a = self.only_b = self.both_right = 0
        self.moments = Moments(len(METRICS), OF_KNOWN)
        self.divergences = Counts(BINS)
        self.groups = Keyed(len(GROUP_METRICS), of_known=GROUP_OF_KNOWN)
        self.documents = Keyed(len(METRICS), of_known=OF_KNOWN)

    # --- rows -----------------------------------------------------------------------------------------------

    def update(
        self,
        a: Any,
        b: Any,
        targets: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        documents: Any = None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        a, b : array (..., V), of any library
            The scores of both models.
        targets, sample_weight, groups, documents
            As in `Tally.update`.

        Raises
        ------
        ShapeError, DtypeError, OptionError, TargetError
        """
        name, o = "PairedTally.update", self.options
        refuse_mask(name, "targets", targets)
        x, shape = scores_of_model(name, "a", a, o[0])
        y, other = scores_of_model(name, "b", b, o[1])
        if other != shape:
            raise ShapeError(name, "b", f"of rows of shape {other}", f"{shape}, the rows of a")
        found = targets_of(name, targets, shape, o[0], self.names)
        facts = facts_of(name, shape, sample_weight=sample_weight, groups=groups, documents=documents)
        self.add(x, y, found, facts)

    @whole()
    def add(self, a: Any, b: Any, targets: Targets, facts: Facts) -> None:
        """Add rows that were checked: scores (n, V) of both models."""
        first, second = self.options
        target, dense = targets.classes, targets.dense
        left_out = targets.ignored if facts.weights is None else targets.ignored | (facts.weights == 0)
        self.ignored += int(np.count_nonzero(left_out))
        if left_out.any():
            kept = np.flatnonzero(~left_out)
            a, b, target, facts = a[kept], b[kept], target[kept], facts.select(kept)
            dense = None if dense is None else dense[kept]
        of_a = of_scores(a, target, first.kind, first.temperature, dense)
        of_b = of_scores(b, target, second.kind, second.temperature, dense)
        self.invalid_a += int(np.count_nonzero(of_a.invalid))
        self.invalid_b += int(np.count_nonzero(of_b.invalid))
        sound = ~(of_a.invalid | of_b.invalid)
        if first.invalid == "skip" and not sound.all():
            kept = np.flatnonzero(sound)
            a, b, of_a, of_b = a[kept], b[kept], of_a.select(kept), of_b.select(kept)
            facts, sound = facts.select(kept), sound[kept]
        kl = divergence(a, b, (first.kind, second.kind), (first.temperature, second.temperature))
        self._count(of_a, of_b, np.where(sound, kl, nan), facts)

    def _count(self, a: Rows, b: Rows, kl: Any, facts: Facts) -> None:
        target, w = a.target, facts.weights
        right_a, right_b = a.rank == 0, b.rank == 0
        self.n += len(target)
        self.unknown += int(np.count_nonzero(target < 0))
        self.only_a += int(np.count_nonzero(right_a & ~right_b))
        self.only_b += int(np.count_nonzero(right_b & ~right_a))
        self.both_right += int(np.count_nonzero(right_a & right_b))
        metrics = metrics_of(a, b, kl)
        seen = Seen(a, w, metrics, target >= 0)
        self.moments.add(seen)
        there = ~np.isnan(kl)
        self.divergences.add(bin_of(kl[there]), None if w is None else w[there])
        if facts.documents is not None:
            self.documents.add(seen, facts.documents)
        if facts.groups is not None:  # their metrics hold the weights
            of_groups = seen._replace(weights=None, metrics=group_metrics_of(metrics, w))
            self.groups.add(of_groups, facts.groups)

    # --- adding ---------------------------------------------------------------------------------------------

    def __add__(self, other: PairedTally) -> PairedTally:
        """The tally of the rows of both."""
        found = copy.deepcopy(self)
        found += other
        return found

    @whole()
    def __iadd__(self, other: PairedTally) -> PairedTally:
        if not isinstance(other, PairedTally):
            raise DtypeError("PairedTally", "other", f"a {type(other).__name__}", "a PairedTally")
        for name in TallyOptions._fields:
            mine, theirs = (tuple(getattr(o, name) for o in t.options) for t in (self, other))
            if mine != theirs:
                raise OptionError("PairedTally", "other", f"of {name}={theirs!r}", f"{name}={mine!r}")
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in PARTS:
            getattr(self, name).merge(getattr(other, name))
        return self

    def __radd__(self, other: Any) -> PairedTally:
        """So that ``sum(tallies)`` works."""
        return copy.deepcopy(self) if other == 0 else NotImplemented

    # --- files ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The tally as values of JSON: plain lists, integers and text."""
        return as_dict(self)

    def to_bytes(self) -> bytes:
        """The tally as JSON text: the same bytes for the same rows."""
        return json.dumps(as_dict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> PairedTally:
        """Read what `to_dict` returned; anything else is an `OptionError`."""
        return restored(cls, saved)  # type: ignore[no-any-return]

    @classmethod
    def from_bytes(cls, text: bytes) -> PairedTally:
        """Read what `to_bytes` returned; anything else is an `OptionError`."""
        return restored(cls, parsed("PairedTally", text))  # type: ignore[no-any-return]


def pair_of(name: str, value: Any) -> tuple[Any, Any]:
    """An option of a and of b: the same of both, unless it is a pair."""
    if not isinstance(value, (tuple, list)):
        return value, value
    if len(value) != 2:
        raise OptionError("PairedTally", name, repr(value), "one for both models, or a pair")
    return value[0], value[1]


def scores_of_model(function: str, model: str, values: Any, o: TallyOptions) -> tuple[Any, tuple[int, ...]]:
    """`scores_of`, whose errors call the scores by the model."""
    try:
        return scores_of(function, values, o)
    except LastlayerError as error:
        raise error.of(function, {"scores": model}) from error.__cause__

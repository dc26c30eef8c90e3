"""The law of the class axis. In: what two parts of a row's classes know of it. Out: what both together know.

A row may be cut anywhere (SIMD lanes, tiles of classes, vocabulary shards on other machines). `joined` is the
law; ``RowStats.merge`` checks that two parts go together, and applies it. ``RowStats.concat`` joins blocks of
rows.

The state counts the peak's own term, which is exactly 1, apart from the ``rest`` of the sum. The textbook's
``log(sum(exp(z - peak)))`` rounds ``1 + rest`` first and returns 0 for every confident row; ``log1p(rest)``
keeps all digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

import numpy as np

from .arrays import Array, cast, namespace
from .errors import DtypeError, OptionError, ShapeError

__all__ = ["ARRAYS", "RowStats", "joined", "pulled", "weights", "z_losses"]

Ranges = tuple[tuple[int, int], ...]  # of classes: sorted, [start, stop) each, none next to another


@dataclass(frozen=True, slots=True, eq=False)
class RowStats:
    """What softmax and cross-entropy need to know of each row: arrays of the rows' shape, or None.

    With effective targets ``t`` (see ``docs/semantics.md``) and logits ``z``::

        peak   = max_j z_j                                rest   = sum_{j != argmax} exp(z_j - peak)
        argmax = lowest j with z_j = peak                 rank   = how many classes beat the target
        gap    = sum_j t_j (peak - z_j)                   mass   = sum_j t_j
        spread = sum_j exp(z_j - peak) (peak - z_j)       square = sum_{j != argmax} exp(z_j - peak)^2
        weight = sample weight s, 0 for an ignored row    target_weight = class weight w[y] of an index target

    where ``peak - z_j`` is 0 at the peak, infinite or not, and 0 times infinity is 0. What is read from them
    (natural logarithms, in nats)::

        lse = peak + log1p(rest)         nll    = gap + mass log1p(rest)
        confidence = 1 / (1 + rest)      sum_p2 = (1 + square) / (1 + rest)^2
        correct = (rank = 0)             entropy = log1p(rest) + spread / (1 + rest)

    and, of all rows together, single numbers of the same dtype::

        counted  = (weight > 0)          accuracy = sum weight correct / sum weight
        mean_nll = sum nll / sum weight target_weight      (sum nll / sum weight for dense and top-k targets)

    ``argmax`` and ``rank`` are int64, and -1 where there is none: in a row with a NaN, in the empty part, and
    (``rank``) in an ignored row. An infinite ``peak`` leaves ``lse`` infinite and the rest of these NaN.

    ``classes`` is None for statistics of whole rows. Those of a shard of the classes (``class_offset=`` of
    `row_stats`) have there the ranges of classes that they have seen, and in ``target`` each row's class
    index, -1 where none of these classes is the target. `merge` joins shards, `concat` blocks of rows.

    >>> import lastlayer as ll
    >>> stats = ll.row_stats([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9], [0.1, 0.2, 0.3]], [2, 0, -100])
    >>> stats.argmax.tolist(), stats.rank.tolist(), stats.correct.tolist()
    ([2, 0, 2], [0, 0, -1], [True, True, False])
    >>> stats.nll.round(4).tolist(), stats.confidence.round(4).tolist()
    ([0.3851, 0.1398, 0.0], [0.6804, 0.8695, 0.3672])
    >>> stats.counted.tolist(), float(stats.mean_nll.round(4)), float(stats.accuracy)
    ([True, True, False], 0.2624, 1.0)
    """

    peak: Array
    rest: Array
    argmax: Array | None = None
    gap: Array | None = None
    mass: Array | None = None
    rank: Array | None = None
    spread: Array | None = None
    square: Array | None = None
    weight: Array | None = None
    target_weight: Array | None = None
    target: Array | None = None
    classes: Any = None  # Ranges, or None
    dtype: Any = None  # of the results below; None: the peak's own

    @property
    def lse(self) -> Array:
        """Logarithm of the sum of the exponentials, in nats."""
        return self._result(self._lse())

    @property
    def nll(self) -> Array:
        """Cross-entropy with the effective targets: the row's loss, in nats; 0 for ignored rows.

        NaN where the target is of a class that a shard does not hold.
        """
        return self._result(self._nll())

    @property
    def mean_nll(self) -> Array:
        """What ``cross_entropy(reduction="mean")`` gives with the same options, without z-loss.

        0 over no rows.
        """
        with self._quiet():
            xp = self._xp()
            weight, total = self._need("weight"), xp.sum(self._nll())
            divisor = xp.sum(weight if self.target_weight is None else weight * self.target_weight)
            nothing = divisor == 0
            return self._result(xp.where(nothing, 0.0, total / xp.where(nothing, 1.0, divisor)))

    @property
    def entropy(self) -> Array:
        """Entropy of the row's softmax, in nats."""
        return self._result(self._entropy())

    @property
    def confidence(self) -> Array:
        """The largest probability of the row."""
        return self._result(self._confidence())

    @property
    def sum_p2(self) -> Array:
        """Sum of the squared probabilities."""
        return self._result(self._sum_p2())

    @property
    def counted(self) -> Array:
        """Whether a row counts, neither ignored nor of sample weight 0: bool."""
        return self._need("weight") > 0

    @property
    def correct(self) -> Array:
        """Whether no class beats the target: bool; False for ignored rows."""
        if self.rank is None and self.target is not None and self.argmax is not None:
            return (self.target >= 0) & (self.argmax == self.target)
        return self._need("rank") == 0

    @property
    def accuracy(self) -> Array:
        """The part of the rows' weight that is on correct rows; NaN over no rows."""
        return self._result(self._accuracy())

    @staticmethod
    def empty(shape: tuple[int, ...], xp: Any = np) -> RowStats:
        """The part without any class: the identity of ``merge``."""
        zero = xp.zeros(shape, dtype=xp.float64)
        return RowStats(
            peak=xp.full(shape, -xp.inf, dtype=xp.float64),
            rest=zero,
            argmax=xp.full(shape, -1, dtype=xp.int64),
            gap=zero,
            mass=zero,
            rank=xp.zeros(shape, dtype=xp.int64),
            spread=zero,
            square=zero,
            classes=(),
        )

    def merge(self, other: RowStats) -> RowStats:
        """The state of two shards of the same rows' classes together: exact but for rounding, in any order.

        Both were made with ``class_offset=``, and no class is in both. Ties count for the lowest class index.
        A field that one part lacks is absent from the result. With ``high`` the part of the larger peak,
        ``low`` the other, ``drop = high.peak - low.peak`` and ``share = exp(-drop)``::

            rest   = high.rest + share (1 + low.rest)
            square = high.square + share^2 (1 + low.square)
            spread = high.spread + share (low.spread + drop (1 + low.rest))
            gap    = high.gap + low.gap + drop low.mass

        Raises
        ------
        ShapeError, DtypeError
            For statistics of other rows, or of other kinds of arrays or targets.
        OptionError
            For statistics of whole rows, and for ranges of classes that overlap.

        Examples
        --------
        >>> import numpy as np
        >>> import lastlayer as ll
        >>> logits, y = np.array([[1.0, 1.1, 2.5, 2.5], [3.2, 0.2, 0.9, 1.0]]), [3, 0]
        >>> right = ll.row_stats(logits[:, 2:], y, class_offset=2)
        >>> left = ll.row_stats(logits[:, :2], y, class_offset=0)
        >>> stats = right.merge(left)
        >>> stats.classes, stats.argmax.tolist(), stats.correct.tolist()
        (((0, 4),), [2, 0], [False, True])
        >>> bool(np.allclose(stats.nll, ll.row_stats(logits, y).nll))
        True
        """
        ranges = _common_ranges(self, other)
        if not self.classes:
            return other
        if not other.classes:
            return self
        return self._merged(other, ranges)

    @staticmethod
    def concat(parts: Sequence[RowStats]) -> RowStats:
        """The statistics of several blocks of rows as one, along the first row axis.

        Raises
        ------
        ShapeError, DtypeError, OptionError
            For blocks whose other axes, kinds of arrays, targets or classes differ.

        Examples
        --------
        >>> import lastlayer as ll
        >>> first = ll.row_stats([[1.0, 1.1, 2.5]], [2])
        >>> second = ll.row_stats([[3.2, 0.2, 0.9], [0.0, 1.0, 0.0]], [2, -100])
        >>> stats = ll.RowStats.concat([first, second])
        >>> stats.nll.round(4).tolist(), float(stats.mean_nll.round(4)), float(stats.accuracy)
        ([0.3851, 2.4398, 0.0], 1.4124, 0.5)
        """
        parts = list(parts)
        _same_kind(parts)
        return parts[0]._concatenated(parts)

    def _xp(self) -> Any:
        """The functions of the arrays' library."""
        return namespace(self.peak)

    def _quiet(self) -> Any:
        """Without NumPy's warnings of infinities and NaN, which are results like others."""
        return np.errstate(all="ignore")

    def _merged(self, other: RowStats, ranges: Ranges) -> RowStats:
        """`merge` of two parts that go together."""
        xp = self._xp()
        merged = joined(self, other, xp, self._comes_first(other))
        return replace(merged, dtype=self.dtype, classes=ranges, **_of_targets(self, other, xp))

    def _comes_first(self, other: RowStats) -> Array:
        """Where the peak is the larger one, or of a lower class."""
        if self.argmax is None or other.argmax is None:
            lower: Any = (self.classes or ()) < (other.classes or ())
        else:  # -1: no class to offer
            lower = (self.argmax >= 0) & ((other.argmax < 0) | (self.argmax < other.argmax))
        return (self.peak > other.peak) | ((self.peak == other.peak) & lower)

    def _concatenated(self, parts: list[RowStats]) -> RowStats:
        """`concat` of parts that go together, of which this is the first."""
        xp = self._xp()
        found = {
            name: xp.concat([getattr(p, name) for p in parts])
            for name in ARRAYS
            if getattr(self, name) is not None
        }
        return RowStats(**found, classes=self.classes, dtype=self.dtype)

    # The results as they are computed, before they are rounded to their dtype.

    def _lse(self) -> Array:
        with self._quiet():
            xp = self._xp()
            infinite = xp.isinf(self.peak)  # nothing to add to it, and rest has no meaning there
            return xp.where(infinite, self.peak, self.peak + xp.log1p(self.rest))

    def _entropy(self) -> Array:
        with self._quiet():
            xp = self._xp()
            spread = self._need("spread")
            return xp.log1p(self.rest) + spread / (1 + self.rest) + self._unless_infinite()

    def _confidence(self) -> Array:
        with self._quiet():
            return 1 / (1 + self.rest) + self._unless_infinite()

    def _sum_p2(self) -> Array:
        with self._quiet():
            return (1 + self._need("square")) / (1 + self.rest) ** 2 + self._unless_infinite()

    def _accuracy(self) -> Array:
        with self._quiet():
            xp = self._xp()
            weight, missing = self._need("weight"), self._missing()
            right = xp.where(self.correct, weight, 0.0)
            right = right if missing is None else xp.where(missing, xp.nan, right)
            return xp.sum(right) / xp.sum(weight)

    def _nll(self) -> Array:
        with self._quiet():
            xp = self._xp()
            gap, mass, missing = self._need("gap"), self._need("mass"), self._missing()
            norm = xp.log1p(self.rest) + self._unless_infinite()
            value = xp.where((mass == 0) & ~xp.isfinite(norm), gap, gap + mass * norm)
            return value if missing is None else xp.where(missing, xp.nan, value)

    def _missing(self) -> Array | None:
        """Rows that count, of whose target the classes of this shard know nothing; None: there are none."""
        if self.target is None or self.weight is None:
            return None
        return (self.target < 0) & (self.weight > 0)

    def _unless_infinite(self) -> Array:
        """0 for a finite peak; NaN for an infinite one, whose probabilities are not defined."""
        return self.peak - self.peak

    def _need(self, name: str) -> Array:
        value = getattr(self, name)
        if value is None:
            why = "they were made without it or without targets"
            if name == "rank" and self.classes is not None:
                why = "a shard of the classes knows it where index targets and target_logits= are given"
            raise AttributeError(f"these row statistics lack {name!r}: {why}")
        return value

    def _result(self, value: Array) -> Array:
        with self._quiet():
            return cast(namespace(value), value, self.peak.dtype if self.dtype is None else self.dtype)


ARRAYS = tuple(
    f.name for f in fields(RowStats) if f.name not in ("classes", "dtype")
)  # the fields with arrays
_STATE = ARRAYS[: ARRAYS.index("weight")]  # those of the law


def joined(a: RowStats, b: RowStats, xp: Any = np, first: Any = None) -> RowStats:
    """What two parts of the classes know together: associative, with `RowStats.empty` as its identity.

    ``first`` marks the rows whose peak is that of ``a``. Without it the classes of ``b`` come after those of
    ``a``, and its ``argmax`` already counts from the row's first class.
    """
    with a._quiet():
        return _law(a, b, xp, first)


def _law(a: RowStats, b: RowStats, xp: Any, first: Any) -> RowStats:
    """See `joined`."""
    if first is None:
        first = ~(a.peak < b.peak)  # ties: the earlier classes
        if a.argmax is not None and b.argmax is not None:  # an empty part has no class to offer
            first = first & ~((a.argmax < 0) & (b.peak == a.peak))
    unknown = xp.isnan(a.peak) | xp.isnan(b.peak)

    def pick(a: Array, b: Array) -> tuple[Array, Array]:
        return xp.where(first, a, b), xp.where(first, b, a)

    high, low = pick(a.peak, b.peak)
    nothing = low == -xp.inf  # the lower part adds no probability, whatever the higher one is
    drop = xp.where(high == low, 0.0, high - low)
    share = xp.where(nothing, 0.0, xp.exp(-drop))
    high_rest, low_rest = pick(a.rest, b.rest)
    low_sum = xp.where(nothing, 0.0, 1 + low_rest)

    def value(a: Array) -> Array:
        return xp.where(unknown, xp.nan, a)

    def both(name: str) -> tuple[Array, Array] | None:
        x, y = getattr(a, name), getattr(b, name)
        return None if x is None or y is None else (x, y)

    merged: dict[str, Any] = {"peak": value(high), "rest": value(high_rest + share * low_sum)}
    if (pair := both("argmax")) is not None:
        merged["argmax"] = xp.where(unknown, -1, pick(*pair)[0])
    if (pair := both("square")) is not None:
        x, y = pick(*pair)
        merged["square"] = value(x + share * share * xp.where(nothing, 0.0, 1 + y))
    if (pair := both("spread")) is not None:
        x, y = pick(*pair)
        merged["spread"] = value(x + xp.where(share == 0, 0.0, share * (y + drop * low_sum)))
    if (gaps := both("gap")) is not None and (masses := both("mass")) is not None:
        low_mass = pick(*masses)[1]
        merged["gap"] = gaps[0] + gaps[1] + xp.where(low_mass == 0, 0.0, drop * low_mass)
        merged["mass"] = masses[0] + masses[1]
    if (pair := both("rank")) is not None:
        lost = unknown | (pair[0] < 0) | (pair[1] < 0)
        merged["rank"] = xp.where(lost, -1, pair[0] + pair[1])
    return RowStats(**merged, dtype=a.dtype)


def _of_targets(a: RowStats, b: RowStats, xp: Any) -> dict[str, Any]:
    """What two shards know of the rows' targets and weights, which are the same rows'."""
    found: dict[str, Any] = {}
    if a.weight is not None and b.weight is not None:
        found["weight"] = a.weight
    if a.target_weight is not None and b.target_weight is not None:
        found["target_weight"] = (
            a.target_weight + b.target_weight
        )  # 0 in all but the shard that holds the target
    if a.target is not None and b.target is not None:
        found["target"] = xp.where(a.target < 0, b.target, a.target)
    return found


# --- what goes together -------------------------------------------------------------------------------------

_ROWS = "to join blocks of rows write RowStats.concat([a, b])"


def _common_ranges(a: RowStats, b: Any) -> Ranges:
    """The ranges of classes of two parts together, if these can be merged."""
    name = "RowStats.merge"
    if not isinstance(b, RowStats):
        raise DtypeError(name, "other", f"a {type(b).__name__}", "RowStats")
    if a.classes == () or b.classes == ():
        if tuple(a.peak.shape) != tuple(b.peak.shape):
            _other_shape(name, a, b)
        return ()
    for which, verb, part in (("the statistics", "are", a), ("other", "is", b)):
        if part.classes is None:
            rule = "shards, made with class_offset="
            raise OptionError(name, which, "of whole rows", rule, _ROWS, verb=verb)
    if tuple(a.peak.shape) != tuple(b.peak.shape):
        _other_shape(name, a, b)
    _same_arrays(name, a, b)
    if (
        a.weight is not None
        and b.weight is not None
        and (a.target_weight is None) != (b.target_weight is None)
    ):
        has = "index targets and the other has not"
        raise DtypeError(name, "one of them", has, "targets of one kind", verb="has")
    ranges = sorted((*(a.classes or ()), *(b.classes or ())))
    found = [ranges[0]]
    for start, stop in ranges[1:]:
        last = found[-1]
        if start < last[1]:
            both = ", ".join(f"[{i}, {j})" for i, j in ranges)
            rule = "ranges that do not overlap"
            raise OptionError(name, "the ranges of classes", both, rule, _ROWS, verb="are")
        if start == last[1]:
            found[-1] = (last[0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def _other_shape(name: str, a: RowStats, b: RowStats) -> NoReturn:
    shapes = [tuple(int(n) for n in part.peak.shape) for part in (a, b)]
    rule = f"{shapes[0]}, shards of the same rows"
    raise ShapeError(name, "other", f"of rows of shape {shapes[1]}", rule, _ROWS)


def _rows(shape: tuple[int, ...]) -> str:
    """A shape with any number of blocks' rows on its first axis."""
    return f"({', '.join(['n', *map(str, shape[1:])])}{',' if len(shape) == 1 else ''})"


def _same_arrays(name: str, a: RowStats, b: RowStats) -> None:
    """Whether two parts are of one library, and their results of one dtype."""
    kinds = [f"{type(part.peak).__module__.partition('.')[0]}" for part in (a, b)]
    if kinds[0] != kinds[1]:
        found = f"arrays of {kinds[0]}, another of {kinds[1]}"
        raise DtypeError(name, "one of them", found, "one library", verb="has")
    dtypes = [part.peak.dtype if part.dtype is None else part.dtype for part in (a, b)]
    if dtypes[0] != dtypes[1]:
        found = f"results of {dtypes[0]}, another of {dtypes[1]}"
        raise DtypeError(name, "one of them", found, "one dtype", verb="has")


def _same_kind(parts: list[Any]) -> None:
    """Whether blocks of rows can be joined."""
    name = "RowStats.concat"
    if not parts:
        raise ShapeError(name, "parts", "empty", "at least one RowStats")
    for i, part in enumerate(parts):
        if not isinstance(part, RowStats):
            raise DtypeError(name, f"parts[{i}]", f"a {type(part).__name__}", "RowStats")
        shape, first = (tuple(int(n) for n in p.peak.shape) for p in (part, parts[0]))
        if not shape:
            raise ShapeError(name, f"parts[{i}]", "of a single row", "at least one row axis")
        if shape[1:] != first[1:]:
            raise ShapeError(name, f"parts[{i}]", f"of rows of shape {shape}", _rows(first))
        _same_arrays(name, parts[0], part)
        if part.classes != parts[0].classes:
            raise OptionError(name, f"parts[{i}]", "of other classes than parts[0]", "the same classes")
        if any((getattr(part, field) is None) != (getattr(parts[0], field) is None) for field in ARRAYS):
            found, rule = "other fields than parts[0]", "targets of one kind, or none"
            raise DtypeError(name, f"parts[{i}]", found, rule, verb="has")


# --- for statistics in NumPy arrays ---


def weights(targets: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """``weight`` and ``target_weight`` of rows of this shape, from `problem.Targets`."""
    s, w = targets.sample_weight, targets.class_weight
    if s is None and w is None and targets.kind == "index" and targets.array.shape == shape:
        ones = (targets.array != targets.ignore_index).astype(np.float64)  # all of them where it is None
        return {"weight": ones, "target_weight": ones}
    s = None if s is None else np.array(s, np.float64).reshape(shape)  # of our own
    if targets.kind != "index":
        return {"weight": np.ones(shape) if s is None else s[()]}
    y = np.asarray(targets.array).reshape(shape)
    counts = np.ones(shape, bool) if targets.ignore_index is None else y != targets.ignore_index
    ones = counts.astype(np.float64)
    weight = ones if s is None else np.where(counts, s, 0.0)
    if w is not None:
        ones = np.where(counts, np.asarray(w, np.float64)[np.where(counts, y, 0).astype(np.int64)], 0.0)
    return {"weight": weight[()], "target_weight": ones[()]}


def z_losses(stats: RowStats, weight: float, s: Array | None) -> Array | float:
    """``weight s lse^2`` of each row; 0 where s is 0, whatever the row holds. Without s it is 1."""
    if not weight:
        return 0.0
    found: Array = weight * stats.lse**2
    return found if s is None else np.where(s == 0, 0.0, found * s)


def pulled(stats: RowStats, weight: float, s: Array | None) -> RowStats:
    """The statistics with what multiplies p in a row's gradient for its mass: ``mass + 2 weight s lse``."""
    if not weight:
        return stats
    pull = 2 * weight * stats.lse
    return replace(stats, mass=stats.mass + (pull if s is None else np.where(s == 0, 0.0, pull * s)))

"""The statistics of rows, and how they are joined. In: arrays of one number a row. Out: results in nats.

``RowStats.merge`` joins shards of the classes by `row_law`, after `row_checks` has found that they go
together; ``RowStats.concat`` joins blocks of rows; ``pack`` and ``unpack`` take them to another process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic

import numpy as np

from .arrays import Array, ArrayT, cast, device, namespace
from .errors import DtypeError, OptionError, ShapeError
from .row_checks import Ranges, common_ranges, same_kind
from .row_law import law, of_targets

__all__ = ["ARRAYS", "RowStats", "joined"]


@dataclass(frozen=True, slots=True, eq=False)
class RowStats(Generic[ArrayT]):
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

    peak: ArrayT
    rest: ArrayT
    argmax: ArrayT | Any = None  # or None; Any, so that users need not check for it
    gap: ArrayT | Any = None
    mass: ArrayT | Any = None
    rank: ArrayT | Any = None
    spread: ArrayT | Any = None
    square: ArrayT | Any = None
    weight: ArrayT | Any = None
    target_weight: ArrayT | Any = None
    target: ArrayT | Any = None
    classes: Any = None  # Ranges, or None
    dtype: Any = None  # of the results below; None: the peak's own

    @property
    def lse(self) -> ArrayT:
        """Logarithm of the sum of the exponentials, in nats."""
        return self._result(self._lse())

    @property
    def nll(self) -> ArrayT:
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
    def entropy(self) -> ArrayT:
        """Entropy of the row's softmax, in nats."""
        return self._result(self._entropy())

    @property
    def confidence(self) -> ArrayT:
        """The largest probability of the row."""
        return self._result(self._confidence())

    @property
    def sum_p2(self) -> ArrayT:
        """Sum of the squared probabilities."""
        return self._result(self._sum_p2())

    @property
    def counted(self) -> ArrayT:
        """Whether a row counts, neither ignored nor of sample weight 0: bool."""
        found: ArrayT = self._need("weight") > 0
        return found

    @property
    def correct(self) -> ArrayT:
        """Whether no class beats the target: bool; False for ignored rows."""
        found: ArrayT
        if self.rank is None and self.target is not None and self.argmax is not None:
            found = (self.target >= 0) & (self.argmax == self.target)
        else:
            found = self._need("rank") == 0
        return found

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

    def merge(self, other: RowStats[ArrayT]) -> RowStats[ArrayT]:
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
        if not isinstance(other, RowStats):
            raise DtypeError("RowStats.merge", "other", f"a {type(other).__name__}", "RowStats")
        ranges = common_ranges(self, other)
        if not self.classes:
            return other
        if not other.classes:
            return self
        return self._merged(other, ranges)

    @staticmethod
    def concat(parts: Sequence[RowStats[ArrayT]]) -> RowStats[ArrayT]:
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
        if isinstance(parts, RowStats):
            raise DtypeError("RowStats.concat", "parts", "a RowStats", "a list of them", "write [a, b]")
        parts = list(parts)
        for i, part in enumerate(parts):
            if not isinstance(part, RowStats):
                raise DtypeError("RowStats.concat", f"parts[{i}]", f"a {type(part).__name__}", "RowStats")
        same_kind(parts, ARRAYS)
        return parts[0]._concatenated(parts)

    def pack(self) -> ArrayT:
        """All fields as one vector of float64 numbers, to be sent to another process; `unpack` reads it.

        ::

            [which fields there are, first class, class after the last, the fields one after another]

        Returns
        -------
        array of shape (3 + number of fields times rows,), float64

        Raises
        ------
        OptionError
            For shards that were merged from ranges of classes with a gap between them.

        Examples
        --------
        >>> import numpy as np
        >>> import lastlayer as ll
        >>> logits, y = np.array([[1.0, 1.1, 2.5, 2.5], [3.2, 0.2, 0.9, 1.0]]), [3, 0]
        >>> mine = ll.row_stats(logits[:, :2], y, class_offset=0)
        >>> sent = ll.row_stats(logits[:, 2:], y, class_offset=2).pack()
        >>> mine.merge(mine.unpack(sent)).nll.round(4).tolist()
        [0.9041, 0.2318]
        """
        xp = self._xp()
        ranges = ((-1, -1),) if self.classes is None else (self.classes or ((0, 0),))
        if len(ranges) > 1:
            rule = "one range of classes; merge what lies between first"
            raise OptionError("RowStats.pack", "classes", str(self.classes), rule)
        there = [(i, value) for i, name in enumerate(ARRAYS) if (value := getattr(self, name)) is not None]
        head = [float(sum(1 << i for i, _ in there)), *map(float, ranges[0])]
        like = {"dtype": xp.float64, "device": device(self.peak)}
        parts = [self._cast(xp.reshape(xp.asarray(value), (-1,)), xp.float64) for _, value in there]
        packed: ArrayT = xp.concat([xp.asarray(head, **like), *parts])
        return packed

    def unpack(self, packed: ArrayT) -> RowStats[ArrayT]:
        """What `pack` made of statistics of the same rows: those of another shard, or from another process.

        Raises
        ------
        ShapeError
            For a vector of other rows.
        """
        xp, shape = self._xp(), tuple(self.peak.shape)
        n = math.prod(shape)
        head = [int(v) for v in packed[:3]] if packed.ndim == 1 and packed.shape[0] >= 3 else [0, 0, 0]
        names = [name for i, name in enumerate(ARRAYS) if head[0] >> i & 1]
        if tuple(packed.shape) != (3 + len(names) * n,) or not {"peak", "rest"} <= set(names):
            rule = f"a vector that pack() made of statistics of rows of shape {shape}"
            raise ShapeError("RowStats.unpack", "packed", f"of shape {tuple(packed.shape)}", rule)
        found: dict[str, Any] = {}
        for place, name in enumerate(names):
            value = xp.reshape(packed[3 + place * n : 3 + (place + 1) * n], shape)
            found[name] = self._cast(value, xp.int64) if name in _WHOLE else value
        classes = None if head[1] < 0 else () if head[1] == head[2] else ((head[1], head[2]),)
        return self._received(found, classes)

    def _received(self, arrays: dict[str, Any], classes: Any) -> RowStats:
        """Statistics of these arrays, of the dtype of these."""
        return RowStats(**arrays, classes=classes, dtype=self.dtype)

    def _cast(self, value: Array, dtype: Any) -> Array:
        return cast(self._xp(), value, dtype)

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
        return replace(merged, dtype=self.dtype, classes=ranges, **of_targets(self, other, xp))

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

    def _result(self, value: Array) -> ArrayT:
        with self._quiet():
            dtype = self.peak.dtype if self.dtype is None else self.dtype
            found: ArrayT = cast(namespace(value), value, dtype)
        return found


# The fields with arrays, and those of them that hold whole numbers.
ARRAYS = tuple(f.name for f in fields(RowStats) if f.name not in ("classes", "dtype"))
_WHOLE = ("argmax", "rank", "target")


def joined(a: RowStats, b: RowStats, xp: Any = np, first: Any = None) -> RowStats:
    """What two parts of the classes know together: associative, with `RowStats.empty` as its identity.

    ``first`` marks the rows whose peak is that of ``a``. Without it the classes of ``b`` come after those of
    ``a``, and its ``argmax`` already counts from the row's first class.
    """
    with a._quiet():
        return RowStats(**law(a, b, xp, first), dtype=a.dtype)

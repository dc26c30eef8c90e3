"""The statistics of rows, and how they are joined. In: arrays of one number per row. Out: results in nats.

``RowStats.merge`` joins shards of the classes: `row_checks` tests that they fit, `row_law` has the formulas.
``RowStats.concat`` joins blocks of rows. ``pack`` and ``unpack`` turn statistics into a vector for other
processes and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic

import numpy as np

from .arrays import Array, ArrayT, cast, device, namespace
from .errors import DtypeError, OptionError, ShapeError
from .row_checks import Ranges, common_ranges, same_kind
from .row_law import comes_first, law, of_targets
from .row_table import RowTable

__all__ = ["ARRAYS", "RowStats", "joined"]


@dataclass(frozen=True, slots=True, eq=False)
class RowStats(RowTable, Generic[ArrayT]):
    """Statistics of each row, from which loss, entropy and accuracy follow: arrays, one number per row.

    With effective targets ``t`` (see ``docs/semantics.md``) and logits ``z``::

        peak   = max_j z_j                                rest   = sum_{j != argmax} exp(z_j - peak)
        argmax = lowest j with z_j = peak                 rank   = how many classes beat the target
        gap    = sum_j t_j (peak - z_j)                   mass   = sum_j t_j
        spread = sum_j exp(z_j - peak) (peak - z_j)       square = sum_{j != argmax} exp(z_j - peak)^2
        weight = sample weight s, 0 for an ignored row    target_weight = class weight w[y] of an index target

    where ``peak - z_j`` is 0 at the peak, even if that is infinite, and 0 times infinity is 0. The results
    are (natural logarithms, in nats)::

        lse = peak + log1p(rest)         nll    = gap + mass log1p(rest)
        confidence = 1 / (1 + rest)      sum_p2 = (1 + square) / (1 + rest)^2
        correct = (rank = 0)             entropy = log1p(rest) + spread / (1 + rest)

    and, over all rows, single numbers of the same dtype::

        counted  = (weight > 0)          accuracy = sum weight correct / sum weight
        mean_nll = sum nll / sum weight target_weight      (sum nll / sum weight for dense and top-k targets)

    ``argmax`` and ``rank`` are int64. They are -1 in a row with a NaN and in statistics of no class; ``rank``
    also in an ignored row. If ``peak`` is infinite, ``lse`` is, and the other results are NaN.

    ``classes`` is None for statistics of whole rows. For a shard of the classes (``class_offset=`` of
    `row_stats`) it holds the ranges of classes that are covered. ``target`` then holds each row's class
    index, or -1 where the target is not among these classes. `merge` joins shards, `concat` blocks of rows;
    ``stats[2:5]`` are those of some rows, and `to_dict`, `to_pandas`, `to_arrow` make a table of the results.

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
    moment: ArrayT | Any = None  # sum_j exp(z_j - peak) (peak - z_j)^2; None unless asked for
    classes: Any = None  # Ranges, or None
    dtype: Any = None  # of the results below; None: the peak's own

    @property
    def lse(self) -> ArrayT:
        """Logarithm of the sum of the exponentials, in nats."""
        return self._result(self._lse())

    @property
    def nll(self) -> ArrayT:
        """Cross-entropy with the effective targets: the row's loss, in nats; 0 for ignored rows.

        In the statistics of a shard it is NaN where another shard holds the target's class.
        """
        return self._result(self._nll())

    @property
    def mean_nll(self) -> Array:
        """The result of ``cross_entropy(reduction="mean")`` with the same options, without z-loss.

        0 if the rows' weights sum to 0.
        """
        with self._quiet():
            xp = self._xp()
            weight, total = self._need("weight"), xp.sum(self._nll())
            divisor = xp.sum(weight if self.target_weight is None else weight * self.target_weight)
            is_zero = divisor == 0
            return self._result(xp.where(is_zero, 0.0, total / xp.where(is_zero, 1.0, divisor)))

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
        """Whether a row counts: False for ignored rows. Bool."""
        found: ArrayT = self._need("weight") > 0
        return found

    @property
    def correct(self) -> ArrayT:
        """Whether the target is the argmax: bool; False for ignored rows."""
        found: ArrayT
        if self.rank is None and self.target is not None and self.argmax is not None:
            found = (self.target >= 0) & (self.argmax == self.target)
        else:
            found = self._need("rank") == 0
        return found

    @property
    def accuracy(self) -> Array:
        """The share of the rows' sample weight that belongs to correct rows; NaN if the weights sum to 0."""
        return self._result(self._accuracy())

    @staticmethod
    def empty(shape: tuple[int, ...], xp: Any = np) -> RowStats:
        """Statistics of no class: the identity of ``merge``."""
        zero = xp.zeros(shape, dtype=xp.float64)
        none = xp.full(shape, -1, dtype=xp.int64)
        return RowStats(
            peak=xp.full(shape, -xp.inf, dtype=xp.float64), rest=zero, argmax=none, gap=zero, mass=zero,
            rank=xp.zeros(shape, dtype=xp.int64), spread=zero, square=zero, moment=zero,
            classes=(),
        )  # fmt: skip

    def merge(self, other: RowStats[ArrayT]) -> RowStats[ArrayT]:
        """The statistics of two shards of the same rows: exact up to rounding, in any order.

        Both must have been computed with ``class_offset=``, and no class may be in both. Among equal logits
        the lowest class index wins. A field that one part lacks is None in the result. With ``high`` the part
        with the larger peak, ``low`` the other, ``drop = high.peak - low.peak`` and ``share = exp(-drop)``::

            rest   = high.rest + share (1 + low.rest)
            square = high.square + share^2 (1 + low.square)
            spread = high.spread + share (low.spread + drop (1 + low.rest))
            moment = high.moment + share (low.moment + 2 drop low.spread + drop^2 (1 + low.rest))
            gap    = high.gap + low.gap + drop low.mass

        Raises
        ------
        ShapeError, DtypeError
            If the parts differ in the shape of the rows, the array library, the dtype or the kind of targets.
        OptionError
            If a part has the statistics of whole rows, or the ranges of classes overlap.

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
            If the blocks differ in another axis, array library, dtype, kind of targets or classes.

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
        """All fields as one vector of float64 numbers, to send to another process; `unpack` reads it.

        ::

            [bit set of the fields, first class, class after the last, the fields one after another]

        Returns
        -------
        array of shape (3 + number of fields times rows,), float64

        Raises
        ------
        OptionError
            If the classes are not one contiguous range.

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
        """The statistics that `pack` turned into a vector; they must have the rows of these statistics.

        Raises
        ------
        ShapeError
            If the vector's length does not fit these rows.
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
        """Statistics with these arrays and the dtype of this object."""
        return RowStats(**arrays, classes=classes, dtype=self.dtype)

    def _cast(self, value: Array, dtype: Any) -> Array:
        return cast(self._xp(), value, dtype)

    def _xp(self) -> Any:
        """The namespace of the arrays' library."""
        return namespace(self.peak)

    def _quiet(self) -> Any:
        """A context without NumPy's warnings about infinities and NaN, which are valid results here."""
        return np.errstate(all="ignore")

    def _merged(self, other: RowStats, ranges: Ranges) -> RowStats:
        """`merge` without its checks."""
        xp = self._xp()
        merged = joined(self, other, xp, comes_first(self, other))
        return replace(merged, dtype=self.dtype, classes=ranges, **of_targets(self, other, xp))

    def _rows(self, chosen: Callable[[Any], Any]) -> RowStats:
        """The statistics of some rows, which a function takes from each array."""
        values = {name: value for name in ARRAYS if (value := getattr(self, name)) is not None}
        some = {name: chosen(value) for name, value in values.items()}
        return RowStats(**some, classes=self.classes, dtype=self.dtype)

    def _concatenated(self, parts: list[RowStats]) -> RowStats:
        """`concat` without its checks; this is the first part."""
        xp = self._xp()
        found = {
            name: xp.concat([getattr(p, name) for p in parts])
            for name in ARRAYS
            if getattr(self, name) is not None
        }
        return RowStats(**found, classes=self.classes, dtype=self.dtype)

    # The results before they are rounded to their dtype.

    def _lse(self) -> Array:
        with self._quiet():
            xp = self._xp()  # lse of an infinite peak is infinite too, and rest has no meaning
            return xp.where(xp.isinf(self.peak), self.peak, self.peak + xp.log1p(self.rest))

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
        """Rows that count and whose target is in another shard; None if every shard's target is known."""
        if self.target is None or self.weight is None:
            return None
        return (self.target < 0) & (self.weight > 0)

    def _unless_infinite(self) -> Array:
        """0 where the peak is finite; NaN where it is infinite, since probabilities are not defined there."""
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


# The fields that hold arrays; those that hold integers.
ARRAYS = tuple(f.name for f in fields(RowStats) if f.name not in ("classes", "dtype"))
_WHOLE = ("argmax", "rank", "target")


def joined(a: RowStats, b: RowStats, xp: Any = np, first: Any = None) -> RowStats:
    """The merged statistics of two parts of the classes: associative, with identity `RowStats.empty`.

    ``first`` is true in the rows whose peak is in ``a``. If it is not given, the classes of ``b`` must come
    after those of ``a``. The ``argmax`` of both counts from the row's first class.
    """
    with a._quiet():
        return RowStats(**law(a, b, xp, first), dtype=a.dtype)

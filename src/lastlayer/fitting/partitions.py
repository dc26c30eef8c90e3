"""Rows divided into partitions, by Dask. In: features and targets of each. Out: sums over all rows.

Each sum is computed where its partition is, and pairs of sums are added in a fixed order, so the result does
not depend on the schedule. Parameters are sent once per pass, as a task: if a worker is lost, the others can
compute everything again. `lastlayer` does not import Dask: a caller that has partitions has imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from lastlayer.clients import any_size, client_of, persisted

from .dense import DenseRows
from .plan import Size
from .rows import Floats, Rows, Sums, logits_of
from .sparse import SparseRows

__all__ = ["Labels", "PartitionedRows"]


_KEPT = 1 << 24  # probabilities that are kept in this process for the products of the Hessian


class Labels(NamedTuple):
    """The targets and weights of a partition."""

    targets: Any  # (n,) indices of classes, or (n, V) probabilities
    weight: Floats | None  # (n,)


class _Recipe(NamedTuple):
    """How the rows of a partition are made from features and labels."""

    classes: int
    smoothing: float
    is_exact: bool  # all products in float64

    def rows(self, x: Any, labels: Labels) -> DenseRows | SparseRows:
        options: dict[str, Any] = {"weight": labels.weight, "smoothing": self.smoothing}
        if scipy.sparse.issparse(x):
            x = x.astype(np.float64) if self.is_exact else x
            # A copy of the transpose would be made again in each pass, and would cost more than it saves.
            return SparseRows(x, labels.targets, self.classes, max_memory=0, **options)
        dtype = np.float64 if self.is_exact else None
        return DenseRows(x, labels.targets, self.classes, dtype=dtype, **options)


class PartitionedRows:
    """`Rows` over partitions.

    ``features`` and ``labels`` have a delayed value for each partition: an array (n, D) or a CSR matrix, and
    `Labels`. ``counts`` are the numbers of rows, none of them 0; ``shape`` is (features, classes).
    """

    def __init__(
        self,
        features: Sequence[Any],
        labels: Sequence[Any],
        counts: Sequence[int],
        shape: tuple[int, int],
        *,
        dtype: Any,
        sparse: bool = False,
        smoothing: float = 0.0,
        is_exact: bool = False,
    ) -> None:
        self._x, self._labels, self._counts = features, labels, counts
        self.count, (self.features, self.classes) = sum(counts), shape
        self._recipe = _Recipe(self.classes, smoothing, is_exact)
        self._sparse = sparse
        self.logits = logits_of(self.classes)
        self.dtype = np.dtype(np.float64 if is_exact else dtype)
        self.total: float = self._sum(_total)

    @property
    def size(self) -> Size:
        """For the choice of a plan: no fewer rows than features, whose span only one machine could use."""
        rows = max(self.count, self.features)
        return Size(rows, self.features, self.classes, self.dtype.itemsize, self._sparse)

    def start(self) -> Floats:
        """Parameters of zeros, in the layout that the products of a partition have."""
        zeros: Floats = np.zeros((self.logits, self.features + 1))
        return self._laid_out(zeros)

    def sums(self, parameters: Floats) -> Sums:
        """Loss and gradient: one pass over the rows."""
        loss, gradient, noise = self._sum(_sums, parameters)
        return Sums(loss, self._laid_out(gradient), noise)

    def hessian(self, parameters: Floats) -> Callable[[Floats], Floats]:
        """The Hessian of the loss at the parameters, as a function of a direction."""
        # Probabilities are kept by the workers, beside features that are no smaller, or in this process.
        if client_of(*self._labels) is not None:
            keeps = self.logits <= self.features
        else:
            keeps = self.count * self.logits <= _KEPT
        kept = persisted(self._tasks(_kept, (parameters,), ())) if keeps else [None] * len(self._x)
        return lambda direction: self._laid_out(self._sum(_hessian, parameters, direction, each=kept))

    def diagonal(self, parameters: Floats) -> Floats:
        """The diagonal of that, (K, D + 1)."""
        return self._laid_out(self._sum(_diagonal, parameters))

    def shares(self) -> Floats:
        """The share of each class in the targets."""
        return np.asarray(self._sum(_class_weights) / self.total)

    def sample(self, count: int, rng: np.random.Generator) -> Any:
        """Rows drawn without replacement, gathered into memory: the same as rows in memory would draw."""
        if count >= self.count:
            chosen = np.arange(self.count)
        else:
            chosen = np.sort(rng.choice(self.count, count, replace=False))
        ends = np.cumsum(self._counts)
        cuts = np.searchsorted(chosen, np.concatenate([[0], ends]))
        places = [
            chosen[a:b] - end for a, b, end in zip(cuts[:-1], cuts[1:], ends - self._counts, strict=True)
        ]
        x, labels = zip(*self.map(_part, each=places), strict=True)
        targets = np.concatenate([one.targets for one in labels])
        weight = None if labels[0].weight is None else np.concatenate([one.weight for one in labels])
        whole = scipy.sparse.vstack(x, format="csr") if self._sparse else np.concatenate(x)
        return self._recipe.rows(whole, Labels(targets, weight))

    @property
    def is_exact(self) -> bool:
        """Whether every product is in float64."""
        return bool(self.dtype == np.float64)

    @property
    def rounding(self) -> float:
        """A bound on the rounding error of the mean gradient: that of the worst partition."""
        return float(max(self.map(_rounding)))

    def exact(self) -> Rows:
        """The same rows, with every product in float64."""
        return PartitionedRows(
            self._x,
            self._labels,
            self._counts,
            (self.features, self.classes),
            dtype=np.float64,
            sparse=self._sparse,
            smoothing=self._recipe.smoothing,
            is_exact=True,
        )

    def map(self, function: Callable[..., Any], *arguments: Any, each: Sequence[Any] = ()) -> list[Any]:
        """function(rows, *arguments) of each partition's rows; ``each`` has one more argument for each."""
        import dask

        return list(dask.compute(*self._tasks(function, arguments, each)))

    def _sum(self, function: Callable[..., Any], *arguments: Any, each: Sequence[Any] = ()) -> Any:
        """The sum of function(rows, *arguments) over the partitions, by a tree of pairs."""
        import dask

        parts = self._tasks(function, arguments, each)
        add = dask.delayed(_added, pure=False, traverse=False)
        while len(parts) > 1:
            pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
            parts = [add(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        with any_size():
            return dask.compute(parts[0])[0]

    def _tasks(self, function: Callable[..., Any], arguments: Any, each: Sequence[Any]) -> list[Any]:
        import dask

        send = dask.delayed(_received, pure=False, traverse=False)
        sent = [send(one) for one in arguments]  # a task: other workers fetch its result from its worker
        call = dask.delayed(_applied, pure=False, traverse=False)
        more: list[tuple[Any, ...]] = [(one,) for one in each] or [()] * len(self._x)
        return [
            call(function, self._recipe, x, labels, *sent, *own)
            for x, labels, own in zip(self._x, self._labels, more, strict=True)
        ]

    def _laid_out(self, values: Floats) -> Floats:
        """(K, D + 1) in the memory layout of the parameters: sparse products have features first."""
        if self._sparse:
            return np.transpose(np.ascontiguousarray(np.transpose(values)))
        return np.ascontiguousarray(values)


def _received(value: Any) -> Any:
    return value


def _applied(function: Callable[..., Any], recipe: _Recipe, x: Any, labels: Labels, *arguments: Any) -> Any:
    return function(recipe.rows(x, labels), *arguments)


def _added(a: Any, b: Any) -> Any:
    """Add two sums; neither is written to, since a task may be computed again."""
    if isinstance(a, tuple):
        return Sums(*(left + right for left, right in zip(a, b, strict=True)))
    return a + b


def _total(rows: Any) -> float:
    return float(rows.total)


def _sums(rows: Any, parameters: Floats) -> Sums:
    return rows.sums(parameters)  # type: ignore[no-any-return]


def _kept(rows: Any, parameters: Floats) -> Floats:
    return rows.kept(parameters)  # type: ignore[no-any-return]


def _hessian(rows: Any, parameters: Floats, direction: Floats, kept: Floats | None) -> Floats:
    return rows.hessian_of(parameters, kept)(direction)  # type: ignore[no-any-return]


def _diagonal(rows: Any, parameters: Floats) -> Floats:
    return rows.diagonal(parameters)  # type: ignore[no-any-return]


def _class_weights(rows: Any) -> Floats:
    if rows.total == 0:
        return np.zeros(rows.classes)
    return rows.shares() * rows.total  # type: ignore[no-any-return]


def _rounding(rows: Any) -> float:
    return float(rows.rounding)


def _part(rows: Any, places: Any) -> tuple[Any, Labels]:
    weight = None if rows.weight is None else rows.weight[places]
    x = rows.x[places]
    return (x if scipy.sparse.issparse(x) else np.asarray(x)), Labels(rows.targets[places], weight)

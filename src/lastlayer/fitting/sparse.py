"""Sparse features. In: a CSR matrix (N, D) of SciPy. Out: sums over its rows.

The core computes products in the dtype of the data. Products with the transpose need a second copy of the
entries, ordered by columns. Without the core, or without memory for the copy, SciPy computes on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lastlayer.backends.core import core

from .rows import Floats, Sums
from .targets import RowTargets

__all__ = ["SparseRows"]


class SparseRows(RowTargets):
    """Rows of a CSR matrix. ``targets``: class indices (N,), or probabilities (N, V)."""

    def __init__(
        self,
        x: Any,
        targets: Any,
        classes: int,
        *,
        weight: Floats | None = None,
        smoothing: float = 0.0,
        max_memory: int = 256 << 20,
    ) -> None:
        super().__init__(targets, classes, weight, smoothing)
        self.x, self.features, self.dtype, self.max_memory = x, x.shape[1], x.dtype, max_memory
        fits = x.data.nbytes + x.indices.nbytes <= max_memory // 2
        self.transpose = x.T.tocsr() if core.in_use() and fits else None

    def times(self, b: Floats) -> Floats:
        """X b, for b (D, K)."""
        return self._product(self.x, b) if self.transpose is not None else np.asarray(self.x @ b)

    def transposed_times(self, g: Floats) -> Floats:
        """X^T g, for g (N, K)."""
        if self.transpose is not None:
            return self._product(self.transpose, g)
        return np.asarray(self.x.T @ g)

    def start(self) -> Floats:
        """Parameters of zeros (K, D + 1), in the layout in which products need no copies."""
        parameters: Floats = np.zeros((self.features + 1, self.logits))
        return np.transpose(parameters)

    def sums(self, parameters: Floats) -> Sums:
        """Loss and gradient: one pass over the rows."""
        losses, g = self.losses(self.logits_at(parameters))
        return Sums(float(losses.sum(dtype=np.float64)), self.gathered(g), float(np.vdot(g, g)))

    def logits_at(self, parameters: Floats) -> Floats:
        """X W^T + b, (N, K)."""
        z: Floats = self.times(np.ascontiguousarray(parameters[:, :-1].T, self.dtype))
        z += parameters[:, -1].astype(self.dtype)
        return z

    def gathered(self, r: Floats) -> Floats:
        """sum_n r_n [x_n, 1]^T, in float64."""
        out = np.empty((self.features + 1, r.shape[1]))
        if self.transpose is not None and self.is_exact:
            self._product(self.transpose, r, out[:-1])
        else:
            out[:-1] = self.transposed_times(r)
        out[-1] = r.sum(axis=0, dtype=np.float64)
        return np.transpose(out)

    def curvature(self, p: Floats) -> Callable[[Floats], Floats]:
        """The Hessian of the losses with respect to the logits, at P: U -> s (P U - P (P . U))."""

        def apply(u: Floats) -> Floats:
            r = p * u
            r -= p * (r if self.logits == 1 else r.sum(axis=1, keepdims=True))
            return self.weighted(r)

        return apply

    def hessian(self, parameters: Floats) -> Callable[[Floats], Floats]:
        """The Hessian of the loss at the parameters, as a function of a direction."""
        return self.hessian_of(parameters, None)

    def kept(self, parameters: Floats) -> Floats:
        """The probabilities (N, K), which all products of the Hessian share."""
        return self.softmax(self.logits_at(parameters))

    def hessian_of(self, parameters: Floats, kept: Floats | None) -> Callable[[Floats], Floats]:
        """The Hessian at the parameters; if ``kept`` is None, it is computed."""
        curvature = self.curvature(self.kept(parameters) if kept is None else kept)
        return lambda direction: self.gathered(curvature(self.logits_at(direction)))

    def diagonal(self, parameters: Floats) -> Floats:
        """The Hessian's diagonal: sum_n s_n p_nj (1 - p_nj) [x_n, 1]^2."""
        p = self.kept(parameters)
        p *= 1 - p
        p = self.weighted(p)
        out = np.empty((self.features + 1, self.logits))
        if self.transpose is not None:
            squares = self.transpose.copy()
            squares.data **= 2
            out[:-1] = self._product(squares, p)
        else:
            out[:-1] = self.x.multiply(self.x).T @ p
        out[-1] = p.sum(axis=0, dtype=np.float64)
        return np.transpose(out)

    def mean_square(self) -> float:
        """The mean of |x|^2 over the rows."""
        squares = self.x.data.astype(np.float64) ** 2
        if self.weight is not None:
            squares *= np.repeat(self.weight, np.diff(self.x.indptr))
        return float(squares.sum()) / self.total

    def sample(self, count: int, rng: np.random.Generator) -> SparseRows:
        """Rows drawn without replacement."""
        i = self.chosen(count, rng)
        weight = None if self.weight is None else self.weight[i]
        return SparseRows(
            self.x[i],
            self.targets[i],
            self.classes,
            weight=weight,
            smoothing=self.smoothing,
            max_memory=self.max_memory,
        )

    @property
    def is_exact(self) -> bool:
        """Whether every product is in float64."""
        return bool(self.dtype == np.float64)

    @property
    def rounding(self) -> float:
        """How far the mean gradient may be from the exact one: eight roundings of the mean |x|."""
        mean = np.abs(self.x).sum(axis=0).max() / self.count
        return 4 * float(np.finfo(self.dtype).eps) * max(float(mean), 1.0)

    def exact(self) -> SparseRows:
        """The same rows, with every product in float64."""
        return SparseRows(
            self.x.astype(np.float64),
            self.targets,
            self.classes,
            weight=self.weight,
            smoothing=self.smoothing,
            max_memory=self.max_memory,
        )

    def _product(self, x: Any, b: Floats, out: Floats | None = None) -> Floats:
        if out is None:
            out = np.empty((x.shape[0], b.shape[1]), self.dtype)
        core.sparse_product(x.indptr, x.indices, x.data, np.ascontiguousarray(b, self.dtype), out)
        return out

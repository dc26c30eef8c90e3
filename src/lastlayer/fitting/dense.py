"""Dense features. In: an array (N, D), in memory or in a file. Out: sums over its rows, block by block.

A block of rows stays in cache between its two matrix products, so a pass reads X once from memory. Products
are computed in the dtype of X (float16: in float32), sums over blocks in float64. If the core is built, it
computes a whole pass; otherwise NumPy does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lastlayer.backends.core import core

from .rows import Floats, Sums
from .targets import RowTargets

__all__ = ["DenseRows"]

_BLOCK_BYTES = 1 << 21  # of X: a block stays in the second-level cache of two cores
_CORE_PARAMETERS = 3 << 20  # above this, the sums of the core's tasks take too much memory
_KEPT = 1 << 24  # probabilities that are kept for the products of the Hessian
_LOGIT_BYTES = 1 << 25  # of a block's logits, if there are many classes


class DenseRows(RowTargets):
    """Rows of a dense array. ``targets``: class indices (N,), or probabilities (N, V)."""

    def __init__(
        self,
        x: Any,
        targets: Any,
        classes: int,
        *,
        weight: Floats | None = None,
        smoothing: float = 0.0,
        dtype: Any = None,
    ) -> None:
        super().__init__(targets, classes, weight, smoothing)
        self.x, self.features = x, x.shape[1]
        self.dtype = np.dtype(dtype or (np.float32 if x.dtype.itemsize < 4 else x.dtype))
        rows = max(256, _BLOCK_BYTES // (self.features * self.dtype.itemsize), min(1024, self.logits))
        rows = min(rows, max(16, _LOGIT_BYTES // (classes * self.dtype.itemsize)), self.count)
        self.cuts = [slice(a, min(a + rows, self.count)) for a in range(0, self.count, rows)]
        self.ones = np.ones(max(rows, self.logits), self.dtype)

    def features_of(self, cut: Any) -> Floats:
        """The features of some rows, in the dtype of the products."""
        return np.asarray(self.x[cut]).astype(self.dtype, copy=False)

    def start(self) -> Floats:
        """Parameters of zeros."""
        return np.zeros((self.logits, self.features + 1))

    def sums(self, parameters: Floats) -> Sums:
        """Loss and gradient: one pass over the rows."""
        if self._is_for_core():
            return self._sums_of_core(parameters)
        loss = noise = 0.0

        def residuals(cut: slice, z: Floats) -> Floats:
            nonlocal loss, noise
            losses, g = self.losses(z, cut)
            loss += float(losses.sum(dtype=np.float64))
            noise += float(np.vdot(g, g))
            return g

        gradient = self._sum_over_blocks(parameters, residuals)
        return Sums(loss, gradient, noise)

    def hessian(self, parameters: Floats) -> Callable[[Floats], Floats]:
        """The Hessian of the loss at the parameters, as a function of a direction."""
        keeps = self.count * self.logits <= _KEPT
        return self.hessian_of(parameters, self.kept(parameters) if keeps else None)

    def kept(self, parameters: Floats) -> Floats:
        """The probabilities (N, K), which all products of the Hessian share."""
        return self.probabilities(parameters)

    def hessian_of(self, parameters: Floats, kept: Floats | None) -> Callable[[Floats], Floats]:
        """The Hessian at the parameters; without ``kept`` each product computes the probabilities."""
        w, b = self._cast(parameters)

        def product(direction: Floats) -> Floats:
            def residuals(cut: slice, u: Floats) -> Floats:
                p = self._probabilities_at(self.features_of(cut), w, b) if kept is None else kept[cut]
                u *= p
                u -= p * (u if self.logits == 1 else (u @ self.ones[: self.logits])[:, None])
                return self.weighted(u, cut)

            return self._sum_over_blocks(direction, residuals)

        return product

    def diagonal(self, parameters: Floats) -> Floats:
        """The Hessian's diagonal: sum_n s_n p_nj (1 - p_nj) [x_n, 1]^2."""
        w, b = self._cast(parameters)
        h = np.zeros_like(parameters)
        for cut in self.cuts:
            x = self.features_of(cut)
            p = self._probabilities_at(x, w, b)
            p *= 1 - p
            p = self.weighted(p, cut)
            h[:, :-1] += p.T @ (x * x)
            h[:, -1] += p.sum(axis=0, dtype=np.float64)
        return h

    def mean_square(self) -> float:
        """The mean of |[x, 1]|^2 over a few rows."""
        x = self.features_of(slice(None, None, max(1, self.count // 1000)))
        return float(np.einsum("nd,nd->", x, x, dtype=np.float64)) / len(x) + 1

    @property
    def is_exact(self) -> bool:
        """Whether every product is in float64."""
        return bool(self.dtype == np.float64)

    @property
    def rounding(self) -> float:
        """How far the mean gradient may be from the exact one: eight roundings of the mean |x|."""
        x = self.features_of(slice(None, None, max(1, self.count // 1000)))
        return 8 * float(np.finfo(self.dtype).eps) / 2 * float(np.abs(x).mean(axis=0, dtype=np.float64).max())

    def probabilities(self, parameters: Floats) -> Floats:
        """P of all rows (N, K): half a pass."""
        w, b = self._cast(parameters)
        p = np.empty((self.count, self.logits), self.dtype)
        for cut in self.cuts:
            p[cut] = self._probabilities_at(self.features_of(cut), w, b)
        return p

    def sample(self, count: int, rng: np.random.Generator) -> DenseRows:
        """Rows drawn without replacement, in memory."""
        if count >= self.count and isinstance(self.x, np.ndarray) and self.x.dtype == self.dtype:
            return self
        return self.part(self.chosen(count, rng))

    def part(self, i: Any) -> DenseRows:
        """Some of the rows, in memory."""
        weight = None if self.weight is None else self.weight[i]
        x = np.asarray(self.x[i]).astype(self.dtype, copy=False)
        return DenseRows(x, self.targets[i], self.classes, weight=weight, smoothing=self.smoothing)

    def exact(self) -> DenseRows:
        """The same rows, with every product in float64."""
        return DenseRows(
            self.x, self.targets, self.classes, weight=self.weight, smoothing=self.smoothing, dtype=np.float64
        )

    def _is_for_core(self) -> bool:
        if not core.in_use() or self.classes * self.features > _CORE_PARAMETERS:
            return False
        return isinstance(self.x, np.ndarray) and self.x.dtype.char in "efd" and self.x.dtype.isnative

    def _sums_of_core(self, parameters: Floats) -> Sums:
        two = self.logits == 1
        if two:
            parameters = np.concatenate([np.zeros_like(parameters), parameters])
        w = np.ascontiguousarray(parameters)
        gradient = np.empty_like(w)
        loss, square = core.linear_sums(
            self.x, w, self.targets, self.weight, self.smoothing, self.is_exact, gradient
        )
        return Sums(loss, gradient[1:], square / 2) if two else Sums(loss, gradient, square)

    def _sum_over_blocks(self, parameters: Floats, residuals: Callable[[slice, Floats], Floats]) -> Floats:
        """sum_n r_n [x_n, 1]^T, where r = residuals(rows, X W^T + b)."""
        w, b = self._cast(parameters)
        total = np.zeros_like(parameters)
        for cut in self.cuts:
            x = self.features_of(cut)
            r = residuals(cut, self._logits(x, w, b))
            total[:, :-1] += r.T @ x
            total[:, -1] += self.ones[: len(r)] @ r
        return total

    def _cast(self, parameters: Floats) -> tuple[Floats, Floats]:
        return parameters[:, :-1].astype(self.dtype).T, parameters[:, -1].astype(self.dtype)

    def _probabilities_at(self, x: Floats, w: Floats, b: Floats) -> Floats:
        z = self._logits(x, w, b)
        return self.softmax(z, out=z)

    @staticmethod
    def _logits(x: Floats, w: Floats, b: Floats) -> Floats:
        z = x @ w
        z += b
        return z

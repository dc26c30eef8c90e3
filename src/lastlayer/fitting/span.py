"""Fewer rows than features. In: rows in memory. Out: the same rows in coordinates of their span.

The solution lies in the span of the rows: W = U B, where the rows of B are an orthonormal basis of the span,
and x = B^T u. Then W x = U u and |W| = |U|, so U is fitted instead of W.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .dense import DenseRows
from .rows import Floats

__all__ = ["Span"]

_SMALLEST = 1e-12  # of the largest eigenvalue of X X^T; smaller ones are rounding errors


class Span:
    """``rows`` in coordinates of the span, and the transformation back."""

    def __init__(self, rows: Any) -> None:
        x = rows.features_of(slice(None)).astype(np.float64)
        e, vectors = np.linalg.eigh(x @ x.T)
        kept = e > _SMALLEST * e[-1]
        self.root = np.sqrt(e[kept])
        self.x, self.vectors = x, vectors[:, kept]
        self.rows = DenseRows(
            self.vectors * self.root,
            rows.targets,
            rows.classes,
            weight=rows.weight,
            smoothing=rows.smoothing,
        )

    def back(self, parameters: Floats) -> Floats:
        """The parameters of all features."""
        w = (parameters[:, :-1] / self.root @ self.vectors.T) @ self.x
        return np.concatenate([w, parameters[:, -1:]], axis=1)

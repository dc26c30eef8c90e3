"""Approximate inverses of the Hessian, from a sample of rows. In: rows in memory. Out: R -> M^-1 R.

`shared_block` is the block of any class at parameters of zero. `shares`, for many classes, multiplies that
block by a factor for each class, from its share of the rows. `diagonal` needs no products of features. The
metric of other points is in two_level.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .linalg import in_parallel, scaled_inverse
from .rows import Floats

__all__ = [
    "Metric",
    "centred",
    "diagonal",
    "gram_of",
    "penalty_of",
    "rows_needed",
    "shared_block",
    "shares",
]

Metric = Callable[[Floats], Floats]

_CHUNK = 1024  # rows of one product


def shared_block(rows: Any, penalty: float, intercept: bool, rng: np.random.Generator) -> Metric:
    """The Hessian's block at parameters of zero, which is the same for all classes."""
    v = rows.classes
    gram = _sampled_gram(rows, intercept, rng)
    s, inverse = scaled_inverse((1 - 1 / v) / v * gram + penalty_of(rows.features, penalty), rows.dtype)
    return lambda r: centred(((r * s) @ inverse) * s)


def shares(rows: Any, penalty: float, intercept: bool, rng: np.random.Generator, share: Floats) -> Metric:
    """share_j (1 - share_j) times the block of all rows, plus the penalty.

    Classes of similar share have one inverse: within a group the shares differ by a factor of two at most.
    """
    gram = _sampled_gram(rows, intercept, rng)
    diagonal = penalty_of(rows.features, penalty)
    a = share * (1 - share)
    order = np.argsort(a)
    a, groups, at = a[order], [], 0
    while at < len(a):
        to = int(np.searchsorted(a, 2 * a[at], side="right"))
        s, inverse = scaled_inverse(np.sqrt(a[at] * a[to - 1]) * gram + diagonal, rows.dtype)
        groups.append((order[at:to], s, inverse))
        at = to

    def apply(r: Floats) -> Floats:
        out = np.empty_like(r)
        for which, s, inverse in groups:
            out[which] = ((r[which] * s).astype(inverse.dtype) @ inverse) * s
        return centred(out)

    return apply


def diagonal(h: Floats) -> Metric:
    """The metric from the Hessian's diagonal (K, D + 1), with the penalty."""
    inverse = 1 / np.where(h > 0, h, 1.0)
    return lambda r: r * inverse


def rows_needed(features: int) -> int:
    """The number of rows from which a block is estimated."""
    return max(8 * features, 1000)


def penalty_of(features: int, penalty: float) -> Floats:
    """The penalty's part of a block; none for the intercept."""
    return np.diag(np.append(np.full(features, penalty), 0.0))


def centred(r: Floats) -> Floats:
    """Directions without their mean over classes.

    Adding one vector to the weights of all classes changes only the penalty, which the blocks do not model.
    """
    if len(r) > 1:
        r -= r.mean(axis=0)
    return r


def _sampled_gram(rows: Any, intercept: bool, rng: np.random.Generator) -> Floats:
    """The mean of [x, 1] [x, 1]^T over a few rows."""
    m = min(rows.count, rows_needed(rows.features))
    i = np.arange(m) if m == rows.count else np.sort(rng.choice(rows.count, m, replace=False))
    w = np.ones(m) if rows.weight is None else rows.weight[i]
    return gram_of(rows, i, w, intercept) / max(float(w.sum()), np.finfo(float).tiny)


def gram_of(rows: Any, i: Any, w: Floats, intercept: bool) -> Floats:
    """sum_i w_i [x_i, 1] [x_i, 1]^T: products in the dtype of the rows, sums over chunks in float64."""
    d = rows.features
    root = np.sqrt(w).astype(rows.dtype)

    def product(a: int) -> Any:
        r = root[a : a + _CHUNK]
        b = np.empty((len(r), d + 1), rows.dtype)
        np.multiply(rows.features_of(i[a : a + _CHUNK]), r[:, None], out=b[:, :d])
        b[:, d] = r if intercept else 0
        return b.T @ b

    g: Floats = np.zeros((d + 1, d + 1))
    for one in in_parallel(product, range(0, len(i), _CHUNK), _CHUNK * d * d):
        g += one
    return g

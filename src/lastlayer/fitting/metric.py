"""Approximate inverses of the Hessian, from a sample of rows. In: rows in memory. Out: R -> M^-1 R.

`class_blocks` takes each class's own block of the Hessian, X^T diag(p_j (1 - p_j)) X, and leaves out the
coupling of classes. `shared_block` is one block for all classes, as at parameters of zero; `shares`, for many
classes, that block times each class's share of the rows. `diagonal` needs no products of features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .linalg import in_parallel, scaled_inverse
from .rows import Floats

__all__ = ["Metric", "class_blocks", "diagonal", "shared_block", "shares"]

Metric = Callable[[Floats], Floats]

_SHRINK = 0.1  # the part of a class's block that is taken from the block of all rows
_ROWS_PER_FEATURE = 8  # of the rows that a block is estimated from
_CHUNK = 1024  # rows of one product


def shared_block(rows: Any, penalty: float, intercept: bool, rng: np.random.Generator) -> Metric:
    """The Hessian's block at parameters of zero, which is the same for all classes."""
    v = rows.classes
    gram, _ = sampled_gram(rows, intercept, rng)
    s, inverse = scaled_inverse((1 - 1 / v) / v * gram + penalty_of(rows.features, penalty))
    return lambda r: centred(((r * s) @ inverse) * s)


def class_blocks(
    rows: Any, parameters: Floats, penalty: float, intercept: bool, rng: np.random.Generator
) -> Metric:
    """Each class's own block, from rows drawn with a chance proportional to p_j (1 - p_j)."""
    n, d, k = rows.count, rows.features, rows.logits
    p = rows.probabilities(parameters)
    gram, m = sampled_gram(rows, intercept, rng)
    diagonal = penalty_of(d, penalty)
    s = np.empty((k, d + 1))
    inverses = np.empty((k, d + 1, d + 1), rows.dtype)
    for j in range(k):
        w = p[:, j] * (1 - p[:, j])
        if rows.weight is not None:
            w = (w * rows.weight).astype(np.float32)
        total = float(w.sum(dtype=np.float64))
        block = total / rows.total * gram
        if total > 0:
            chance = np.minimum(1, w * (m / total))
            i = np.flatnonzero(rng.random(n, dtype=np.float32) < chance)
            own = _gram(rows, i, w[i] / chance[i], intercept) / rows.total
            block = (1 - _SHRINK) * own + _SHRINK * block
        s[j], inverses[j] = scaled_inverse(block + diagonal)

    def apply(r: Floats) -> Floats:
        return centred(np.matmul((r * s).astype(rows.dtype)[:, None, :], inverses)[:, 0] * s)

    return apply


def shares(rows: Any, penalty: float, intercept: bool, rng: np.random.Generator, share: Floats) -> Metric:
    """share_j (1 - share_j) times the block of all rows, plus the penalty.

    Classes of similar share have one inverse: within a group the shares differ by a factor of two at most.
    """
    gram, _ = sampled_gram(rows, intercept, rng)
    diagonal = penalty_of(rows.features, penalty)
    a = share * (1 - share)
    order = np.argsort(a)
    a, groups, at = a[order], [], 0
    while at < len(a):
        to = int(np.searchsorted(a, 2 * a[at], side="right"))
        s, inverse = scaled_inverse(np.sqrt(a[at] * a[to - 1]) * gram + diagonal)
        groups.append((order[at:to], s, inverse.astype(rows.dtype)))
        at = to

    def apply(r: Floats) -> Floats:
        out = np.empty_like(r)
        for which, s, inverse in groups:
            out[which] = ((r[which] * s).astype(inverse.dtype) @ inverse) * s
        return centred(out)

    return apply


def diagonal(h: Floats) -> Metric:
    """From the Hessian's diagonal (K, D + 1), with the penalty."""
    inverse = 1 / np.where(h > 0, h, 1.0)
    return lambda r: r * inverse


def penalty_of(features: int, penalty: float) -> Floats:
    """The penalty's part of a block; none for the intercept."""
    return np.diag(np.append(np.full(features, penalty), 0.0))


def centred(r: Floats) -> Floats:
    """Directions without their mean over classes.

    Adding one vector to the weights of all classes changes only the penalty, and no block knows that.
    """
    if len(r) > 1:
        r -= r.mean(axis=0)
    return r


def sampled_gram(rows: Any, intercept: bool, rng: np.random.Generator) -> tuple[Floats, int]:
    """The mean of [x, 1] [x, 1]^T over a few rows; and how many rows a block is estimated from."""
    m = min(rows.count, max(_ROWS_PER_FEATURE * rows.features, 1000))
    i = np.arange(m) if m == rows.count else np.sort(rng.choice(rows.count, m, replace=False))
    w = np.ones(m) if rows.weight is None else rows.weight[i]
    return _gram(rows, i, w, intercept) / max(float(w.sum()), np.finfo(float).tiny), m


def _gram(rows: Any, i: Any, w: Floats, intercept: bool) -> Floats:
    """sum_i w_i [x_i, 1] [x_i, 1]^T: products in the dtype of the rows, sums over chunks in float64."""
    d = rows.features
    root = np.sqrt(w).astype(rows.dtype)

    def part(a: int) -> Floats:
        r = root[a : a + _CHUNK]
        b = np.empty((len(r), d + 1), rows.dtype)
        np.multiply(rows.features_of(i[a : a + _CHUNK]), r[:, None], out=b[:, :d])
        b[:, d] = r if intercept else 0
        return b.T @ b

    g = np.zeros((d + 1, d + 1))
    for product in in_parallel(part, range(0, len(i), _CHUNK)):
        g += product
    return g

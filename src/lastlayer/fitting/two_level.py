"""A metric of two levels. In: rows in memory, parameters. Out: a function R -> M^-1 R.

The fine level is a Kronecker product, F = A x G + penalty: A is the mean of diag(p) - p p^T over the rows,
and G that of [x, 1] [x, 1]^T. It needs a single product of features. For normally distributed features the
Hessian differs from it only in the directions of the weights themselves (Stein's lemma), where a row enters
only by its logits. There the coarse level uses the Hessian H_c of the rows' logits:

    M^-1 = F^-1 + U (H_c^-1 - F_c^-1) U^T          U a basis of the weights and the intercept, F_c = U^T F U
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .linalg import in_parallel, scaled_inverse
from .metric import Metric, centred, gram_of, penalty_of, rows_needed
from .rows import Floats

__all__ = ["SAMPLED", "two_level"]

SAMPLED = 8192  # rows, from which the metric is estimated
_CHUNK = 1024  # rows of one product
_SMALLEST = 1e-10  # of the largest eigenvalue; smaller ones are rounding errors
_RIDGE = 1e-7  # of the mean eigenvalue
_PER_COORDINATE = 8  # rows of a class's own block, for each coordinate
_LEAST = 1e-300  # the smallest sum that is used as a divisor
_COUPLED = 600  # the coarse level couples classes up to this number of coordinates
_SURE = 1e-8  # the lower bound of spread and curvature, which matters if every row is confident
_GROUP = 2.0  # eigenvalues of A within this factor share one inverse


def two_level(
    rows: Any, parameters: Floats, penalty: float, intercept: bool, rng: np.random.Generator
) -> Metric:
    """The metric at the parameters, from at most `SAMPLED` rows."""
    d = rows.features
    diagonal = penalty_of(d, penalty)
    part = rows if rows.count <= SAMPLED else rows.sample(SAMPLED, rng)
    p = part.probabilities(parameters).astype(np.float64)
    weight = np.ones(part.count) if part.weight is None else part.weight
    a, q = _mean_covariance(p, weight)
    gram = _gram_of_undecided(part, p, weight, intercept, rng)
    fine, shares = _fine(a, q, gram, diagonal, rows.dtype)
    basis, mu = _basis(parameters, gram, penalty)
    coarse = _coarse(part, p, weight, basis, mu, rng)
    u = basis.astype(rows.dtype)

    def apply(r: Floats) -> Floats:
        out = fine(r)
        c = (r.astype(u.dtype) @ u.T).astype(np.float64)
        c = coarse(c) - q @ ((q.T @ c) / (shares[:, None] + mu))
        out += c.astype(u.dtype) @ u
        return centred(out)

    return apply


def _mean_covariance(p: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of the mean of diag(p) - p p^T."""
    total = weight.sum()
    if p.shape[1] == 1:
        spread = (weight * p[:, 0] * (1 - p[:, 0])).sum() / total
        return np.array([max(spread, _SURE)]), np.ones((1, 1))
    a = np.diag(weight @ p / total) - (p * (weight / total)[:, None]).T @ p
    values, vectors = np.linalg.eigh(a)
    values = np.maximum(values, max(values[-1] * 1e-6, _SURE))
    values[0] = values[1]  # of the sum of all classes: 0, and centred away
    return values, vectors


def _gram_of_undecided(
    rows: Any, p: Floats, weight: Floats, intercept: bool, rng: np.random.Generator
) -> Floats:
    """The mean of [x, 1] [x, 1]^T over rows weighted by 1 - |p|^2; the Hessian of a confident row is 0."""
    spread = p[:, 0] * (1 - p[:, 0]) if p.shape[1] == 1 else 1 - np.einsum("nk,nk->n", p, p)
    w = weight * np.maximum(spread, _SURE)
    m = rows_needed(rows.features)
    chance = np.minimum(1, w * (m / w.sum())) if m < rows.count else np.ones(rows.count)
    i = np.flatnonzero(rng.random(rows.count) < chance)
    return gram_of(rows, i, w[i] / chance[i], intercept) / float(w.sum())


def _fine(a: Floats, q: Floats, gram: Floats, diagonal: Floats, dtype: Any) -> tuple[Metric, Floats]:
    """F^-1, and the eigenvalues that it uses instead of those of A."""
    shares, groups, at = np.empty_like(a), [], 0
    while at < len(a):
        to = int(np.searchsorted(a, _GROUP * a[at], side="right"))
        shares[at:to] = np.sqrt(a[at] * a[to - 1])
        groups.append(slice(at, to))
        at = to

    def inverse_of(group: slice) -> tuple[Floats, Floats]:
        return scaled_inverse(shares[group.start] * gram + diagonal, dtype)

    inverses = in_parallel(inverse_of, groups, len(gram) ** 3)

    def apply(r: Floats) -> Floats:
        t = q.T @ r
        for which, (s, inverse) in zip(groups, inverses, strict=True):
            t[which] = ((t[which] * s).astype(dtype) @ inverse) * s
        out: Floats = q @ t
        return out

    return apply, shares


def _basis(parameters: Floats, gram: Floats, penalty: float) -> tuple[Floats, Floats]:
    """U^T (r, D + 1), with U^T G U = 1 and U^T (penalty) U = diag(mu); and mu."""
    b = np.zeros((len(parameters) + 1, gram.shape[0]))
    b[:-1, :-1] = parameters[:, :-1] - (parameters[:, :-1].mean(axis=0) if len(parameters) > 1 else 0)
    b[-1, -1] = 1
    size = np.sqrt(np.einsum("rd,rd->r", b @ gram, b))
    b /= np.where(size > 0, size, 1.0)[:, None]
    e, v = np.linalg.eigh(b @ gram @ b.T)
    kept = e > _SMALLEST * e[-1]
    b = (v[:, kept] / np.sqrt(e[kept])).T @ b
    mu, v = np.linalg.eigh(penalty * (b[:, :-1] @ b[:, :-1].T))
    return v.T @ b, np.maximum(mu, 0)


def _coarse(
    rows: Any, p: Floats, weight: Floats, basis: Floats, mu: Floats, rng: np.random.Generator
) -> Metric:
    """H_c^-1: for few classes of all at once, otherwise of each class's own block."""
    k, r = p.shape[1], len(basis)
    u = basis.astype(rows.dtype)
    t = rows.features_of(slice(None)) @ u[:, :-1].T
    t += u[:, -1]
    weight = weight / weight.sum()
    if k * r > _COUPLED:
        spread = np.ascontiguousarray((p * (1 - p) * weight[:, None]).T)
        drawn, most = rng.random(len(t)), _PER_COORDINATE * r

        def own(j: int) -> Floats:
            # Few rows are uncertain about a class; the others are sampled rarely, with a larger weight.
            chance = np.minimum(1, spread[j] * (most / max(spread[j].sum(), _LEAST)))
            i = np.flatnonzero(drawn < chance)
            roots, h = np.sqrt(spread[j, i] / chance[i]).astype(t.dtype), np.zeros((r, r))
            for at in range(0, len(i), _CHUNK):
                b = t[i[at : at + _CHUNK]] * roots[at : at + _CHUNK, None]
                h += b.T @ b
            return np.linalg.inv(h + np.diag(mu + max(_RIDGE * np.trace(h) / r, _SURE)))

        inverses = np.stack(in_parallel(own, range(k), min(len(t), most) * r * r))
        return lambda c: np.matmul(c[:, None, :], inverses)[:, 0]
    upper, pairs = np.triu_indices(r), np.triu_indices(k)
    squares = t[:, upper[0]] * t[:, upper[1]]
    shares = p[:, pairs[0]] * ((pairs[0] == pairs[1]) - p[:, pairs[1]]) * weight[:, None]
    products = (shares.astype(t.dtype).T @ squares).astype(np.float64)
    h = np.empty((k, r, k, r))
    for one, other in ((upper[0], upper[1]), (upper[1], upper[0])):
        for i, j in (pairs, pairs[::-1]):
            h[i[:, None], one, j[:, None], other] = products
    whole = h.reshape(k * r, k * r)
    whole[np.diag_indices(k * r)] += np.tile(mu, k) + max(_RIDGE * np.trace(whole) / (k * r), _SURE)
    inverse = np.linalg.inv(whole)  # the sum of all classes, where it is large, is centred away
    return lambda c: (c.ravel() @ inverse).reshape(k, r)

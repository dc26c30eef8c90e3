"""Top-k targets for tests, and the equivalent dense targets."""

from __future__ import annotations

import numpy as np

KINDS = ["listed", "rest", "one rest", "duplicates", "padded", "single", "every class", "nothing listed"]


def listed(kind, rows, classes, seed=0):
    """Targets of a kind, as users pass them: (indices, probabilities) or (indices, probabilities, rest)."""
    rng = np.random.default_rng([seed, classes, *rows])
    k = {"single": 1, "every class": classes, "nothing listed": 0}.get(kind, min(4, classes))
    indices = np.argsort(rng.random((*rows, classes)))[..., :k]
    p = rng.dirichlet(np.ones(k + 1), rows)[..., :k]
    if kind == "duplicates":
        indices[..., 1:3] = indices[..., :1]
    if kind == "padded":
        padding = rng.random(p.shape) < 0.4
        indices[padding], p[padding] = -100, np.nan
    if kind in ("listed", "padded"):
        return indices, p
    if kind == "one rest":
        return indices, p, 0.25
    return indices, p, np.where(rng.random(rows) < 0.3, 0.0, 1 - p.sum(-1))


def dense(targets, classes, axis=-1, ignore_index=-100):
    """The equivalent dense rows, in float64."""
    indices, p, rest = (*targets, 0.0)[:3]
    q = np.zeros((*indices.shape[:-1], classes))
    for place in np.ndindex(indices.shape):
        if indices[place] != ignore_index:
            q[(*place[:-1], int(indices[place]))] += p[place]
    return np.moveaxis(q + np.asarray(rest, np.float64)[..., None] / classes, -1, axis)

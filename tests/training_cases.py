"""Training data for classifiers, and the objective written out in float64."""

from __future__ import annotations

import numpy as np


def objective(x, y, coef, intercept, penalty, weight=None):
    """F and the largest entry of its gradient; ``y`` are indices, or rows of probabilities."""
    parameters = np.concatenate([coef, np.reshape(intercept, (-1, 1))], axis=1)
    loss, gradient = loss_and_gradient(x, y, parameters, penalty, weight)
    return loss, np.abs(gradient).max()


def loss_and_gradient(x, y, parameters, penalty, weight=None):
    """F and its gradient (K, D + 1), where the parameters have the intercepts in the last column."""
    x = np.asarray(x, np.float64)
    w, b = parameters[:, :-1], parameters[:, -1]
    z = x @ w.T + b
    if len(w) == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    t = np.eye(z.shape[1])[y] if np.ndim(y) == 1 else np.asarray(y, np.float64)
    s = np.ones(len(x)) if weight is None else weight
    peak = z.max(axis=1, keepdims=True)
    lse = np.log(np.exp(z - peak).sum(axis=1)) + peak[:, 0]
    loss = (s * (lse - (t * z).sum(axis=1))).sum() / s.sum() + 0.5 * penalty * (w**2).sum()
    r = s[:, None] * (np.exp(z - lse[:, None]) - t) / s.sum()
    r = r[:, 1:] if len(w) == 1 else r
    return loss, np.concatenate([r.T @ x + penalty * w, r.sum(axis=0)[:, None]], axis=1)


def made(seed, n, d, classes, dtype=np.float64, scale=1.0):
    """Features, and labels drawn from a model."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    y = np.argmax(x @ rng.standard_normal((d, classes)) * scale + rng.gumbel(size=(n, classes)), axis=1)
    return x.astype(dtype), y

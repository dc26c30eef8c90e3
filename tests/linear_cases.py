"""Shared by the tests of the linear head: arrays, targets, plans, and the definitions in float64."""

from __future__ import annotations

import tracemalloc

import numpy as np
import oracle
import pytest
from backends import BACKENDS, recorded_plans
from random_arrays import numbers

import lastlayer as ll

N, D, V = 23, 5, 70
TARGETS = ["index", "ignored", "soft", "one-hot"]
PLANS = {
    "kept": {"rows": N, "classes": 16, "kept": 99},
    "mixed": {"rows": N, "classes": 16, "kept": 2},
    "recomputed": {"rows": N, "classes": 16, "kept": 1},
    "chunks": {"rows": 7, "classes": 23, "kept": 5},
    "aliased": {"rows": 12, "classes": 10, "kept": 9, "aliased": True},
}


def on_tiles(name, values, **options):
    """Run a test on every backend, and with each of these values on backends that compute in tiles.

    The reference computes all logits at once: what says how they are cut changes nothing there, and one value
    is enough.
    """
    values = list(values)
    runs = [(b, value) for b in BACKENDS for value in (values[:1] if b == "reference" else values)]
    return pytest.mark.parametrize(("backend", name), runs, **options)


in_every_plan = on_tiles("plan", PLANS, indirect=True)


def targets_of(kind, n=N, v=V):
    y = np.random.default_rng(1).integers(0, v, n)
    if kind == "ignored":
        return np.where(np.arange(n) % 3 == 1, -100, y)
    if kind == "soft":
        q = np.exp(numbers(n, v, seed=2))
        return q / q.sum(1, keepdims=True)
    return np.eye(v, dtype=bool)[y] if kind == "one-hot" else y


def truth_of(x, w, b, y, **options):
    """Loss and gradients from the logits in float64."""
    z = x.astype(np.float64) @ w.astype(np.float64).T + (0 if b is None else b.astype(np.float64))
    t = oracle.truth(z, y, exact=False, **options)
    g = t.gradient.astype(np.float64).reshape(-1, w.shape[0])
    rows = x.reshape(g.shape[0], x.shape[-1]).astype(np.float64)
    loss = t.losses if options.get("reduction") == "none" else t.loss
    return loss, (g @ w.astype(np.float64)).reshape(x.shape), g.T @ rows, g.sum(0)


def close(actual, expected, tolerance, what):
    expected = np.asarray(expected, np.float64)
    scale = max(1e-30, np.abs(expected).max(initial=0))
    assert np.shape(actual) == expected.shape, what
    error = np.abs(np.asarray(actual).astype(np.float64) - expected).max(initial=0) / scale
    assert error <= tolerance, f"{what} is off by {error:.3g} of its size"


def memory_used(x, w, targets, memory):
    """The bytes that a call allocates besides its gradients, as NumPy reports them, and as its plan says."""
    with recorded_plans() as said:
        ll.linear_cross_entropy_grad(x, w, targets, max_memory=memory)
        tracemalloc.start()
        try:
            _, gradients = ll.linear_cross_entropy_grad(x, w, targets, max_memory=memory)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    return peak - sum(g.nbytes for g in gradients if g is not None), said[-1].memory

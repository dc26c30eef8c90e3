"""Every plan gives the same answer: losses, gradients, statistics, ranks and best classes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from backends import in_tiles
from hypothesis import given
from hypothesis import strategies as st
from linear_cases import close, targets_of, truth_of
from random_arrays import numbers

import lastlayer as ll
from lastlayer import dispatch, problem
from lastlayer.backends.core.tiles import CoreTileBackend
from lastlayer.linear import run
from lastlayer.linear.array_ops import NumPyOps
from lastlayer.linear.row_gradients import row_gradients
from lastlayer.options import Options
from lastlayer.resolving import resolve

pytestmark = pytest.mark.usefixtures("core")


@st.composite
def heads(draw):
    """Whole numbers, so that logits are exact and many of them equal; and a plan for their tiles."""
    n, v, d = draw(st.integers(1, 40)), draw(st.integers(1, 90)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x, w, b = (rng.integers(-2, 3, shape).astype(np.float64) for shape in ((n, d), (v, d), v))
    y = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5])), -100, rng.integers(0, v, n))
    plan = (draw(st.integers(1, 45)), draw(st.integers(1, 95)), draw(st.integers(1, 60)), draw(st.booleans()))
    return x, w, b, y, plan


def near(actual, wanted, size):
    """Equal up to rounding, of numbers of this size that may have cancelled."""
    assert np.abs(actual - wanted).max() <= 1e-13 * max(size, np.abs(wanted).max())


OPTIONS = [{}, {"label_smoothing": 0.1, "z_loss": 0.1}, {"softcap": 3.0, "temperature": 0.5}]


@given(heads(), st.sampled_from(OPTIONS))
def test_losses_and_gradients(head, options):
    x, w, b, y, plan = head
    with in_tiles(*plan):
        loss, gradients, stats = ll.linear_cross_entropy_grad(x, w, y, bias=b, **options, return_stats=True)
        losses = ll.linear_cross_entropy(x, w, y, bias=b, reduction="none", **options)
    for actual, wanted in zip((loss, *gradients), truth_of(x, w, b, y, **options), strict=True):
        near(actual, wanted, 1.0)
    z = x @ w.T + b
    close(losses, ll.cross_entropy(z, y, reduction="none", **options), 1e-13, "losses")
    expected = ll.row_stats(z, y, **{k: v for k, v in options.items() if k != "z_loss"})
    for name in ("nll", "lse", "entropy", "sum_p2"):
        close(getattr(stats, name), getattr(expected, name), 1e-13, name)
    assert stats.argmax.tolist() == expected.argmax.tolist()
    assert stats.rank.tolist() == expected.rank.tolist()


@given(heads(), st.data())
def test_best_classes(head, data):
    x, w, b, _, plan = head
    k = data.draw(st.integers(1, w.shape[0]))
    with in_tiles(*plan):
        labels, p = ll.linear_top_k(x, w, k, bias=b)
    expected, probabilities = ll.top_k(x @ w.T + b, k)
    assert labels.tolist() == expected.tolist()
    close(p, probabilities, 1e-13, "probability")


def checked_head(x, w, b, y, memory=None):
    head = problem.head("f", x, w, b, memory)
    scores = problem.head_scores("f", head)
    if y is None:
        return head, problem.without_targets(scores)
    given, options = (y, None, None), Options("f", reduction="none")
    return head, resolve(scores, dispatch.backend(scores), given, options)


@given(heads(), st.sampled_from(["loss", "lse", "entropy", "all"]), st.booleans())
def test_gradients_of_rows(head, name, some):
    """Heights of both signs, some of them 0: against softmax in full."""
    x, w, b, y, plan = head
    n, v = len(x), len(w)
    rng = np.random.default_rng(5)
    names = ("loss", "lse", "entropy") if name == "all" else (name,)
    heights = {k: rng.normal(size=n) * (rng.random(n) < (0.4 if some else 1.0)) for k in names}
    head, checked = checked_head(x, w, b, y)
    tiles = CoreTileBackend(NumPyOps(np.dtype(np.float64)))
    with in_tiles(*plan):
        stats = run.row_stats(head, checked, tiles)
        found = row_gradients(head, checked, stats, heights, (True, True, True), tiles)
    z = x @ w.T + b
    p, zero = ll.softmax(z), np.zeros(n)
    dz = heights.get("loss", zero)[:, None] * (y >= 0)[:, None] * (p - np.eye(v)[np.maximum(y, 0)])
    dz += heights.get("lse", zero)[:, None] * p
    log_p = ll.log_softmax(z)
    dz -= heights.get("entropy", zero)[:, None] * p * (log_p - (p * log_p).sum(1, keepdims=True))
    size = sum(np.abs(g).max() for g in heights.values())  # of what may cancel
    for actual, wanted in zip(found, (dz @ w, dz.T @ x, dz.sum(0)), strict=True):
        near(actual, wanted, size)


@pytest.mark.parametrize("memory", [1 << 20, 8 << 20])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("what", ["statistics", "gradients", "with a loss"])
def test_memory_of_rows(memory, dtype, what):
    """What a call takes beyond its results; ranks gather the targets' weights by parts."""
    n, d, v = 512, 64, 6000
    x, w = numbers(n, d).astype(dtype), numbers(v, d).astype(dtype)
    head, checked = checked_head(x, w, None, targets_of("index", n, v), memory)
    half = checked_head(x, w, None, np.where(np.arange(n) % 2, -100, 0), memory)
    tiles = CoreTileBackend(NumPyOps(checked.scores.array.dtype))
    stats = run.row_stats(head, checked, tiles)
    heights = dict.fromkeys(("loss", "entropy"), np.ones(n))

    def call():
        if what == "statistics":
            run.row_stats(head, checked, tiles)
            return []
        if what == "with a loss":
            return run.with_row_stats(*half, (True, True, False), tiles)[1]
        return row_gradients(head, checked, stats, heights, (True, True, False), tiles)

    call()
    tracemalloc.start()
    try:
        found = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - sum(a.nbytes for a in found if a is not None) <= memory * 1.01 + 20000

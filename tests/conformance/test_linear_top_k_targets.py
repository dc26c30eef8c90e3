"""The linear head with top-k targets, against the dense ones, however it is cut into tiles."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from assertions import unchanged
from hypothesis import given
from hypothesis import strategies as st
from linear_cases import PLANS, D, N, V, close, in_every_plan, memory_used, truth_of
from random_arrays import numbers
from top_k_targets import KINDS, dense, listed

import lastlayer as ll

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "none": {"reduction": "none"},
    "few rows": {"sample_weight": np.arange(N) % 3 / 2, "temperature": 0.7},
    "all": {
        "label_smoothing": 0.2,
        "class_weight": np.linspace(0, 2, V),
        "sample_weight": np.arange(N) % 12 / 2,
        "temperature": 1.3,
        "softcap": 4.0,
        "z_loss": 0.1,
    },
}


def arrays(n=N, v=V, dtype=np.float64):
    return tuple(a.astype(dtype) for a in (numbers(n, D), numbers(v, D, seed=3), numbers(v, seed=4)))


def check(x, w, b, targets, tolerance=1e-13, **options):
    expected = truth_of(x, w, b, dense(targets, len(w)), **options)
    with unchanged(x, w, *targets):
        loss, gradients = ll.linear_cross_entropy_grad(x, w, targets, bias=b, **options)
    for name, a, e in zip(("loss", "dx", "dweight", "dbias"), (loss, *gradients), expected, strict=True):
        close(a, e, tolerance, name)
    close(ll.linear_cross_entropy(x, w, targets, bias=b, **options), expected[0], tolerance, "loss alone")


@in_every_plan
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_in_every_plan(backend, option, kind, plan):
    check(*arrays(), listed(kind, (N,), V), **OPTIONS[option])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(backend, cut, dtype):
    cut(**PLANS["chunks"])
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    tolerance = {"float16": 6e-4, "bfloat16": 4e-3, "float32": 1e-6}[np.dtype(dtype).name]
    check(*arrays(dtype=dtype), listed("rest", (N,), V), tolerance)


@in_every_plan
def test_row_stats(backend, plan):
    x, w, b = arrays()
    targets = listed("rest", (N,), V)
    stats = ll.linear_row_stats(x, w, targets, bias=b, softcap=3.0, sample_weight=np.arange(N) % 3)
    z = x @ w.T + b
    truth = oracle.truth(z, dense(targets, V), softcap=3.0, sample_weight=np.arange(N) % 3, exact=False)
    for name in ("lse", "entropy", "sum_p2"):
        close(getattr(stats, name), getattr(truth, name), 1e-13, name)
    close(stats.nll, truth.losses, 1e-13, "nll")
    assert stats.rank is None


@pytest.mark.parametrize("shift", [1, 3])
def test_shifted_targets(backend, cut, shift):
    cut(5, 16, 2)
    (_, w, b), x = arrays(), numbers(2, 6, D)
    targets = listed("rest", (2, 6), V)
    early = tuple(a[:, shift:] for a in targets)
    found = ll.linear_cross_entropy(x, w, targets, bias=b, shift=shift)
    close(found, ll.linear_cross_entropy(x[:, :-shift], w, early, bias=b), 1e-13, "loss")


def test_one_certain_class_is_its_index(backend, cut):
    cut(7, 16, 2)
    x, w, b = arrays(dtype=np.float32)
    y = np.arange(N) % V
    one = ll.linear_cross_entropy_grad(x, w, y, bias=b, z_loss=0.1)
    other = ll.linear_cross_entropy_grad(x, w, (y[:, None], np.ones((N, 1))), bias=b, z_loss=0.1)
    for a, e in zip((other[0], *other[1]), (one[0], *one[1]), strict=True):
        close(a, e, 1e-6, "result")


@given(st.integers(1, 40), st.integers(2, 90), st.integers(0, 60000), st.sampled_from(KINDS))
def test_any_memory_gives_the_same_answer(n, v, extra, kind):
    x, w, b = arrays(n, v)
    targets = listed(kind, (n,), v)
    try:
        loss, gradients = ll.linear_cross_entropy_grad(x, w, targets, bias=b, max_memory=6000 + extra)
    except ll.OptionError:
        return  # too little
    for a, e in zip((loss, *gradients), truth_of(x, w, b, dense(targets, v)), strict=True):
        close(a, e, 1e-13, "result")


@pytest.mark.parametrize("memory", [1 << 20, 1 << 28])
def test_the_memory_is_what_the_plan_says(core, memory):
    """Beside the tiles it is that of the entries, not of rows times classes."""
    n, d, v, k = 256, 32, 5000, 24
    x, w = numbers(n, d).astype(np.float32), numbers(v, d).astype(np.float32)
    targets = np.arange(n * k).reshape(n, k) * 17 % v, np.full((n, k), 1 / k, np.float32), 0.1
    used, planned = memory_used(x, w, targets, memory)
    assert used <= planned * 1.1 + 20000
    assert used >= planned * 0.7 - 20000

"""The best classes of each row without logits, however the logits are cut into tiles."""

from __future__ import annotations

import tracemalloc

import numpy as np
import oracle
import pytest
from assertions import raises
from backends import on
from linear_cases import D, N, V, close, in_every_plan
from random_arrays import numbers

import lastlayer as ll

INF, NAN = np.inf, np.nan


def check(x, w, b, k, tolerance=1e-13, max_memory=None, **options):
    labels, p = ll.linear_top_k(x, w, k, bias=b, max_memory=max_memory, **options)
    z = x.astype(np.float64) @ w.astype(np.float64).T + (0 if b is None else b.astype(np.float64))
    order = np.argsort(-z, axis=-1, kind="stable")[..., :k]
    truth = np.take_along_axis(oracle.truth(z, exact=False, **options).softmax, order, -1)
    assert labels.dtype == np.int64
    assert labels.tolist() == order.tolist()
    close(p, truth, tolerance, "probability")
    return p


@in_every_plan
@pytest.mark.parametrize("k", [1, 5, 20, V])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.6}, {"softcap": 4.0, "temperature": 2.0}], ids=str)
def test_any_number_in_every_plan(backend, plan, k, options):
    """More than a tile has, too."""
    check(numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4), k, **options)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("v", [1, 15, 16, 17, 33])
def test_ties_are_in_the_order_of_the_classes(backend, cut, dtype, v):
    """Small whole numbers: products without rounding, and ties within tiles and among them."""
    cut(8, 16, 1)
    rng = np.random.default_rng(v)
    x, w = (rng.integers(-1, 2, (n, 3)).astype(dtype) for n in (N, v))
    p = check(x, w, None, min(v, 9), 1e-6 if dtype != "float64" else 1e-14)
    assert p.dtype == (np.float64 if dtype == "float64" else np.float32)


def test_shapes_and_lists(backend):
    x, w = numbers(2, 3, D), numbers(V, D, seed=3)
    check(x, w, None, 4)
    check(x[0, 0], w, None, 4)
    labels, p = ll.linear_top_k(x[:0], w, 2)
    assert labels.shape == p.shape == (0, 3, 2)
    labels, p = ll.linear_top_k([[1, 0]], [[0, 1], [2, 0], [2, 3]], 3)
    assert labels.tolist() == [[1, 2, 0]]
    close(p, ll.softmax([[2.0, 2.0, 0.0]]), 1e-15, "probability")


def test_odd_logits(backend, cut):
    """NaN has no best class; an impossible class comes after all others; infinities have no probability."""
    cut(2, 16, 1)
    x, w, b = numbers(4, D), numbers(V, D, seed=3), np.full(V, -INF)
    b[[40, 60]] = 0.0
    x[1] = NAN
    labels, p = ll.linear_top_k(x, w, 4, bias=b)
    assert labels[1].tolist() == [-1] * 4
    assert np.isnan(p[1]).all()
    others = [0, 2, 3]
    assert np.sort(labels[others, :2]).tolist() == [[40, 60]] * 3
    assert labels[others, 2:].tolist() == [[0, 1]] * 3
    close(p[others, :2].sum(1), np.ones(3), 1e-14, "sum")
    assert not p[others, 2:].any()
    b[60] = INF
    labels, p = ll.linear_top_k(x[:1], w, 3, bias=b)
    assert labels.tolist() == [[60, 40, 0]]
    assert np.isnan(p).all()
    labels, p = ll.linear_top_k(x[:1], w, 3, bias=np.full(V, -INF))
    assert labels.tolist() == [[0, 1, 2]]
    assert np.isnan(p).all()


def test_the_memory_is_bounded(core):
    n, d, v, k, memory = 512, 16, 20000, 8, 1 << 20
    x, w = numbers(n, d).astype(np.float32) / 4, numbers(v, d).astype(np.float32)
    ll.linear_top_k(x, w, k, max_memory=memory)
    tracemalloc.start()
    labels, p = ll.linear_top_k(x, w, k, max_memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - labels.nbytes - p.nbytes <= memory * 1.01 + 20000
    check(x[:8], w, None, k, 1e-6, max_memory=1 << 18)


def test_other_libraries():
    xp = pytest.importorskip("array_api_strict")
    x, w, b = numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4)
    with on(None):
        labels, p = ll.linear_top_k(xp.asarray(x), xp.asarray(w), 3, bias=xp.asarray(b))
    expected, truth = ll.top_k(x @ w.T + b, 3)
    assert np.asarray(labels).tolist() == expected.tolist()
    close(np.asarray(p), truth, 1e-13, "probability")


def test_a_wrong_call_says_what_is_wrong(backend):
    x, w = numbers(2, 3), numbers(4, 3)
    with raises(ll.OptionError, "linear_top_k: k is 5; expected 1 <= k <= 4, the number of classes"):
        ll.linear_top_k(x, w, 5)
    with raises(ll.OptionError, "linear_top_k: k is 2.0; expected an int in [1, 4]"):
        ll.linear_top_k(x, w, 2.0)
    with raises(ll.OptionError, "linear_top_k: temperature is 0.0; expected a finite number above 0"):
        ll.linear_top_k(x, w, 2, temperature=0.0)
    with raises(
        ll.ShapeError,
        "linear_top_k: weight is of shape (3, 4); expected (V, 3), a row for each class, "
        "for x of shape (2, 3); use weight.T",
    ):
        ll.linear_top_k(x, w.T, 2)

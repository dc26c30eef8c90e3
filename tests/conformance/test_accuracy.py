"""The declared bounds, on every backend: scales 1, 5 and 20, few classes and many."""

from __future__ import annotations

import core_calls
import ml_dtypes
import numpy as np
import oracle
import pytest
from assertions import assert_ulp, near

import lastlayer as ll
from lastlayer.backends.core import native

SIZES = [(64, 2), (64, 3), (64, 10), (40, 17), (24, 64), (16, 100), (8, 1000), (2, 32003)]
FLOATS = [np.float32, np.float64]


def declared(backend, dtype):
    """The bound in ULP; the reference computes float64 in float64 alone, without any tuning."""
    return 4 if backend == "reference" and dtype == np.float64 else 3


# In float64 the parts of peak + log1p(rest) are rounded before they meet; with opposite signs that shows.
LSE = {np.float32: 1, np.float64: 2}


def problem(rows, classes, scale, dtype, seed=0):
    rng = np.random.default_rng(seed + 31 * classes)
    x = rng.normal(size=(rows, classes)) * scale
    x[rows // 2, classes // 2] += 8 * scale  # outliers, or nothing is confident
    x[0] *= 2.0**-20  # and a row of logits near zero
    x = x.astype(dtype)
    y = rng.integers(0, classes, rows)
    y[::2] = x[::2].argmax(-1)
    return x, y


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1, 5, 20])
@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_bounds(backend, rows, classes, scale, dtype):
    x, y = problem(rows, classes, scale, dtype)
    true = oracle.truth(x, y, exact=False)
    bound = declared(backend, dtype)
    near(backend, ll.softmax(x), true.softmax, bound, what="softmax")
    near(backend, ll.log_softmax(x), true.log_softmax, bound, what="log_softmax")
    near(backend, ll.logsumexp(x), true.lse, LSE[dtype], scale=true.peak, what="logsumexp")
    near(backend, ll.cross_entropy(x, y, reduction="none"), true.losses, 3, what="losses")
    loss, gradient = ll.cross_entropy_grad(x, y)
    near(backend, loss, true.loss, 3, what="loss")
    near(backend, ll.cross_entropy(x, y), true.loss, 3, what="loss")
    near(backend, gradient, true.gradient, bound, scale=true.gradient_size, what="gradient")
    stats = ll.row_stats(x, y)
    near(backend, stats.nll, true.losses, 3, what="nll")
    near(backend, stats.lse, true.lse, LSE[dtype], scale=true.peak, what="lse")
    near(backend, stats.confidence, true.softmax.max(-1), bound, what="confidence")
    near(backend, stats.entropy, true.entropy, 8, what="entropy")
    near(backend, stats.sum_p2, true.sum_p2, 8, what="sum_p2")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1, 5, 20])
@pytest.mark.parametrize(("rows", "classes"), SIZES)
@pytest.mark.parametrize("isa", native.isas())
def test_the_gradient_from_known_rows(isa, rows, classes, scale, dtype):
    x, y = problem(rows, classes, scale, dtype)
    true = oracle.truth(x, y, reduction="sum", exact=False)
    peak, rest, dx = np.empty(rows, dtype), np.empty(rows), np.empty_like(x)
    with native.use_isa(isa):
        core_calls.cross_entropy(x, 1, targets=y, peak=peak, rest=rest)
        loss = core_calls.cross_entropy(x, 1, targets=y, kind=1, grad=dx, peak=peak, rest=rest)
    assert_ulp(np.asarray(loss, dtype), true.loss, 3, what="loss")
    assert_ulp(dx, true.gradient, 3, scale=true.gradient_size, what="gradient")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("scale", [1, 5, 20])
@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_half_precision_is_computed_in_single(backend, rows, classes, scale, dtype):
    x, y = problem(rows, classes, scale, dtype)
    true = oracle.truth(x, y, exact=False)
    near(backend, ll.softmax(x), true.softmax, 0.51, what="softmax")
    near(backend, ll.log_softmax(x), true.log_softmax, 0.51, what="log_softmax")
    near(backend, ll.logsumexp(x), true.lse, 1, scale=true.peak, what="logsumexp")
    near(backend, ll.cross_entropy(x, y, reduction="none"), true.losses, 3, what="losses")
    loss, gradient = ll.cross_entropy_grad(x, y)
    assert loss.dtype == np.float32
    near(backend, loss, true.loss, 3, what="loss")
    near(backend, gradient, true.gradient, 0.51, scale=true.gradient_size, what="gradient")


@pytest.mark.parametrize("shift", [0.0, 10000.0, -10000.0])
def test_shifts_lose_no_digit(backend, shift):
    """Logits on a grid of 1/64 are exact at either end, so the truth is the same."""
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=(16, 50)) * 5 * 64) / 64
    far, y = (x + shift).astype(np.float32), np.arange(16)
    true = oracle.truth(x, y, exact=False)
    near(backend, ll.softmax(far), true.softmax, 3, what="softmax")
    near(backend, ll.log_softmax(far), true.log_softmax, 3, what="log_softmax")
    near(backend, ll.cross_entropy(far, y, reduction="none"), true.losses, 3, what="losses")
    near(
        backend, ll.cross_entropy_grad(far, y)[1], true.gradient, 3, scale=true.gradient_size, what="gradient"
    )
    near(backend, ll.logsumexp(far), true.lse + shift, 1, scale=true.peak + shift, what="lse")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "options", [{"temperature": 0.37}, {"softcap": 30.0}, {"softcap": 5.0, "temperature": 1.7}]
)
def test_bounds_with_temperature_and_softcap(backend, options, dtype):
    rng = np.random.default_rng(3)
    for rows, classes in ((32, 3), (16, 40), (4, 1000)):
        x = np.clip(rng.normal(size=(rows, classes)) * 10, -36, 36).astype(dtype)
        y = rng.integers(0, classes, rows)
        true = oracle.truth(x, y, exact=False, **options)
        # float64: z itself is rounded, by up to half a unit of its size, and exp passes that on
        bound = 3 if dtype == np.float32 else 3 + 110
        loss, gradient = ll.cross_entropy_grad(x, y, **options)
        near(backend, ll.cross_entropy(x, y, reduction="none", **options), true.losses, bound, what="losses")
        near(backend, loss, true.loss, bound, what="loss")
        what = "gradient with a softcap" if "softcap" in options else "gradient"
        near(backend, gradient, true.gradient, bound, scale=true.gradient_size, what=what)
        if "softcap" not in options:
            near(backend, ll.softmax(x, **options), true.softmax, bound, what="softmax")
            near(backend, ll.log_softmax(x, **options), true.log_softmax, bound, what="log_softmax")


@pytest.mark.parametrize("dtype", FLOATS)
def test_backward_of_softmax(backend, dtype):
    from lastlayer import dispatch

    rng = np.random.default_rng(4)
    for shape, axis in (((5, 7), 1), ((5, 7), 0), ((3, 100, 4), 1), ((2, 1), 1)):
        x, g = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        chosen = dispatch.backend(ll.problem.scores("softmax", x, axis))
        y, log_y = ll.softmax(x, axis), ll.log_softmax(x, axis)
        wide_y, wide_g = y.astype(np.longdouble), g.astype(np.longdouble)
        dot = (wide_y * wide_g).sum(axis, keepdims=True)
        size = wide_y * np.maximum(np.abs(wide_g), np.abs(wide_y * wide_g).sum(axis, keepdims=True))
        found = chosen.softmax_backward(g, y, axis)
        assert found.dtype == dtype
        assert_ulp(found, wide_y * (wide_g - dot), 3, scale=size)
        share = np.exp(log_y.astype(np.longdouble)) * wide_g.sum(axis, keepdims=True)
        size = np.maximum(
            np.abs(wide_g), np.exp(log_y.astype(np.longdouble)) * np.abs(wide_g).sum(axis, keepdims=True)
        )
        assert_ulp(chosen.log_softmax_backward(g, log_y, axis), wide_g - share, 3, scale=size)

"""Hypothesis chooses shapes, axes, layouts, dtypes, values, options; every backend must meet the oracle."""

from __future__ import annotations

import numpy as np
import oracle
from assertions import assert_ulp, unchanged
from cases import DTYPES, INDEX_DTYPES, LAYOUTS, loss_dtype
from hypothesis import given
from hypothesis import strategies as st

import lastlayer as ll

FUNCTIONS = st.sampled_from(["index", "soft", "one-hot"])


@st.composite
def problems(draw):
    """Logits and targets of any shape, axis, layout and dtype, with the odd values somewhere."""
    ndim = draw(st.integers(1, 4))
    axis = draw(st.integers(0, ndim - 1))
    shape = [draw(st.integers(1, 5)) for _ in range(ndim)]
    shape[axis] = draw(
        st.one_of(st.integers(1, 9), st.integers(10, 70), st.sampled_from([127, 128, 129, 257]))
    )
    if draw(st.integers(0, 3)) == 0:  # many rows, and not a multiple of anything
        shape[(axis + 1) % ndim if ndim > 1 else 0] = draw(st.integers(6, 70))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=shape) * draw(st.sampled_from([0.0, 2.0**-10, 1.0, 5.0, 20.0]))
    if draw(st.booleans()):
        x = np.round(x)  # ties
    x = x.astype(dtype)
    odd = draw(st.lists(st.sampled_from([-np.inf, np.inf, np.nan, 500.0, -500.0, -0.0]), max_size=4))
    for value in odd:
        x[tuple(rng.integers(n) for n in shape)] = value
    rows = tuple(n for i, n in enumerate(shape) if i != axis)
    y = np.asarray(rng.integers(0, shape[axis], rows))
    kind = draw(FUNCTIONS)
    if kind == "index":
        targets = y.astype(draw(st.sampled_from([d for d in INDEX_DTYPES if shape[axis] <= np.iinfo(d).max])))
    elif kind == "one-hot":
        targets = np.moveaxis(np.eye(shape[axis], dtype=bool)[y], -1, axis)
    else:
        targets = ll.softmax(rng.normal(size=shape), axis).astype(
            draw(st.sampled_from([np.float32, np.float64]))
        )
    x = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](x)
    targets = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](targets)
    return x, targets, axis, rng


@st.composite
def options(draw, classes, rows, rng, index):
    chosen = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    if draw(st.booleans()):
        chosen["class_weight"] = np.round(rng.random(classes) * 4 + 0.25, 2)
    if draw(st.booleans()):
        chosen["sample_weight"] = np.round(rng.random(rows) * 3).astype(np.float32)
    if draw(st.booleans()):
        chosen["label_smoothing"] = draw(st.sampled_from([0.125, 0.5, 1.0]))
    if index and draw(st.booleans()):
        chosen["ignore_index"] = int(rng.integers(classes))
    if chosen["reduction"] == "mean" and draw(st.booleans()):
        chosen["denominator"] = 8.0
    return chosen


@given(problems())
def test_softmax_family_and_rows(backend, problem):
    x, targets, axis, _ = problem
    with unchanged(x):
        true = oracle.truth(x, axis=axis, exact=False)
        bound = 3 if x.dtype.char != "d" else 5
        assert_ulp(ll.softmax(x, axis), true.softmax, bound, what="softmax")
        assert_ulp(ll.log_softmax(x, axis), true.log_softmax, bound, what="log_softmax")
        scale = np.where(np.isfinite(true.peak), true.peak, 0)
        assert_ulp(ll.logsumexp(x, axis), true.lse, bound - 2 if bound == 3 else 2, scale=scale, what="lse")
        stats = ll.row_stats(x, axis=axis)
        assert_ulp(
            stats.entropy,
            true.entropy,
            12,
            scale=np.maximum(np.nan_to_num(true.entropy), 2.0**-100),
            what="entropy",
        )
        assert_ulp(stats.sum_p2, true.sum_p2, 8, what="sum_p2")
        wide = np.moveaxis(x.astype(np.float64), axis, -1)
        broken = np.isnan(wide).any(-1)
        assert (stats.argmax == np.where(broken, -1, np.argmax(wide, -1))).all()
        if targets.shape == stats.argmax.shape:
            y = targets.astype(np.int64)
            at = np.take_along_axis(wide, y[..., None], -1)
            number = np.arange(wide.shape[-1])
            rank = ((wide > at) | ((wide == at) & (number < y[..., None]))).sum(-1)
            found = ll.row_stats(x, targets, axis=axis).rank
            assert (found == np.where(broken, -1, rank)).all()
        order = np.argsort(-wide, axis=-1, kind="stable")
        k = min(3, wide.shape[-1])
        assert (ll.top_k(x, k, axis=axis)[0] == np.where(broken[..., None], -1, order[..., :k])).all()


@given(problems(), st.data())
def test_losses(backend, problem, data):
    x, targets, axis, rng = problem
    rows = tuple(n for i, n in enumerate(x.shape) if i != axis)
    index = targets.shape == rows and targets.dtype.kind in "iu"
    chosen = data.draw(options(x.shape[axis], rows, rng, index))
    true = oracle.truth(x, targets, axis=axis, exact=False, **chosen)
    bound = 6 if x.dtype.char != "d" else 16  # weights and scale are rounded too
    dtype = loss_dtype(x.dtype)
    with unchanged(x, targets):
        loss, gradient = ll.cross_entropy_grad(x, targets, axis=axis, **chosen)
        again = ll.cross_entropy(x, targets, axis=axis, **chosen)
    assert loss.dtype == again.dtype == dtype
    assert gradient.dtype == x.dtype.newbyteorder("=")
    expected = true.losses if chosen["reduction"] == "none" else true.loss
    scale = np.maximum(np.abs(np.nan_to_num(np.asarray(expected, float), posinf=0)), 2.0**-100)
    assert_ulp(loss, expected, bound, scale=scale, what="loss")
    assert_ulp(again, expected, bound, scale=scale, what="loss again")
    size = np.maximum(np.nan_to_num(np.asarray(true.gradient_size, float), posinf=0), 2.0**-100)
    assert_ulp(gradient, true.gradient, bound, scale=size, what="gradient")


@given(problems(), st.data())
def test_row_statistics_take_every_option(backend, problem, data):
    x, targets, axis, rng = problem
    rows = tuple(n for i, n in enumerate(x.shape) if i != axis)
    index = targets.shape == rows and targets.dtype.kind in "iu"
    chosen = data.draw(options(x.shape[axis], rows, rng, index))
    for loss_alone in ("z_loss", "reduction", "denominator"):
        chosen.pop(loss_alone, None)
    true = oracle.truth(x, targets, axis=axis, exact=False, reduction="none", **chosen)
    stats = ll.row_stats(x, targets, axis=axis, **chosen)
    scale = np.maximum(np.abs(np.nan_to_num(true.losses.astype(float), posinf=0)), 2.0**-100)
    assert_ulp(stats.nll, true.losses, 6 if x.dtype.char != "d" else 16, scale=scale, what="nll")


@given(problems(), st.integers(0, 2**32 - 1))
def test_losses_of_probabilities(backend, problem, seed):
    x, targets, axis, _ = problem
    rng = np.random.default_rng(seed)
    p = ll.softmax(rng.normal(size=x.shape) * 2, axis).astype(x.dtype.newbyteorder("="))
    p[tuple(rng.integers(n) for n in p.shape)] = rng.choice([0.0, 1.0])
    bound = 4 if x.dtype.char != "d" else 16
    weights = {"class_weight": np.round(rng.random(x.shape[axis]) + 0.5, 3), "label_smoothing": 0.25}
    for chosen in ({}, weights):
        moved = np.moveaxis(p.astype(np.longdouble), axis, -1)
        shape = moved.shape
        weight = chosen.get("class_weight"), None, -100, chosen.get("label_smoothing", 0.0)
        t, _, _ = oracle.effective_targets(shape, targets, axis, *weight, exact=False)
        with np.errstate(all="ignore"):
            log_p = np.log(moved).reshape(t.shape)
            expected = np.where(t == 0, 0, -t * log_p).sum(-1).reshape(shape[:-1])
        found = ll.log_loss(p, targets, axis=axis, reduction="none", **chosen)
        assert_ulp(
            found,
            expected,
            bound,
            scale=np.maximum(np.nan_to_num(expected, posinf=0), 2.0**-20),
            what="log_loss",
        )
        with np.errstate(divide="ignore"):
            log_p = np.log(p.astype(np.float64)).astype(p.dtype)
        with np.errstate(all="ignore"):
            moved = np.moveaxis(log_p.astype(np.longdouble), axis, -1).reshape(t.shape)
            expected = np.where(t == 0, 0, -t * moved).sum(-1).reshape(shape[:-1])
        found = ll.nll_loss(log_p, targets, axis=axis, reduction="none", **chosen)
        assert_ulp(
            found,
            expected,
            bound,
            scale=np.maximum(np.nan_to_num(expected, posinf=0), 2.0**-20),
            what="nll_loss",
        )

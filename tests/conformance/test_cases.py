"""The cases by heart, on every backend: padded, shifted, among spoilt rows, in every dtype."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from assertions import assert_ulp, near
from cases import CASES, DTYPES, FEW_PADS, NEIGHBOURS, ODD_CASES, PADS, among, loss_dtype, padded, shifts

import lastlayer as ll

ALL = CASES + ODD_CASES
each_case = pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)

# What is known by heart is rounded to float64: half a unit more than the bound.
BOUND = 3.5


def exact_in(dtype, row):
    row = np.asarray(row, np.float64)
    return np.array_equal(row.astype(dtype).astype(np.float64), row, equal_nan=True)


def check_row(case, logits, position, before=0, after=0, shift=0.0):
    """Compare everything that the functions say of one row with what the case knows."""
    dtype, wide = logits.dtype, loss_dtype(logits.dtype)
    targets = np.zeros(len(logits), np.int64)
    targets[position] = case.target + before
    peak = np.max(case.logits) + shift
    stats = ll.row_stats(logits, targets)
    losses = ll.cross_entropy(logits, targets, reduction="none")
    total, gradient = ll.cross_entropy_grad(logits, targets, reduction="sum")
    p = ll.softmax(logits)
    log_p = ll.log_softmax(logits)
    lse = ll.logsumexp(logits)
    label, confidence = ll.predict(logits)
    assert (p.dtype, log_p.dtype, gradient.dtype) == (dtype, dtype, dtype)
    assert {a.dtype for a in (losses, lse, stats.lse, stats.nll, confidence, total)} == {wide}
    if case.lse is not None:
        scale = max(abs(peak), abs(case.lse), abs(shift)) if np.isfinite(peak) else None
        for found in (lse, stats.lse):
            assert_ulp(found[position], case.lse + shift, 1.5, scale=scale, what="lse")
    if case.softmax is not None:
        edge = 0.0 if np.isfinite(peak) else np.nan
        full = np.pad(np.asarray(case.softmax, float), (before, after), constant_values=edge)
        assert_ulp(p[position], full, BOUND, what="softmax")
        assert_ulp(stats.sum_p2[position], np.square(full).sum(), BOUND, what="sum_p2")
        t = np.arange(len(full)) == targets[position]
        assert_ulp(gradient[position], full - t, BOUND, scale=np.maximum(full, 2.0**-14), what="gradient")
        impossible = logits[position] == -np.inf
        known = (full != 0) | impossible
        with np.errstate(divide="ignore"):
            assert_ulp(log_p[position][known], np.log(full)[known], BOUND, what="log_softmax")
    if case.loss is not None:
        for found in (losses, stats.nll):
            assert_ulp(found[position], case.loss, BOUND, what="loss")
    if case.entropy is not None:
        assert_ulp(stats.entropy[position], case.entropy, BOUND, what="entropy")
    if case.rank is not None:
        rank = case.rank
        if case.rank >= 0 and case.logits[case.target] == -np.inf:
            rank += before  # impossible classes before an impossible target tie with it, and come first
        assert stats.rank[position] == rank
        assert stats.correct[position] == (rank == 0)
    if case.argmax is not None:
        argmax = case.argmax + before * (case.argmax >= 0)
        if peak == -np.inf:
            argmax = 0
        assert stats.argmax[position] == argmax
        assert label[position] == argmax


@each_case
@each_dtype
def test_alone(backend, case, dtype):
    if not exact_in(dtype, case.logits):
        dtype = np.dtype(np.float64)
    check_row(case, np.asarray([case.logits], float).astype(dtype), 0)


@each_case
def test_among_impossible_classes(backend, case):
    for before, after in PADS:
        row = padded([case.logits], before, after).astype(np.float32)
        check_row(case, row, 0, before, after)


@each_dtype
@pytest.mark.parametrize("case", CASES[3:7] + ODD_CASES[:2], ids=lambda c: c.name)
def test_among_impossible_classes_in_every_dtype(backend, case, dtype):
    if not exact_in(dtype, case.logits):
        dtype = np.dtype(np.float64)
    for before, after in FEW_PADS:
        check_row(case, padded([case.logits], before, after).astype(dtype), 0, before, after)


@each_dtype
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_shifted(backend, case, dtype):
    if not exact_in(dtype, case.logits):
        dtype = np.dtype(np.float64)
    for shift in shifts(case, dtype):
        for before, after in ((0, 0), (3, 14)):
            row = padded([case.logits], before, after) + shift
            check_row(case, row.astype(dtype), 0, before, after, shift)


@each_case
def test_among_spoilt_rows(backend, case):
    for before, after in NEIGHBOURS:
        for left, right in ((0, 0), (2, 11)):
            rows = among(padded(case.logits, left, right), before, after).astype(np.float32)
            check_row(case, rows, before, left, right)


@each_case
def test_whatever_an_ignored_row_holds(backend, case):
    rows = np.asarray([case.logits, [0.0] * len(case.logits)], np.float32)
    targets = np.asarray([-100, 0])
    for options in ({}, {"z_loss": 0.5}, {"label_smoothing": 0.25}, {"sample_weight": [2.0, 1.0]}):
        losses = ll.cross_entropy(rows, targets, reduction="none", **options)
        loss, gradient = ll.cross_entropy_grad(rows, targets, **options)
        assert losses[0] == 0
        assert (gradient[0] == 0).all()
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()
    weighted, gradient = ll.cross_entropy_grad(rows, [0, 0], sample_weight=[0, 1])
    assert weighted == ll.cross_entropy(rows[1:], [0])
    assert (gradient[0] == 0).all()
    stats = ll.row_stats(rows, targets)
    assert (stats.nll[0], stats.rank[0], stats.correct[0]) == (0, -1, False)


@pytest.mark.parametrize("classes", [1, 2, 5, 16, 17, 100])
def test_mask(backend, classes):
    rng = np.random.default_rng(classes)
    x = (rng.normal(size=(7, classes)) * 5).astype(np.float32)
    where = rng.random(x.shape) < 0.6
    where[3] = False
    with np.errstate(invalid="ignore"):
        spoilt = np.where(where, x, rng.choice([np.nan, np.inf, 600.0], size=x.shape)).astype(np.float32)
    for logits in (x, spoilt):
        true = oracle.truth(logits, where=where, exact=False)
        scale = np.where(np.isfinite(true.peak), true.peak, 0)
        near(backend, ll.logsumexp(logits, where=where), true.lse, 1, scale=scale, what="lse")
        near(backend, ll.softmax(logits, where=where), true.softmax, 3, what="softmax")
        near(backend, ll.log_softmax(logits, where=where), true.log_softmax, 3, what="log_softmax")
    column = where[:, :1]
    true = oracle.truth(x, where=column, exact=False)
    near(backend, ll.softmax(x, where=column), true.softmax, 3, what="softmax")


def test_mean_over_nothing(backend):
    x = np.asarray([[1.0, np.nan], [np.inf, 2.0]], np.float32)
    for targets, options in (
        ([-100, -100], {}),
        ([0, 1], {"sample_weight": 0.0}),
        ([-100, -100], {"label_smoothing": 0.1, "z_loss": 1.0, "class_weight": [1, 2]}),
    ):
        loss, gradient = ll.cross_entropy_grad(x, targets, **options)
        assert loss == 0
        assert ll.cross_entropy(x, targets, **options) == 0
        assert (gradient == 0).all()
    empty = np.empty((0, 3), np.float32)
    loss, gradient = ll.cross_entropy_grad(empty, [])
    assert (float(loss), gradient.shape) == (0.0, (0, 3))
    assert ll.log_loss(empty, []) == 0
    assert ll.cross_entropy(empty, np.empty((0, 3))) == 0


def test_zero_times_infinity(backend):
    x = np.asarray([[0.0, -np.inf, 0.0]], np.float32)
    soft = np.asarray([[0.5, 0.0, 0.5]], np.float32)
    assert_ulp(ll.cross_entropy(x, soft), np.log(2.0), 1, np.float32)
    assert_ulp(ll.log_loss(soft, soft), np.log(2.0), 1, np.float32)
    assert ll.cross_entropy(x, [1]) == np.inf
    assert_ulp(ll.cross_entropy_grad(x, [1])[1], [[0.5, -1, 0.5]], 1)
    assert ll.nll_loss(x, [[0, 1, 0]]) == np.inf


def test_top_k_orders_ties_by_class(backend):
    x = np.asarray(
        [[1, 3, 3, 0, 3], [-np.inf] * 5, [0, np.nan, 1, 2, 3], [-np.inf, 2, -np.inf, -np.inf, 2]], np.float32
    )
    labels, probs = ll.top_k(x, 4)
    assert labels.dtype == np.int64
    assert labels.tolist() == [[1, 2, 4, 0], [0, 1, 2, 3], [-1] * 4, [1, 4, 0, 2]]
    assert np.isnan(probs[1:3]).all()
    assert_ulp(probs[3], [0.5, 0.5, 0, 0], 1)


@pytest.mark.parametrize("classes", [1, 3, 16, 65, 1000])
def test_top_k_is_the_start_of_a_stable_sort(backend, classes):
    rng = np.random.default_rng(classes)
    x = np.round(rng.normal(size=(9, classes)) * 4).astype(np.float32)
    order = np.argsort(-x, axis=-1, kind="stable")
    p = np.exp(x - x.max(-1, keepdims=True).astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    for k in {1, (classes + 1) // 2, classes}:
        labels, probs = ll.top_k(x, k)
        assert (labels == order[:, :k]).all()
        near(backend, probs, np.take_along_axis(p, order, -1)[:, :k], 3, what="probs")

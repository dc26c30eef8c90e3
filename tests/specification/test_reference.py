"""The reference has its own oracle: mpmath. Forward and gradient, every option, and all options together."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import oracle
import pytest
from assertions import assert_ulp
from backends import on
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st

import lastlayer as ll


@pytest.fixture(autouse=True, scope="module")
def _reference_only():
    with on("reference"):
        yield


X = np.asarray([[0.5, -1.25, 3.0, 0.125], [2.0, 2.0, -4.0, 1.0], [-0.5, 0.75, 0.25, 30.0]])
Y = np.asarray([2, 0, 3])
SOFT = np.asarray([[0.25, 0.25, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0], [0.125, 0.5, 0.25, 0.125]])

OPTIONS = {
    "class_weight": [None, [0.5, 2.0, 0.0, 1.25]],
    "sample_weight": [None, [1.0, 0.0, 2.5]],
    "label_smoothing": [0.0, 0.25, 1.0],
    "temperature": [1.0, 0.5],
    "softcap": [None, 8.0],
    "z_loss": [0.0, 0.125],
}
EVERY = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]
REDUCTIONS = [
    {"reduction": "mean"},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"reduction": "mean", "denominator": 7.0},
]


@pytest.mark.parametrize(
    "targets", [Y, SOFT, SOFT > 0.4, np.asarray([2, -100, 3])], ids=["index", "soft", "bool", "ignore"]
)
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_every_combination_of_options(targets, reduction):
    for options in EVERY:
        true = oracle.truth(X, targets, **options, **reduction)
        loss, gradient = ll.cross_entropy_grad(X, targets, **options, **reduction)
        expected = true.losses if reduction["reduction"] == "none" else true.loss
        assert_ulp(loss, expected, 32, what=f"loss {options}")
        assert_ulp(ll.cross_entropy(X, targets, **options, **reduction), expected, 32, what="loss")
        size = np.maximum(true.gradient_size, 2.0**-100)
        assert_ulp(gradient, true.gradient, 64, scale=size, what=f"gradient {options}")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("targets", [Y, SOFT], ids=["index", "soft"])
def test_gradient_is_the_derivative_of_the_loss(targets, reduction):
    """Central differences of the oracle's loss, all options together; no formula for the gradient is used."""
    options = {k: v[-1] for k, v in OPTIONS.items()} | {"label_smoothing": 0.25, "reduction": reduction}
    _, gradient = ll.cross_entropy_grad(X, targets, **options)
    step = 2.0**-17
    for i in np.ndindex(X.shape):
        moved = []
        for sign in (1, -1):
            x = X.copy()
            x[i] += sign * step
            moved.append(oracle.truth(x, targets, **options).loss)
        assert abs((moved[0] - moved[1]) / (2 * step) - gradient[i]) < 1e-9


def test_the_gradient_of_a_sure_row_keeps_its_digits():
    """p - 1 is -rest / (1 + rest): far below the last place of p."""
    row = [[0.0, 64.0, -3.0]]
    assert_ulp(ll.cross_entropy_grad(row, [1])[1], oracle.truth(row, [1]).gradient, 3)


def test_the_oracle_itself():
    """By heart, and against the textbook's formula in 60 digits."""
    assert_ulp(oracle.truth([[0.0, 0.0]], [1]).losses, [np.log(2.0)], 1, np.float64)
    with mpmath.workdps(60):
        for row in ([0.0, 64.0], [1.0, 1.5, -3.0], [-800.0, -801.0], [0.5]):
            z = [mpmath.mpf(v) for v in row]
            total = sum(mpmath.exp(v) for v in z)
            for exact in (True, False):
                true = oracle.truth([row], [0], exact=exact)
                p = [float(mpmath.exp(v) / total) for v in z]
                assert_ulp(true.softmax[0], p, 1, np.float64)
                assert_ulp(true.lse[0], float(mpmath.log(total)), 1, np.float64)
                loss = float(-mpmath.log(mpmath.exp(z[0]) / total))
                assert_ulp(true.losses[0], loss, 1, np.float64, scale=max(loss, 1e-300))
    one = oracle.truth(X, Y, label_smoothing=0.25, class_weight=[0.5, 2.0, 0.0, 1.25], z_loss=0.1, exact=True)
    two = oracle.truth(
        X, Y, label_smoothing=0.25, class_weight=[0.5, 2.0, 0.0, 1.25], z_loss=0.1, exact=False
    )
    for a, b in zip(one, two, strict=True):
        assert_ulp(a, b, 0.51, np.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_cases_against_the_oracle(case):
    row = np.asarray([case.logits], float)
    true = oracle.truth(row, [case.target])
    assert_ulp(ll.softmax(row), true.softmax, 3)
    assert_ulp(ll.log_softmax(row), true.log_softmax, 3)
    assert_ulp(ll.logsumexp(row), true.lse, 2, scale=true.peak)
    assert_ulp(ll.cross_entropy(row, [case.target]), true.loss, 3)
    assert_ulp(ll.cross_entropy_grad(row, [case.target])[1], true.gradient, 3, scale=true.gradient_size)


@given(st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=6), st.data())
def test_any_row(row, data):
    y = data.draw(st.integers(0, len(row) - 1))
    true = oracle.truth([row], [y])
    assert_ulp(ll.softmax([row]), true.softmax, 4, what="softmax")
    assert_ulp(
        ll.cross_entropy([row], [y]), true.loss, 4, scale=np.maximum(true.loss, 2.0**-1000), what="loss"
    )
    stats = ll.row_stats([row], [y])
    assert_ulp(stats.entropy, true.entropy, 8, scale=np.maximum(true.entropy, 2.0**-1000), what="entropy")
    assert stats.argmax[0] == int(np.argmax(row))
    assert stats.rank[0] == sum(v > row[y] or (v == row[y] and j < y) for j, v in enumerate(row))


def test_losses_of_probabilities():
    mild = np.clip(X, -4, 4)
    p = ll.softmax(mild)
    for options in (
        {},
        {"label_smoothing": 0.25},
        {"class_weight": [0.5, 2.0, 0.0, 1.25], "reduction": "sum"},
    ):
        for targets in (Y, SOFT, [2, -100, 3]):
            expected = ll.cross_entropy(mild, targets, **options)
            assert_ulp(ll.log_loss(p, targets, **options), expected, 64, what="log_loss")
            assert_ulp(ll.nll_loss(np.log(p), targets, **options), expected, 64, what="nll_loss")
    assert ll.log_loss([[0.0, 1.0]], [0]) == np.inf
    assert ll.log_loss([[0.0, 1.0]], [[0.0, 1.0]]) == 0
    assert np.isnan(ll.log_loss([[-0.5, 1.5]], [0]))


def test_no_option_touches_an_ignored_row():
    logits = np.asarray([[1.0, 2.0], [np.nan, np.inf]])
    for options in EVERY:
        options = options | {"sample_weight": [2.0, 0.0], "class_weight": [1.0, 0.5]}
        loss, gradient = ll.cross_entropy_grad(logits, [0, 1], **options)
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()
        assert (gradient[1] == 0).all()

"""Top-k targets are the dense targets that they stand for: on every backend, with every option."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from assertions import assert_ulp, unchanged
from backends import on
from cases import DTYPES, INDEX_DTYPES, LAYOUTS, loss_dtype
from hypothesis import given
from hypothesis import strategies as st
from interpreter import INTERPRETED
from top_k_targets import KINDS, dense, listed

import lastlayer as ll

INF, NAN = np.inf, np.nan
ROWS, V = 7, 70
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.125},
    "class weights": {"class_weight": np.linspace(0, 2, V)},
    "sample weights": {"sample_weight": np.arange(ROWS) % 3 / 2},
    "temperature": {"temperature": 0.7},
    "softcap": {"softcap": 6.0},
    "z-loss": {"z_loss": 0.01},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "denominator": {"denominator": 100.0},
    "all": {
        "label_smoothing": 0.25,
        "class_weight": np.linspace(0, 2, V),
        "sample_weight": np.arange(ROWS) % 3 / 2,
        "temperature": 1.3,
        "softcap": 8.0,
        "z_loss": 0.1,
    },
}


def logits(*shape, dtype=np.float32, scale=3.0):
    return (np.random.default_rng(shape).normal(size=shape) * scale).astype(dtype)


def check(x, targets, axis=-1, bound=None, **options):
    """Compare losses, gradients and statistics with those of the dense targets, from the definitions."""
    true = oracle.truth(x, dense(targets, x.shape[axis], axis), axis=axis, exact=False, **options)
    if bound is None:
        bound = 6 if x.dtype.char != "d" else 16  # as of dense targets: weights and scale are rounded too
        if INTERPRETED and targets[0].shape[-1] > 64:  # no kernel does this; z is rounded to float32
            bound = max(bound, 12)
    with unchanged(x, *targets):
        loss, gradient = ll.cross_entropy_grad(x, targets, axis=axis, **options)
        again = ll.cross_entropy(x, targets, axis=axis, **options)
    assert loss.dtype == again.dtype == loss_dtype(x.dtype)
    assert gradient.dtype == x.dtype.newbyteorder("=")
    expected = true.losses if options.get("reduction") == "none" else true.loss
    scale = np.maximum(np.abs(np.nan_to_num(np.asarray(expected, float), posinf=0)), 2.0**-100)
    assert_ulp(loss, expected, bound, scale=scale, what="loss")
    assert_ulp(again, expected, bound, scale=scale, what="loss alone")
    size = np.maximum(np.nan_to_num(np.asarray(true.gradient_size, float), posinf=0), 2.0**-100)
    assert_ulp(gradient, true.gradient, bound, scale=size, what="gradient")
    if not {"z_loss", "reduction", "denominator"} & set(options):
        stats = ll.row_stats(x, targets, axis=axis, **options)
        size = np.maximum(np.abs(np.nan_to_num(true.losses.astype(float), posinf=0)), 2.0**-100)
        assert_ulp(stats.nll, true.losses, bound, scale=size, what="nll")
        assert_ulp(stats.sum_p2, true.sum_p2, 8, what="sum_p2")
        assert stats.rank is None


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_option(backend, kind, option):
    check(logits(ROWS, V), listed(kind, (ROWS,), V), **OPTIONS[option])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_class_axis(backend, kind, axis):
    """The listed classes of a row are the last axis of the targets, whichever is that of the logits."""
    x = logits(5, 17, 3)
    rows = tuple(n for i, n in enumerate(x.shape) if i != axis % 3)
    check(x, listed(kind, rows, x.shape[axis]), axis, label_smoothing=0.1)
    check(x[0, :, 0], listed(kind, (), 17))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dtypes_and_layouts(backend, dtype, layout):
    lay = LAYOUTS[layout]
    indices, p, rest = listed("rest", (ROWS,), V)
    check(lay(logits(ROWS, V, dtype=dtype)), (lay(indices), lay(p), lay(rest)))


@pytest.mark.parametrize("dtype", INDEX_DTYPES)
def test_index_dtypes(backend, dtype):
    indices, p = listed("listed", (ROWS,), 100)
    check(logits(ROWS, 100), (indices.astype(dtype), p.astype(np.float16)))


def test_accuracy(backend):
    """The bound of the declared functions holds here too: 3 ULP of losses and gradients."""
    for scale in (1, 5, 20):
        for v in (2, 10, 1000):
            x = logits(64, v, scale=scale)
            targets = listed("rest", (64,), v)
            best = x.argmax(1)
            targets[0][::2, 0] = best[::2]
            check(x, targets, bound=3, reduction="sum")
            check(x, (best[:, None], np.ones((64, 1))), bound=3, reduction="none")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_certain_class_is_its_index(backend, dtype):
    """To the last digits of a confident row, too."""
    x = logits(ROWS, V, dtype=dtype, scale=8.0)
    x[0, 5] = 60.0
    y = np.r_[5, 6, x[2:].argmax(1)]
    for reduction in ("mean", "none"):
        one = ll.cross_entropy_grad(x, y, reduction=reduction)
        other = ll.cross_entropy_grad(x, (y[:, None], np.ones((ROWS, 1))), reduction=reduction)
        for a, b in zip(other, one, strict=True):
            assert_ulp(a, b, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_certain_class_keeps_its_digits_where_logits_are_scaled(backend, dtype):
    """The peak found by the core and the logit looked up beside it count as equal, where they should."""
    x = np.zeros((3, 20), dtype)
    x[:, 7] = 30.0, 40.0, 50.0
    for options in ({"temperature": 0.7}, {"softcap": 64.0}, {"temperature": 1.3, "softcap": 99.0}):
        targets = np.full((3, 1), 7), np.ones((3, 1))
        true = oracle.truth(x, dense(targets, 20), reduction="none", **options)
        losses = ll.cross_entropy(x, targets, reduction="none", **options)
        bound = 1e-4 if dtype is np.float16 else 1e-6  # logits of 16 bits are scaled in float32
        np.testing.assert_allclose(losses, true.losses.astype(float), rtol=bound)
        gradient = ll.cross_entropy_grad(x.astype(np.float64), targets, reduction="sum", **options)[1]
        np.testing.assert_allclose(gradient[:, 7], true.gradient[:, 7].astype(float), rtol=1e-12)


@st.composite
def problems(draw):
    """Logits with odd values, and targets of any kind."""
    shape = (draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 5, 16, 33, 65, 130])))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=shape) * draw(st.sampled_from([0.0, 1.0, 20.0]))
    x = (np.round(x) if draw(st.booleans()) else x).astype(dtype)
    for value in draw(st.lists(st.sampled_from([-INF, 500.0, -500.0, -0.0]), max_size=3)):
        x[tuple(rng.integers(n) for n in shape)] = value
    x[x.max(1) == -INF] = 0.0
    targets = listed(draw(st.sampled_from(KINDS)), shape[:1], shape[1], draw(st.integers(0, 9)))
    return x, targets, draw(st.fixed_dictionaries({}, optional={
        "reduction": st.sampled_from(["sum", "none"]),
        "label_smoothing": st.sampled_from([0.25, 1.0]),
        "sample_weight": st.just(np.round(rng.random(shape[0]) * 3)),
        "class_weight": st.just(np.round(rng.random(shape[1]) * 4 + 0.25, 2)),
    }))  # fmt: skip


@given(problems())
def test_any_targets(backend, problem):
    x, targets, options = problem
    check(x, targets, **options)


# --- odd cases ----------------------------------------------------------------------------------------------


def test_an_index_that_is_ignored_is_no_entry(backend):
    x = logits(2, 4)
    kept = ll.cross_entropy_grad(x, ([[1], [3]], [[0.5], [0.25]]))
    for ignored, padding in ((-100, -100), (2, 2)):
        targets = [[1, padding], [padding, 3]], [[0.5, NAN], [-7.0, 0.25]]
        found = ll.cross_entropy_grad(x, targets, ignore_index=ignored)
        assert found[0] == kept[0]
        assert (found[1] == kept[1]).all()


def test_a_row_without_weight_may_hold_anything(backend):
    x, s = logits(3, 20), [1.0, 0.0, 1.0]
    targets = listed("rest", (3,), 20)
    clean = ll.cross_entropy_grad(x, targets, sample_weight=s, z_loss=0.1)
    for value in (NAN, INF, -INF):
        x[1] = value
        loss, gradient = ll.cross_entropy_grad(x, targets, sample_weight=s, z_loss=0.1)
        assert_ulp(loss, clean[0], 1)
        assert_ulp(gradient, clean[1], 2, scale=0.01)
        assert not gradient[1].any()
        assert ll.row_stats(x, targets, sample_weight=s).nll[1] == 0


def test_infinities(backend):
    """An impossible class costs infinitely much, but nothing where it has no share; NaN stays in its row."""
    x = logits(5, 20, dtype=np.float64)
    x[0, 3], x[1, 3], x[2, 4], x[3, 4] = -INF, -INF, NAN, INF
    targets = (
        np.array([[3, 5], [5, 3], [1, 2], [1, 4], [4, 5]]),
        np.array([[0.5, 0.5], [0.5, 0.0]] + [[0.5, 0.5]] * 3),
    )
    losses = ll.cross_entropy(x, targets, reduction="none")
    gradient = ll.cross_entropy_grad(x, targets, reduction="sum")[1]
    assert losses[0] == INF
    assert np.isnan(losses[2:4]).all()
    assert np.isfinite(losses[[1, 4]]).all()
    assert np.isnan(gradient[2:4]).all()
    assert gradient[0, 3] == -0.5
    assert gradient[1, 3] == 0
    check(x[[1, 4]], (targets[0][[1, 4]], targets[1][[1, 4]]))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_rows(backend, reduction):
    loss, gradient = ll.cross_entropy_grad(
        np.empty((0, 4)), (np.empty((0, 2), int), np.empty((0, 2)), np.empty(0)), reduction=reduction
    )
    assert loss.shape == ((0,) if reduction == "none" else ())
    assert not loss.any()
    assert gradient.shape == (0, 4)
    x = np.full((2, 4), NAN)
    loss, gradient = ll.cross_entropy_grad(
        x, ([[1], [2]], [[1.0], [1.0]]), sample_weight=0, reduction=reduction
    )
    assert not loss.any()
    assert not gradient.any()


def test_lists_and_numbers(backend):
    """A tuple of arrays or lists lists classes; a tuple of numbers holds class indices, as a list does."""
    x = logits(2, 4)
    top = ll.cross_entropy(x, ([[1], [3]], [[1], [1]], 0))
    assert_ulp(ll.cross_entropy(x, (1, 3)), top, 2)
    assert_ulp(ll.cross_entropy(x, [1, 3]), top, 2)
    assert_ulp(ll.cross_entropy(x, np.array([1, 3])), top, 2)
    assert_ulp(ll.cross_entropy(x[0], ([1, 2], [0.5, 0.5])), ll.cross_entropy(x[0], [0, 0.5, 0.5, 0]), 2)


def test_a_rest_that_rounding_made_negative_is_nothing(backend):
    x, (indices, p) = logits(3, 9), listed("listed", (3,), 9)
    expected = ll.cross_entropy(x, (indices, p))
    assert ll.cross_entropy(x, (indices, p, -1e-7)) == expected
    assert ll.cross_entropy(x, (indices, p, np.float16([-0.002, 0, 0]))) == expected
    some = ll.cross_entropy(x, (indices, p, [0.0, 0.5, 0.0]))
    assert ll.cross_entropy(x, (indices, p, [-0.002, 0.5, 0.0])) == some


def test_other_libraries():
    xp = pytest.importorskip("array_api_strict")
    x, targets = logits(ROWS, V, dtype=np.float64), listed("rest", (ROWS,), V)
    with on(None):
        foreign = tuple(xp.asarray(a) for a in targets)
        loss, gradient = ll.cross_entropy_grad(xp.asarray(x), foreign)
        rest = ll.cross_entropy(xp.asarray(x), (*foreign[:2], 0.25))
    true = oracle.truth(x, dense(targets, V), exact=False)
    assert_ulp(np.asarray(loss), true.loss, 6)
    assert_ulp(np.asarray(gradient), true.gradient, 6, scale=np.asarray(true.gradient_size, float))
    assert_ulp(np.asarray(rest), oracle.truth(x, dense((*targets[:2], 0.25), V), exact=False).loss, 6)

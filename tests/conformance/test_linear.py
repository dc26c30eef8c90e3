"""The linear head against the definitions, in float64: every option, however it is cut into tiles."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from assertions import raises, unchanged
from backends import on
from hypothesis import given
from hypothesis import strategies as st
from linear_cases import TARGETS, D, N, V, close, in_every_plan, memory_used, on_tiles, targets_of, truth_of
from random_arrays import numbers

import lastlayer as ll
from lastlayer import dispatch, problem
from lastlayer.backends.core.tiles import CoreTileBackend
from lastlayer.linear import run
from lastlayer.linear.array_ops import NumPyOps
from lastlayer.options import Options
from lastlayer.resolving import resolve

INF, NAN = np.inf, np.nan

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "class weights": {"class_weight": np.linspace(0, 2, V)},
    "sample weights": {"sample_weight": np.arange(N) % 4 / 2},
    "temperature": {"temperature": 0.7},
    "softcap": {"softcap": 2.0},
    "z-loss": {"z_loss": 0.01},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "denominator": {"denominator": 100.0},
    "all": {
        "label_smoothing": 0.2,
        "class_weight": np.linspace(0, 2, V),
        "sample_weight": np.arange(N) % 4 / 2,
        "temperature": 1.3,
        "softcap": 4.0,
        "z_loss": 0.1,
    },
}


def check(x, w, b, y, tolerance=1e-13, **options):
    with unchanged(x, w):
        loss, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, **options)
    forward = ll.linear_cross_entropy(x, w, y, bias=b, **options)
    wanted = truth_of(x, w, b, y, **options)
    for name, actual, expected, like in zip(
        ("loss", "dx", "dweight", "dbias"), (loss, *gradients), wanted, (None, x, w, b), strict=True
    ):
        if name == "dbias" and b is None:
            assert actual is None
            continue
        close(actual, expected, tolerance, name)
        assert like is None or actual.dtype == like.dtype
    close(forward, wanted[0], tolerance, "loss alone")


@in_every_plan
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_in_every_plan(backend, option, kind, plan):
    check(numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4), targets_of(kind), **OPTIONS[option])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_small_problems(backend, dtype):
    """Their logits are computed as a whole, with every option, and whatever inactive rows hold."""
    x, w, b = (a.astype(dtype) for a in (numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4)))
    tolerance = {"float16": 1e-3, "float32": 3e-6, "float64": 1e-13}[dtype]
    for kind in TARGETS:
        for options in OPTIONS.values():
            check(x, w, b, targets_of(kind), tolerance, **options)
    y, held = targets_of("ignored"), x.copy()
    held[y == -100] = [INF, NAN, -INF, 0, 1]
    for options in ({}, {"reduction": "sum"}, {"class_weight": np.ones(V)}):
        loss, (dx, dw, db) = ll.linear_cross_entropy_grad(held, w, y, bias=b, **options)
        other, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, **options)
        close(loss, other, tolerance, "loss")
        for name, actual, expected in zip(("dx", "dweight", "dbias"), (dx, dw, db), gradients, strict=True):
            close(actual, expected.astype(np.float64), tolerance, name)
    w[3] = NAN
    assert not ll.linear_cross_entropy_grad(held, w, y)[1][0][y == -100].any()


@pytest.mark.parametrize("n", [0, 1, 40])
def test_no_features(backend, n):
    """The logits are the biases."""
    x, w, b, y = np.empty((n, 0)), np.empty((V, 0)), numbers(V, seed=2), np.arange(n)
    for kind in (y, np.where(y % 3 == 1, -100, y)) if n else (y,):
        check(x, w, b, kind)
        check(x, w, None, kind, reduction="none")
    stats = ll.linear_row_stats(x, w, y)
    np.testing.assert_allclose(stats.nll, np.full(n, np.log(V)), rtol=1e-14)
    labels, p = ll.linear_top_k(x, w, 3)
    assert labels.tolist() == [[0, 1, 2]] * n
    np.testing.assert_allclose(p, np.full((n, 3), 1 / V), rtol=1e-14)


@on_tiles("kept", [1, 2, 9])
@pytest.mark.parametrize("v", [1, 2, 15, 16, 17, 31, 32, 33, 48, 49])
@pytest.mark.parametrize("n", [1, 2, 19])
def test_odd_sizes(backend, cut, n, v, kept):
    """One class or row more or less than a tile; targets in the first and the last class."""
    cut(8, 16, kept)
    y = np.where(np.arange(n) % 2 == 0, v - 1, 0)
    check(numbers(n, D), numbers(v, D, seed=1), numbers(v, seed=2), y, label_smoothing=0.05)
    check(numbers(n, D), numbers(v, D, seed=1), None, y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@in_every_plan
def test_dtypes(backend, dtype, plan):
    """The error is that of the result's own rounding, and of a float32 sum, however many tiles there are."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, w, b = (a.astype(dtype) for a in (numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4)))
    tolerance = {"float16": 6e-4, "bfloat16": 4e-3, "float32": 1e-6}[np.dtype(dtype).name]
    check(x, w, b, targets_of("ignored"), tolerance, label_smoothing=0.1)
    loss = ll.linear_cross_entropy(x, w, targets_of("index"), bias=b)
    assert loss.dtype == np.float32
    close(loss, truth_of(x, w, b, targets_of("index"))[0], 1e-6, "loss")


def test_mixed_dtypes(backend):
    x, w = numbers(N, D).astype(np.float32), numbers(V, D, seed=3)
    check(x, w, None, targets_of("index"), 1e-7)
    assert ll.linear_cross_entropy(x, w, targets_of("index")).dtype == np.float64


def test_a_temperature_is_computed_in_float64(backend):
    """Where the logits are divided, statistics of float32 tiles are in float64, and handed on unrounded."""
    x, w = numbers(64, D).astype(np.float32), numbers(V, D, seed=3).astype(np.float32)
    check(x, w, None, targets_of("index", 64), 1e-6, temperature=0.3, softcap=9.0)


@pytest.mark.parametrize("rows", [1024, 128])
def test_gradients_keep_their_digits_over_many_tiles(core, cut, rows):
    """What makes most of them is added last, so that hardly more than one rounding of float32 is left."""
    n, d, v = 1024, 24, 4000
    x, w = numbers(n, d).astype(np.float32), (numbers(v, d, seed=1) / 8).astype(np.float32)
    y = np.arange(n) % 300
    cut(rows, 40, 3)
    _, (dx, dw, _) = ll.linear_cross_entropy_grad(x, w, y)
    _, dx_truth, dw_truth, _ = truth_of(x, w, None, y)
    for got, truth in ((dx, dx_truth), (dw, dw_truth)):
        assert np.linalg.norm(got - truth) <= 8e-8 * np.linalg.norm(truth)


def test_leading_axes(backend, cut):
    cut(5, 16, 2)
    x, w, y = numbers(2, 3, 4, D), numbers(V, D, seed=3), targets_of("index", 24).reshape(2, 3, 4)
    check(x, w, None, y)
    check(x, w, None, y, reduction="none", sample_weight=np.arange(4) / 2)
    check(x[0, 0, 0], w, None, 3)
    stats = ll.linear_row_stats(x, w, y)
    assert stats.nll.shape == stats.argmax.shape == (2, 3, 4)


def test_memory_layouts(backend, cut):
    cut(8, 16, 2)
    x, w, y = numbers(N, D), numbers(V, D, seed=3), targets_of("ignored")
    expected = ll.linear_cross_entropy_grad(x, w, y)
    backwards = np.asfortranarray(w)[::-1][::-1]
    swapped = x.astype(x.dtype.newbyteorder())
    for a, b in ((np.asfortranarray(x), backwards), (swapped, w), (np.repeat(x, 2, 1)[:, ::2], w)):
        loss, gradients = ll.linear_cross_entropy_grad(a, b, y)
        close(loss, expected[0], 1e-15, "loss")
        for one, other in zip(gradients[:2], expected[1][:2], strict=True):
            close(one, other, 1e-15, "gradient")


def test_lists_and_integers(backend):
    loss = ll.linear_cross_entropy([[1, 2], [0, 1]], [[1, 0], [0, 1], [1, 1]], [2, 0])
    expected = ll.cross_entropy(np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]), [2, 0])
    close(loss, expected, 1e-15, "loss")


# --- odd cases ----------------------------------------------------------------------------------------------


@in_every_plan
def test_ignored_rows_may_hold_anything(backend, plan):
    x, w, y = numbers(N, D), numbers(V, D, seed=3), targets_of("ignored")
    clean = ll.linear_cross_entropy_grad(x, w, y)
    x[y == -100] = NAN
    loss, (dx, dw, _) = ll.linear_cross_entropy_grad(x, w, y)
    close(loss, clean[0], 1e-15, "loss")
    close(dx, clean[1][0], 1e-15, "dx")
    close(dw, clean[1][1], 1e-15, "dweight")
    assert (dx[y == -100] == 0).all()
    losses = ll.linear_cross_entropy(x, w, y, reduction="none")
    assert (losses[y == -100] == 0).all()
    assert (losses[y != -100] > 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_to_learn(backend, reduction):
    w, b = numbers(V, D), numbers(V)
    for x, y, options in (
        (np.full((3, D), NAN), [-100] * 3, {}),
        (np.full((3, D), NAN), [1, 2, 3], {"sample_weight": 0.0}),
        (np.empty((0, D)), [], {}),
    ):
        loss, (dx, dw, db) = ll.linear_cross_entropy_grad(x, w, y, bias=b, reduction=reduction, **options)
        assert loss.shape == ((len(y),) if reduction == "none" else ())
        assert not np.any(loss)
        assert dx.shape == x.shape
        assert dw.shape == w.shape
        assert db.shape == b.shape
        assert not dx.any()
        assert not dw.any()
        assert not db.any()


def test_impossible_classes_and_a_row_of_nan(backend, cut):
    """A bias of -inf excludes a class: probability 0, whole tiles of them too; NaN stays in its row."""
    cut(8, 16, 2)
    x, w, b = numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4)
    b[3:40] = -INF
    y = np.full(N, 41)
    loss, (dx, dw, db) = ll.linear_cross_entropy_grad(x, w, y, bias=b)
    possible = np.isfinite(b)
    expected = truth_of(x, w[possible], b[possible], np.full(N, 4))
    close(loss, expected[0], 1e-13, "loss")
    close(dx, expected[1], 1e-13, "dx")
    close(dw[possible], expected[2], 1e-13, "dweight")
    assert not dw[~possible].any()
    assert not db[~possible].any()
    y[5] = 7
    losses = ll.linear_cross_entropy(x, w, y, bias=b, reduction="none")
    assert losses[5] == INF
    assert np.isfinite(np.delete(losses, 5)).all()
    x[2] = NAN
    losses = ll.linear_cross_entropy(x, w, y, bias=b, reduction="none")
    dx = ll.linear_cross_entropy_grad(x, w, y, bias=b, reduction="sum")[1][0]
    assert np.isnan(losses[2])
    assert np.isnan(dx[2]).all()
    assert np.isfinite(np.delete(dx, 2, 0)).all()


@pytest.mark.parametrize("value", [INF, -INF])
def test_infinite_logits(backend, cut, value):
    """Everything impossible, or something infinitely likely: NaN, as from the logits."""
    cut(8, 16, 2)
    x, w, b = numbers(3, D), numbers(V, D, seed=3), np.full(V, -INF)
    b[33] = value
    losses = ll.linear_cross_entropy(x, w, [3, 33, -100], bias=b, reduction="none")
    dx = ll.linear_cross_entropy_grad(x, w, [3, 33, -100], bias=b)[1][0]
    assert np.isnan(losses[:2]).all()
    assert np.isnan(dx[:2]).all()
    assert losses[2] == 0
    assert not dx[2].any()
    stats = ll.linear_row_stats(x, w, bias=b)
    assert (stats.lse == value).all()
    assert np.isnan(stats.entropy).all()


def test_a_confident_row_keeps_its_digits(backend, cut):
    """The loss is what the other classes add, however small, and though they lie in other tiles."""
    cut(8, 16, 2)
    w = np.eye(V)[:, :D]
    x = np.zeros((1, D), np.float32)
    x[0, 3] = 40.0
    loss, (dx, _, _) = ll.linear_cross_entropy_grad(x, w.astype(np.float32), [3])
    expected = np.log1p((V - 1) * np.exp(-40.0))
    close(loss, expected, 1e-6, "loss")
    close(dx[0, 3], -(V - 1) * np.exp(-40.0), 1e-6, "gradient")


# --- statistics ---------------------------------------------------------------------------------------------


@in_every_plan
@pytest.mark.parametrize("kind", [None, *TARGETS])
def test_row_stats(backend, plan, kind):
    x, w, b = numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4)
    y = None if kind is None else targets_of(kind)
    stats = ll.linear_row_stats(x, w, y, bias=b, softcap=3.0)
    truth = oracle.truth(x @ w.T + b, y, softcap=3.0, exact=False)
    for name in ("lse", "entropy", "sum_p2"):
        close(getattr(stats, name), getattr(truth, name), 1e-13, name)
    close(stats.confidence, truth.softmax.max(1), 1e-13, "confidence")
    assert (stats.argmax == truth.softmax.argmax(1)).all()
    if kind is None:
        with pytest.raises(AttributeError):
            _ = stats.nll
    else:
        close(stats.nll, truth.losses, 1e-13, "nll")
    if kind in ("index", "ignored"):
        assert stats.rank.tolist() == ll.row_stats(x @ w.T + b, y).rank.tolist()
    else:
        with pytest.raises(AttributeError):
            _ = stats.correct


def test_row_stats_of_ties_nan_and_no_rows(backend, cut):
    """The lowest of equal classes, over all tiles; -1 where there is none."""
    cut(8, 16, 2)
    x, w = np.ones((2, 1)), np.zeros((V, 1))
    w[[20, 50]] = 1.0
    x[1] = NAN
    stats = ll.linear_row_stats(x, w, [0, -100])
    assert stats.argmax.tolist() == [20, -1]
    assert stats.nll[1] == 0
    assert np.isnan(stats.entropy[1])
    assert ll.linear_row_stats(x[:0], w, []).nll.shape == (0,)
    assert ll.linear_row_stats(x[0], w).argmax == 20


# --- memory and plans ---------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 60000), st.sampled_from(["float32", "float64"]))
def test_any_memory_gives_the_same_answer(n, v, extra, dtype):
    x, w, b = (a.astype(dtype) for a in (numbers(n, D), numbers(v, D, seed=3), numbers(v, seed=4)))
    y = targets_of("ignored", n, v)
    try:
        loss, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, max_memory=6000 + extra)
    except ll.OptionError:
        return  # too little: tested below
    expected = truth_of(x, w, b, y)
    for actual, wanted in zip((loss, *gradients), expected, strict=True):
        close(actual, wanted, 1e-13 if dtype == "float64" else 2e-6, "result")


@pytest.mark.parametrize("memory", [1 << 20, 4 << 20, 1 << 28])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ignored", [False, True])
def test_the_memory_is_what_the_plan_says(core, memory, dtype, ignored):
    """NumPy reports its memory, so that what a call takes beyond its results can be counted."""
    n, d, v = 256, 32, 5000
    x, w = numbers(n, d).astype(dtype), numbers(v, d).astype(dtype)
    y = targets_of("ignored" if ignored else "index", n, v)
    used, planned = memory_used(x, w, y, memory)
    assert used <= memory * 1.01 + 20000
    assert used <= planned * 1.1 + 20000
    assert used >= planned * 0.8 - 20000


def test_work_that_nobody_needs_is_not_done(core, cut):
    """One product a tile for a loss, two for a head or a body alone, three for both; four if recomputed."""
    made = []

    class Counting(NumPyOps):
        def logits(self, *args):
            made.append("logits")
            super().logits(*args)

        def multiply(self, a, b, out, *args):
            made.append("dx" if out.shape[0] == N else "dweight")
            super().multiply(a, b, out, *args)

    tiles = CoreTileBackend(Counting(np.dtype(np.float64)))
    head = problem.head("f", numbers(N, D), numbers(V, D))
    scores = problem.head_scores("f", head)
    given = targets_of("index"), None, None
    checked = resolve(scores, dispatch.backend(scores), given, Options("f"))
    for wanted, expected in (
        ((False, False, False), ["logits"]),
        ((True, False, False), ["logits", "dx"]),
        ((False, True, False), ["logits", "dweight"]),
        ((True, True, False), ["logits", "dweight", "dx"]),
    ):
        made.clear()
        found = run.loss_and_gradients(head, checked, wanted, tiles)
        assert made == expected
        assert [g is not None for g in found.gradients] == list(wanted)
    cut(N, 24, 1)  # three tiles, one kept: two of them are made again
    made.clear()
    run.loss_and_gradients(
        head, checked, (True, True, False), CoreTileBackend(Counting(np.dtype(np.float64)))
    )
    assert [made.count(name) for name in ("logits", "dweight", "dx")] == [5, 3, 3]


def test_the_specification_is_the_logits():
    """What runs without the core says the same as the loop."""
    x, w, b, y = numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4), targets_of("ignored")
    with on("reference"):
        loss, (dx, dw, db) = ll.linear_cross_entropy_grad(x, w, y, bias=b)
    for actual, expected in zip((loss, dx, dw, db), truth_of(x, w, b, y), strict=True):
        close(actual, expected, 1e-13, "result")


def test_other_libraries():
    xp = pytest.importorskip("array_api_strict")
    with on(None):
        check_other_libraries(xp)


def check_other_libraries(xp):
    x, w, b, y = numbers(N, D), numbers(V, D, seed=3), numbers(V, seed=4), targets_of("ignored")
    loss, gradients = ll.linear_cross_entropy_grad(
        xp.asarray(x), xp.asarray(w), xp.asarray(y), bias=xp.asarray(b)
    )
    for actual, expected in zip((loss, *gradients), truth_of(x, w, b, y), strict=True):
        close(np.asarray(actual), expected, 1e-13, "result")
    stats = ll.linear_row_stats(xp.asarray(x), xp.asarray(w))
    close(np.asarray(stats.lse), oracle.truth(x @ w.T, exact=False).lse, 1e-13, "lse")


# --- errors -------------------------------------------------------------------------------------------------

X, W = np.zeros((2, 3)), np.zeros((4, 3))
WRONG = {
    "features": (
        lambda: ll.linear_cross_entropy(X, np.zeros((4, 5)), [0, 1]),
        ll.ShapeError,
        "linear_cross_entropy: weight is of shape (4, 5); expected (V, 3), a row for each class, "
        "for x of shape (2, 3)",
    ),
    "transposed": (
        lambda: ll.linear_cross_entropy_grad(X, np.zeros((3, 4)), [0, 1]),
        ll.ShapeError,
        "linear_cross_entropy_grad: weight is of shape (3, 4); expected (V, 3), a row for each class, "
        "for x of shape (2, 3); use weight.T",
    ),
    "a vector": (
        lambda: ll.linear_row_stats(X, np.zeros(3)),
        ll.ShapeError,
        "linear_row_stats: weight is of shape (3,); expected (V, 3), a row for each class, "
        "for x of shape (2, 3)",
    ),
    "no class": (
        lambda: ll.linear_row_stats(X, np.zeros((0, 3))),
        ll.ShapeError,
        "linear_row_stats: weight is of shape (0, 3); expected at least one class",
    ),
    "no axis": (
        lambda: ll.linear_cross_entropy(1.0, W, 0),
        ll.ShapeError,
        "linear_cross_entropy: x is a single number; expected at least one axis, of features",
    ),
    "bias": (
        lambda: ll.linear_cross_entropy(X, W, [0, 1], bias=[1.0, 2.0]),
        ll.ShapeError,
        "linear_cross_entropy: bias is of shape (2,); expected (4,), one number for each class",
    ),
    "complex": (
        lambda: ll.linear_cross_entropy(X, W + 1j, [0, 1]),
        ll.DtypeError,
        "linear_cross_entropy: weight is of dtype complex128; expected float16, bfloat16, float32, float64, "
        "integers or bools; use weight.real or abs(weight)",
    ),
    "no weight": (
        lambda: ll.linear_cross_entropy(X, None, [0, 1]),
        ll.DtypeError,
        "linear_cross_entropy: weight is None; expected an array of numbers",
    ),
    "target": (
        lambda: ll.linear_cross_entropy(X, W, [0, 4]),
        ll.TargetError,
        "linear_cross_entropy: targets[1] is 4; expected a class in [0, 4) or ignore_index=-100",
    ),
    "rows": (
        lambda: ll.linear_cross_entropy(X, W, [0, 1, 2]),
        ll.ShapeError,
        "linear_cross_entropy: targets is of shape (3,); expected (2,) for class indices "
        "or (2, 4) for dense targets",
    ),
    "classes": (
        lambda: ll.linear_cross_entropy(X, W, np.zeros((2, 3))),
        ll.ShapeError,
        "linear_cross_entropy: targets is of shape (2, 3); expected (2,) for class indices "
        "or (2, 4) for dense targets; x @ weight.T has 4 classes, targets has 3",
    ),
    "memory": (
        lambda: ll.linear_cross_entropy(X, W, [0, 1], max_memory=-5),
        ll.OptionError,
        "linear_cross_entropy: max_memory is -5; expected a finite number above 0",
    ),
    "smoothing": (
        lambda: ll.linear_cross_entropy(X, W, [0, 1], label_smoothing=2),
        ll.OptionError,
        "linear_cross_entropy: label_smoothing is 2; expected a finite number in [0, 1]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_says_what_is_wrong(backend, name):
    call, error, text = WRONG[name]
    with raises(error, text):
        call()


def test_too_little_memory(core):
    with raises(
        ll.OptionError,
        "linear_cross_entropy: max_memory is 100; expected at least 824 bytes "
        "for x of shape (2, 3) and weight of shape (4, 3)",
    ):
        ll.linear_cross_entropy(X, W, [0, 1], max_memory=100)


def test_another_librarys_weight():
    torch = pytest.importorskip("torch")
    with raises(
        ll.DtypeError, "linear_cross_entropy: weight is a torch array; expected a numpy array, as x is"
    ):
        ll.linear_cross_entropy(X, torch.zeros(4, 3), [0, 1])

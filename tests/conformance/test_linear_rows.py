"""Which rows of the linear head are scored, and against which target: shifted targets, ignored rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from assertions import raises
from linear_cases import D, V, close, in_every_plan, on_tiles, targets_of
from random_arrays import numbers

import lastlayer as ll
from lastlayer.linear import array_ops

NAN = np.nan
B, L = 3, 7

SHIFTED = {
    "plain": {},
    "none": {"reduction": "none"},
    "sum": {"reduction": "sum", "label_smoothing": 0.1},
    "nothing ignored": {"ignore_index": None},
    "weights": {
        "sample_weight": np.arange(B * L).reshape(B, L) % 4 / 2,
        "class_weight": np.linspace(0, 2, V),
    },
    "position weights": {"sample_weight": np.arange(L) / 4, "z_loss": 0.1, "softcap": 3.0},
    "denominator": {"denominator": 10.0},
}


def batch(kind="index"):
    x, w, b = numbers(B, L, D), numbers(V, D, seed=3), numbers(V, seed=4)
    y = targets_of(kind, B * L)
    return x, w, b, y.reshape(B, L, *y.shape[1:])


def by_hand(x, w, b, y, shift, sample_weight=None, **options):
    """The same from copies: loss and gradients, with zeros for the positions that have no target."""
    kept = max(0, x.shape[1] - shift)
    if sample_weight is not None:
        s = np.broadcast_to(sample_weight, x.shape[:-1])
        options["sample_weight"] = s[:, x.shape[1] - kept :]
    loss, (dx, dw, db) = ll.linear_cross_entropy_grad(
        x[:, :kept], w, y[:, x.shape[1] - kept :], bias=b, **options
    )
    if options.get("reduction") == "none":
        loss = np.concatenate([loss, np.zeros((x.shape[0], x.shape[1] - kept))], 1)
    return loss, np.concatenate([dx, np.zeros_like(x[:, kept:])], 1), dw, db


@pytest.mark.parametrize("option", SHIFTED)
@pytest.mark.parametrize("kind", ["index", "ignored", "soft"])
@pytest.mark.parametrize("shift", [1, 2, 9])
def test_shifted_targets_are_those_of_later_positions(backend, kind, option, shift):
    options = SHIFTED[option]
    x, w, b, y = batch(kind)
    if option == "nothing ignored":
        y = np.maximum(y, 0)
    loss, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, shift=shift, **options)
    for name, a, e in zip(
        ("loss", "dx", "dweight", "dbias"),
        (loss, *gradients),
        by_hand(x, w, b, y, shift, **options),
        strict=True,
    ):
        close(a, e, 1e-14, name)
    forward = ll.linear_cross_entropy(x, w, y, bias=b, shift=np.int8(shift), **options)
    close(forward, loss, 1e-14, "loss alone")


@in_every_plan
def test_shifted_targets_in_every_plan(backend, plan):
    x, w, b, y = batch("ignored")
    expected = by_hand(x, w, b, y, 1, z_loss=0.1)
    loss, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, shift=1, z_loss=0.1)
    for a, e in zip((loss, *gradients), expected, strict=True):
        close(a, e, 1e-13, "result")


def test_shifted_statistics(backend):
    """Every position has statistics; the last ones have no target."""
    x, w, b, y = batch("ignored")
    stats, whole = ll.linear_row_stats(x, w, y, bias=b, shift=2), ll.linear_row_stats(x, w, bias=b)
    close(stats.lse, whole.lse, 1e-15, "lse")
    expected = ll.linear_cross_entropy(x[:, :-2], w, y[:, 2:], bias=b, reduction="none")
    close(stats.nll[:, :-2], expected, 1e-15, "nll")
    assert not stats.nll[:, -2:].any()


def test_one_sequence_and_none(backend):
    x, w, _, y = batch()
    close(
        ll.linear_cross_entropy(x[0], w, y[0], shift=1),
        ll.linear_cross_entropy(x[0, :-1], w, y[0, 1:]),
        1e-15,
        "loss",
    )
    assert ll.linear_cross_entropy(x[:0], w, y[:0], shift=1) == 0
    assert ll.linear_cross_entropy(x[0, 0], w, y[0, 0], shift=0) > 0
    targets = y[0].astype(np.uint8)  # which has no -100
    close(
        ll.linear_cross_entropy(x[0], w, targets, shift=3),
        ll.linear_cross_entropy(x[0, :-3], w, y[0, 3:]),
        1e-15,
        "loss",
    )


WRONG = {
    "negative": (
        lambda x, w, y: ll.linear_cross_entropy(x, w, y, shift=-1),
        ll.OptionError,
        "linear_cross_entropy: shift is -1; expected an int of 0 or more",
    ),
    "a float": (
        lambda x, w, y: ll.linear_cross_entropy_grad(x, w, y, shift=1.0),
        ll.OptionError,
        "linear_cross_entropy_grad: shift is 1.0; expected an int of 0 or more",
    ),
    "a row": (
        lambda x, w, y: ll.linear_row_stats(x[0, 0], w, y[0, 0], shift=1),
        ll.ShapeError,
        "linear_row_stats: shift is 1; expected 0 for a single row, which has no position",
    ),
    "target": (
        lambda x, w, y: ll.linear_cross_entropy(x, w, np.where(np.arange(L) == 4, 70, y), shift=2),
        ll.TargetError,
        "linear_cross_entropy: targets[0, 4] is 70; expected a class in [0, 70) or ignore_index=-100",
    ),
    "cut already": (
        lambda x, w, y: ll.linear_cross_entropy(x, w, y[:, 1:], shift=1),
        ll.ShapeError,
        "linear_cross_entropy: targets is of shape (3, 6); expected (3, 7) for class indices "
        "or (3, 7, 70) for dense targets",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_shift_says_what_is_wrong(backend, name):
    call, error, message = WRONG[name]
    x, w, _, y = batch()
    with raises(error, message):
        call(x, w, np.where(y == 0, 1, y))


# --- ignored rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [2, 40])
@pytest.mark.parametrize("value", [0.0, NAN, np.inf])
@in_every_plan
def test_ignored_rows_change_nothing(backend, plan, value, every):
    """Whether they are left out or stay where they are, and whatever they hold."""
    n = 80
    x, w, b, y = numbers(n, D), numbers(V, D, seed=3), numbers(V, seed=4), targets_of("index", n)
    ignored = np.arange(n) % every == 1
    y[ignored], x[ignored] = -100, value
    clean = ll.linear_cross_entropy_grad(x[~ignored], w, y[~ignored], bias=b, z_loss=0.1)
    loss, (dx, dw, db) = ll.linear_cross_entropy_grad(x, w, y, bias=b, z_loss=0.1)
    close(loss, clean[0], 1e-13, "loss")
    for a, e in zip((dx[~ignored], dw, db), clean[1], strict=True):
        close(a, e, 1e-13, "gradient")
    assert (dx[ignored] == 0).all()
    losses = ll.linear_cross_entropy(x, w, y, bias=b, z_loss=0.1, reduction="none")
    assert (losses[ignored] == 0).all()


def test_an_ignored_row_has_no_gradient_where_a_weight_is_infinite(backend):
    x, w, y = numbers(40, D), numbers(V, D, seed=3), targets_of("index", 40)
    w[7] = np.inf
    y[5] = -100
    dx = ll.linear_cross_entropy_grad(x, w, y, z_loss=0.1)[1][0]
    assert (dx[5] == 0).all()
    losses = ll.linear_cross_entropy(x, w, y, z_loss=0.1, reduction="none")
    assert losses[5] == 0


def test_x_is_not_copied(core, loop, monkeypatch):
    """A shift, or a few ignored rows, costs no second x; many ignored rows are not multiplied."""
    n, d, v = 64, 2000, 30
    x, w, y = numbers(8, n, d), numbers(v, d), targets_of("index", 8 * n, v).reshape(8, n)
    shapes = []
    loop()
    logits = array_ops.NumPyOps.logits

    def counting(self, x, *args):
        shapes.append(x.shape[0])
        logits(self, x, *args)

    monkeypatch.setattr(array_ops.NumPyOps, "logits", counting)
    for options, rows, copies in (
        ({"shift": 1}, 8 * n, 0.0),
        ({"ignore_index": 3}, 8 * n, 0.0),
        ({"sample_weight": np.arange(n) % 4 == 0}, 2 * n, 0.25),
    ):
        ll.linear_cross_entropy(x, w, y, **options)
        shapes.clear()
        tracemalloc.start()
        ll.linear_cross_entropy(x, w, y, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(shapes) == rows
        assert peak < copies * x.nbytes + 0.1 * x.nbytes


# --- statistics ---------------------------------------------------------------------------------------------

FIELDS = ("nll", "lse", "entropy", "confidence", "sum_p2", "argmax", "rank", "correct")


def same(stats, x, w, b, y, tolerance=1e-13, **options):
    """Whether these are the statistics of the logits."""
    expected = ll.row_stats(x @ w.T + b, y, **options)
    for name in FIELDS:
        if name in ("rank", "correct") and expected.rank is None:
            continue
        close(getattr(stats, name), getattr(expected, name), tolerance, name)


@in_every_plan
@pytest.mark.parametrize("kind", ["index", "ignored", "soft"])
@pytest.mark.parametrize(
    "options", [{}, {"softcap": 2.0, "temperature": 0.7, "label_smoothing": 0.1}], ids=str
)
def test_statistics_with_the_loss(backend, kind, plan, options):
    """Those of the logits, in ignored rows too, beside the loss and gradients without them."""
    x, w, b, y = batch(kind)
    extra = {**options, "z_loss": 0.1}
    expected, gradients = ll.linear_cross_entropy_grad(x, w, y, bias=b, **extra)
    loss, stats = ll.linear_cross_entropy(x, w, y, bias=b, **extra, return_stats=True)
    close(loss, expected, 1e-15, "loss")
    same(stats, x, w, b, y, **options)
    loss, found, stats = ll.linear_cross_entropy_grad(x, w, y, bias=b, **extra, return_stats=True)
    close(loss, expected, 1e-15, "loss")
    for a, e in zip(found, gradients, strict=True):
        close(a, e, 1e-15, "gradient")
    same(stats, x, w, b, y, **options)


def test_statistics_where_few_rows_or_none_count(backend):
    x, w, b, y = batch()
    for s in (np.arange(L) != 3, np.arange(B * L).reshape(B, L) != 5, np.zeros(L), np.ones((B, L)) / 2):
        loss, stats = ll.linear_cross_entropy(x, w, y, bias=b, sample_weight=s, return_stats=True)
        close(loss, ll.linear_cross_entropy(x, w, y, bias=b, sample_weight=s), 1e-15, "loss")
        same(stats, x, w, b, y, sample_weight=s)
    losses, stats = ll.linear_cross_entropy(x, w, y, bias=b, shift=2, reduction="none", return_stats=True)
    close(losses, stats.nll, 1e-15, "losses")
    assert (stats.rank[:, -2:] == -1).all()
    loss, stats = ll.linear_cross_entropy(x, w, y, bias=b, denominator=0, return_stats=True)
    assert loss == 0
    same(stats, x, w, b, y)
    loss, stats = ll.linear_cross_entropy(x[:0], w, y[:0], return_stats=True)
    assert stats.rank.shape == stats.nll.shape == (0, L)


def test_statistics_of_a_row_of_nan(backend):
    """In an ignored row too, and nowhere else."""
    x, w, b, y = batch("ignored")
    x[0, 1], x[2, 2] = NAN, NAN
    _, stats = ll.linear_cross_entropy(x, w, y, bias=b, return_stats=True)
    for name in ("lse", "entropy", "confidence"):
        assert np.argwhere(np.isnan(getattr(stats, name))).tolist() == [[0, 1], [2, 2]]
    assert stats.nll[0, 1] == 0
    assert np.argwhere(stats.argmax < 0).tolist() == [[0, 1], [2, 2]]
    assert stats.rank[0, 1] == stats.rank[2, 2] == -1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@on_tiles("sizes", [(8, 16), (40, 5), (3, 70)])
def test_rank_counts_ties_by_class(backend, cut, dtype, sizes):
    """Small whole numbers: products without rounding, and many ties, some of them with the target."""
    cut(*sizes, 1)
    rng = np.random.default_rng(0)
    x, w, b = (rng.integers(-1, 2, shape).astype(dtype) for shape in ((40, 4), (V, 4), V))
    y = rng.integers(0, V, 40)
    y[::4] = (x @ w.T + b).argmax(1)[::4]
    stats = ll.linear_row_stats(x, w, y, bias=b)
    expected = ll.row_stats((x @ w.T + b).astype(np.float64), y)
    assert stats.rank.tolist() == expected.rank.tolist()
    assert stats.correct.tolist() == expected.correct.tolist() == (stats.argmax == y).tolist()
    assert 0 < stats.correct.sum() < 40


def test_the_best_class_has_rank_0_and_no_other(core, cut):
    """Though rounding may make the target's logit another when it is computed by itself."""
    cut(8, 16, 1)
    x = numbers(64, 33).astype(np.float32)
    w = np.repeat(numbers(20, 33, seed=1), 2, 0).astype(np.float32)  # every class twice
    y = ll.linear_row_stats(x, w).argmax
    assert (ll.linear_row_stats(x, w, y).rank == 0).all()
    assert (ll.linear_row_stats(x, w, y + 1).rank >= 1).all()
    assert (ll.linear_row_stats(x, w, y + 1).rank <= 2).all()


def test_impossible_classes_and_targets(backend, cut):
    cut(4, 16, 1)
    x, w, b, y = batch()
    b[10:50] = -np.inf
    y[0, :3] = 20, 60, 3
    stats, expected = ll.linear_row_stats(x, w, y, bias=b), ll.row_stats(x @ w.T + b, y)
    possible = np.isfinite(b)[y]
    assert (stats.nll[~possible] == np.inf).all()
    assert stats.rank.tolist() == expected.rank.tolist()
    close(stats.nll[possible], expected.nll[possible], 1e-13, "nll")
    close(stats.entropy, expected.entropy, 1e-13, "entropy")

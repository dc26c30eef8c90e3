"""Dense and top-k targets of rows of several axes, on any class axis; and names of such rows."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

NAMES = list("abcd")


def data(length, seed=0):
    r = np.random.default_rng(seed)
    q = r.dirichlet(np.full(4, 2.0), (7, length))
    z = np.log(q) * 1.5 + r.normal(size=q.shape) / 2
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    return z, q, -(q * np.log(p)).sum(axis=-1).mean(), ((p - q) ** 2).sum(axis=-1).mean()


@pytest.mark.parametrize("length", [4, 5])  # 4: the array says nothing of its axis
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("labels", [None, NAMES])
def test_the_classes_are_where_the_scores_have_them(length, axis, labels):
    z, q, loss, brier = data(length)
    scores, targets = (np.moveaxis(a, -1, axis) for a in (z, q))
    tally = ll.Tally(4, axis=axis, labels=labels)
    tally.update(scores, targets)
    for found in (tally.result(), ll.evaluate(scores, targets, axis=axis, labels=labels)):
        assert [found.log_loss.value, found.brier.value] == pytest.approx([loss, brier], rel=1e-12)
        assert found.n == 7 * length
    assert not ll.evaluate(scores, targets, axis=axis).findings
    t = ll.fit_temperature(scores, targets, axis=axis)
    assert t.value == ll.fit_temperature(z, q).value


def test_dense_targets_of_another_axis_are_refused():
    z, q, *_ = data(5)
    rule = "expected (7, 5) for class indices or (7, 4, 5) for dense targets"
    with raises(ll.ShapeError, f"evaluate: targets is of shape (7, 5, 4); {rule}"):
        ll.evaluate(np.moveaxis(z, -1, 1), q, axis=1)


def test_a_checkpoint_with_dense_targets_of_sequences(tmp_path):
    z, q, *_ = data(5)
    whole = ll.evaluate(z, q, checkpoint=tmp_path / "c")
    assert ll.evaluate(z, q, checkpoint=tmp_path / "c") == whole


def test_a_top_k_row_without_an_entry_is_ignored():
    z, q, *_ = data(5)
    z, q = z[:, 0], q[:, 0]
    indices = np.tile(np.arange(4), (7, 1))
    indices[[1, 4]] = -100  # all of them; of row 5 one alone
    indices[5, 2] = -100
    q[5, 2] = 0
    tally, rest, dense = ll.Tally(4), ll.Tally(4), ll.Tally(4)
    tally.update(z, (indices, q))
    dense.update(z[[0, 2, 3, 5, 6]], q[[0, 2, 3, 5, 6]])
    assert (tally.n, tally.ignored) == (5, 2)
    assert tally.result().log_loss == dense.result().log_loss
    assert tally.result().ranks.weight.tolist() == dense.result().ranks.weight.tolist()
    rest.update(z, (indices, q, np.full(7, 0.5)))  # which is spread over all classes
    assert (rest.n, rest.ignored) == (7, 0)
    none = ll.Tally(4, ignore_index=None)
    with raises(ll.TargetError, "Tally.update: targets[0] is -100; expected classes in [0, 4)"):
        none.update(z, (indices, q))
    kept = [0, 2, 3, 5, 6]
    assert ll.fit_temperature(z, (indices, q)).value == ll.fit_temperature(z[kept], q[kept]).value


def test_names_have_the_shape_of_the_rows():
    z, q, *_ = data(5)
    names = np.array(NAMES)[q.argmax(axis=-1)]
    tally = ll.Tally(4, labels=NAMES)
    tally.update(z, names)
    with raises(
        ll.ShapeError, "Tally.update: targets is of shape (5, 7); expected (7, 5), a name for each row"
    ):
        tally.update(z, names.T)
    assert tally.n == 35
    text = "Tally.update: targets[0] is 0; expected one of labels ('a', 'b', 'c', 'd')"
    with raises(ll.TargetError, f"{text}; leave labels out where targets are class indices"):
        tally.update(z, np.zeros((7, 5), int))


def test_parts_of_top_k_targets_have_the_shape_of_the_rows():
    z, q, *_ = data(5)
    index = np.argsort(-q, axis=-1)[..., :2]
    p = np.take_along_axis(q, index, axis=-1)
    rest = 1 - p.sum(axis=-1)
    dense = np.repeat(rest[..., None] / 4, 4, axis=-1)
    np.put_along_axis(dense, index, np.take_along_axis(dense, index, axis=-1) + p, axis=-1)
    for axis in (-1, 1):
        found = ll.evaluate(np.moveaxis(z, -1, axis), (index, p, rest), axis=axis)
        assert found.log_loss.value == pytest.approx(ll.evaluate(z, dense).log_loss.value, rel=1e-12)
    other = np.moveaxis(index, -1, 1)
    for targets, error, text in (
        ((other, np.moveaxis(p, -1, 1)), ll.ShapeError, "[0] is of shape (7, 2, 5); expected (7, 5, K)"),
        ((index, p[..., :1]), ll.ShapeError, "[1] is of shape (7, 5, 1); expected (7, 5, 2)"),
        ((index, p, rest[:, :1]), ll.ShapeError, "[2] is of shape (7, 1); expected (7, 5)"),
        (
            (index / 2, p),
            ll.DtypeError,
            "[0] is of dtype float64; expected integers as class indices",
        ),
    ):
        with raises(error, f"evaluate: targets{text}"):
            ll.evaluate(z, targets)

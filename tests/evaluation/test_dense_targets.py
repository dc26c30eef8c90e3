"""Dense targets of rows of several axes, on any class axis; with names of the classes; and names of rows."""

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

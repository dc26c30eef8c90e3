"""The temperature of logits that are computed from features: some rows at a time, of rows of any axes."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll


def head(n, classes, features=6):
    r = np.random.default_rng(2)
    w, b, x = r.normal(size=(classes, features)), r.normal(size=classes), r.normal(size=(n, features))
    z = x @ w.T + b
    return x.astype(np.float32), w, b, (z / 2 + r.gumbel(size=z.shape)).argmax(1)


def test_it_is_that_of_the_logits():
    x, w, b, y = head(400, 4)
    z = x.astype(np.float64) @ w.T + b
    found, expected = ll.fit_temperature(x, y, weight=w, bias=b), ll.fit_temperature(z, y)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert ll.fit_temperature(x, y, weight=w).value == pytest.approx(
        ll.fit_temperature(z - b, y).value, rel=1e-12
    )


def test_a_linear_head_makes_some_logits_at_a_time(monkeypatch):
    """Counted: the numbers that are in memory at once, and the rows, each of them once a pass."""
    import tracemalloc

    from lastlayer.evaluation.readers import linear

    n, classes = 5000, 500
    x, w, b, y = head(n, classes)
    expected = ll.fit_temperature(x.astype(np.float64) @ w.T + b, y)
    monkeypatch.setattr(linear, "_LOGITS", 1 << 15)
    monkeypatch.setattr(linear, "_WEIGHTS", 7 * 6)  # 7 classes at once
    told = []
    tracemalloc.start()
    found = ll.fit_temperature(x, y, weight=w, bias=b, progress=lambda *a: told.append(a))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 9 << 20  # all logits: 20 MB in float64
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.log_loss_after == pytest.approx(expected.log_loss_after, rel=1e-12)
    step = (1 << 15) // classes
    rows = [*range(step, n, step), n]
    assert told == [(k, n, k * 6 * 4) for k in rows] * (found.steps + 2)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("form", ["index", "dense", "top-k", "names"])
def test_a_linear_head_of_rows_with_two_axes(monkeypatch, axis, form):
    from lastlayer.evaluation.readers import arrays, linear

    x, w, b, y = head(300, 5)
    q = ll.softmax(x @ w.T + b, temperature=2.0)
    order = np.argsort(-q, axis=1)
    weights = np.random.default_rng(4).random((20, 1))
    targets, more = {
        "index": (y, {}),
        "dense": (q, {}),
        "top-k": ((order, np.take_along_axis(q, order, 1), np.zeros(300)), {}),
        "names": (np.array(["a", "b", "c", "d", "e"], dtype=object)[y], {"labels": list("abcde")}),
    }[form]
    flat = np.repeat(weights, 15)
    expected = ll.fit_temperature(x, targets, weight=w, bias=b, sample_weight=flat, **more)

    def folded(array):
        return array.reshape(20, 15, *array.shape[1:])

    monkeypatch.setattr(arrays, "BLOCK_BYTES", 40 * 6 * 4)
    monkeypatch.setattr(linear, "_LOGITS", 5 * 7)
    targets = tuple(map(folded, targets)) if form == "top-k" else folded(targets)
    z = np.moveaxis(folded(x), -1, axis)
    more |= {"sample_weight": weights[:, 0], "axis": axis}
    found = ll.fit_temperature(z, targets, weight=w, bias=b, **more)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.n == expected.n
    z = np.moveaxis(folded(np.where(np.arange(300)[:, None] == 64, np.nan, x)), -1, axis)
    with raises(ll.OptionError, "fit_temperature: scores[64] is not finite; expected finite logits"):
        ll.fit_temperature(z, targets, weight=w, bias=b, **more)


def test_a_linear_head_that_does_not_fit():
    x, w, b, y = head(30, 5)
    rule = "expected (V, 6), a row for each class"
    with raises(ll.ShapeError, f"fit_temperature: weight is of shape (6, 5); {rule}"):
        ll.fit_temperature(x, y, weight=w.T)
    with raises(
        ll.ShapeError, "fit_temperature: bias is of shape (4,); expected (5,), a number for each class"
    ):
        ll.fit_temperature(x, y, weight=w, bias=b[1:])
    with raises(ll.OptionError, "fit_temperature: binary is True; expected False with weight="):
        ll.fit_temperature(x[:, :1], y, weight=w, binary=True)

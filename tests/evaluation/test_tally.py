"""A tally: the same bytes for any split and order of the rows, and rows that are given in other ways."""

from __future__ import annotations

import numpy as np
import pytest
from evaluations import rows
from hypothesis import given, settings
from hypothesis import strategies as st

import lastlayer as ll

V = 4

FACTS = {
    "sample_weight": lambda r, n: r.exponential(size=n),
    "n_bytes": lambda r, n: r.integers(0, 9, n),
    "groups": lambda r, n: np.array(["de", "en", "fr"])[r.integers(0, 3, n)],
    "documents": lambda r, n: r.integers(0, 5, n),
    "positions": lambda r, n: r.integers(0, 7, n),
    "rows": lambda _, n: np.arange(n),
}


@given(
    st.integers(1, 40),
    st.integers(0, 1000),
    st.sets(st.sampled_from(sorted(FACTS))),
    st.lists(st.integers(0, 40), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_any_split_and_order_gives_the_same_bytes(n, seed, names, cuts):
    r = np.random.default_rng(seed)
    z, y = rows(n, seed)
    y = np.where(r.random(n) < 0.1, -100, y)
    z[r.random(n) < 0.05] = np.nan
    z[r.random(n) < 0.05, 0] = np.inf
    facts = {name: FACTS[name](r, n) for name in names}
    whole = ll.Tally(V, classwise=True)
    whole.update(z, y, **facts)
    order = r.permutation(n)
    parts = []
    for index in np.split(order, sorted(c for c in cuts if c < n)):
        part = ll.Tally(V, classwise=True)
        for some in np.array_split(index, 2):
            part.update(z[some], y[some], **{k: v[some] for k, v in facts.items()})
        parts.append(ll.Tally.from_bytes(part.to_bytes()))
    assert sum(parts[::-1]).to_bytes() == whole.to_bytes()
    assert sum(parts).result().to_json() == whole.result().to_json()


def test_rows_of_a_linear_head_and_of_row_statistics():
    r = np.random.default_rng(1)
    x, w, b = r.normal(size=(50, 8)), r.normal(size=(V, 8)), r.normal(size=V)
    y = r.integers(0, V, 50)
    logits, linear, stats = ll.Tally(V), ll.Tally(V), ll.Tally(V)
    logits.update(x @ w.T + b, y)
    linear.update_linear(x, w, y, bias=b)
    stats.update_stats(ll.row_stats(x @ w.T + b, y), y)
    expected = logits.result().to_dict()
    for tally in (linear, stats):
        found = tally.result()
        assert found.log_loss == pytest.approx(logits.result().log_loss)
        assert found.accuracy == logits.result().accuracy
        assert found.brier == pytest.approx(logits.result().brier)
        assert found.to_dict().keys() == expected.keys()


def test_dense_and_top_k_targets():
    z, y = rows(30)
    q = np.random.default_rng(2).dirichlet(np.ones(V), 30)
    dense, listed = ll.Tally(V), ll.Tally(V)
    dense.update(z, q)
    order = np.argsort(-q, axis=1)
    listed.update(z, (order, np.take_along_axis(q, order, 1)))
    found = dense.result()
    p = ll.softmax(z.astype(np.float64))
    assert float(found.log_loss) == pytest.approx(float(ll.cross_entropy(z, q)), rel=1e-6)
    assert float(found.brier) == pytest.approx(((p - q) ** 2).sum(1).mean())
    assert float(found.accuracy) == (z.argmax(1) == q.argmax(1)).mean()
    assert float(listed.result().log_loss) == pytest.approx(float(found.log_loss))
    one_hot, index = ll.Tally(V), ll.Tally(V)
    one_hot.update(z, np.eye(V, dtype=int)[y])
    index.update(z, y)
    assert float(one_hot.result().log_loss) == pytest.approx(float(index.result().log_loss))


def test_weights_are_repetitions():
    z, y = rows(20)
    w = np.random.default_rng(3).integers(0, 4, 20)
    weighted, repeated = ll.Tally(V), ll.Tally(V)
    weighted.update(z, y, sample_weight=w)
    repeated.update(np.repeat(z, w, 0), np.repeat(y, w))
    a, b = weighted.result(), repeated.result()
    for name in ("log_loss", "accuracy", "brier", "mean_entropy", "mean_reciprocal_rank"):
        assert getattr(a, name).value == pytest.approx(getattr(b, name).value, rel=1e-15)
    for name in ("matthews", "ece", "mce", "ece_equal_mass", "balanced_accuracy", "skill"):
        assert getattr(a, name) == pytest.approx(getattr(b, name))
    assert a.ignored == (w == 0).sum()

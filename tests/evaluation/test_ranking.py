"""The areas under the curves: against scikit-learn's, their bounds, and the same bytes for any split."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from assertions import raises
from hypothesis import given, settings
from hypothesis import strategies as st

import lastlayer as ll
from lastlayer.evaluation import ranking
from lastlayer.evaluation.ranking import Ranking, keys_of


def binary(n, seed=0, places=None):
    r = np.random.default_rng(seed)
    x = r.normal(size=n) * 2
    y = (r.random(n) < 1 / (1 + np.exp(-x))).astype(int)
    return x if places is None else x.round(places), y


def same(found, expected):
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("places", [None, 1, 0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
def test_binary_is_exact_up_to_65536_scores(kind, weighted, places):
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = binary(3000, places=places)
    w = np.random.default_rng(1).exponential(size=len(x)) if weighted else None
    scores = {"logits": x, "probabilities": 1 / (1 + np.exp(-x)), "log-probabilities": -np.log1p(np.exp(-x))}
    found = ll.evaluate(scores[kind], y, kind=kind, binary=True, sample_weight=w)
    same(found.roc_auc, metrics.roc_auc_score(y, scores[kind], sample_weight=w))
    same(found.average_precision, metrics.average_precision_score(y, scores[kind], sample_weight=w))
    assert (found.roc_auc_bound, found.average_precision_bound) == (0.0, 0.0)
    assert found.roc_auc_by_class is None


@pytest.mark.parametrize("limit", [2, 5, 64, 1024])
@pytest.mark.parametrize("weighted", [False, True])
def test_more_scores_than_are_told_apart_are_within_the_bound(monkeypatch, limit, weighted):
    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr(ranking, "_SCORES", limit)
    monkeypatch.setattr(ranking, "limit_of", lambda _: limit)
    monkeypatch.setattr("lastlayer.evaluation.tally.limit_of", lambda _: limit)
    x, y = binary(3000)
    w = np.random.default_rng(1).exponential(size=len(x)) if weighted else None
    tally = ll.Tally(2, binary=True)
    tally.update(x, y, sample_weight=w)
    assert limit / 4 < len(tally.rankings[0].keys) <= limit
    found = tally.result()
    roc = metrics.roc_auc_score(y, x, sample_weight=w)
    precision = metrics.average_precision_score(y, x, sample_weight=w)
    assert abs(found.roc_auc - roc) <= found.roc_auc_bound
    assert abs(found.average_precision - precision) <= found.average_precision_bound
    assert found.roc_auc_bound < 1.1 / limit
    assert found.average_precision_bound < 3 / limit


def test_more_scores_than_are_kept():
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = binary(1 << 18)
    found = ll.evaluate(x, y, binary=True)
    assert abs(found.roc_auc - metrics.roc_auc_score(y, x)) <= found.roc_auc_bound < 2e-5
    expected = metrics.average_precision_score(y, x)
    assert abs(found.average_precision - expected) <= found.average_precision_bound < 4e-5


@pytest.mark.parametrize("weighted", [False, True])
def test_each_class_against_the_rest(weighted):
    metrics = pytest.importorskip("sklearn.metrics")
    r = np.random.default_rng(0)
    z, y = r.normal(size=(1000, 4)), r.integers(0, 4, 1000)
    z[np.arange(1000), y] += 1
    w = r.exponential(size=1000) if weighted else None
    p = ll.softmax(z)
    found = ll.evaluate(z, y, classwise=True, sample_weight=w)
    for j in range(4):
        same(found.roc_auc_by_class[j], metrics.roc_auc_score(y == j, p[:, j], sample_weight=w))
        precision = metrics.average_precision_score(y == j, p[:, j], sample_weight=w)
        same(found.average_precision_by_class[j], precision)
    same(found.roc_auc, metrics.roc_auc_score(y, p, multi_class="ovr", sample_weight=w))
    same(found.average_precision, found.average_precision_by_class.mean())
    assert found.roc_auc_bound == 0.0
    assert ll.evaluate(z, y).roc_auc is None


def test_classes_that_do_not_occur():
    r = np.random.default_rng(0)
    z, y = r.normal(size=(50, 3)), r.integers(0, 2, 50)
    found = ll.evaluate(z, y, classwise=True)
    assert math.isnan(found.roc_auc_by_class[2])
    same(found.roc_auc, found.roc_auc_by_class[:2].mean())
    json.loads(found.to_json())
    found = ll.evaluate(z[:, 0], np.ones(50, int), binary=True)
    assert math.isnan(found.roc_auc)
    assert {"roc_auc", "average_precision"} <= set(found.undefined)


@given(st.lists(st.floats(allow_nan=False, width=32), max_size=50))
@settings(max_examples=50, deadline=None)
def test_keys_are_in_the_order_of_the_scores(values):
    x = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, *values], np.float64)
    key = keys_of(x, "logits")
    assert ((x[:, None] < x) == (key[:, None] < key)).all()
    assert ((x[:, None] == x) == (key[:, None] == key)).all()
    tiny = np.exp(-np.abs(np.nan_to_num(x)))
    p = np.concatenate([tiny, 1 - tiny, [0.0, 0.5, np.nextafter(0.5, 1), np.nextafter(1, 0), 1.0]])
    key = keys_of(p, "probabilities")
    assert ((p[:, None] < p) == (key[:, None] < key)).all()
    assert ((p[:, None] == p) == (key[:, None] == key)).all()


@given(st.integers(1, 300), st.integers(2, 40), st.integers(0, 1000), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_split_and_order_gives_the_same_counts(n, limit, seed, weighted):
    r = np.random.default_rng(seed)
    keys, hit = keys_of(r.normal(size=n) * 10.0 ** r.integers(-9, 9), "logits"), r.random(n) < 0.3
    w = r.exponential(size=n) * 2.0 ** r.integers(0, 31, n) if weighted else None
    whole = Ranking(limit)
    whole.add(keys, hit, w)
    assert len(whole.keys) <= limit
    total = Ranking(limit)
    for index in np.array_split(r.permutation(n), r.integers(1, 6)):
        part = Ranking(limit)
        for some in np.array_split(index, r.integers(1, 4)):
            part.add(keys[some], hit[some], None if w is None else w[some])
        total.merge(Ranking.from_dict(json.loads(json.dumps(part.to_dict()))))
    assert total.to_dict() == whole.to_dict()


def test_rows_that_have_no_place():
    x = np.array([0.1, np.nan, 2.0, -np.inf, np.inf, -1.0])
    tally = ll.Tally(2, binary=True)
    tally.update(x, [0, 1, 1, 0, 1, -100])
    found = tally.result()
    assert (found.n, found.invalid, found.ignored) == (5, 2, 1)
    assert found.roc_auc == 1.0  # of 0.1, 2 and -inf
    assert sum(int(s.values().sum()) for s in tally.rankings[0].sums) == 3


def test_row_statistics_have_no_scores():
    rule = "expected False where only row statistics are known"
    with raises(ll.OptionError, f"Tally.update_stats: binary is True; {rule}"):
        ll.Tally(2, binary=True).update_stats(ll.row_stats(np.zeros((1, 2)), [0]), [0])

"""How often the target has each rank: counts by hand, and cumulated the top-k accuracy of every bucket."""

from __future__ import annotations

import json

import numpy as np
import pytest
from assertions import raises
from evaluations import rows

import lastlayer as ll
from lastlayer.evaluation.ranks import RANK_STARTS, rank_bucket, rank_ends, rank_starts


def test_where_buckets_begin():
    assert RANK_STARTS[:128].tolist() == list(range(128))
    assert RANK_STARTS[128:138].tolist() == [128, 153, 182, 216, 256, 305, 363, 431, 512, 609]
    for k, start in enumerate(RANK_STARTS[128:].tolist()):  # the least integer of 2^(7 + k / 4) or more
        assert (start - 1) ** 4 < 2 ** (28 + k) <= start**4
    assert int(RANK_STARTS[-1]) >= 2**62


@pytest.mark.parametrize("classes", [1, 2, 127, 128, 129, 153, 154, 1000, 128_256, 2**31])
def test_buckets_hold_each_rank_once(classes):
    first, last = rank_starts(classes), rank_ends(classes)
    assert first[0] == 0
    assert last[-1] == classes - 1
    assert (first <= last).all()
    assert first[1:].tolist() == (last[:-1] + 1).tolist()
    assert rank_bucket(first).tolist() == rank_bucket(last).tolist() == list(range(len(first)))


def test_counts_by_hand():
    z = np.array([[3.0, 2, 1], [3, 2, 1], [1, 1, 1], [0, 5, 9], [np.nan, 0, 0], [1, 2, 3], [1, 2, 3]])
    y = [0, 2, 1, 0, 0, -100, 9]  # ranks 0, 2, 1 (the first of equal scores), 2; invalid; ignored; no class
    w = [1.0, 0.5, 2.0, 0.25, 8.0, 1.0, 4.0]
    plain, weighted = ll.Tally(3, unknown="wrong"), ll.Tally(3, unknown="wrong")
    plain.update(z, y)
    weighted.update(z, y, sample_weight=w)
    found, expected = plain.result(), [1.0, 1.0, 2.0]
    assert (found.ranks.first.tolist(), found.ranks.last.tolist()) == ([0, 1, 2], [0, 1, 2])
    assert found.ranks.weight.tolist() == expected
    assert found.weight == 6  # with the invalid row and that of no class
    assert weighted.result().ranks.weight.tolist() == [1.0, 2.0, 0.75]
    assert (plain + weighted).result().ranks.weight.tolist() == [2.0, 3.0, 2.75]
    saved = json.loads(found.to_json())["ranks"]
    assert saved == {"first": [0, 1, 2], "last": [0, 1, 2], "weight": expected}


@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cumulated_they_are_the_top_k_accuracy(kind, weighted):
    classes, n = 1500, 400
    r = np.random.default_rng(0)
    z, y = r.normal(size=(n, classes)), r.integers(0, classes, n)
    z[np.arange(0, n, 2), y[::2]] += 2
    z[:3] = 0  # the lower class first
    place = np.argsort(np.argsort(-z, axis=1, kind="stable"), axis=1)[np.arange(n), y]
    w = r.integers(1, 5, n) / 4 if weighted else np.ones(n)
    scores = {"logits": z, "probabilities": ll.softmax(z), "log-probabilities": ll.log_softmax(z)}[kind]
    found = ll.evaluate(scores, y, kind=kind, sample_weight=w if weighted else None).ranks
    assert len(found.first) == 128 + 15  # 128, 153, ..., 1218, 1449
    cumulated = np.cumsum(found.weight)
    expected = [w[place <= last].sum() for last in found.last]
    assert cumulated.tolist() == expected
    assert cumulated[-1] == w.sum()


def test_two_classes_one_class_and_no_rows():
    x = np.array([2.0, -1.0, 0.5, 0.0])
    found = ll.evaluate(x, [1, 1, 0, 0], binary=True).ranks
    assert found.weight.tolist() == [2.0, 2.0]
    assert ll.evaluate(np.zeros((3, 1)), [0, 0, 0]).ranks.weight.tolist() == [3.0]
    assert ll.Tally(5).result().ranks.weight.tolist() == [0.0] * 5


def test_ranks_of_row_statistics():
    z, y = rows(50)
    direct, by_stats = ll.Tally(4), ll.Tally(4)
    direct.update(z, y)
    by_stats.update_stats(ll.row_stats(z, y), y)
    assert by_stats.ranks.to_dict() == direct.ranks.to_dict()
    more = ll.row_stats([[5.0, 4, 3, 2, 1]], [4])  # its argmax is one of 4 classes, its rank is not
    with raises(ll.OptionError, "Tally.update_stats: stats is of more classes; expected of 4 classes"):
        ll.Tally(4).update_stats(more, [0])

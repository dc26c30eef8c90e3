"""Confidence, top-k accuracy and ranks, against NumPy, scikit-learn, statsmodels and numbers by hand."""

from __future__ import annotations

import numpy as np
import pictures
import pytest

import lastlayer as ll
from lastlayer.evaluation.estimates import Moments, of_proportion, trials_of
from lastlayer.plots import ConfidenceDisplay, RankDisplay, TopKDisplay


def ranks(z, y):
    """The number of classes above the target's."""
    return (z > z[np.arange(len(y)), y][:, None]).sum(1)


def test_confidence_is_a_stacked_histogram():
    z, y = pictures.rows(500, 4)
    p = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)).max(1)
    right = z.argmax(1) == y
    display = ll.evaluate(z, y).plot_confidence()
    edges = np.arange(16) / 15
    for bars, chosen in ((display.right_, right), (display.wrong_, ~right)):
        counts = np.histogram(p[chosen], edges)[0]
        there = np.histogram(p, edges)[0] > 0
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, counts[there] / 500, rtol=1e-9, atol=1e-15)
    for low, high in zip(display.right_, display.wrong_, strict=True):
        assert low.get_y() == 0
        assert high.get_y() == low.get_height()
    found = [line.get_xdata()[0] for line in display.lines_]
    np.testing.assert_allclose(found, [p.mean(), right.mean()], rtol=1e-12)


def test_what_confidence_says():
    display = ConfidenceDisplay(edges=[0, 0.5, 1], weight=[4, 1], accuracy=[0.25, 1.0]).plot()
    assert [text for _, text in display.shown_] == [
        "confidence 0 to 0.5: 1 row right, 20 %",
        "confidence 0 to 0.5: 3 rows wrong, 60 %",
        "confidence 0.5 to 1: 1 row right, 20 %",
        "confidence 0.5 to 1: 0 rows wrong, 0 %",
    ]
    assert display.table()[1] == [[0.0, 0.5, 4.0, 1.0, 3.0], [0.5, 1.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("classes", [4, 30, 400])
def test_top_k_is_that_of_scikit_learn(classes):
    from sklearn.metrics import top_k_accuracy_score

    z, y = pictures.rows(300, classes)
    display = ll.evaluate(z, y, top_k=(1, 3)).plot_top_k()
    head, rows = display.table()
    assert head == ["k", "accuracy", "low", "high"]
    assert rows[-1][:2] == [classes, 1.0]
    for k, value, low, high in rows[: classes - 1][:40]:
        expected = top_k_accuracy_score(y, z, k=k, labels=np.arange(classes))
        assert value == pytest.approx(expected, abs=1e-12)
        assert low <= value <= high
    points = [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in display.points_]
    assert points == [(row[0], row[1]) for row in rows]
    assert display.line_.get_ydata().tolist() == [row[1] for row in rows]


def test_intervals_of_the_curve_are_wilsons():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    z, y = pictures.rows(200, 6)
    _, rows = ll.evaluate(z, y, top_k=2).plot_top_k().table()
    place = ranks(z, y)
    for k, _, low, high in rows:
        expected = proportion.proportion_confint((place < k).sum(), 200, method="wilson")
        np.testing.assert_allclose([low, high], expected, rtol=1e-9, atol=1e-12)


def test_estimates_keep_their_intervals():
    estimates = {1: (0.5, 0.1, 0.25, 0.75), 9: (1.0, 0.0, 1.0, 1.0)}  # 9 of 3 classes is left out
    display = TopKDisplay(k=[1, 2, 3], accuracy=[0.5, 0.75, 1], classes=3, estimates=estimates).plot()
    assert [line.get_ydata().tolist() for line in display.intervals_] == [[0.25, 0.75]]
    assert display.band_ is None
    assert [text for _, text in display.shown_] == [
        "top-1 accuracy 0.5 [0.25, 0.75]", "top-2 accuracy 0.75", "top-3 accuracy 1",
    ]  # fmt: skip


def test_a_long_curve_has_few_points():
    k = np.arange(1, 901)
    display = TopKDisplay(k=k, accuracy=k / 900, classes=900).plot()
    assert len(display.shown_) <= 401
    assert display.points_[-1].get_xdata()[0] == 900
    assert display.line_.get_xdata().tolist() == k.tolist()


@pytest.mark.parametrize("hits", [0, 7, 20])
def test_the_trials_of_a_proportion(hits):
    assert trials_of(of_proportion(Moments(20, 20, hits, hits, hits))) == pytest.approx(20)


def test_ranks_are_counted():
    z, y = pictures.rows(300, 6)
    display = ll.evaluate(z, y).plot_rank()
    counts = np.bincount(ranks(z, y), minlength=6)
    assert [bar.get_height() for bar in display.bars_] == (counts[counts > 0] / 300).tolist()
    middle = [bar.get_x() + bar.get_width() / 2 for bar in display.bars_]
    np.testing.assert_allclose(middle, 1 + np.flatnonzero(counts))
    assert display.table()[1] == [
        [k + 1, k + 1, float(counts[k]), counts[k] / 300] for k in np.flatnonzero(counts).tolist()
    ]


def test_ranks_of_many_classes_are_joined():
    """Ranks 0 to 9 alone or in pairs, then four ranges an octave."""
    rank = np.arange(100)
    display = RankDisplay(first=rank, last=rank, weight=np.ones(100), total=200, classes=100).plot()
    texts = [text for _, text in display.shown_]
    assert texts[0] == "place 1: 1 row, 0.5 %"
    assert texts[8:10] == ["places 9 to 10: 2 rows, 1 %", "places 11 to 12: 2 rows, 1 %"]
    assert texts[-1] == "places 92 to 100: 9 rows, 4.5 %"
    tops = [bar.get_y() + bar.get_height() for bar in display.bars_]
    assert sum(tops) == pytest.approx(0.5)
    assert display.ax_.get_title(loc="left") == "50 % of the rows have no rank"
    assert len(display.table()[1]) == 100

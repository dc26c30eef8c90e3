"""The reliability diagram, against scikit-learn's calibration_curve and statsmodels' Wilson intervals."""

from __future__ import annotations

import numpy as np
import pictures
import pytest
from assertions import assert_ulp

import lastlayer as ll
from lastlayer.plots import ReliabilityDisplay


def test_points_are_those_of_calibration_curve():
    from sklearn.calibration import calibration_curve

    z, y = pictures.rows(500, 4)
    p = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
    accuracy, confidence = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=15)
    display = ll.evaluate(z, y).plot_reliability()
    found = np.array([[mark.get_xdata()[0], mark.get_ydata()[0]] for mark in display.points_])
    np.testing.assert_allclose(found, np.column_stack([confidence, accuracy]), rtol=1e-12)
    np.testing.assert_array_equal(display.line_.get_xdata(), found[:, 0])
    np.testing.assert_array_equal(display.line_.get_ydata(), found[:, 1])


def test_intervals_are_wilsons():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    weight, accuracy = np.array([0.0, 4.0, 25.0]), np.array([np.nan, 1.0, 0.4])
    confidence = np.array([np.nan, 0.5, 0.9])
    display = ReliabilityDisplay(
        edges=[0, 0.4, 0.8, 1], weight=weight, confidence=confidence, accuracy=accuracy
    ).plot()
    expected = [proportion.proportion_confint(k, n, method="wilson") for k, n in ((4, 4), (10, 25))]
    found = [line.get_ydata() for line in display.intervals_]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    head, rows = display.table()
    assert head == ["from", "to", "rows", "confidence", "accuracy", "low", "high"]
    assert rows[1][:5] == [0.4, 0.8, 4.0, 0.5, 1.0]
    np.testing.assert_allclose(rows[2][5:], expected[1], rtol=1e-9)
    assert rows[0][:3] == [0.0, 0.4, 0.0]
    assert np.isnan(rows[0][3:]).all()


def test_bars_are_the_shares_of_rows():
    made = {"edges": [0, 0.5, 1], "confidence": [0.4, 0.8], "accuracy": [0.5, 0.75], "weight": [2, 6]}
    display = ReliabilityDisplay(**made).plot()
    assert [bar.get_height() for bar in display.bars_] == [0.25, 0.75]
    assert [bar.get_x() for bar in display.bars_] == [0, 0.5]
    assert display.strip_ax_ is not display.ax_
    text = [text for artist, text in display.shown_ if artist in display.bars_]
    assert text == ["confidence 0 to 0.5: 2 rows, 25 %", "confidence 0.5 to 1: 6 rows, 75 %"]


def test_many_bins_are_joined():
    z, y = pictures.rows(2000, 4)
    found = ll.evaluate(z, y, bins=10_000)
    display = found.plot_reliability()
    assert len(display.points_) <= 100
    whole = ll.evaluate(z, y, bins=100).calibration
    there = whole.weight > 0
    marks = np.array([[mark.get_xdata()[0], mark.get_ydata()[0]] for mark in display.points_])
    np.testing.assert_allclose(marks[:, 0], whole.confidence[there])
    np.testing.assert_allclose(marks[:, 1], whole.accuracy[there])
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], whole.weight[there] / 2000)
    assert len(display.table()[1]) == 10_000


def test_on_given_axes_the_bars_are_small():
    import matplotlib.pyplot as plt

    made = {"edges": [0, 0.5, 1], "confidence": [0.4, 0.8], "accuracy": [0.5, 0.75], "weight": [2, 6]}
    display = ReliabilityDisplay(**made).plot(plt.subplots()[1])
    assert display.strip_ax_ is display.ax_
    assert_ulp([bar.get_height() for bar in display.bars_], [0.05, 0.15], 2)


def test_before_and_after():
    z, y = pictures.rows(500, 4)
    before, after = ll.evaluate(3 * z, y), ll.evaluate(z, y)
    display = ReliabilityDisplay.from_evaluation(before, after=after)
    count = [int((e.calibration.weight > 0).sum()) for e in (before, after)]
    assert len(display.points_) == sum(count)
    last = display.points_[count[0] :]
    found = [mark.get_ydata()[0] for mark in last]
    np.testing.assert_array_equal(found, after.calibration.accuracy[after.calibration.weight > 0])
    assert {mark.get_color() for mark in last} == {ll.plots.colors.SECOND}
    assert display.shown_[-1][1].startswith("after, confidence 0.933 to 1:")
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "perfect calibration", "before", "after",
    ]  # fmt: skip
    head, rows = display.table()
    assert head[0] == "when"
    assert [row[0] for row in rows] == ["before"] * 15 + ["after"] * 15

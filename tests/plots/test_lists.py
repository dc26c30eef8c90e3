"""Losses by class, group and position, and differences of two models, against NumPy and the evaluation."""

from __future__ import annotations

import numpy as np
import pictures
import pytest

import lastlayer as ll
from lastlayer.plots import ComparisonDisplay, GroupDisplay, LossByClassDisplay, PositionDisplay, colors


def losses(z, y):
    """The loss of each row."""
    return np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]


def test_bars_are_the_mean_losses_of_classes():
    z, y = pictures.rows(400, 6)
    expected = np.array([losses(z, y)[y == k].mean() for k in range(6)])
    display = ll.evaluate(z, y).plot_loss_by_class()
    assert display.order_.tolist() == np.argsort(-expected).tolist()
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], np.sort(expected)[::-1])
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == [str(k) for k in display.order_]
    assert [text.get_text() for text in display.texts_] == [str((y == k).sum()) for k in display.order_]
    np.testing.assert_allclose(display.mean_line_.get_xdata()[0], losses(z, y).mean())


def test_classes_without_rows_and_with_an_infinite_loss():
    display = LossByClassDisplay(loss=[0.5, np.nan, np.inf, 2.0], support=[3, 0, 1, 2.5]).plot()
    assert display.order_.tolist() == [2, 3, 0]
    assert [text for _, text in display.shown_] == [
        "class 2: loss infinite, 1 row", "class 3: loss 2, 2.5 rows", "class 0: loss 0.5, 3 rows",
    ]  # fmt: skip
    assert display.bars_[0].get_width() > display.bars_[1].get_width()
    assert display.texts_[0].get_text().startswith("∞")
    assert display.ax_.get_title(loc="left") == "rows at the right; 1 classes have no rows"
    assert display.table()[1] == [["2", np.inf, 1.0], ["3", 2.0, 2.5], ["0", 0.5, 3.0]]


def test_more_than_60_classes():
    loss = np.random.default_rng(0).exponential(size=200)
    display = LossByClassDisplay(loss=loss, support=np.ones(200)).plot()
    assert [bar.get_width() for bar in display.bars_] == np.sort(loss)[::-1][:30].tolist()
    counts = np.histogram(loss, 40)[0]
    assert [bar.get_width() for bar in display.histogram_] == counts[counts > 0].tolist()
    assert len(display.table()[1]) == 200


def test_groups_have_the_intervals_of_the_evaluation():
    z, y = pictures.rows(400, 4)
    found = ll.evaluate(z, y, groups=np.arange(400) ** 2 % 7)
    display = found.plot_group()
    expected = sorted(found.loss_by_group, key=lambda key: -found.loss_by_group[key].value)
    assert display.order_ == expected
    count = len(expected)
    for points, intervals, of in (
        (display.points_[:count], display.intervals_[:count], found.loss_by_group),
        (display.points_[count:], display.intervals_[count:], found.accuracy_by_group),
    ):
        for place, (key, mark, line) in enumerate(zip(expected, points, intervals, strict=True)):
            assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (of[key].value, place)
            assert line.get_xdata().tolist() == [of[key].low, of[key].high]
    head, rows = display.table()
    assert len(head) == len(rows[0]) == 8
    assert [row[0] for row in rows] == [str(key) for key in expected]
    counts = np.bincount(np.arange(400) ** 2 % 7)
    assert [row[1] for row in rows] == [counts[key] for key in expected]


def test_groups_beyond_60_and_without_a_number():
    loss = {f"g{k}": (float(k), 0.1, k - 0.2, k + 0.2) for k in range(100)}
    loss["none"] = (np.nan,) * 4
    loss["endless"] = (np.inf, np.nan, np.nan, np.nan)
    accuracy = dict.fromkeys(loss, (0.5, 0.1, 0.3, 0.7))
    display = GroupDisplay(loss=loss, accuracy=accuracy).plot()
    assert display.order_[:2] == ["endless", "g99"]
    assert display.order_[-1] == "none"
    assert display.shown_[0][1] == "endless: loss infinite"
    assert len(display.shown_) == 120
    assert display.ax_.get_title(loc="left") == "60 of 102 groups"
    assert len(display.table()[1]) == 102


def test_positions():
    z, y = pictures.rows(200, 4)
    display = ll.evaluate(z.reshape(10, 20, 4), y.reshape(10, 20)).plot_position()
    expected = losses(z, y).reshape(10, 20).mean(0)
    np.testing.assert_allclose(display.line_.get_ydata(), expected)
    found = [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in display.points_]
    np.testing.assert_allclose(found, list(enumerate(expected)))
    error = losses(z, y).reshape(10, 20).std(0, ddof=1) / np.sqrt(10)
    ends = expected - 1.959963984540054 * error, expected + 1.959963984540054 * error
    rows = np.stack([np.arange(20), np.full(20, 10), expected, *ends], axis=1)
    np.testing.assert_allclose(display.table()[1], rows)
    np.testing.assert_allclose([line.get_ydata() for line in display.intervals_], np.stack(ends, axis=1))


def test_the_interval_of_a_range_is_that_of_its_rows():
    """Of independent rows with weights, about the mean of each position; written out in NumPy."""
    rng = np.random.default_rng(1)
    z, y, w = rng.normal(size=(30, 128, 3)), rng.integers(0, 3, (30, 128)), rng.uniform(0.5, 2, (30, 128))
    found = ll.evaluate(z, y, sample_weight=w)
    display = found.plot_position()
    assert len(display.points_) == len(display.intervals_) == 64
    x = losses(z.reshape(-1, 3), y.reshape(-1)).reshape(30, 128)
    for k in (0, 7, 63):
        part = slice(2 * k, 2 * k + 2)
        assert display.points_[k].get_ydata()[0] == pytest.approx(np.average(x[:, part], weights=w[:, part]))
        means = np.average(x[:, part], axis=0, weights=w[:, part])
        n = w[:, part].sum(0) ** 2 / (w[:, part] ** 2).sum(0)
        squares = (w[:, part] ** 2 * (x[:, part] - means) ** 2).sum(0) * n / (n - 1)
        half = 1.959963984540054 * np.sqrt(squares.sum()) / w[:, part].sum()
        low, high = display.intervals_[k].get_ydata()
        assert (high - low) / 2 == pytest.approx(half)


def test_many_positions_are_means_of_ranges():
    loss = np.random.default_rng(0).exponential(size=2048)
    loss[:32], loss[40] = np.nan, np.inf
    display = PositionDisplay(loss=loss).plot()
    assert len(display.points_) == 63
    assert display.shown_[1][1].startswith("positions 64 to 95: loss ")
    assert display.points_[0].get_xdata()[0] == (32 + 63) / 2
    assert display.points_[0].get_ydata()[0] == pytest.approx(np.delete(loss[32:64], 8).mean())
    assert len(display.table()[1]) == 2048 - 32


def test_a_very_long_line_is_one_of_means():
    loss = np.random.default_rng(0).exponential(size=3 * 4096)
    display = PositionDisplay(loss=loss).plot()
    np.testing.assert_allclose(display.line_.get_ydata(), loss.reshape(4096, 3).mean(1))
    np.testing.assert_allclose(display.line_.get_xdata(), np.arange(4096) * 3 + 1)


def test_differences_of_two_models():
    z, y = pictures.rows(300, 4)
    b = z + np.random.default_rng(1).normal(size=z.shape)
    compared = ll.compare(z, b, y, groups=np.arange(300) % 3)
    display = compared.plot()
    names = ("log_loss", "accuracy", "brier")
    assert display.order_ == sorted(compared.by_group, key=lambda k: -compared.by_group[k].log_loss.value)
    expected = []
    for name in names:
        every = [getattr(compared, name).difference]
        expected += every + [getattr(compared.by_group[key], name) for key in display.order_]
    found = [mark.get_xdata()[0] for mark in display.points_]
    assert found == [e.value for e in expected]
    assert [line.get_xdata().tolist() for line in display.intervals_] == [[e.low, e.high] for e in expected]
    assert display.table()[1][0][1:4] == [expected[0][i] for i in (0, 2, 3)]


@pytest.mark.parametrize(
    ("low", "high", "of_loss", "of_accuracy"),
    [
        (0.1, 0.3, colors.BAD, colors.GOOD),
        (-0.3, -0.1, colors.GOOD, colors.BAD),
        (-0.1, 0.3, *[colors.INK] * 2),
    ],
)
def test_colours_say_which_model_is_better(low, high, of_loss, of_accuracy):
    estimate = ((low + high) / 2, 0.05, low, high)
    display = ComparisonDisplay(differences=dict.fromkeys(("log_loss", "accuracy", "brier"), estimate)).plot()
    assert [mark.get_color() for mark in display.points_] == [of_loss, of_accuracy, of_loss]

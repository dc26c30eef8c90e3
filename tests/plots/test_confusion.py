"""The confusion matrix, against scikit-learn's and numbers by hand."""

from __future__ import annotations

import builtins

import numpy as np
import pictures
import pytest

import lastlayer as ll
from lastlayer.plots import ConfusionDisplay
from lastlayer.plots.class_order import in_blocks


def cells(display):
    """The class pair of each cell, from where it is drawn, and its text."""
    said = {id(artist): text for artist, text in display.shown_}
    found = {}
    for cell in display.cells_:
        x, y = int(cell.get_x() + 0.5), int(cell.get_y() + 0.5)
        found[int(display.order_[y]), int(display.order_[x])] = said[id(cell)], cell.get_alpha()
    return found


def test_cells_are_those_of_scikit_learn():
    from sklearn.metrics import confusion_matrix

    z, y = pictures.rows(400, 6)
    counts = confusion_matrix(y, z.argmax(1))
    found = cells(ll.evaluate(z, y).plot_confusion())
    assert set(found) == {tuple(pair) for pair in np.argwhere(counts).tolist()}
    shares = confusion_matrix(y, z.argmax(1), normalize="true")
    for (t, p), (text, alpha) in found.items():
        rows = "1 row," if counts[t, p] == 1 else f"{counts[t, p]} rows,"
        assert text.startswith(f"target {t}, predicted {p}: {rows} ")
        assert float(text.split()[-5]) == pytest.approx(100 * shares[t, p], abs=0.05)
        assert alpha == pytest.approx(0.12 + 0.83 * np.sqrt(shares[t, p]))


def test_numbers_in_cells():
    confusion = np.array([[199, 1, 0], [0, 30, 10], [0, 0, 0]])
    display = ConfusionDisplay(confusion=confusion, support=[200, 40, 0]).plot()
    found = {}
    for text in display.texts_:
        x, y = text.get_position()
        found[int(display.order_[y]), int(display.order_[x])] = text.get_text()
    assert found == {(0, 0): "99", (0, 1): "0", (1, 1): "75", (1, 2): "25"}  # 99.5 is not 100


def test_blocks_stand_together():
    """Two blocks of classes, mixed: each is contiguous in the order."""
    r = np.random.default_rng(0)
    block = r.permutation(np.repeat([0, 1, 2], 5))
    confusion = np.where(block[:, None] == block[None, :], 5, 0) + 20 * np.eye(15, dtype=int)
    display = ConfusionDisplay(confusion=confusion, support=confusion.sum(1)).plot()
    assert sorted(display.order_.tolist()) == list(range(15))
    assert np.count_nonzero(np.diff(block[display.order_])) == 2


def test_blocks_of_1000_classes_stand_together():
    r = np.random.default_rng(0)
    block = r.permutation(1000) // 20
    confusion = r.poisson(np.where(block[:, None] == block[None, :], 2.0, 0.0005)) + 50 * np.eye(1000)
    display = ConfusionDisplay(confusion=confusion, support=confusion.sum(1)).plot()
    assert np.count_nonzero(np.diff(block[display.order_])) == 49
    assert display.image_.get_array().shape == (250, 250, 4)


def test_an_image_averages_the_wrong_shares():
    """Of 500 classes, blocks of 2 x 2; the largest is opaque, others are square roots."""
    confusion = np.zeros((500, 500))
    np.fill_diagonal(confusion, 10)
    confusion[0, 3], confusion[10, 13] = 10, 2.5
    display = ConfusionDisplay(confusion=confusion, support=np.full(500, 20)).plot()
    alpha = display.image_.get_array()[..., 3]
    assert sorted(alpha[alpha > 0].tolist()) == [0.5, 1.0]
    assert len(display.marks_) == 2
    texts = {text for _, text in display.shown_}
    assert texts == {
        "target 0, predicted 3: 10 rows, 50 % of the target",
        "target 10, predicted 13: 2.5 rows, 12.5 % of the target",
    }
    for mark in display.marks_:  # at its cell
        x, y = int(mark.get_xdata()[0]), int(mark.get_ydata()[0])
        assert (display.order_[y], display.order_[x]) in ((0, 3), (10, 13))


def test_cells_beyond_500_are_an_image():
    r = np.random.default_rng(0)
    confusion = r.permutation(np.arange(1, 1601)).reshape(40, 40)
    display = ConfusionDisplay(confusion=confusion, support=confusion.sum(1)).plot()
    assert len(display.cells_) == len(display.shown_) == 500
    assert display.texts_ == []
    alpha = display.image_.get_array()[..., 3]
    assert np.count_nonzero(alpha) == 1600 - 500
    assert alpha.max() <= min(cell.get_alpha() for cell in display.cells_)


def test_the_table_has_the_largest_confusions():
    z, y = pictures.rows(400, 6)
    display = ll.evaluate(z, y, top_k=1).plot_confusion()
    head, rows = display.table()
    assert head == ["target", "predicted", "rows", "share of the target"]
    counts = np.zeros((6, 6))
    np.add.at(counts, (y, z.argmax(1)), 1)
    wrong = counts - np.diag(np.diag(counts))
    assert [row[2] for row in rows] == sorted(wrong[wrong > 0].tolist(), reverse=True)
    for t, p, n, share in rows:
        assert wrong[int(t), int(p)] == n
        assert share == n / counts[int(t)].sum()


def test_a_list_of_pairs_is_the_same_as_an_array():
    z, y = pictures.rows(400, 6)
    found = ll.evaluate(z, y)
    pairs = [(int(t), int(p), float(found.confusion[t, p])) for t, p in np.argwhere(found.confusion)]
    support = found.by_class.support
    a = ConfusionDisplay(confusion=found.confusion, support=support).plot()
    b = ConfusionDisplay(confusion=pairs, support=support).plot()
    assert a.table() == b.table()
    assert cells(a) == cells(b)


def test_too_many_pairs():
    display = ConfusionDisplay(confusion=None, support=np.ones(3)).plot()
    assert display.shown_ == []
    assert display.table()[1] == []
    assert "1 000 000" in display.ax_.texts[0].get_text()


def test_long_names_are_cut_on_the_axes_alone():
    display = pictures.named().plot_confusion()
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert max(map(len, names)) == 20
    assert "xxxxxxxxxxxx…xxxxxxx" in names
    assert "<script>aler…script>" in names
    assert any("x" * 300 in text for _, text in display.shown_)
    assert any("target <script>alert(1)</script>, " in text for _, text in display.shown_)


def test_the_order_without_scipy(monkeypatch):
    importing = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    shares = np.array([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    assert in_blocks(shares).tolist() in ([0, 2, 1], [1, 0, 2], [1, 2, 0])
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert in_blocks(shares).tolist() == [0, 1, 2]


def test_the_order_of_a_perfect_model():
    assert in_blocks(np.eye(5)).tolist() == [0, 1, 2, 3, 4]

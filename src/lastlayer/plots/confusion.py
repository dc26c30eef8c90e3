"""The confusion matrix. In: rows by target and prediction. Out: shares of each target, classes in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .class_order import in_blocks
from .colors import BAD, FIRST, INK, MUTED, PAPER, SECOND
from .drawing import Display, Table, axes, bar, note, say_empty, tick_names
from .names import name_of, percent, rows_text, short

__all__ = ["ConfusionDisplay"]

Floats = npt.NDArray[np.float64]

_NUMBERS, _CELLS = 30, 60  # classes up to which cells have numbers; up to which there are cells
_SHOWN = 500  # artists that stand for a value each
_ORDERED = 1000  # classes that are ordered and drawn: of more, those with the most wrong rows
_BLOCKS = 250  # of an image, along an axis
_MARKED = 20  # pairs that are marked in an image
_LISTED = 200  # pairs in the table


class ConfusionDisplay(Display):
    """The confusion matrix: for each target, the share of its rows for which each class is predicted.

    ::

        share[t, p] = rows of target t with prediction p / rows of target t

    Classes are ordered such that classes that are often confused are neighbours (average linkage; SciPy). Up
    to 60 classes are drawn as cells, right predictions in one colour and wrong ones in another; up to 30
    classes also have their shares in percent. More classes are drawn as an image of the wrong rows alone, of
    at most 250 x 250 blocks, with a circle around the largest pairs. With more than 1000 classes, the 1000
    with the most wrong rows are drawn.

    Parameters
    ----------
    confusion : array (V, V), or list of (target, predicted, weight), or None
        As `Evaluation.confusion`; None if there were too many pairs.
    support : array (V,)
        The sum of the weights of each target's rows.
    labels : sequence of V names, optional

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    order_ : array
        The classes as they are drawn, from the top and from the left.
    cells_, texts_ : lists of artists; empty with more classes
    image_ : the image, or None
    marks_ : list of the circles around the largest pairs
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import ConfusionDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 1, 1])
    >>> display = ConfusionDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[1][1])
    target 1, predicted 0: 1 row, 50 % of the target
    """

    title = "Confusion matrix"
    description = (
        "Each line shows which classes are predicted for the rows of one class. Cells off the diagonal are "
        "mistakes; a block is a set of classes that are confused with each other."
    )

    def __init__(self, *, confusion: Any, support: Any, labels: Sequence[Any] | None = None) -> None:
        self.confusion = confusion
        self.support = np.asarray(support, np.float64)
        self.labels = labels

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> ConfusionDisplay:
        """Plot the confusion matrix of an `Evaluation`."""
        support = evaluation.by_class.support
        return cls(confusion=evaluation.confusion, support=support, labels=evaluation.labels).plot(ax)

    def plot(self, ax: Any = None) -> ConfusionDisplay:
        """Plot on ``ax``, or on a new figure."""
        target, predicted, weight = self._pairs
        classes = self._drawn_classes(target, predicted, weight)
        shares = self._shares(classes, target, predicted, weight)
        order = in_blocks(shares)
        self.order_ = classes[order]
        shares = shares[np.ix_(order, order)]
        count = len(order)
        self.cells_: list[Any] = []
        self.texts_: list[Any] = []
        self.marks_: list[Any] = []
        self.image_: Any = None
        with axes(self, ax, _size(count)) as (main, _):
            main.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
            main.set(xlabel="predicted", ylabel="target")
            if self.confusion is None:
                say_empty(main, "more than 1 000 000 different pairs\nof target and prediction")
            elif not shares.any():
                say_empty(main, "no rows")
            elif count <= _CELLS:
                self._plot_cells(shares)
            else:
                self._plot_image(shares, target, predicted, weight)
            self._name_classes(count)
        return self

    # --- what is drawn ------------------------------------------------------------------------------------

    @cached_property
    def _pairs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """The pairs that occur: target, predicted, weight."""
        if self.confusion is None:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        if isinstance(self.confusion, np.ndarray):
            target, predicted = np.nonzero(self.confusion)
            return target, predicted, self.confusion[target, predicted].astype(np.float64)
        table = np.asarray(self.confusion, np.float64).reshape(-1, 3)
        return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2]

    def _drawn_classes(self, target: Any, predicted: Any, weight: Floats) -> npt.NDArray[np.intp]:
        count = len(self.support)
        if count <= _ORDERED:
            return np.arange(count)
        wrong = target != predicted
        each = np.bincount(target[wrong], weight[wrong], count)
        each += np.bincount(predicted[wrong], weight[wrong], count)
        most = np.argsort(-each, kind="stable")[:_ORDERED]
        return np.sort(most[each[most] > 0])

    def _shares(self, classes: Any, target: Any, predicted: Any, weight: Floats) -> Floats:
        """The matrix of these classes, each row divided by the support of its target."""
        place = np.full(len(self.support), -1)
        place[classes] = np.arange(len(classes))
        there = (place[target] >= 0) & (place[predicted] >= 0)
        found = np.zeros((len(classes), len(classes)))
        of = self.support[target[there]]
        part = np.divide(weight[there], of, out=np.zeros(len(of)), where=of > 0)
        found[place[target[there]], place[predicted[there]]] = part
        return found

    def _plot_cells(self, shares: Floats) -> None:
        """A rectangle for each share; where there are too many, the smallest are an image."""
        main, count = self.ax_, len(shares)
        rows, columns = np.nonzero(shares)
        largest = np.argsort(-shares[rows, columns], kind="stable")
        drawn, rest = largest[:_SHOWN], largest[_SHOWN:]
        for i, j in sorted(zip(rows[drawn].tolist(), columns[drawn].tolist(), strict=True)):
            share, color = float(shares[i, j]), FIRST if i == j else SECOND
            self.cells_.append(bar(main, j - 0.5, i - 0.5, 1, 1, color, _shade(share)))
            target, predicted = (int(self.order_[k]) for k in (i, j))
            self._say(self.cells_[-1], self._text(target, predicted, share * self.support[target]))
            if count <= _NUMBERS and share >= 0.005:
                text = "100" if share == 1 else f"{min(100 * share, 99):.0f}"
                ink = PAPER if _shade(share) > 0.6 else INK
                size = 10 if count <= 12 else 8 if count <= 20 else 6.5
                look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": ink}
                self.texts_.append(main.text(j, i, text, **look))
        if len(rest):
            small = np.zeros_like(shares)
            small[rows[rest], columns[rest]] = shares[rows[rest], columns[rest]]
            self.image_ = _image(main, _shade(small), SECOND)
        if count <= _NUMBERS:
            note(main, "% of the target's rows")

    def _plot_image(self, shares: Floats, target: Any, predicted: Any, weight: Floats) -> None:
        """The wrong rows as an image of blocks, the largest pairs marked."""
        main, count = self.ax_, len(shares)
        wrong = shares.copy()
        np.fill_diagonal(wrong, 0.0)
        cuts = np.linspace(0, count, min(count, _BLOCKS) + 1).astype(int)
        sizes = np.diff(cuts)
        blocks = np.add.reduceat(np.add.reduceat(wrong, cuts[:-1], axis=0), cuts[:-1], axis=1)
        blocks /= sizes[:, None] * sizes[None, :]
        top = float(blocks.max())
        (self.diagonal_,) = main.plot([0, count - 1], [0, count - 1], color=MUTED, linewidth=0.6, zorder=1)
        if top > 0:
            self.image_ = _image(main, np.sqrt(blocks / top), SECOND)
        place = np.full(len(self.support), -1)
        place[self.order_] = np.arange(count)
        largest = _largest_confusions(target, predicted, weight, _MARKED)
        for t, p, w in largest:
            if place[t] >= 0 and place[p] >= 0:
                (mark,) = main.plot(
                    [place[p]], [place[t]], marker="o", markersize=8, linestyle="none",
                    markeredgecolor=BAD, markerfacecolor=(*_rgb(BAD), 0.05), markeredgewidth=1,
                )  # fmt: skip
                self.marks_.append(mark)
                self._say(mark, self._text(t, p, w))
        note(main, f"wrong rows; circles: the {len(self.marks_)} largest pairs")

    def _name_classes(self, count: int) -> None:
        main = self.ax_
        if count > _CELLS or not count:
            main.set(xticks=[], yticks=[])
            of = f"{count} of {len(self.support)}" if count < len(self.support) else str(count)
            main.set(xlabel=f"predicted ({of} classes)", ylabel=f"target ({of} classes)")
            return
        names = [short(name_of(self.labels, int(k))) for k in self.order_]
        size = 9 if count <= 20 else 7.5 if count <= 40 else 6
        is_long = max(map(len, names)) * count > 60
        turned: dict[str, Any] = {"rotation": 90} if is_long else {}
        tick_names(main.xaxis, range(count), names, fontsize=size, **turned)
        tick_names(main.yaxis, range(count), names, fontsize=size)

    # --- what it says -------------------------------------------------------------------------------------

    def _text(self, target: int, predicted: int, weight: float) -> str:
        share = weight / self.support[target] if self.support[target] else float("nan")
        rows = rows_text(weight)
        names = (name_of(self.labels, target), name_of(self.labels, predicted))
        return f"target {names[0]}, predicted {names[1]}: {rows}, {percent(float(share))} of the target"

    def table(self) -> Table:
        """The 200 largest pairs of different classes: (head, rows)."""
        found: list[list[Any]] = []
        for t, p, w in _largest_confusions(*self._pairs, _LISTED):
            share = w / float(self.support[t]) if self.support[t] else float("nan")
            found.append([name_of(self.labels, t), name_of(self.labels, p), w, share])
        return ["target", "predicted", "rows", "share of the target"], found


def _largest_confusions(
    target: Any, predicted: Any, weight: Floats, most: int
) -> list[tuple[int, int, float]]:
    """The pairs of different classes with the most rows; of equal ones the first."""
    wrong = np.flatnonzero((target != predicted) & (weight > 0))
    best = wrong[np.argsort(-weight[wrong], kind="stable")[:most]]
    return list(zip(*(a[best].tolist() for a in (target, predicted, weight)), strict=True))


def _shade(share: Any) -> Any:
    """The alpha of a share: the square root shows small ones too, and the least shade is seen on dark."""
    return np.where(np.asarray(share) > 0, 0.12 + 0.83 * np.sqrt(np.clip(share, 0, 1)), 0.0)[()]


def _rgb(color: str) -> tuple[float, ...]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _image(ax: Any, alpha: Floats, color: str) -> Any:
    """An image of one colour over all of the axes' classes."""
    pixels = np.empty((*alpha.shape, 4))
    pixels[..., :3], pixels[..., 3] = _rgb(color), alpha
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    extent = (left, right, bottom, top)
    return ax.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", zorder=1.2)


def _size(count: int) -> tuple[float, float]:
    """Inches: a cell has to hold its number."""
    if count > _CELLS:
        return 6.4, 5.6
    return 6.4, max(2.4, min(6.4, 1.6 + 0.4 * count))

"""One row of logits. In: probabilities, target and gradient. Out: bars of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .colors import FIRST, INK, SECOND
from .drawing import Display, Table, axes, bar, grid, legend_above, note, reference, tick_names
from .names import amount, name_of, number, short

__all__ = ["ExplanationDisplay"]

_ALL, _MOST = 40, 20  # up to 40 classes are all shown; of more, the 20 most probable ones


class ExplanationDisplay(Display):
    """The probabilities of one row, its target, and on a new figure the gradient beside them.

    With more than 40 classes, the 20 most probable ones and the target are shown; if the target has a
    probability for each class, its 20 largest ones.

    Parameters
    ----------
    probabilities : array (V,)
        The softmax of the logits.
    targets : array (V,), optional
        The effective target t.
    gradient : array (V,), optional
        The derivatives of the loss with respect to the logits.
    target : int, optional
        The true class, if the target is one class.
    labels : sequence of V names, optional
    loss : float, optional
        In nats.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    order_ : array
        The classes that are shown.
    bars_ : list of bars: the probabilities
    marks_ : list of lines: the targets
    steps_ : list of bars: the gradient
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> display = ll.explain([0.1, 0.9, 4.0], 1).plot()
    >>> print(display.shown_[1][1])
    class 1: probability 0.0423, target 1
    """

    title = "One row of logits"
    description = (
        "Bars are probabilities, lines the target. A step downhill raises the logits whose gradient is "
        "negative, and lowers the others."
    )

    def __init__(
        self,
        *,
        probabilities: Any,
        targets: Any = None,
        gradient: Any = None,
        target: int | None = None,
        labels: Sequence[Any] | None = None,
        loss: float = float("nan"),
    ) -> None:
        self.probabilities = np.asarray(probabilities, np.float64)
        self.targets = None if targets is None else np.asarray(targets, np.float64)
        self.gradient = None if gradient is None else np.asarray(gradient, np.float64)
        self.target, self.labels, self.loss = target, labels, float(loss)

    @classmethod
    def from_explanation(cls, explanation: Any, *, ax: Any = None) -> ExplanationDisplay:
        """Plot an `Explanation`."""
        e, has_loss = explanation, explanation.has_target
        return cls(
            probabilities=e.probabilities,
            targets=e.targets if has_loss else None,
            gradient=e.gradient if has_loss else None,
            target=e.target,
            labels=e.labels,
            loss=e.loss,
        ).plot(ax)

    def plot(self, ax: Any = None) -> ExplanationDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.order_ = self._order()
        self.bars_: list[Any] = []
        self.marks_: list[Any] = []
        self.steps_: list[Any] = []
        has_loss = self.gradient is not None
        layout: dict[str, Any] = {"ncols": 2, "sharey": True} if has_loss else {}
        with axes(self, ax, (6.4, 1.4 + 0.28 * len(self.order_)), **layout) as (main, others):
            self._plot_probabilities(main)
            if others:
                self._plot_gradient(others[0])
                others[0].tick_params(axis="y", labelleft=False, length=0)
            if ax is None or others:
                for one in (main, *others):
                    grid(one, "x")
            if self.marks_:
                legend_above(main, 2)
            elif len(self.order_) < len(self.probabilities):
                note(
                    main, f"the {len(self.order_)} most probable of {amount(len(self.probabilities))} classes"
                )
        return self

    def _order(self) -> Any:
        if len(self.probabilities) <= _ALL:
            return np.arange(len(self.probabilities))
        best = np.argsort(-self.probabilities, kind="stable")[:_MOST].tolist()
        if self.target is not None:
            best.append(self.target)
        elif self.targets is not None:
            largest = np.argsort(-self.targets, kind="stable")[:_MOST]
            best += largest[self.targets[largest] > 0].tolist()
        return np.array(sorted(set(best)))

    def _plot_probabilities(self, main: Any) -> None:
        names, marks = [], "target t"
        for place, k in enumerate(self.order_.tolist()):
            p = float(self.probabilities[k])
            self.bars_.append(bar(main, 0, place - 0.36, p, 0.72, FIRST, 0.8))
            if not place:
                self.bars_[0].set_label("probability p")
            name, said = name_of(self.labels, k), ""
            if self.targets is not None and self.targets[k]:
                t = float(self.targets[k])
                look: dict[str, Any] = {
                    "color": INK,
                    "linewidth": 2,
                    "solid_capstyle": "butt",
                    "clip_on": False,
                }
                self.marks_ += main.plot([t, t], [place - 0.42, place + 0.42], label=marks, **look)
                marks, said = "_", f", target {number(t)}"
            self._say(self.bars_[-1], f"class {name}: probability {number(p)}{said}")
            names.append(short(name))
        largest = max(1.0, 0.0 if self.targets is None else float(self.targets.max()))
        main.set(xlim=(0, largest), ylim=(len(names) - 0.4, -0.6), xlabel="probability")
        tick_names(main.yaxis, range(len(names)), names, fontsize=9 if len(names) <= 30 else 7)

    def _plot_gradient(self, ax: Any) -> None:
        slopes = [0.0 if self.gradient is None else float(self.gradient[k]) for k in self.order_]
        for place, (k, slope) in enumerate(zip(self.order_.tolist(), slopes, strict=True)):
            color = FIRST if slope < 0 else SECOND
            self.steps_.append(bar(ax, min(0.0, slope), place - 0.36, abs(slope), 0.72, color, 0.8))
            way = "raise" if slope < 0 else "lower" if slope > 0 else "keep"
            self._say(self.steps_[-1], f"class {name_of(self.labels, k)}: gradient {number(slope)}, {way}")
        reference(ax, x=0.0)
        end = 1.1 * max(map(abs, slopes), default=0.0) or 1.0
        ax.set(xlim=(-end, end), xlabel="gradient (negative: raise the logit)")
        if self.loss == self.loss:
            note(ax, f"loss {number(self.loss)} nats")

    def table(self) -> Table:
        """Every class: (head, rows)."""
        head = ["class", "probability", "target", "gradient"]
        columns = [c.tolist() for c in (self.probabilities, self.targets, self.gradient) if c is not None]
        names = [name_of(self.labels, k) for k in range(len(self.probabilities))]
        return head[: 1 + len(columns)], [list(row) for row in zip(names, *columns, strict=True)]

"""A figure of cross-validation. In: the scores of folds along C. Out: lines on the axes of matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["PathDisplay"]


class PathDisplay:
    """The score of each fold, and their mean, against C.

    Parameters
    ----------
    cs : array (n_Cs,)
    scores : array (n_folds, n_Cs)
    best : float
        The C that was chosen.
    score_name : str

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    lines_ : list of lines, one for each fold
    line_ : the line of the mean
    """

    def __init__(self, *, cs: Any, scores: Any, best: float, score_name: str) -> None:
        self.cs = cs
        self.scores = scores
        self.best = best
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> PathDisplay:
        """Plot the path of a fitted `SoftmaxClassifierCV`."""
        shown: PathDisplay = estimator.plot_path(ax=ax)
        return shown

    def plot(self, ax: Any = None) -> PathDisplay:
        """Plot on ``ax``, or on a new figure."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            text = (
                "PathDisplay.plot requires matplotlib. You can install it with `pip install lastlayer[plot]`"
            )
            raise ImportError(text) from error

        if ax is None:
            _, ax = plt.subplots()
        self.lines_ = [ax.plot(self.cs, fold, color="0.75", linewidth=1)[0] for fold in self.scores]
        self.lines_[0].set_label("folds")
        mean = np.mean(self.scores, axis=0)
        (self.line_,) = ax.plot(self.cs, mean, color="C0", marker="o", label="mean")
        ax.axvline(self.best, color="C3", linestyle="--", linewidth=1, label=f"C = {self.best:.3g}")
        ax.set(xscale="log", xlabel="C", ylabel=self.score_name)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

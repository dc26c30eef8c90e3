"""Draw the tutorial's pictures, one per idea, as SVG files beside this one."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import lastlayer as ll
from lastlayer.plots import ReliabilityDisplay, colors
from lastlayer.plots.colors import FIRST, INK, MUTED, SECOND

SCORES = [2.0, 1.0, 0.1]


def canvas(height: float = 3.0, **layout: int) -> tuple[Figure, list]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = list(figure.subplots(squeeze=False, **layout).flat)
    for ax in axes:
        ax.grid(color=colors.FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def loss() -> Figure:
    figure, (ax,) = canvas()
    z = np.linspace(-6, 6, 241)
    rows = np.stack([z, 0 * z, 0 * z], axis=1)
    ax.plot(z, ll.cross_entropy(rows, np.zeros(len(z), int), reduction="none"), color=FIRST, linewidth=2)
    ax.plot([-6, 0], [6 + np.log(2), np.log(2)], color=MUTED, linewidth=1, linestyle="--")
    guess = np.log(3)
    ax.plot([0], [guess], "o", color=SECOND)
    ax.annotate(f"all scores equal: log 3 = {guess:.4f}", (0, guess), (0.3, guess + 0.4), color=SECOND)
    ax.text(-2.9, 4.6, "wrong: a straight line,\nlog 2 - score", color=MUTED, va="center")
    ax.text(3.4, 0.45, "right: nearly 0", color=INK)
    ax.set(xlabel="score of the true class, two other scores are 0", ylabel="loss (nats)", ylim=(0, 7))
    return figure


def gradient() -> Figure:
    figure = Figure()
    ll.explain([0.1, 0.9, 4.0], 1, labels=["cat", "dog", "owl"]).plot(figure)
    return figure


def sigmoid() -> Figure:
    figure, (ax,) = canvas()
    z = np.linspace(-6, 6, 241)
    p = ll.softmax(np.stack([0 * z, z], axis=1))
    ax.plot(z, p[:, 1], color=FIRST, linewidth=2, label="class 1: sigmoid of z")
    ax.plot(z, p[:, 0], color=SECOND, linewidth=2, linestyle="--", label="class 0: 1 - sigmoid of z")
    ax.plot([0], [0.5], "o", color=INK)
    ax.set(xlabel="score z of class 1, the score of class 0 is 0", ylabel="probability", ylim=(0, 1))
    ax.legend(loc="center left")
    return figure


def temperature() -> Figure:
    figure, (ax,) = canvas()
    t = np.geomspace(0.1, 30, 241)
    p = np.array([ll.softmax(SCORES, temperature=float(one)) for one in t])
    for k, (color, line) in enumerate(((FIRST, "-"), (SECOND, "--"), (INK, ":"))):
        ax.plot(t, p[:, k], color=color, linestyle=line, linewidth=2, label=f"score {SCORES[k]:g}")
    ax.axvline(1, color=MUTED, linewidth=1)
    ax.axhline(1 / 3, color=MUTED, linewidth=1, linestyle="--")
    ax.set(xscale="log", xlabel="temperature T", ylabel="probability", ylim=(0, 1), xlim=(0.1, 30))
    ax.set_xticks([0.1, 0.3, 1, 3, 10, 30], labels=["0.1", "0.3", "1", "3", "10", "30"])
    ax.legend()
    return figure


def reliability() -> Figure:
    """Draw the model of the page on calibration, before and after its temperature."""
    rng = np.random.default_rng(0)
    true = 2 * rng.normal(size=(8000, 5))
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    held_out, test = slice(0, 4000), slice(4000, 8000)
    scores = 3 * true
    t = ll.fit_temperature(scores[held_out], labels[held_out])
    before, after = (ll.evaluate(scores[test], labels[test], temperature=one, bins=10) for one in (1.0, t))
    figure = Figure()
    ReliabilityDisplay.from_evaluation(before, after=after, ax=figure)
    return figure


def weights() -> Figure:
    """Draw the weights of the page on training: FIRST raises a class's score, SECOND lowers it."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, _, y, _ = train_test_split(x / 16, y, random_state=0)
    w, b = np.zeros((10, 64)), np.zeros(10)
    for _ in range(51):
        _, g = ll.cross_entropy_grad(x @ w.T + b, y)
        w, b = w - g.T @ x, b - g.sum(axis=0)
    figure, axes = canvas(2.9, nrows=2, ncols=5)
    look = mpl.colors.LinearSegmentedColormap.from_list("weights", [SECOND, colors.PAPER, FIRST])
    for digit, ax in enumerate(axes):
        ax.imshow(w[digit].reshape(8, 8), cmap=look, vmin=-abs(w).max(), vmax=abs(w).max())
        ax.set(title=str(digit), xticks=[], yticks=[])
        ax.grid(visible=False)
    return figure


PICTURES = {
    "loss.svg": loss,
    "gradient.svg": gradient,
    "sigmoid.svg": sigmoid,
    "temperature.svg": temperature,
    "reliability.svg": reliability,
    "weights.svg": weights,
}


def main(folder: Path = Path(__file__).parent) -> int:
    with colors.style(), mpl.rc_context({"svg.hashsalt": "lastlayer"}):
        for name, draw in PICTURES.items():
            draw().savefig(folder / name, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())

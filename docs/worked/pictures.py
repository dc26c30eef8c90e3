"""Draw the worked page's pictures, one per idea, as SVG files beside this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lastlayer as ll

BLUE, ORANGE, GREY = "#3366aa", "#cc5522", "#888888"
CLASSES = ["class 0", "class 1", "class 2"]
LOGITS = np.array([0.1, 0.9, 4.0])

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "svg.hashsalt": "lastlayer",  # the same file on every run
    }
)


def canvas(panels: int, width: float = 7.0) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, 2.7), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(wspace=0.12 if panels > 1 else 0)
    return figure, list(np.atleast_1d(figure.subplots(1, panels)))


def bars(axes: Axes, heights: np.ndarray, title: str, form: str, colours: list[str] | str = BLUE) -> None:
    drawn = axes.bar(CLASSES, heights, color=colours, width=0.6)
    axes.bar_label(drawn, [format(height, form) for height in heights], padding=2)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.18)
    axes.set_title(title)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def softmax() -> Figure:
    figure, (left, middle, right) = canvas(3)
    exponentials = np.exp(LOGITS)
    bars(left, LOGITS, "logits z", ".1f")
    bars(middle, exponentials, "exponentials exp(z)", ".3f")
    bars(right, ll.softmax(LOGITS), f"divided by their sum, {exponentials.sum():.3f}", ".4f")
    return figure


def overflow() -> Figure:
    figure, (axes,) = canvas(1)
    shift = np.linspace(0, 1000, 2001)
    z = np.array([0.0, 1.0, 2.0]) + shift[:, None]  # (2001, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        naive = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[:, 2]
    right = naive > 0  # beyond, the sum overflows first (p = 0), then the exponentials (p = nan)
    naive[~right] = np.nan
    axes.plot(shift, ll.softmax(z)[:, 2], color=BLUE, linewidth=1.5, label="lastlayer.softmax")
    axes.plot(shift, naive, color=ORANGE, linewidth=5, alpha=0.45, label="exp(z) / sum exp(z)")
    end, level = shift[right][-1], naive[right][-1]
    axes.plot([end], [level], "x", color=ORANGE, markersize=9, markeredgewidth=2)
    axes.annotate(
        "exp overflows float64:\n0, then nan, from here on",
        (end, level),
        (end + 15, 0.4),
        color=ORANGE,
        va="center",
    )
    axes.set(ylim=(0, 1), xlabel="s, added to every logit", ylabel="p of class 2")
    axes.set_title("softmax of [s, s + 1, s + 2]")
    axes.legend(loc="lower left", frameon=False)
    return figure


def loss() -> Figure:
    figure, (axes,) = canvas(1)
    p = np.linspace(0.01, 1, 500)
    axes.plot(p, -np.log(p), color=BLUE)
    for probability in (0.8, 0.1):
        value = -np.log(probability)
        axes.plot([probability], [value], "o", color=ORANGE)
        axes.annotate(
            f"p = {probability}: {value:.4f}", (probability, value), (8, 6), textcoords="offset points"
        )
    axes.set(
        xlim=(0, 1.02), ylim=(0, 4.7), xlabel="p, the probability given to the true class", ylabel="nats"
    )
    axes.set_title("loss = -log p")
    return figure


def gradient() -> Figure:
    figure, (left, middle, right) = canvas(3)
    target = np.array([0.0, 1.0, 0.0])
    _, gradient = ll.cross_entropy_grad(LOGITS, 1)
    bars(left, ll.softmax(LOGITS), "probabilities p", ".4f")
    bars(middle, target, "target t (class 1)", ".0f", GREY)
    bars(right, gradient, "gradient p - t", "+.4f", [ORANGE if value > 0 else BLUE for value in gradient])
    right.set_xlabel("raise class 1, lower the rest")
    return figure


def training() -> Figure:
    """Draw recorded training runs, and how far apart they have been so far.

    To record them anew: ``python examples/compare_training.py --record docs/worked/training.json``.
    """
    recorded = json.loads(Path(__file__).with_name("training.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(7.0, 4.2), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 2, sharex="col", height_ratios=[3, 2])
    titles = {"digits": "digits, a convolutional network", "characters": "characters, a transformer"}
    for (task, title), curve, apart in zip(titles.items(), upper, lower, strict=True):
        theirs, ours = np.array(recorded[task]["torch"]), np.array(recorded[task]["lastlayer"])
        steps = np.arange(1, theirs.size + 1)
        curve.plot(steps, theirs, color=ORANGE, linewidth=3.5, alpha=0.45, label="torch.nn.CrossEntropyLoss")
        curve.plot(steps, ours, color=BLUE, linewidth=0.8, label="lastlayer.torch.CrossEntropyLoss")
        curve.set(title=title, ylim=(0, None))
        largest = np.maximum.accumulate(np.abs(ours - theirs) / theirs)
        apart.step(steps, largest, where="post", color=GREY)
        apart.axhline(2.0**-24, color="black", linewidth=0.8)
        apart.set(xlabel="step", yscale="log", ylim=(1e-8, 1e-4))
    upper[0].set_ylabel("loss, in nats")
    upper[0].legend(loc="upper right", frameon=False, fontsize=8)
    lower[0].set_ylabel("largest difference")
    lower[0].annotate(
        "one rounding", (0, 2.0**-24), (0, -3), textcoords="offset points", va="top", fontsize=8
    )
    return figure


PICTURES = {
    "softmax.svg": softmax,
    "overflow.svg": overflow,
    "loss.svg": loss,
    "gradient.svg": gradient,
    "training.svg": training,
}


def main(folder: Path = Path(__file__).parent) -> int:
    for name, draw in PICTURES.items():
        draw().savefig(folder / name, metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the tests of pictures share: evaluations of many kinds, and how a picture is saved as SVG."""

from __future__ import annotations

import io

import numpy as np

import lastlayer as ll
from lastlayer.plots import colors

NAMES = [
    "$x^2$ and $y$",
    "_hidden",
    "<script>alert(1)</script>",
    "two\nlines & more",
    "\N{SLIGHTLY SMILING FACE} face",
    "\u05e9\u05dc\u05d5\u05dd",
    "x" * 300,
]


def rows(n, classes, seed=0):
    """Logits that are often right, and labels."""
    r = np.random.default_rng(seed)
    y = r.integers(0, classes, n)
    z = r.normal(size=(n, classes))
    z[np.arange(n), y] += 1.5
    z[:, : classes // 2] += (y[:, None] < classes // 2) * 1.0
    return z, y


def named(n=300):
    """An evaluation whose classes have odd names, and whose rows are in groups of odd names."""
    z, y = rows(n, len(NAMES))
    tally = ll.Tally(len(NAMES), labels=NAMES)
    labels = np.array(NAMES, object)[y]
    tally.update(z, labels, groups=labels)
    return tally.result()


def large(classes=128_256, n=200):
    """An evaluation of more classes than there is a whole table of."""
    r = np.random.default_rng(0)
    tally = ll.Tally(classes)
    for _ in range(4):
        z = r.normal(size=(n // 4, classes)).astype(np.float32)
        tally.update(z, r.integers(0, classes, n // 4))
    return tally.result()


def nothing(classes=3):
    """An evaluation all of whose rows are ignored."""
    return ll.evaluate(np.zeros((4, classes)), np.full(4, -100))


def undefined():
    """An evaluation with rows of NaN, and with an infinite loss."""
    z = np.array([[np.nan, 0.0, 1.0], [0.0, np.nan, 0.0], [1.0, -np.inf, 0.0], [2.0, 0.0, 1.0]])
    return ll.evaluate(z, [0, 1, 1, 0], groups=["a", "a", "b", "b"])


def weighted(n=200, classes=4):
    """An evaluation with weights that are no whole numbers."""
    z, y = rows(n, classes)
    weights = np.random.default_rng(1).exponential(size=n)
    return ll.evaluate(z, y, sample_weight=weights, groups=np.arange(n) % 3)


def plain(n=200, classes=4):
    """An evaluation of rows of 20 positions in three groups."""
    z, y = rows(n, classes)
    groups = np.arange(n).reshape(-1, 20) % 3
    return ll.evaluate(z.reshape(-1, 20, classes), y.reshape(-1, 20), groups=groups)


def infinite():
    """An evaluation in which the loss of one class is infinite."""
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    return ll.evaluate(p, [1, 1, 2], kind="probabilities")


def svg(display):
    """The picture as the text of an SVG."""
    with colors.style():
        buffer = io.StringIO()
        display.figure_.savefig(buffer, format="svg")
    return buffer.getvalue()


EVALUATIONS = {
    "plain": plain,
    "one class": lambda: plain(classes=1),
    "two classes": lambda: plain(classes=2),
    "40 classes": lambda: plain(n=2000, classes=40),
    "1000 classes": lambda: plain(n=3000, classes=1000),
    "nothing": nothing,
    "undefined": undefined,
    "infinite": infinite,
    "weighted": weighted,
    "named": named,
}

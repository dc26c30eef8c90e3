"""The colours of all pictures, and the style they are drawn in. Out: constants; a context of matplotlib.

Each constant occurs in an SVG for one purpose alone, so a page that shows it can replace the constant, for
example by another colour in dark mode. Shades are these colours with an ``alpha``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["BAD", "FAINT", "FIRST", "GOOD", "INK", "MUTED", "PAPER", "SECOND", "style"]

INK = "#1b1f24"  # text, axes
MUTED = "#6e7781"  # ticks, reference lines
PAPER = "#fefefe"  # the background
FAINT = "#d0d7de"  # thin lines of a grid
FIRST = "#0969da"  # the first series
SECOND = "#bf5b04"  # the second series: after, model b, wrong rows
GOOD = "#1a7f37"
BAD = "#cf222e"


@contextmanager
def style() -> Iterator[None]:
    """Draw, and save, in the style of the pictures.

    Text of an SVG stays text, and no text is read as mathematics. A name with characters that matplotlib's
    font lacks gives no warning here: the browser that shows an SVG has other fonts.
    """
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": ["sans-serif"],
        "font.size": 10,
        "text.color": INK,
        "text.parse_math": False,
        "axes.edgecolor": INK,
        "axes.facecolor": PAPER,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.unicode_minus": True,
        "axes.formatter.use_mathtext": False,
        "figure.facecolor": PAPER,
        "figure.edgecolor": PAPER,
        "figure.figsize": (6.4, 4.2),
        "figure.dpi": 100,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "savefig.facecolor": PAPER,
        "savefig.edgecolor": PAPER,
        "svg.fonttype": "none",
        "xtick.color": MUTED,
        "xtick.labelcolor": MUTED,
        "xtick.labelsize": 9,
        "ytick.color": MUTED,
        "ytick.labelcolor": MUTED,
        "ytick.labelsize": 9,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph .* missing from .*font", category=UserWarning)
        yield

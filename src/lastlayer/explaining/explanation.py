"""`Explanation`: the numbers from one row of logits to its gradient, as text, HTML and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .numbers import Numbers
from .steps import steps_of
from .text import Piece, lines_of

if TYPE_CHECKING:
    from lastlayer.plots.explanation import ExplanationDisplay

__all__ = ["Explanation"]


class Explanation(Numbers):
    """The result of `lastlayer.explain`: every number from the logits to the gradient.

    In a terminal it is shown as text, in a notebook as tables with bars.

    Attributes
    ----------
    logits : array (V,)
        The logits, in float64; for probabilities, their logarithms.
    labels : tuple of V names
        The classes: their names, or their numbers as text.
    target : int or None
        The true class; None without a target, or if the target has a probability for each class.
    temperature, softcap, label_smoothing, class_weight
        The options of the loss.
    notes : tuple of text
        Warnings about the input.
    shifted : array (V,)
        Logits after the softcap, divided by the temperature, minus the largest.
    exponentials : array (V,)
        exp of ``shifted``.
    probabilities : array (V,)
        The softmax, p.
    prediction : int
        The class with the largest logit; the first one if several are equal.
    loss : float
        In nats; NaN without a target.
    targets : array (V,)
        The effective target t: 1 at the true class and 0 elsewhere, or the given probabilities, unless an
        option changes it.
    gradient : array (V,)
        The derivative of the loss with respect to each logit.

    Examples
    --------
    >>> import lastlayer as ll
    >>> found = ll.explain([0.1, 0.9, 4.0], 1)
    >>> round(found.loss, 6), found.gradient.round(4).tolist()
    (3.163248, [0.019, -0.9577, 0.9387])
    """

    def lines(self, width: int = 80, is_ascii: bool = False) -> list[list[Piece]]:
        """The text as lines, each in pieces ``(text, look)``, for a program that colours them."""
        return lines_of(steps_of(self), width, is_ascii)

    def __repr__(self) -> str:
        return "\n".join("".join(piece.text for piece in line).rstrip() for line in self.lines()).strip("\n")

    def _repr_html_(self) -> str:
        from .html import html_of

        return html_of(steps_of(self))

    def plot(self, ax: Any = None) -> ExplanationDisplay:
        """Plot probabilities, and on a new figure the gradient beside them (extra ``[plot]``)."""
        from lastlayer.plots.explanation import ExplanationDisplay

        return ExplanationDisplay.from_explanation(self, ax=ax)

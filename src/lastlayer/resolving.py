"""Build the problem of a loss. In: checked scores, and the user's targets and options. Out: `Problem`.

In three steps: `problem` checks shapes, dtypes and options. A backend reads all targets once and finds the
first wrong one and the sum of the weights. `problem` raises the error, or makes the sum the mean's divisor.
"""

from __future__ import annotations

from typing import Any, Protocol

from . import problem
from .options import Given, OptionValues
from .problem import Problem, Scores, Targets

__all__ = ["resolve"]


class Totals(Protocol):
    """The function of a backend that checking a loss calls."""

    def target_totals(self, scores: Scores, targets: Targets, mean: bool) -> tuple[int, Any]: ...


def resolve(scores: Scores, backend: Totals, given: Given, options: OptionValues) -> Problem:
    """The problem of a loss, with checked targets and options."""
    targets = problem.effective_targets(scores, given, options)
    totals = backend.target_totals(scores, targets, problem.is_mean(options))
    return problem.finish(scores, targets, totals, options)

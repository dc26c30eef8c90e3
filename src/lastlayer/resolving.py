"""Scores and targets -> the problem of a loss. In: checked scores, what the user passed. Out: `Problem`.

`problem` checks what can be said without reading all targets; a backend reads them, once; `problem` divides
by what it found.
"""

from __future__ import annotations

from typing import Any, Protocol

from . import problem
from .options import Given, Said
from .problem import Problem, Scores, Targets

__all__ = ["resolve"]


class Totals(Protocol):
    """What checking a loss needs of a backend."""

    def target_totals(self, scores: Scores, targets: Targets, mean: bool) -> tuple[int, Any]: ...


def resolve(scores: Scores, backend: Totals, given: Given, options: Said) -> Problem:
    """The problem of a loss, its targets and options checked."""
    targets = problem.effective_targets(scores, given, options)
    totals = backend.target_totals(scores, targets, problem.is_mean(options))
    return problem.finish(scores, targets, totals, options)

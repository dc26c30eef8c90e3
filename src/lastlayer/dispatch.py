"""A problem -> the backend that runs it. In: checked scores. Out: a module with the functions of ``Backend``.

The first backend of the list whose ``why_not`` has no objection: the native core for NumPy arrays, the
reference for the rest. ``LASTLAYER_BACKEND=reference`` or ``native`` leaves only that one. Tensors of PyTorch
come here only for the reference, where it is named: their own functions are in ``backends/torch/entry.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from .arrays import Array
from .backends import reference
from .backends.core import core, native
from .errors import BackendError
from .problem import Problem, Scores, Targets
from .row_stats import RowStats

__all__ = ["Availability", "Backend", "backend", "show_backends", "use"]


class Backend(Protocol):
    """What a backend offers: functions on problems in canonical form; `reference` says what each computes."""

    name: str

    def why_not(self, scores: Scores) -> str | None: ...
    def softmax(self, scores: Scores, out: Array | None) -> Array: ...
    def log_softmax(self, scores: Scores, out: Array | None) -> Array: ...
    def logsumexp(self, scores: Scores) -> Array: ...
    def target_totals(self, scores: Scores, targets: Targets, mean: bool) -> tuple[int, float]: ...
    def row_stats(self, problem: Problem, fields: frozenset[str]) -> RowStats: ...
    def ranks(self, scores: Scores, y: Array, target_logits: Array) -> Array: ...
    def cross_entropy(self, problem: Problem) -> Array: ...
    def cross_entropy_grad(self, problem: Problem) -> tuple[Array, Array]: ...
    def pick_loss(self, problem: Problem, log: bool) -> Array: ...
    def top_k(self, scores: Scores, k: int) -> tuple[Array, Array]: ...
    def softmax_backward(self, grad: Array, y: Array, axis: int) -> Array: ...
    def log_softmax_backward(self, grad: Array, y: Array, axis: int) -> Array: ...


_known: dict[str, Backend] = {}
_missing: dict[str, str] = {}
if core.BUILT:
    _known["native"] = native
else:
    _missing["native"] = core.WHY_NOT
_known["reference"] = reference

_order: tuple[Backend, ...] = ()
only: str | None = None  # the one backend that is left, if it was named


def backend(scores: Scores) -> Backend:
    """The first backend that runs these scores."""
    for candidate in _order:
        if candidate.why_not(scores) is None:
            return candidate
    reasons = [f"{candidate.name}: {candidate.why_not(scores)}" for candidate in _order]
    raise BackendError(f"{scores.function}: no backend can run this ({'; '.join(reasons)})")


def _restrict(name: str | None) -> None:
    """Leave only the backend of this name; None: every one."""
    global _order, only
    if name is None:
        _order = tuple(_known.values())
    elif name in _known:
        _order = (_known[name],)
    elif name in _missing:
        raise BackendError(f"backend is {name!r}; expected one that is available ({_missing[name]})")
    else:
        rule = " or ".join(map(repr, [*_missing, *_known]))
        raise BackendError(f"backend is {name!r}; expected {rule}")
    only = name


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Run everything on one backend inside a ``with`` block, in all threads: for comparisons and tests."""
    global _order, only
    before = _order, only
    _restrict(name)
    try:
        yield
    finally:
        _order, only = before


class Availability(NamedTuple):
    """One backend, and whether it runs here."""

    name: str
    arrays: str
    why_not: str | None


class Backends(tuple[Availability, ...]):
    """What ``show_backends`` found; prints as a table."""

    def __repr__(self) -> str:
        lines = []
        for name, arrays, why_not in self:
            lines.append(f"{name:<10} {arrays if why_not is None else 'not available: ' + why_not}")
        return "\n".join(lines)


def show_backends() -> Backends:
    """What runs where, and why not otherwise.

    Returns
    -------
    Backends
        A tuple of ``(name, arrays, why_not)``, first choice first; ``why_not`` is None for one that can run.

    Examples
    --------
    >>> import lastlayer as ll
    >>> ll.show_backends()[-1].name
    'reference'
    """
    found = []
    for name in ("native", "reference"):
        why_not = _missing.get(name)
        if why_not is None and _known[name] not in _order:
            why_not = "left out by LASTLAYER_BACKEND"
        found.append(Availability(name, _describe(name), why_not))
    return Backends(found)


def _describe(name: str) -> str:
    if name == "reference":
        return "arrays of every array-API library, float64 inside"
    describe = getattr(_known.get(name), "describe", None)
    return f"NumPy arrays and CPU tensors{', ' + describe() if describe is not None else ''}"


_restrict(os.environ.get("LASTLAYER_BACKEND") or None)

"""From training data to weights. In: rows, C, the settings of an estimator. Out: the fit, and warnings."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from lastlayer.fitting.fit import Fit, Report, fit
from lastlayer.fitting.objective import Objective
from lastlayer.fitting.partitions import PartitionedRows
from lastlayer.fitting.plan import DEFAULT_MEMORY, Size, choose
from lastlayer.fitting.rows import Floats, Rows
from lastlayer.fitting.sparse import SparseRows

from .dask_data import Partitions
from .head import Head
from .training_data import TrainingData

_SMALL = 1 << 16  # products of a pass over the rows: below, a step takes no time
_ROUNDING = 1e-11

__all__ = ["Settings", "moved_start", "solve", "warn_if_separable", "warn_unless_converged"]


class Settings(NamedTuple):
    """How an estimator fits."""

    name: str  # of its class
    intercept: bool
    solver: str
    tol: float
    max_iter: int
    max_memory: int
    seed: int
    verbose: bool

    @classmethod
    def of(cls, estimator: Any) -> Settings:
        """Those of an estimator's parameters."""
        e = estimator
        memory = DEFAULT_MEMORY if e.max_memory is None else int(e.max_memory)
        seed = int(check_random_state(e.random_state).randint(2**31 - 1))
        name = type(e).__name__
        return cls(name, e.fit_intercept, e.solver, e.tol, e.max_iter, memory, seed, bool(e.verbose))


def solve(
    rows: Rows, c: float, settings: Settings, start: Floats | None = None, *, to_rounding: bool = True
) -> Fit:
    """Fit rows with the penalty |W|^2 / (2 C s), s the sum of their weights; ``start`` is (K, D + 1).

    Where a step takes no time, it goes on below the tolerance until the gradient is lost in rounding, if
    ``to_rounding`` and if a minimum is sure to exist.
    """
    size = _size(rows)
    plan = choose(size, settings.max_memory, settings.solver)
    penalty = 1 / (c * rows.total)
    if start is not None:
        if plan.reduced and not size.sparse:
            start = None  # the span of the rows has other coordinates
        else:
            laid_out = Objective(rows, penalty).start()  # in the layout that the products want
            laid_out[:] = start
            start = laid_out

    def report(r: Report) -> None:
        print(
            f"[{settings.name}] step {r.iteration}: loss {r.point.loss:.8g}, gradient norm {r.point.norm:.2e}"
        )

    options: dict[str, Any] = {"intercept": settings.intercept, "seed": settings.seed}
    options["report"] = report if settings.verbose else None
    small = rows.count * rows.features * rows.classes <= _SMALL and penalty > 0 and to_rounding
    rows = rows.exact() if small else rows
    found = fit(
        rows,
        penalty,
        plan,
        tol=min(settings.tol, _ROUNDING / max(1.0, c)) if small else settings.tol,
        max_iter=settings.max_iter,
        start=start,
        **options,
    )
    left = settings.max_iter - found.iterations
    if found.norm > settings.tol and left > 0 and plan.solver == "lbfgs":  # its metric does not fit here
        newton = choose(size, settings.max_memory, "newton-cg")
        rest = fit(rows, penalty, newton, tol=settings.tol, max_iter=left, start=found.parameters, **options)
        found = rest._replace(iterations=found.iterations + rest.iterations)
    return found._replace(converged=found.norm <= settings.tol)


def _size(rows: Any) -> Size:
    if isinstance(rows, PartitionedRows):
        return rows.size
    sparse = isinstance(rows, SparseRows)
    return Size(rows.count, rows.features, rows.classes, rows.dtype.itemsize, sparse)


def moved_start(parameters: Floats, old: Any, new: Any) -> Floats:
    """Parameters of the classes ``old`` as a start for the classes ``new``; zeros for those that are new.

    Two classes have one row w, which stands for the rows -w / 2 and w / 2. Of more classes the rows are
    centred: this changes no probability, and solvers take no step along their mean.
    """
    if len(old) == 2:
        parameters = np.concatenate([-parameters / 2, parameters / 2])
    place = {label: i for i, label in enumerate(old.tolist())}
    out = np.zeros((len(new), parameters.shape[1]))
    for i, label in enumerate(new.tolist()):
        if label in place:
            out[i] = parameters[place[label]]
    return out[1:] - out[:1] if len(new) == 2 else out - out.mean(axis=0)


def warn_unless_converged(found: Fit, c: float, settings: Settings) -> None:
    """scikit-learn's `ConvergenceWarning`, with the norm reached and what to do."""
    if found.converged:
        return
    stopped = found.iterations >= settings.max_iter
    remedies = ["more iterations (max_iter)"] if stopped else ["a larger tol"]
    remedies.append("features of similar scale (sklearn.preprocessing.StandardScaler)")
    if np.isinf(c):
        remedies.append("a finite C: of separable classes the minimum without a penalty is at infinity")
    warnings.warn(
        f"{settings.name} stopped after {found.iterations} iterations with a gradient norm of "
        f"{found.norm:.3g}, above tol={settings.tol:g}"
        + ("" if stopped else ", where no step made the loss smaller")
        + f". What may help: {'; '.join(remedies)}.",
        ConvergenceWarning,
        stacklevel=4,
    )


def warn_if_separable(data: TrainingData, smoothing: float, found: Fit, settings: Settings) -> None:
    """Warn where, without a penalty, every row is right: larger weights always give a smaller loss."""
    if smoothing > 0:
        return
    if isinstance(data.x, Partitions):
        separated = all(data.x.rows(0.0).map(_separates, found.parameters))
    else:
        separated = _separates(data, found.parameters)
    if separated:
        warnings.warn(
            f"{settings.name}: a linear function separates the classes, and C is inf, so the minimum is at "
            f"infinity. The coefficients are those where the gradient norm fell below tol={settings.tol:g} "
            f"({found.norm:.3g}). What may help: a finite C.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _separates(data: Any, parameters: Floats) -> bool:
    """Whether every row is right, of training data or of rows; rows of weight 0 do not count."""
    targets = data.targets
    if targets.ndim == 2:
        if (targets.max(axis=1) != 1).any():
            return False
        targets = targets.argmax(axis=1)
    right = Head(data.x, parameters[:, :-1], parameters[:, -1]).labels() == targets
    return bool(right.all() if data.weight is None else right[data.weight > 0].all())

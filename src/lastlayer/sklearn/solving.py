"""From training data to weights. In: rows, C, the settings of an estimator. Out: the fit, and warnings."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from lastlayer.fitting.checkpoint import Checkpoint, Saved
from lastlayer.fitting.fit import Fit, fit
from lastlayer.fitting.objective import Objective
from lastlayer.fitting.partitions import PartitionedRows
from lastlayer.fitting.plan import DEFAULT_MEMORY, Size, choose
from lastlayer.fitting.rows import Floats, Rows, logits_of
from lastlayer.fitting.sparse import SparseRows

from .dask_data import Partitions
from .head import Head
from .training_data import TrainingData
from .watching import Watcher, watched

_SMALL = 1 << 16  # products of a pass over the rows: below, a step takes no time
_ROUNDING = 1e-11

__all__ = ["Settings", "checkpoint_of", "moved_start", "solve", "warn_if_separable", "warn_unless_converged"]


class Settings(NamedTuple):
    """The settings of a fit."""

    name: str  # of its class
    intercept: bool
    solver: str
    tol: float
    max_iter: int
    max_memory: int
    seed: int
    verbose: int

    @classmethod
    def of(cls, estimator: Any) -> Settings:
        """Those of an estimator's parameters."""
        e = estimator
        memory = DEFAULT_MEMORY if e.max_memory is None else int(e.max_memory)
        seed = int(check_random_state(e.random_state).randint(2**31 - 1))
        name = type(e).__name__
        return cls(name, e.fit_intercept, e.solver, e.tol, e.max_iter, memory, seed, int(e.verbose))


def solve(
    rows: Rows,
    c: float,
    settings: Settings,
    start: Floats | None = None,
    *,
    to_rounding: bool = True,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Fit rows with the penalty |W|^2 / (2 C s), s the sum of their weights; ``start`` is (K, D + 1).

    Where a step takes no time, it goes on below the tolerance until the gradient is lost in rounding, if
    ``to_rounding`` and if a minimum is sure to exist. A checkpoint that exists takes the place of the start.
    """
    size, done = _size(rows), 0
    if checkpoint is not None:
        if not size.sparse:  # the span of the rows has other coordinates, from which no fit goes on
            size = size._replace(rows=max(size.rows, size.features))
        saved = checkpoint.read()
        if saved is not None:
            start, done = saved
    plan = choose(size, settings.max_memory, settings.solver)
    penalty = 1 / (c * rows.total)
    if start is not None:
        if plan.reduced and not size.sparse:
            start = None
        else:
            laid_out = Objective(rows, penalty).start()  # in the layout that the products want
            laid_out[:] = start
            start = laid_out

    most = max(0, settings.max_iter - done)
    options: dict[str, Any] = {"intercept": settings.intercept, "seed": settings.seed}
    small = rows.count * rows.features * rows.classes <= _SMALL and penalty > 0 and to_rounding
    rows = rows.exact() if small else rows
    tol = min(settings.tol, _ROUNDING / max(1.0, c)) if small else settings.tol
    with watched(settings.name, settings.verbose, tol, checkpoint) as watch:
        report = watch and _after(watch, done)
        found = fit(rows, penalty, plan, tol=tol, max_iter=most, start=start, report=report, **options)
        steps = found.iterations
        if found.norm > settings.tol and most > steps and plan.solver == "lbfgs":  # its metric does not fit
            newton = choose(size, settings.max_memory, "newton-cg")
            options |= {"max_iter": most - steps, "report": watch and _after(watch, done + steps)}
            found = fit(rows, penalty, newton, tol=settings.tol, start=found.parameters, **options)
            steps += found.iterations
    found = found._replace(iterations=done + steps, converged=found.norm <= settings.tol)
    if checkpoint is not None:
        checkpoint.write(Saved(found.parameters, found.iterations))
    return found


def _after(watch: Watcher, steps: int) -> Watcher:
    """Count steps from the first of all, where others went before."""
    return lambda r: watch(r._replace(iteration=steps + r.iteration))


def checkpoint_of(estimator: Any, data: TrainingData, rows: Any) -> Checkpoint | None:
    """The file of a fit, with what its minimum depends on: the tolerance and the solver may change."""
    e = estimator
    if e.checkpoint is None:
        return None
    of = {
        "rows": rows.count,
        "features": rows.features,
        "classes": rows.classes,
        "labels": hashlib.sha256(repr(data.classes.tolist()).encode()).hexdigest(),
        "weights": f"{rows.total:.9g} in sum",
        "C": float(e.C),
        "fit_intercept": bool(e.fit_intercept),
        "class_weight": repr(e.class_weight),
        "label_smoothing": float(e.label_smoothing),
    }
    shape = (logits_of(rows.classes), rows.features + 1)
    return Checkpoint(f"{type(e).__name__}.fit", e.checkpoint, of, shape)


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

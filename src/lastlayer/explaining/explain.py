"""The function `explain`. In: one row of scores, its target and options. Out: a checked `Explanation`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.blocks import is_integer, to_host
from lastlayer.errors import OptionError, ShapeError, TargetError
from lastlayer.labels import UNKNOWN, Labels
from lastlayer.problem.check_arrays import floating
from lastlayer.typing import KindOfScores

from .explanation import Explanation

__all__ = ["explain"]

_KINDS = ("logits", "probabilities", "log-probabilities")
_TOLERANCE = 1e-3  # the largest error of the sum of probabilities, which may be typed and rounded


def explain(
    logits: Any,
    target: Any = None,
    *,
    labels: Sequence[Any] | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
    kind: KindOfScores = "logits",
) -> Explanation:
    """Show step by step how one row of logits becomes probabilities, a loss and a gradient.

    The steps are: shift by the largest logit; exponentials; probabilities; the loss, in nats; its gradient ::

        z_j        = softcap tanh(logits_j / softcap) / temperature      no softcap: logits_j / temperature
        p_j        = exp(z_j - peak) / sum_k exp(z_k - peak)             peak = the largest z
        loss       = -sum_j t_j log p_j                                  of a class: -log p of the class
        gradient_j = (mass p_j - t_j) dz_j/dlogits_j                     mass = sum_j t_j

    t is 1 at the target and 0 elsewhere, or the probabilities that are the target, with smoothing and class
    weights. The command `lastlayer explain` prints the same.

    Parameters
    ----------
    logits : array (V,)
        One row of scores. One row of a batch is ``logits[i]``.
    target : int, name or array (V,), optional
        The true class: its number, or with ``labels`` its name. Or a probability for each class, as in
        distillation. Without it there is no loss.
    labels : sequence of V names, optional
        Names of the classes. If one of them is a number, ``target`` has to be a name.
    temperature : float
        Logits are divided by it, after the softcap.
    softcap : float, optional
        Logits r become ``softcap * tanh(r / softcap)``, between -softcap and softcap.
    label_smoothing : float
        This share of the target is spread evenly over all classes.
    class_weight : array (V,), optional
        A factor for each class.
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores are. Of probabilities the logarithms are explained.

    Returns
    -------
    Explanation
        Its text in a terminal, tables with bars in a notebook, and ``plot()``. Of more than 40 classes the 20
        most probable ones and the target are shown; its arrays have all.

    Raises
    ------
    ShapeError
        For scores that are not one row of at least one class, or a target of other length.
    DtypeError
        For scores, or a target of several numbers, that are not real numbers.
    TargetError
        For a target that is not a class, and not probabilities.
    OptionError
        For scores without a softmax (NaN, +inf, -inf throughout), rows that are not probabilities, options
        outside their range, or options of the loss without a target.

    See Also
    --------
    cross_entropy_grad : loss and gradient of many rows.
    check : the common mistakes in scores and targets.

    Examples
    --------
    >>> import lastlayer as ll
    >>> print(ll.explain([1.0, 1.0]))
      1. Shift: the largest, 1.000000, is subtracted from each. No probability
      changes, since the shift cancels in the ratio; and nothing can overflow,
      since the largest is now 0.
      2. Exponentials: exp of each shifted logit: positive, 2.000000 in sum.
      3. Probabilities: each exponential divided by that sum.
    <BLANKLINE>
      class     logit   shifted       exp  probability
     ──────────────────────────────────────────────────────────
      0      1.000000  0.000000  1.000000     0.500000  ███████
      1      1.000000  0.000000  1.000000     0.500000  ███████
    <BLANKLINE>
      The prediction is 0. Name the target to see the loss and its gradient.

    A target may have a probability for each class:

    >>> found = ll.explain([0.1, 0.9, 4.0], [0.1, 0.2, 0.7], softcap=30.0)
    >>> round(found.loss, 6), found.gradient.round(4).tolist()
    (1.067688, [-0.0806, -0.1566, 0.2332])
    """
    row = _row(logits)
    notes: tuple[str, ...] = ()
    if kind not in _KINDS:
        raise OptionError("explain", "kind", repr(kind), f"one of {', '.join(map(repr, _KINDS))}")
    if kind == "probabilities":
        row = _logits_of(row)
    elif len(row) > 1 and kind == "logits" and (row >= 0).all() and abs(row.sum() - 1) < 1e-6:
        notes = (
            "These numbers sum to one. Are they probabilities? Then say so: --probabilities, or "
            'kind="probabilities" in Python.',
        )
    _check(row)
    if kind == "log-probabilities":
        _check_sum(float(np.exp(row).sum()), "log-probabilities", row)

    names = None if labels is None else Labels("explain", list(labels), len(row))
    shown = tuple(map(str, range(len(row)) if names is None else names.names))
    if target is None and (class_weight is not None or label_smoothing):
        changed = "label_smoothing" if label_smoothing else "class_weight"
        raise OptionError("explain", "target", "missing", f"a class, since {changed} changes its loss")
    return Explanation(
        row,
        shown,
        None if target is None else _target(target, names, len(row)),
        temperature=temperature,
        softcap=softcap,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        notes=notes,
    )


def _row(logits: Any) -> npt.NDArray[np.float64]:
    """The scores in float64: (V,)."""
    has_device = hasattr(logits, "shape") and not isinstance(logits, np.ndarray)
    values = floating("explain", to_host(logits) if has_device else logits, "logits").astype(np.float64)
    if values.ndim != 1:
        remedy = "pass one of its rows, logits[i]" if values.ndim > 1 else "pass the scores of all classes"
        raise ShapeError("explain", "logits", f"of shape {values.shape}", "one row, of shape (V,)", remedy)
    if not len(values):
        raise ShapeError("explain", "logits", "of shape (0,)", "at least one class")
    return np.asarray(values)


def _check(row: npt.NDArray[np.float64]) -> None:
    """Raise for rows without a softmax."""
    for position, value in enumerate(row.tolist()):
        if math.isnan(value) or value == math.inf:
            raise OptionError("explain", f"logits[{position}]", f"{value}", "a number below infinity")
    if row.max() == -math.inf:
        raise OptionError("explain", "logits", "-inf in every class", "at least one possible class")


def _logits_of(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logits whose softmax are these probabilities."""
    _check_sum(float(p.sum()) if ((p >= 0) & (p <= 1)).all() else math.nan, "probabilities", p)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p))


def _check_sum(total: float, kind: str, row: npt.NDArray[np.float64]) -> None:
    if not abs(total - 1) <= _TOLERANCE:
        where = (
            "numbers in [0, 1] that sum to one" if kind == "probabilities" else "exponentials that sum to one"
        )
        raise OptionError("explain", "logits", _numbers(row), f"{kind}: {where}")


def _target(target: Any, names: Labels | None, classes: int) -> int | npt.NDArray[np.float64]:
    """The number of the true class, from its number or its name; or its probabilities, (V,)."""
    if getattr(target, "shape", None) == ():
        target = to_host(target).item()
    if isinstance(target, (list, tuple)) or hasattr(target, "shape"):
        return _probabilities(target, classes)
    if names is not None:
        found = int(names.read("explain", [target], "wrong").indices[0]) if _is_name(target) else UNKNOWN
        if found >= 0:
            return found
        if not is_integer(target) or any(name.lstrip("-").isdigit() for name in map(str, names.names)):
            shown = ", ".join(map(str, names.names[:8])) + (", ..." if classes > 8 else "")
            raise TargetError("explain", "target", repr(target), f"one of {shown}")
    if not is_integer(target) or not 0 <= target < classes:
        raise TargetError("explain", "target", repr(target), f"a class in [0, {classes})")
    return int(target)


def _probabilities(target: Any, classes: int) -> npt.NDArray[np.float64]:
    """A dense target in float64, checked: (V,)."""
    has_device = hasattr(target, "shape") and not isinstance(target, np.ndarray)
    t = floating("explain", to_host(target) if has_device else target, "target").astype(np.float64)
    if t.shape != (classes,):
        rule = f"a class, or ({classes},): a probability for each class"
        raise ShapeError("explain", "target", f"of shape {t.shape}", rule)
    if not ((t >= 0) & (t <= 1)).all() or not abs(t.sum() - 1) <= _TOLERANCE:
        raise TargetError("explain", "target", _numbers(t), "numbers in [0, 1] that sum to one")
    return np.asarray(t)


def _numbers(row: npt.NDArray[np.float64]) -> str:
    """The first numbers of a row, for a message."""
    return "[" + ", ".join(f"{value:.6g}" for value in row[:6].tolist()) + (", ...]" if len(row) > 6 else "]")


def _is_name(target: Any) -> bool:
    return isinstance(target, (str, bytes, int, float, np.generic))

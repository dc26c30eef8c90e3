"""The function `check`: find common mistakes in scores and targets, each with its remedy.

In: scores (and targets) of any array library, as the public functions take them. Out: a tuple of `Finding`.
The data is read once, in blocks of rows that are converted to float64 in CPU memory. An observer looks for
one family of mistakes: it gets every block, and reports its findings at the end. Bad data is a finding, never
an exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer import problem as problems
from lastlayer.backends import reference
from lastlayer.blocks import UnreadableError, is_integer, number_family, opened, row_blocks, to_host
from lastlayer.errors import LastlayerError, OptionError
from lastlayer.labels import MISSING, Labels
from lastlayer.options import Options
from lastlayer.problem import is_top_k
from lastlayer.resolving import resolve
from lastlayer.typing import KindOfScores

from .mistakes import SEVERITIES, Finding, Findings, finding
from .observation import Observer, Rows
from .observers import ConstantScores, InvalidScores, ScoreKind
from .target_observers import DenseTargets, IndexTargets, MeanLoss, NameTargets

__all__ = ["check"]

_KINDS = ("logits", "probabilities", "log-probabilities")


def check(
    scores: Any,
    targets: Any = None,
    *,
    kind: KindOfScores = "logits",
    axis: int = -1,
    ignore_index: int | None = -100,
    labels: Any = None,
) -> Findings:
    """Find common mistakes in scores and targets, and suggest a remedy for each.

    Parameters
    ----------
    scores : array (..., V)
        The first argument of `cross_entropy`, `log_loss` or `nll_loss`.
    targets : array, optional
        Class indices (one axis fewer), dense targets (the scores' shape) or top-k targets (a tuple).
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores should be.
    axis : int
        The class axis.
    ignore_index : int or None
        Rows with this index target are left out.
    labels : sequence of V names, optional
        If given, targets are names. Rows whose name is missing (``None``, NaN or "") are left out.

    Returns
    -------
    Findings
        A tuple of `Finding(code, severity, message, where)`, most severe first; empty if there is none.

    Raises
    ------
    OptionError
        For an unknown ``kind``, an ``axis`` out of range, an ``ignore_index`` that is not an integer, or
        ``labels`` that are not V different names.

    See Also
    --------
    evaluate : its ``findings`` are the same.
    row_stats : loss and rank of each row.

    Notes
    -----
    The data is read once. Memory: a few blocks of 65 536 elements (or of one row), and one count per class.

    Examples
    --------
    >>> import lastlayer as ll
    >>> for finding in ll.check([[0.1, 0.3, 0.7]], [2], kind="probabilities"):
    ...     print(finding.severity, finding.code, finding.where)
    error rows-not-summing-to-one (0,)
    >>> ll.check([[2.0, 1.0, 0.1]], [0])
    no findings
    """
    if kind not in _KINDS:
        raise OptionError("check", "kind", repr(kind), f"one of {', '.join(map(repr, _KINDS))}")
    if ignore_index is not None and not is_integer(ignore_index):
        raise OptionError("check", "ignore_index", repr(ignore_index), "an integer or None")
    if not is_integer(axis):
        raise OptionError("check", "axis", repr(axis), "an integer: scores have one class axis here")

    scores, problem = _open("scores", scores)
    if problem:
        return Findings([problem])
    shape = tuple(int(n) for n in scores.shape)
    if not shape:
        return Findings([finding("no-class-axis", value=scores)])
    if not -len(shape) <= axis < len(shape):
        raise OptionError("check", "axis", f"{axis}", f"an integer in [{-len(shape)}, {len(shape)})")
    axis = int(axis) % len(shape)
    if 0 in shape:
        return Findings([finding("no-classes" if shape[axis] == 0 else "no-rows", shape=shape, axis=axis)])

    observers: list[Observer] = [InvalidScores(kind), ScoreKind(kind, scores, axis), ConstantScores()]
    found: list[Finding] = []
    dense = False
    names = None if labels is None else Labels("check", labels, shape[axis])
    if names is None and is_top_k(targets):
        found += _wrong_list(shape, targets, axis, ignore_index)
        targets = None
    elif targets is not None:
        if names is None:
            targets, problem = _open("targets", targets)
            problem = problem or _misfit(scores, targets, axis)
        else:
            targets, ignore_index = _of_names(targets), MISSING
            observers.append(NameTargets(names))  # the other observers get the indices that this one finds
            problem = _misfit_of_names(shape, targets, axis)
        if problem:
            found.append(problem)
            targets = None
        else:
            dense = names is None and len(targets.shape) == len(shape)
            index = IndexTargets(shape[axis], ignore_index, names is not None)
            observers.append(DenseTargets(targets, axis) if dense else index)
            observers.append(MeanLoss(kind, shape[axis], ignore_index))

    for block in row_blocks(shape, axis):
        rows = Rows(block, block.rows(scores))
        if targets is not None:
            rows.targets = block.rows(targets) if dense else block.values(targets)
        for observer in observers:
            observer.see(rows)
    for observer in observers:
        found += observer.findings()
    if any(one.severity == "error" for one in found):  # an error explains a high loss
        found = [one for one in found if one.code != "worse-than-uniform"]
    return Findings(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))


def _open(name: str, values: Any) -> tuple[Any, Finding | None]:
    """The values as an array of real numbers, or the finding that says why this is not possible."""
    try:
        array = opened(values)
    except UnreadableError as error:
        return None, finding(f"{name}-array", what=error)
    if number_family(array):
        return array, None
    hint = ""
    if name == "targets" and getattr(array.dtype, "kind", "-") in "OSUTMm":
        hint = " Number the labels with pd.Categorical(targets).codes, and pass ignore_index=-1."
    return None, finding(f"{name}-dtype", dtype=array.dtype, hint=hint)


def _of_names(targets: Any) -> Any:
    """Names as an array that can be read in blocks."""
    if isinstance(targets, (list, tuple)):
        return np.asarray(targets, dtype=object)
    if isinstance(targets, np.ndarray) or not hasattr(targets, "__array__"):
        return targets
    return to_host(targets)


# --- targets ------------------------------------------------------------------------------------------------


def _misfit(scores: Any, targets: Any, axis: int) -> Finding | None:
    """The finding if the targets' shape or dtype does not fit the scores, or None."""
    shape, given = tuple(map(int, scores.shape)), tuple(map(int, targets.shape))
    rows = _without(shape, axis)
    family = number_family(targets)
    if given == shape or (given == rows and family == "int"):
        return None
    if given == rows:
        missing = family == "float" and bool(np.isnan(to_host(targets).astype(np.float64)).any())
        hint = " They hold NaN: write -100 in its place before." if missing else ""
        return finding(f"{family}-targets", given=given, dtype=targets.dtype, shape=shape, hint=hint)
    for other in range(len(shape)):
        if given == _without(shape, other):
            why = (
                f"targets of shape {given} do not fit scores of shape {shape} with the classes on axis {axis}"
            )
            return finding("class-axis", why=why + ", but they do with the classes", other=other)
    if number_family(scores) == "int" and any(shape == _without(given, k) for k in range(len(given))):
        return finding("arguments-exchanged", shape=shape, given=given)
    hint = ""
    if len(given) == len(shape) and _without(given, axis) == rows:
        one_too_many = f" They have one axis too many: pass targets.squeeze({axis})."
        hint = one_too_many if given[axis] == 1 else f" These are dense over {given[axis]} classes."
    elif math.prod(given) == math.prod(rows) and family == "int":
        hint = f" Pass targets.reshape({rows})."
    return finding("target-shape", given=given, rows_shape=rows, shape=shape, hint=hint)


def _misfit_of_names(shape: tuple[int, ...], targets: Any, axis: int) -> Finding | None:
    """The finding if there is not one name for each row, or None."""
    rows, given = _without(shape, axis), tuple(map(int, targets.shape))
    if given in (rows, (*rows, 1)):
        return None
    return finding("target-shape", given=given, rows_shape=rows, shape=shape, hint="")


def _wrong_list(shape: tuple[int, ...], targets: Any, axis: int, ignore_index: Any) -> Iterator[Finding]:
    """The error that `cross_entropy` raises for these top-k targets, if any, as a finding."""
    try:
        listed = tuple(to_host(_as_array(part)) for part in targets)
        scores = problems.scores("check", np.broadcast_to(np.float32(0), shape), axis)
        given = listed, None, None
        resolve(scores, reference, given, Options("check", ignore_index=ignore_index))
    except LastlayerError as error:
        yield finding("listed-targets", what=str(error).removeprefix("check: "))


def _as_array(values: Any) -> Any:
    return values if hasattr(values, "dtype") else problems.to_numpy("check", "targets", values)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]

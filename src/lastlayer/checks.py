"""check(scores, targets) -> Findings: the usual mistakes, named, each with what to do about it.

In: scores (and targets) of any array library, as the public functions take them.  Out: a tuple of `Finding`.
One pass over blocks of rows, converted to float64 on the host one at a time; each family of mistakes is one
small observer that sees every block and speaks at the end.  Bad data never raises: it is what is looked for.

The texts are in `mistakes.py`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from . import problem as problems
from . import reference
from .arrays import BFLOAT16, from_bfloat
from .errors import LastlayerError, OptionError
from .mistakes import SEVERITIES, Finding, Findings, finding
from .problem import is_top_k, to_numpy

__all__ = ["Finding", "Findings", "check"]

_KINDS = ("logits", "probabilities", "log-probabilities")
_BLOCK = 1 << 16  # elements in a block of rows, unless one row alone has more


def check(
    scores: Any, targets: Any = None, *, kind: str = "logits", axis: int = -1, ignore_index: int | None = -100
) -> Findings:
    """Look for the usual mistakes in scores and targets, and say what to do about each.

    Parameters
    ----------
    scores : array (..., V)
        What is passed to `cross_entropy`, `log_loss` or `nll_loss`.
    targets : array, optional
        Class indices (one axis fewer), dense targets (the scores' shape) or top-k targets (a tuple).
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores are meant to be.
    axis : int
        The class axis.
    ignore_index : int or None
        Index targets of this value are left out.

    Returns
    -------
    Findings
        A tuple of `Finding(code, severity, message, where)`, the gravest first; empty when nothing was found.

    Raises
    ------
    OptionError
        For an unknown kind, an axis the scores do not have, or an ignore_index that is no integer.

    Notes
    -----
    Reads the data once. Memory: a few blocks of 65 536 elements (or of one row), and one count per class.

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
        raise OptionError(f"check: kind is {kind!r}; expected one of {', '.join(map(repr, _KINDS))}")
    if ignore_index is not None and not _is_int(ignore_index):
        raise OptionError(f"check: ignore_index is {ignore_index!r}; expected an integer or None")
    if not _is_int(axis):
        raise OptionError(f"check: axis is {axis!r}; expected an integer: scores have one class axis here")

    scores, problem = _open("scores", scores)
    if problem:
        return Findings([problem])
    shape = tuple(int(n) for n in scores.shape)
    if not shape:
        return Findings([finding("no-class-axis", value=scores)])
    if not -len(shape) <= axis < len(shape):
        raise OptionError(f"check: axis is {axis}; expected an integer in [{-len(shape)}, {len(shape)})")
    axis = int(axis) % len(shape)
    if 0 in shape:
        return Findings([finding("no-classes" if shape[axis] == 0 else "no-rows", shape=shape, axis=axis)])

    observers: list[Any] = [_Invalid(kind), _Form(kind, scores, axis), _Constant()]
    found: list[Finding] = []
    dense = False
    if is_top_k(targets):
        found += _wrong_list(shape, targets, axis, ignore_index)
    elif targets is not None:
        targets, problem = _open("targets", targets)
        problem = problem or _misfit(scores, targets, axis)
        if problem:
            found.append(problem)
            targets = None
        else:
            dense = len(targets.shape) == len(shape)
            family = _Dense(targets, axis) if dense else _Index(shape[axis], ignore_index)
            observers += [family, _Loss(kind, shape[axis], ignore_index)]

    for block in _blocks(scores, None if is_top_k(targets) else targets, axis, dense):
        for observer in observers:
            observer.see(block)
    for observer in observers:
        found += observer.findings()
    if any(one.severity == "error" for one in found):  # then the loss says nothing new
        found = [one for one in found if one.code != "worse-than-uniform"]
    return Findings(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))


# ------------------------------ arrays and blocks


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _open(name: str, values: Any) -> tuple[Any, Finding | None]:
    """Make an array with `shape` and `dtype` of real numbers, or the finding that says why it is none."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        from .torch.tensors import hidden

        if (what := hidden(values)) is not None:
            return None, finding(f"{name}-array", what=what)
    if not (hasattr(values, "shape") and hasattr(values, "dtype")) or not all(map(_is_int, values.shape)):
        try:
            values = to_numpy("check", name, values)
        except Exception:  # ragged lists, unknown objects: whatever NumPy objects to is the finding
            ragged = isinstance(values, (list, tuple))
            what = "rows of unequal length?" if ragged else type(values).__name__
            return None, finding(f"{name}-array", what=what)
    if not _family(values):
        hint = ""
        if name == "targets" and getattr(values.dtype, "kind", "-") in "OSUTMm":
            hint = " Number the labels with pd.Categorical(targets).codes, and pass ignore_index=-1."
        return None, finding(f"{name}-dtype", dtype=values.dtype, hint=hint)
    return values, None


def _dtype_name(array: Any) -> str:
    return str(getattr(array.dtype, "name", array.dtype)).rpartition(".")[2]


def _is_bits(array: Any) -> bool:
    """Whether an array holds the bits of bfloat16."""
    return isinstance(array.dtype, np.dtype) and array.dtype == BFLOAT16


def _family(array: Any) -> str:
    """Tell "float", "int", "bool" or, for anything else, "" from the dtype's name in any array library."""
    name = _dtype_name(array)
    if _is_bits(array):
        return "float"
    if "complex" in name or "object" in name or "str" in name or "time" in name:
        return ""
    for family in ("float", "int", "bool"):
        if family in name:
            return family
    return "float" if "double" in name else ""


def _tolerance(array: Any) -> float:
    """How far from 1 the sum of honest probabilities of this dtype may be."""
    name = _dtype_name(array)
    return 1e-2 if "float16" in name or _is_bits(array) else 0.2 if "float8" in name else 1e-4


def _host(values: Any) -> np.ndarray:
    """Bring one block of an array of any library to NumPy."""
    if hasattr(values, "detach"):  # torch, which alone has bfloat16 that NumPy cannot read
        values = values.detach().cpu()
        values = (
            values.float() if "bfloat16" in str(values.dtype) or "float8" in str(values.dtype) else values
        )
    elif hasattr(values, "get") and hasattr(values, "device"):  # CuPy
        values = values.get()
    try:
        found = np.asarray(values)
    except (TypeError, RuntimeError, ValueError):
        return np.from_dlpack(values)
    return from_bfloat(found.view(np.uint16)) if _is_bits(found) else found


def _slabs(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut an index space into boxes of at most `limit` positions that follow one another in C order."""
    cut, inner = len(shape), 1
    while cut and inner * shape[cut - 1] <= limit:
        cut -= 1
        inner *= shape[cut]
    whole = tuple(slice(0, n) for n in shape[cut:])
    if not cut:
        yield whole
        return
    step, last = max(1, limit // inner), shape[cut - 1]
    for outer in product(*map(range, shape[: cut - 1])):
        for start in range(0, last, step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, min(start + step, last)), *whole)


class _Block:
    """Some rows: scores (n, V) float64 and their targets, (n,) as given or (n, V) float64, or None."""

    def __init__(self, scores: Any, targets: Any, slabs: tuple[slice, ...], axis: int, dense: bool) -> None:
        self.slabs, self.axis = slabs, axis
        self.box = tuple(slab.stop - slab.start for slab in slabs)
        self.scores = self._rows(scores)
        self.targets = None
        if targets is not None:
            self.targets = self._rows(targets) if dense else _host(targets[slabs]).reshape(-1)

    def _rows(self, array: Any) -> np.ndarray:
        index = (*self.slabs[: self.axis], slice(None), *self.slabs[self.axis :])
        rows = np.moveaxis(_host(array[index]), self.axis, -1)
        return rows.astype(np.float64).reshape(-1, rows.shape[-1])

    def row(self, i: int) -> tuple[int, ...]:
        """Where the block's i-th row lies among all rows."""
        return tuple(int(k) + s.start for k, s in zip(np.unravel_index(i, self.box), self.slabs, strict=True))

    def entry(self, i: int, j: int) -> tuple[int, ...]:
        """Where class j of the block's i-th row lies in the scores."""
        row = self.row(i)
        return (*row[: self.axis], j, *row[self.axis :])

    @cached_property
    def peak(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scores.max(axis=1))

    @cached_property
    def usable(self) -> np.ndarray:
        """Rows with a meaningful softmax: (n,) bool."""
        return np.asarray(np.isfinite(self.peak))  # a NaN, a +inf and a row of -inf all show in the maximum

    @cached_property
    def sums(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scores.sum(axis=1))

    @cached_property
    def lse(self) -> np.ndarray:
        """Log of the sum of exponentials: (n,), NaN where a row is not usable."""
        peak = np.where(self.usable, self.peak, np.nan)
        return np.asarray(peak + np.log(np.exp(self.scores - peak[:, None]).sum(axis=1)))


def _blocks(scores: Any, targets: Any, axis: int, dense: bool) -> Iterator[_Block]:
    shape = tuple(int(n) for n in scores.shape)
    rows = shape[:axis] + shape[axis + 1 :]
    for slabs in _slabs(rows, max(1, _BLOCK // shape[axis])):
        yield _Block(scores, targets, slabs, axis, dense)


# ------------------------------ words


class _Count:
    """How many rows of how many, and the first of them: its position, the entry, and its value."""

    def __init__(self, name: str = "scores") -> None:
        self.name = name
        self.n = self.total = 0
        self.row: tuple[int, ...] = ()
        self.where: tuple[int, ...] = ()
        self.value: Any = None

    def __bool__(self) -> bool:
        return self.n > 0

    def see(self, block: _Block, mask: np.ndarray, values: np.ndarray | None = None) -> None:
        """Count the rows of `mask`: (n,), or (n, V) when single entries are meant; keep the first value."""
        rows = mask if mask.ndim == 1 else mask.any(axis=1)
        if not self.n and rows.any():
            i = int(rows.argmax())
            at = (i,) if mask.ndim == 1 else (i, int(mask[i].argmax()))
            self.row = block.row(i)
            self.where = self.row if mask.ndim == 1 else block.entry(*at)
            self.value = None if values is None else values[at]
        self.n += int(np.count_nonzero(rows))
        self.total += rows.size

    def words(self) -> dict[str, Any]:
        """Fill the fields of a message that speak of these rows."""
        rows = f"{self.n} of {self.total} rows" if self.total > 1 else "the only row"
        row = ", ".join(map(str, self.row))
        return {
            "rows": rows,
            "many": f"{rows} are no distributions: " if self.n > 1 else "",
            "first": "the row" if not row else f"row {row}" if len(self.row) == 1 else f"row ({row})",
            "entry": f"{self.name}[{', '.join(map(str, self.where))}]" if self.where else self.name,
            "value": self.value,
        }


def _of(code: str, count: _Count, **facts: Any) -> Finding:
    return finding(code, count.where, **count.words(), **facts)


# ------------------------------ observers


class _Invalid:
    """NaN, +inf and impossible rows."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.nan, self.inf, self.impossible = _Count(), _Count(), _Count()

    def see(self, block: _Block) -> None:
        suspect = ~block.usable[:, None]
        self.nan.see(block, np.isnan(block.scores) & suspect)
        self.inf.see(block, np.isposinf(block.scores) & suspect)
        self.impossible.see(block, np.isneginf(block.peak))

    def findings(self) -> Iterator[Finding]:
        if self.nan:
            yield _of("nan-scores", self.nan)
        if self.inf:
            yield _of("inf-scores", self.inf)
        if self.impossible:
            yield _of("impossible-rows", self.impossible)


class _Form:
    """Logits, probabilities or log-probabilities: what the scores are against what they are meant to be."""

    def __init__(self, kind: str, scores: Any, axis: int) -> None:
        self.kind, self.scores, self.axis = kind, scores, axis
        self.tolerance = _tolerance(scores)
        self.rows = self.classes = 0
        self.negative, self.above, self.sum = _Count(), _Count(), _Count()
        self.positive, self.log_sum = _Count(), _Count()

    def see(self, block: _Block) -> None:
        x, usable = block.scores, block.usable
        self.rows += int(np.count_nonzero(usable))
        self.classes = x.shape[1]
        some = usable[:, None]
        self.negative.see(block, (x < 0) & some, x)
        self.above.see(block, (x > 1 + self.tolerance) & some, x)
        self.positive.see(block, (x > self.tolerance) & some, x)
        self.sum.see(block, usable & ~(np.abs(block.sums - 1) <= self.tolerance), block.sums)
        self.log_sum.see(block, usable & ~(np.abs(block.lse) <= self.tolerance), block.lse)

    def findings(self) -> Iterator[Finding]:
        several = self.rows > 0 and self.classes > 1
        are = {
            "probabilities": several and not (self.negative or self.above or self.sum),
            "log-probabilities": several and not (self.positive or self.log_sum),
        }
        for other, so in are.items():
            if so and other != self.kind:
                yield finding(f"{other}-as-{self.kind}")
        if self.kind == "probabilities" and not are["log-probabilities"]:
            yield from self._no_probabilities()
        if self.kind == "log-probabilities" and not are["probabilities"]:
            if self.positive:
                yield _of("positive-log-probabilities", self.positive)
            if self.log_sum:
                yield _of("rows-not-log-normalised", self.log_sum, axis=self.axis)

    def _no_probabilities(self) -> Iterator[Finding]:
        if self.negative:
            yield _of("negative-probabilities", self.negative)
        if self.above:
            hint = "Are these logits? Use cross_entropy, or pass softmax(scores)."
            if not self.negative and self.sum and abs(self.sum.value - 100) < 100 * self.tolerance:
                hint = "Are these percentages? Pass scores / 100."
            yield _of("probabilities-above-one", self.above, hint=hint)
        if self.sum:
            other = _axis_of_ones(self.scores, self.axis, self.tolerance) if self.sum.n == self.rows else None
            if other is None:
                yield _of("rows-not-summing-to-one", self.sum, axis=self.axis)
            else:
                why = f"scores do not sum to 1 along axis {self.axis}, but they do"
                yield _of("class-axis", self.sum, why=why, other=other)


def _axis_of_ones(array: Any, axis: int, tolerance: float) -> int | None:
    """Another axis along which the array sums to 1 (the first few places are looked at), or None."""
    for other, size in enumerate(array.shape):
        if other != axis and size > 1:
            index = tuple(slice(None) if k == other else slice(0, 8) for k in range(len(array.shape)))
            some = _host(array[index]).astype(np.float64)
            if some.min() >= 0 and np.all(np.abs(some.sum(axis=other) - 1) <= tolerance):
                return other
    return None


class _Constant:
    """All rows the same."""

    def __init__(self) -> None:
        self.first: np.ndarray | None = None
        self.same, self.rows = True, 0

    def see(self, block: _Block) -> None:
        if self.first is None:
            self.first = block.scores[0].copy()
        self.same = self.same and bool((block.scores == self.first).all())
        self.rows += len(block.scores)

    def findings(self) -> Iterator[Finding]:
        if self.same and self.rows >= 3 and self.first is not None and len(self.first) > 1:
            yield finding("constant-scores", n=self.rows)


class _Index:
    """Index targets: their range and which classes occur."""

    def __init__(self, classes: int, ignore_index: int | None) -> None:
        self.classes, self.ignore_index = classes, ignore_index
        self.outside = _Count("targets")
        self.counts = np.zeros(classes, dtype=np.int64)
        self.low, self.high, self.ignored = math.inf, -math.inf, 0
        self.predicted: set[int] = set()

    def see(self, block: _Block) -> None:
        y = np.asarray(block.targets)
        ignored = np.zeros(y.shape, dtype=bool) if self.ignore_index is None else y == self.ignore_index
        valid = (y >= 0) & (y < self.classes) & ~ignored
        self.ignored += int(np.count_nonzero(ignored))
        self.outside.see(block, ~valid & ~ignored, y)
        self.counts += np.bincount(y[valid].astype(np.int64), minlength=self.classes)
        if not ignored.all():
            self.low = min(self.low, int(y[~ignored].min()))
            self.high = max(self.high, int(y[~ignored].max()))
        if len(self.predicted) < 2 and block.usable.any():
            self.predicted.update(np.unique(block.scores[block.usable].argmax(axis=1))[:2].tolist())

    def findings(self) -> Iterator[Finding]:
        if self.ignored == self.outside.total:
            yield finding("all-ignored", n=self.ignored, ignore=self.ignore_index)
        elif self.outside and (self.low, self.high) == (1, self.classes):
            yield _of("labels-start-at-1", self.outside, classes=self.classes)
        elif self.outside:
            yield self._out_of_range()
        else:
            yield from self._missing()
            n, held = int(self.counts.sum()), int(np.count_nonzero(self.counts))
            if n >= 50 and held > 1 and len(self.predicted) == 1:
                yield finding("one-class-predicted", label=next(iter(self.predicted)), held=held)

    def _out_of_range(self) -> Finding:
        value = int(self.outside.value)
        if self.low < 0 and self.high < self.classes and value in (-1, -100, -255):
            hint = f"If it marks rows to leave out, pass ignore_index={value}."
        elif self.high >= self.classes:
            hint = f"The scores need {int(self.high) + 1} classes, or axis= is not the class axis."
        else:
            hint = "Mark rows to leave out with ignore_index."
        ignore = "" if self.ignore_index is None else f" or ignore_index={self.ignore_index}"
        return _of("target-out-of-range", self.outside, classes=self.classes, ignore=ignore, hint=hint)

    def _missing(self) -> Iterator[Finding]:
        v, n = self.classes, int(self.counts.sum())
        missing = np.flatnonzero(self.counts == 0)
        by_chance = v * math.exp(-n / v)  # about how many of v equally likely classes n targets leave out
        if not missing.size or by_chance > 0.5:
            return
        one = missing.size == 1
        yield finding(
            "class-never-occurs",
            severity="warning" if by_chance < 0.01 and v <= 1000 else "note",  # vocabularies hold rare words
            which=f"class {missing[0]} never occurs" if one else f"{missing.size} of {v} classes never occur",
            n=n,
            example="" if one else f" (the first is class {missing[0]})",
            hint=("Do the labels start at 1? " if missing.tolist() == [0] else "")
            + "Check the labels, or the number of classes.",
        )


def _is_one_hot(rows: np.ndarray) -> bool:
    """Whether each row holds a single 1 and else 0."""
    return bool(((rows != 0).sum(axis=1) == 1).all() and (rows.max(axis=1) == 1).all())


class _Dense:
    """Dense targets: distributions, or one-hot rows."""

    def __init__(self, targets: Any, axis: int) -> None:
        self.targets, self.axis, self.integers = targets, axis, _family(targets) != "float"
        self.tolerance = _tolerance(targets)
        self.nan, self.negative, self.sum = _Count("targets"), _Count("targets"), _Count("targets")
        self.rows, self.one_hot, self.one_hot_scores = 0, True, targets.shape[axis] > 1

    def see(self, block: _Block) -> None:
        q = np.asarray(block.targets)
        self.nan.see(block, ~np.isfinite(q), q)
        self.negative.see(block, q < 0, q)
        with np.errstate(invalid="ignore"):
            sums = q.sum(axis=1)
        self.sum.see(block, np.isfinite(sums) & (np.abs(sums - 1) > self.tolerance), sums)
        self.rows += len(q)
        self.one_hot = self.one_hot and _is_one_hot(q)
        self.one_hot_scores = self.one_hot_scores and _is_one_hot(block.scores)

    def findings(self) -> Iterator[Finding]:
        if self.one_hot:
            yield finding("one-hot-targets", axis=self.axis)
            return
        if self.one_hot_scores:
            yield finding("one-hot-scores")
        if self.nan:
            yield _of("nan-targets", self.nan)
        if self.negative:
            yield _of("negative-targets", self.negative)
        if self.sum:
            other = (
                _axis_of_ones(self.targets, self.axis, self.tolerance) if self.sum.n == self.rows else None
            )
            if other is not None:
                why = f"targets do not sum to 1 along axis {self.axis}, but they do"
                yield _of("class-axis", self.sum, why=why, other=other)
            else:
                yield _of("targets-not-one-hot" if self.integers else "soft-targets-sum", self.sum)


class _Loss:
    """The mean loss against that of a model that knows nothing, and targets of probability 0."""

    def __init__(self, kind: str, classes: int, ignore_index: int | None) -> None:
        self.kind, self.classes, self.ignore_index = kind, classes, ignore_index
        self.n, self.total, self.squares = 0, 0.0, 0.0
        self.impossible = _Count()

    def see(self, block: _Block) -> None:
        y = np.asarray(block.targets)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "logits":
                cost = block.lse[:, None] - block.scores
            else:
                cost = -(np.log(block.scores) if self.kind == "probabilities" else block.scores)
            if y.ndim == 1:
                valid = (y >= 0) & (y < self.classes) & (y != self.ignore_index) & block.usable
                loss = np.full(len(y), np.nan)
                loss[valid] = cost[valid, y[valid].astype(np.int64)]
            else:
                loss = np.where(y == 0, 0.0, y * cost).sum(axis=1)
                loss[~(block.usable & (np.abs(y.sum(axis=1) - 1) < 1e-2) & (y >= 0).all(axis=1))] = np.nan
        self.impossible.see(block, np.isposinf(loss))
        loss = loss[np.isfinite(loss)]
        self.n += loss.size
        self.total += float(loss.sum())
        self.squares += float((loss * loss).sum())

    def findings(self) -> Iterator[Finding]:
        if self.impossible:
            what = "probability 0" if self.kind == "probabilities" else "the score -inf"
            yield _of("impossible-target", self.impossible, what=what)
        if not self.n or self.classes == 1:
            return
        loss, bound = self.total / self.n, math.log(self.classes)
        error = math.sqrt(max(0.0, self.squares / self.n - loss * loss) / self.n)
        if loss > bound + 1e-3:
            yield finding(
                "worse-than-uniform",
                severity="warning" if self.n >= 10 and loss > bound + 2 * error else "note",  # else bad luck
                mean=f"mean loss over {self.n} rows" if self.n > 1 else "loss",
                loss=loss,
                classes=self.classes,
                bound=bound,
            )


# ------------------------------ shapes of the targets


def _misfit(scores: Any, targets: Any, axis: int) -> Finding | None:
    """Why these targets cannot be the targets of these scores, or None."""
    shape, given = tuple(map(int, scores.shape)), tuple(map(int, targets.shape))
    rows = _without(shape, axis)
    family = _family(targets)
    if given == shape or (given == rows and family == "int"):
        return None
    if given == rows:
        missing = family == "float" and bool(np.isnan(_host(targets).astype(np.float64)).any())
        hint = " They hold NaN: write -100 in its place before." if missing else ""
        return finding(f"{family}-targets", given=given, dtype=targets.dtype, shape=shape, hint=hint)
    for other in range(len(shape)):
        if given == _without(shape, other):
            why = (
                f"targets of shape {given} do not fit scores of shape {shape} with the classes on axis {axis}"
            )
            return finding("class-axis", why=why + ", but they do with the classes", other=other)
    if _family(scores) == "int" and any(shape == _without(given, k) for k in range(len(given))):
        return finding("arguments-exchanged", shape=shape, given=given)
    hint = ""
    if len(given) == len(shape) and _without(given, axis) == rows:
        one_too_many = f" They have one axis too many: pass targets.squeeze({axis})."
        hint = one_too_many if given[axis] == 1 else f" These are dense over {given[axis]} classes."
    elif math.prod(given) == math.prod(rows) and family == "int":
        hint = f" Pass targets.reshape({rows})."
    return finding("target-shape", given=given, rows_shape=rows, shape=shape, hint=hint)


def _wrong_list(shape: tuple[int, ...], targets: Any, axis: int, ignore_index: Any) -> Iterator[Finding]:
    """What `cross_entropy` says of these top-k targets, if anything."""
    try:
        listed = tuple(_host(_as_array(part)) for part in targets)
        scores = problems.scores("check", np.broadcast_to(np.float32(0), shape), axis)
        problems.with_targets(scores, reference, listed, ignore_index=ignore_index)
    except LastlayerError as error:
        yield finding("listed-targets", what=str(error).removeprefix("check: "))


def _as_array(values: Any) -> Any:
    return values if hasattr(values, "dtype") else problems.to_numpy("check", "targets", values)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]

"""`compare`: two models on the same rows. In: arrays, tables, files, side by side. Out: `Comparison`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lastlayer.blocks import to_host
from lastlayer.errors import LastlayerError, OptionError, ShapeError, TargetError, errors_of

from .comparison import Comparison, comparison_of
from .inputs import Facts, Targets, facts_of, refuse_mask, targets_of
from .options import KINDS, integer
from .paired_tally import PairedTally, pair_of, scores_of_model
from .progress import shown
from .readers.paths import Request, source_of
from .readers.source import Block, Source
from .stream import located

__all__ = ["ComparisonInterrupted", "compare"]

_FACTS = ("sample_weight", "groups", "documents")
_NONE = np.zeros((), np.int64)  # in place of the targets of b: those of a are used


class ComparisonInterrupted(KeyboardInterrupt):
    """Ctrl-C during `compare`; ``tally`` holds the rows that were counted before it, each of them once."""

    def __init__(self, tally: PairedTally) -> None:
        super().__init__(f"interrupted after {tally.n + tally.ignored} rows")
        self.tally = tally

    def __reduce__(self) -> tuple[type, tuple[PairedTally]]:
        """For another process."""
        return type(self), (self.tally,)


def compare(
    a: Any,
    b: Any,
    targets: Any = None,
    *,
    kind: Any = "logits",
    label: str | None = None,
    columns: Any = None,
    columns_b: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    documents: Any = None,
    progress: Any = None,
    axis: int = -1,
    binary: bool = False,
    labels: Any = None,
    ignore_index: int | None = -100,
    temperature: Any = 1.0,
    invalid: str = "count",
    unknown: str = "error",
) -> Comparison:
    """Compare loss, accuracy and Brier score of two models on the same rows, with paired intervals.

    ::

        difference = sum w (x_b - x_a) / sum w      x: loss (nats), Brier score, or 1 for a right row, else 0

    Parameters
    ----------
    a, b : array, table or path
        The scores of both models, of the same rows in the same order; each as in `evaluate`, and one may be
        an array, the other a file. They are read side by side, a few rows at a time.
    targets : array or path, optional
        As in `evaluate`; by default the targets that a contains. If b contains targets too, they must be the
        same.
    kind, temperature : as in `evaluate`, or a pair of a's and b's
        What the scores are; the number that divides logits.
    label, columns, sample_weight, groups, documents, progress
        As in `evaluate`; names of columns are those of a.
    columns_b : str or sequence of str, optional
        The columns of b, if they have other names: both models may be in one table or file.
    axis, binary, labels, ignore_index, invalid, unknown
        As in `PairedTally`.

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError
        For example if a and b differ in the number of rows or classes.
    ComparisonInterrupted
        After Ctrl-C; its ``tally`` has the rows so far, each counted once.

    See Also
    --------
    evaluate : one model.
    PairedTally : the same in a loop of your own.

    Examples
    --------
    >>> import lastlayer as ll
    >>> a = [[1.0, 1.1, 2.5], [3.2, 0.2, 0.9], [0.1, 0.2, 0.3]]
    >>> b = [[1.0, 1.1, 3.5], [3.2, 0.2, 1.9], [0.4, 0.2, 0.3]]
    >>> result = ll.compare(a, b, [2, 0, 0])
    >>> round(result.log_loss.difference.value, 4), result.flips.only_a, result.flips.only_b
    (-0.0954, 0, 1)
    """
    with errors_of("compare"):
        kinds = pair_of("kind", kind)
        for one in kinds:
            if one not in KINDS:
                rule = f"one of {', '.join(map(repr, KINDS))}, or a pair of them"
                raise OptionError("compare", "kind", repr(kind), rule)
        axis = integer("compare", "axis", axis, None)
        facts = {"sample_weight": sample_weight, "groups": groups, "documents": documents}
        facts = {name: value for name, value in facts.items() if value is not None}
        of_a = _source("a", Request(a, targets, label, columns, axis, binary, facts, kinds[0]))
        columns_b = columns if columns_b is None else columns_b
        of_b, has_targets = _second(Request(b, targets, label, columns_b, axis, binary, {}, kinds[1]))
        _check_sizes(of_a, of_b)
        if labels is None:
            _check_names(of_a.labels, of_b.labels)
        tally = PairedTally(
            of_a.classes, kind=kinds, labels=of_a.labels if labels is None else labels, axis=axis,
            binary=binary, ignore_index=ignore_index, temperature=temperature, invalid=invalid,
            unknown=unknown,
        )  # fmt: skip
        try:
            with shown(progress) as tell:
                _count(tally, of_a, of_b, has_targets, tell)
        except KeyboardInterrupt as error:
            raise ComparisonInterrupted(tally) from error
        return comparison_of(tally)


def _source(model: str, request: Request) -> Source:
    """The source of a model's scores; errors call it by the model."""
    try:
        return source_of(request)
    except LastlayerError as error:
        raise error.of("compare", {"scores": model}) from error.__cause__


def _second(request: Request) -> tuple[Source, bool]:
    """The source of b, and whether it holds targets of its own."""
    if request.targets is None:
        try:
            return _source("b", request), True
        except OptionError as error:  # it has none, or no column of this name
            if error.argument not in ("targets", "label"):
                raise
    return _source("b", request._replace(targets=_NONE, label=None)), False


def _check_sizes(a: Source, b: Source) -> None:
    if a.classes != b.classes:
        raise ShapeError("compare", "b", f"of {b.classes} classes", f"{a.classes}, as a has")
    if None not in (a.rows, b.rows) and a.rows != b.rows:
        raise ShapeError("compare", "b", f"of {b.rows} rows", f"{a.rows}, as a has")
    shapes = [getattr(source, "shape", None) for source in (a, b)]
    if None not in shapes and shapes[0] != shapes[1]:
        raise ShapeError("compare", "b", f"of rows of shape {shapes[1]}", f"{shapes[0]}, the rows of a")


def _check_names(a: tuple[Any, ...] | None, b: tuple[Any, ...] | None) -> None:
    if a is None or b is None or a == b:
        return
    k = next(k for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    remedy = "pass labels=[...] if they are the same classes"
    raise OptionError("compare", f"the name of class {k} in b", repr(b[k]), f"{a[k]!r}, as in a", remedy)


# --- side by side -------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Rows of one model that were checked."""

    scores: Any  # (n, V)
    targets: Targets | None
    facts: Facts | None
    block: Block

    def __len__(self) -> int:
        return len(self.scores)

    def cut(self, start: int, stop: int) -> _Rows:
        part, t = slice(start, stop), self.targets
        if t is not None:
            t = Targets(t.classes[part], t.ignored[part], None if t.dense is None else t.dense[part])
        facts = None if self.facts is None else self.facts.select(part)
        return _Rows(self.scores[part], t, facts, self.block)


def _count(tally: PairedTally, a: Source, b: Source, has_targets: bool, tell: Any) -> None:
    """Add the rows of both sources, as many at a time as both have read."""
    others, rest, used, done, n_bytes = _read(tally, b, 1, has_targets), None, 0, 0, 0
    for mine in _read(tally, a, 0, True):
        start = 0
        while start < len(mine):
            if rest is None or used == len(rest):
                rest, used = next(others, None), 0
                if rest is None:
                    raise ShapeError(
                        "compare", "b", f"of {done + start} rows", "as many as a has, which has more"
                    )
                n_bytes += rest.block.n_bytes
            n = min(len(mine) - start, len(rest) - used)
            x, y = mine.cut(start, start + n), rest.cut(used, used + n)
            _compare_targets(x.targets, y.targets, done + start)
            assert x.targets is not None
            assert x.facts is not None
            tally.add(x.scores, y.scores, x.targets, x.facts)
            start, used = start + n, used + n
        done, n_bytes = done + len(mine), n_bytes + mine.block.n_bytes
        if tell is not None:
            tell(done, a.rows, n_bytes)
    if (rest is not None and used < len(rest)) or any(len(more) for more in others):
        raise ShapeError("compare", "b", f"of more than {done} rows", f"{done}, as a has")


def _read(tally: PairedTally, source: Source, i: int, has_targets: bool) -> Iterator[_Rows]:
    """The rows of a model, checked; errors name the row among all rows."""
    model = "ab"[i]
    try:
        for block in source.blocks(0):
            yield _checked(tally, block, i, has_targets)
    except LastlayerError as error:
        raise error.of("compare", {"scores": model}) from error.__cause__


def _checked(tally: PairedTally, block: Block, i: int, has_targets: bool) -> _Rows:
    """The rows of a block; facts are those of a."""
    o, model = tally.options[i], "ab"[i]
    try:
        values = block.scores if isinstance(block.scores, np.ndarray) else to_host(block.scores)
        scores, shape = scores_of_model("compare", model, values, o)
        if not has_targets:
            return _Rows(scores, None, None, block)
        refuse_mask("compare", "targets", block.targets)
        targets = targets_of("compare", block.targets, shape, o, tally.names)
        given = {name: value for name, value in block.facts.items() if name in _FACTS}
        return _Rows(scores, targets, facts_of("compare", shape, **given) if i == 0 else None, block)
    except LastlayerError as error:
        raise located(error, block) from error


def _compare_targets(a: Targets | None, b: Targets | None, first: int) -> None:
    """Refuse rows of which a and b hold different targets; ``first``: the number of the first row."""
    if a is None or b is None:
        return
    differ = (a.ignored != b.ignored) | (a.classes != b.classes)
    if a.dense is not None and b.dense is not None:
        differ |= (a.dense != b.dense).any(axis=1)
    if (a.dense is None) != (b.dense is None):
        raise TargetError("compare", "targets", "dense in one of a and b", "the same targets in both")
    if differ.any():
        i = int(np.flatnonzero(differ)[0])
        found, rule = ("ignored" if t.ignored[i] else f"class {t.classes[i]}" for t in (b, a))
        rule, remedy = f"{rule}, as in a", "both need the same rows in the same order"
        raise TargetError("compare", f"targets[{first + i}] in b", found, rule, remedy)

"""Check that row statistics can be joined. In: statistics of shards of the classes, or of blocks of rows.

Out: the ranges of classes that two shards cover together, or an error.
"""

from __future__ import annotations

from typing import Any, NoReturn

from .errors import DtypeError, OptionError, ShapeError

__all__ = ["Ranges", "common_ranges", "same_kind"]

Part = Any  # an object with the fields of `RowStats`
Ranges = tuple[tuple[int, int], ...]  # ranges of classes [start, stop): sorted, adjacent ones joined

_ROWS = "to join blocks of rows write RowStats.concat([a, b])"


def common_ranges(a: Part, b: Part) -> Ranges:
    """The ranges of classes that two parts cover together; an error if they cannot be merged."""
    name = "RowStats.merge"
    if a.classes == () or b.classes == ():
        if tuple(a.peak.shape) != tuple(b.peak.shape):
            _other_shape(name, a, b)
        return ()
    for which, verb, part in (("the statistics", "are", a), ("other", "is", b)):
        if part.classes is None:
            rule = "shards, made with class_offset="
            raise OptionError(name, which, "of whole rows", rule, _ROWS, verb=verb)
    if tuple(a.peak.shape) != tuple(b.peak.shape):
        _other_shape(name, a, b)
    _same_arrays(name, a, b)
    if (
        a.weight is not None
        and b.weight is not None
        and (a.target_weight is None) != (b.target_weight is None)
    ):
        has = "index targets and the other has not"
        raise DtypeError(name, "one of them", has, "targets of one kind", verb="has")
    ranges = sorted((*(a.classes or ()), *(b.classes or ())))
    found = [ranges[0]]
    for start, stop in ranges[1:]:
        last = found[-1]
        if start < last[1]:
            both = ", ".join(f"[{i}, {j})" for i, j in ranges)
            rule = "ranges that do not overlap"
            raise OptionError(name, "the ranges of classes", both, rule, _ROWS, verb="are")
        if start == last[1]:
            found[-1] = (last[0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def _other_shape(name: str, a: Part, b: Part) -> NoReturn:
    shapes = [tuple(int(n) for n in part.peak.shape) for part in (a, b)]
    rule = f"{shapes[0]}, shards of the same rows"
    raise ShapeError(name, "other", f"of rows of shape {shapes[1]}", rule, _ROWS)


def _rows(shape: tuple[int, ...]) -> str:
    """A shape in words, with the letter n for its first axis, which may have any length."""
    return f"({', '.join(['n', *map(str, shape[1:])])}{',' if len(shape) == 1 else ''})"


def _same_arrays(name: str, a: Part, b: Part) -> None:
    """Raise unless two parts are arrays of one library, with results of one dtype."""
    kinds = [f"{type(part.peak).__module__.partition('.')[0]}" for part in (a, b)]
    if kinds[0] != kinds[1]:
        found = f"arrays of {kinds[0]}, another of {kinds[1]}"
        raise DtypeError(name, "one of them", found, "one library", verb="has")
    dtypes = [part.peak.dtype if part.dtype is None else part.dtype for part in (a, b)]
    if dtypes[0] != dtypes[1]:
        found = f"results of {dtypes[0]}, another of {dtypes[1]}"
        raise DtypeError(name, "one of them", found, "one dtype", verb="has")


def same_kind(parts: list[Part], fields: tuple[str, ...]) -> None:
    """Raise unless blocks of rows can be joined."""
    name = "RowStats.concat"
    if not parts:
        raise ShapeError(name, "parts", "empty", "at least one RowStats")
    for i, part in enumerate(parts):
        shape, first = (tuple(int(n) for n in p.peak.shape) for p in (part, parts[0]))
        if not shape:
            raise ShapeError(name, f"parts[{i}]", "of a single row", "at least one row axis")
        if shape[1:] != first[1:]:
            raise ShapeError(name, f"parts[{i}]", f"of rows of shape {shape}", _rows(first))
        _same_arrays(name, parts[0], part)
        if part.classes != parts[0].classes:
            raise OptionError(name, f"parts[{i}]", "of other classes than parts[0]", "the same classes")
        if any((getattr(part, field) is None) != (getattr(parts[0], field) is None) for field in fields):
            found, rule = "other fields than parts[0]", "targets of one kind, or none"
            raise DtypeError(name, f"parts[{i}]", found, rule, verb="has")

"""Which columns of a table hold scores, targets and facts of a row. In: record batches. Out: arrays.

The scores are one column of lists of one length, or one column for each class: those that are named, by
default all that are called ``logit:<class>`` (or ``probability:``, ``log-probability:``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lastlayer.errors import DtypeError, OptionError, ShapeError

from .values import keys_of, with_gaps

__all__ = ["PREFIXES", "Columns", "Wanted", "is_number", "plain"]

PREFIXES = {"logits": "logit:", "probabilities": "probability:", "log-probabilities": "log-probability:"}

_CACHED = 1 << 18  # bytes
_FEW = 16  # columns, which are written side by side at once


class Wanted(NamedTuple):
    """The user's options for a table."""

    kind: str | None = None
    columns: Any = None
    label: str | None = None
    targets: Any = None  # an array of their own
    facts: dict[str, str] = {}  # noqa: RUF012 - never written to: names of columns
    arrays: dict[str, Any] = {}  # noqa: RUF012 - never written to: facts that are arrays
    binary: bool = False
    only_label: bool = False
    rest: bool = False  # the scores are all columns but those of the targets and facts


class Columns:
    """The columns of a table or dataset that are read, and how."""

    def __init__(self, table: Any, wanted: Wanted) -> None:
        schema = table.schema
        names, self.wanted = list(schema.names), wanted
        self.facts = {k: _one(names, k, v) for k, v in wanted.facts.items()}
        self.label: str | None = None
        if wanted.targets is None:
            self.label = _label(names, wanted)
        self.kind, self.labels, prefix = _said(schema), None, ""
        self.scores: list[str] = []
        self.is_list, self.classes, self.row_bytes = False, 0, 8
        if wanted.only_label:
            return
        if wanted.rest:
            self.scores = [name for name in names if name not in (self.label, *self.facts.values())]
        elif wanted.columns is None:
            kind, prefix = _prefix(names, wanted.kind)
            self.kind = self.kind or kind
            self.scores = [name for name in names if name.startswith(prefix)]
        else:
            given = [wanted.columns] if isinstance(wanted.columns, str) else list(wanted.columns)
            self.scores = [_one(names, "columns", name) for name in given]
        if len(set(self.scores)) < len(self.scores):
            raise OptionError("evaluate", "columns", "with a name twice", "different columns")
        if not self.scores:
            raise ShapeError("evaluate", "columns", "of no class", "at least one")
        self._set_classes(table, schema)
        if not self.is_list and not wanted.binary:
            if self.label is not None:
                are_numbers = is_number(schema.field(self.label).type)
            else:
                are_numbers = getattr(wanted.targets.dtype, "kind", "f") not in "OUST"
            self.labels = _labels(are_numbers, self.scores)

    def _set_classes(self, table: Any, schema: Any) -> None:
        kind = schema.field(self.scores[0]).type
        self.is_list = len(self.scores) == 1 and str(kind).split("<")[0].endswith("list")
        self.classes = len(self.scores)
        if self.is_list:
            self.classes = int(getattr(kind, "list_size", 0)) or _length(table, self.scores[0])
            kind = kind.value_type
        if self.wanted.binary:
            if self.classes != 1:
                found = f"of {self.classes} numbers"
                raise ShapeError("evaluate", "columns", found, "one column, of class 1, with binary=True")
            self.classes = 2
        width = getattr(kind, "bit_width", 64) if is_number(kind) else 64
        self.row_bytes = max(1, self.classes * width // 8)

    def names(self) -> list[str]:
        """The columns that are read, each once."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([*self.scores, *label, *self.facts.values()]))

    def read(self, batch: Any, first: int) -> tuple[Any, Any, dict[str, Any]]:
        """The scores (n, V), targets and facts of a record batch, whose first row has this number."""
        if self.is_list:
            scores = self._lists(batch.column(self.scores[0]), first)
        else:
            scores = _rows([_numbers(name, batch.column(name)) for name in self.scores])
        facts: dict[str, Any] = {}
        for name, column in self.facts.items():
            value = plain(batch.column(column))
            facts[name] = keys_of(name, value) if name in ("groups", "documents") else value
        return scores, None if self.label is None else self._targets(batch.column(self.label)), facts

    def _targets(self, column: Any) -> Any:
        """Targets as numbers or names; booleans as names if the classes are called so."""
        if str(column.type) == "bool" and set(self.labels or ()) == {"True", "False"}:
            return np.array([None if v is None else str(v) for v in column.to_pylist()], dtype=object)
        return plain(column)

    def _lists(self, column: Any, first: int) -> Any:
        """A column of lists as (n, V)."""
        length = 1 if self.wanted.binary else self.classes
        if column.null_count:
            row = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise DtypeError("evaluate", f"{self.scores[0]}[{row}]", "missing", "scores in each row")
        if not hasattr(column.type, "list_size"):
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if (wrong := np.flatnonzero(lengths != length)).size:
                found = f"of length {lengths[wrong[0]]}"
                raise ShapeError("evaluate", f"{self.scores[0]}[{first + wrong[0]}]", found, f"{length}")
        return _numbers(self.scores[0], column.flatten()).reshape(len(column), length)


def _one(names: Sequence[str], argument: str, name: Any) -> str:
    name = name if name in names else str(name)  # DataFrames may have numbers for names
    if names.count(name) == 1:
        return str(name)
    if name in names:
        raise OptionError("evaluate", argument, repr(name), "a column that the table has once")
    shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
    raise OptionError("evaluate", argument, repr(name), f"a column of the table ({shown})")


def _label(names: Sequence[str], wanted: Wanted) -> str:
    if wanted.label is None and wanted.only_label and len(names) == 1:
        return names[0]
    return _one(names, "label", "label" if wanted.label is None else wanted.label)


def _prefix(names: Sequence[str], kind: str | None) -> tuple[str, str]:
    """The kind of the scores' columns and how their names begin; those of the declared kind come first."""
    order = sorted(PREFIXES.items(), key=lambda item: item[0] != kind)
    for found, prefix in order:
        if any(name.startswith(prefix) for name in names):
            return found, prefix
    rule = "columns= with the names of the scores, or columns called 'logit:<class>'"
    raise OptionError("evaluate", "columns", "None", rule)


def _labels(are_numbers: bool, columns: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the classes where the targets are names, or numbers in another order than 0, 1, ..."""
    prefixes = tuple(PREFIXES.values())
    prefix = next((p for p in prefixes if columns[0].startswith(p)), "")
    names = tuple(name.removeprefix(prefix) for name in columns)
    if not are_numbers:
        return names
    numbered = bool(prefix) and all(name.lstrip("-").isdecimal() for name in names)
    return names if numbered and names != tuple(map(str, range(len(names)))) else None


def _length(table: Any, name: str) -> int:
    """The length of the first list of a column."""
    head = next((batch for batch in table.batches([name], 1) if batch.num_rows), None)
    value = None if head is None else head.column(0)[0].as_py()
    if not value:
        raise ShapeError("evaluate", "columns", f"{name!r} without a first list", "lists of one length")
    return len(value)


def _said(schema: Any) -> str | None:
    """The kind of scores that a table's metadata names."""
    value = (schema.metadata or {}).get(b"lastlayer.kind")
    if value is None:
        return None
    text: str = value.decode(errors="replace")
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def is_number(kind: Any) -> bool:
    """Whether a column of this type holds numbers."""
    return str(kind).startswith(("float", "double", "halffloat", "int", "uint"))


def _rows(parts: list[Any]) -> Any:
    """Columns side by side: (n, V); some rows at a time, whose columns stay in the processor's cache."""
    if len(parts) < _FEW:
        return np.stack(parts, axis=1)
    columns = np.stack(parts)
    found = np.empty(columns.shape[::-1], columns.dtype)
    step = max(1, _CACHED // (columns.itemsize * len(parts)))
    for start in range(0, len(found), step):
        found[start : start + step] = columns[:, start : start + step].T
    return found


def _numbers(name: str, column: Any) -> Any:
    if not is_number(column.type):
        raise DtypeError("evaluate", name, f"a column of {column.type}", "numbers")
    found = column.to_numpy(zero_copy_only=False)  # missing numbers become NaN
    return found.astype(np.float64) if found.dtype.kind in "iu" else found


def plain(column: Any) -> Any:
    """A column in NumPy: numbers with NaN for missing ones, or objects with None."""
    if is_number(column.type):
        return column.to_numpy(zero_copy_only=False)
    text = str(column.type)
    if not text.startswith("dictionary"):  # as the categories of pandas and polars are
        plain_text = column.cast("string") if "view" in text or text == "null" else column
        column = plain_text.dictionary_encode()
    names = np.array([*column.dictionary.to_pylist(), None], dtype=object)  # few, and each made once
    places = column.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    found = names[places]
    return with_gaps(found) if not any(isinstance(name, str) for name in names) else found

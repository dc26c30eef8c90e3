"""Row statistics as a table: length, slices, columns. In: `RowStats`. Out: NumPy, pandas, Arrow."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .errors import BackendError, DtypeError

__all__ = ["RowTable"]

_COLUMNS = ("nll", "rank", "correct", "argmax", "confidence", "entropy", "lse", "sum_p2", "counted", "weight")


class RowTable:
    """What `RowStats` is as a table of rows; the columns are the public results that it has."""

    __slots__ = ()

    def __len__(self) -> int:
        """The number of rows, along the first row axis."""
        shape = tuple(self.peak.shape)  # type: ignore[attr-defined]
        if not shape:
            raise TypeError("row statistics of a single row have no length")
        return int(shape[0])

    def __bool__(self) -> bool:
        return True  # not whether there are rows

    __iter__ = None  # a row alone is no RowStats

    def __getitem__(self, index: Any) -> Any:
        """Some of the rows of the first row axis: by a slice, a mask, or their numbers.

        Of tensors these are constants: differentiate the results of all rows.
        """
        if not isinstance(index, (slice, list)) and not getattr(index, "shape", ()):
            rule = "a slice, a mask or an array of row numbers"
            raise DtypeError("RowStats", "index", repr(index), rule)
        if isinstance(index, list):
            index = np.asarray(index, dtype=None if index else np.int64)
        return self._rows(lambda values: _constant(values)[index])  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns as NumPy arrays, one element for each row in C order.

        ``nll, rank, correct, argmax, confidence, entropy, lse, sum_p2, counted, weight``, as far as they are
        known.

        >>> import lastlayer as ll
        >>> table = ll.row_stats([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], [2, 2]).to_dict()
        >>> table["nll"].round(4).tolist(), table["rank"].tolist()
        ([0.3851, 2.4398], [0, 1])
        """
        found = {}
        for name in _COLUMNS:
            try:
                value = getattr(self, name)
            except AttributeError:  # made without it, or without targets
                continue
            if value is not None:
                found[name] = _host(value).reshape(-1)
        return found

    def to_arrow(self) -> Any:
        """The columns as a ``pyarrow.Table``; polars and DuckDB take a `RowStats` as it is."""
        return _library("pyarrow", "to_arrow").table(self.to_dict())

    def to_pandas(self) -> Any:
        """The columns as a ``pandas.DataFrame``."""
        return _library("pandas", "to_pandas").DataFrame(self.to_dict())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The table for every library that reads Arrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


def _constant(value: Any) -> Any:
    return value.detach() if hasattr(value, "detach") else value


def _host(value: Any) -> np.ndarray:
    """An array of any library in NumPy."""
    value = _constant(value)
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _library(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f"pip install {name}"
        raise BackendError(f"RowStats.{method}", name, "not installed", f"{name}", remedy) from error

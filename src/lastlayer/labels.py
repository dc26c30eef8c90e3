"""Labels of any kind -> class indices. In: what a user's file has for targets. Out: int64, and which lack.

Without ``labels=`` targets are class indices. With it they are compared with the names; ``None``, NaN and ""
are missing, and their rows are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer.errors import OptionError, TargetError

__all__ = ["MISSING", "UNKNOWN", "Labels", "Read"]

MISSING = -1  # the index of a row without a label
_CACHED = 1 << 16  # texts
UNKNOWN = -2  # of a label that the model does not know


class Read(NamedTuple):
    """The class indices of some rows."""

    indices: npt.NDArray[np.int64]  # `MISSING` and `UNKNOWN` beside the classes
    unknown: tuple[Any, ...] = ()  # labels that are no class, each once


class Labels:
    """The names of the classes, in the order of the scores."""

    def __init__(self, function: str, names: Sequence[Any], classes: int) -> None:
        self.names = tuple(names)
        if len(self.names) != classes:
            found = f"of {len(self.names)} names"
            raise OptionError(function, "labels", found, f"{classes} names, one for each class")
        self._places = {_key(name): i for i, name in enumerate(self.names)}
        if len(self._places) != classes:
            twice = next(n for i, n in enumerate(self.names) if self._places[_key(n)] != i)
            raise OptionError(function, "labels", f"with {twice!r} twice", "different names")

        self._cache = _Cache(self._place)

    def read(self, function: str, values: Any, unknown: str) -> Read:
        """The indices of labels; ``unknown``: "error", or "wrong" to count such rows as wrong."""
        array = np.asarray(values, dtype=object).reshape(-1)
        try:
            found = np.fromiter(map(self._cache.__getitem__, array), np.int64, len(array))
        except TypeError:  # a value without a hash, such as a list
            found = np.fromiter((self._place(v) for v in array), np.int64, len(array))
        if not (found == UNKNOWN).any():
            return Read(found)
        first = int(np.flatnonzero(found == UNKNOWN)[0])
        if unknown == "error":
            shown = ", ".join(map(repr, self.names[:5])) + (", ..." if len(self.names) > 5 else "")
            raise TargetError(
                function,
                f"targets[{first}]",
                repr(array[first]),
                f"one of labels ({shown})",
                _remedy(array[first], classes=len(self.names)),
            )
        return Read(found, tuple(dict.fromkeys(array[found == UNKNOWN].tolist())))

    def _place(self, value: Any) -> int:
        if value is None or type(value).__name__ == "NAType":  # pandas' missing value equals nothing
            return MISSING
        if value == "" or value != value:
            return MISSING
        return self._places.get(_key(value), UNKNOWN)


class _Cache(dict[Any, int]):
    """The place of each text that was looked up once; other values are not kept, since 1 equals True."""

    def __init__(self, place: Callable[[Any], int]) -> None:
        super().__init__()
        self.place = place

    def __missing__(self, value: Any) -> int:
        found = self.place(value)
        if type(value) is str and len(self) < _CACHED:
            self[value] = found
        return found


def _remedy(value: Any, classes: int) -> str:
    if isinstance(value, (int, np.integer)) and 0 <= value < classes:
        return "leave labels out where targets are class indices"
    return "unknown='wrong' counts such rows as wrong"


def _key(value: Any) -> Any:
    """What labels are compared by: 3, np.int64(3), 3.0 and "3" are one label."""
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode()
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value)

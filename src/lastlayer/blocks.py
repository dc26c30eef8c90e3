"""Rows of any array, block by block. In: an array of any library and its class axis. Out: NumPy rows (n, V).

    array = opened(values)                            an array with a shape and a dtype
    for block in row_blocks(array.shape, axis):       some rows, in C order
        block.rows(array)                             (n, V), float64
        block.values(targets)                         (n,), one of each row, as given

Only the block that is asked for is read, so an array may be larger than memory (a mapped file, a Dask array)
or lie on a device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .arrays import BFLOAT16, from_bfloat
from .problem import to_numpy

__all__ = [
    "BLOCK_SIZE",
    "RowBlock",
    "UnreadableError",
    "dtype_name",
    "is_bfloat_bits",
    "is_integer",
    "number_family",
    "opened",
    "row_blocks",
    "to_host",
]

BLOCK_SIZE = 1 << 16  # elements in a block, unless one row alone has more


class UnreadableError(Exception):
    """Values that are no array, or one whose numbers cannot be read; its text says what they are instead."""


def opened(values: Any) -> Any:
    """``values`` as an array with ``shape`` and ``dtype``, of any library; else raises `UnreadableError`.

    Lists, and objects with unknown sizes, become NumPy arrays; an array is returned as it is, unread.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        from .backends.torch.tensors import why_unreadable

        if (reason := why_unreadable(values)) is not None:
            raise UnreadableError(reason)
    if hasattr(values, "shape") and hasattr(values, "dtype") and all(map(is_integer, values.shape)):
        return values
    try:
        return to_numpy("opened", "values", values)
    except Exception as error:  # of ragged lists and unknown objects libraries raise what they like
        ragged = isinstance(values, (list, tuple))
        raise UnreadableError("rows of unequal length?" if ragged else type(values).__name__) from error


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and not a bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


# --- dtypes -------------------------------------------------------------------------------------------------


def number_family(array: Any) -> str:
    """Tell "float", "int", "bool" or, for anything else, "" from the dtype's name in any array library."""
    if is_bfloat_bits(array):
        return "float"
    name = dtype_name(array)
    if "complex" in name or "object" in name or "str" in name or "time" in name:
        return ""
    for family in ("float", "int", "bool"):
        if family in name:
            return family
    return "float" if "double" in name else ""


def dtype_name(array: Any) -> str:
    """The name of an array's dtype without that of its library: "float32", "bfloat16"."""
    return str(getattr(array.dtype, "name", array.dtype)).rpartition(".")[2]


def is_bfloat_bits(array: Any) -> bool:
    """Whether a NumPy array holds the bits of bfloat16."""
    return isinstance(array.dtype, np.dtype) and array.dtype == BFLOAT16


# --- blocks -------------------------------------------------------------------------------------------------


class RowBlock(NamedTuple):
    """Some rows of an array: which ones, and how they are read."""

    box: tuple[slice, ...]  # their positions among all rows
    axis: int  # the class axis, 0 <= axis <= len(box)

    def rows(self, array: Any) -> np.ndarray:
        """Read these rows of an array with a class axis: (n, V), a new float64 array."""
        index = (*self.box[: self.axis], slice(None), *self.box[self.axis :])
        rows = np.moveaxis(to_host(array[index]), self.axis, -1)
        return rows.astype(np.float64).reshape(math.prod(rows.shape[:-1]), rows.shape[-1])

    def values(self, array: Any) -> np.ndarray:
        """Read the values of these rows from an array without a class axis: (n,), of its own dtype."""
        return to_host(array[self.box]).reshape(-1)

    def position(self, i: int) -> tuple[int, ...]:
        """Where the block's i-th row lies among all rows."""
        sizes = tuple(part.stop - part.start for part in self.box)
        offsets = np.unravel_index(i, sizes)
        return tuple(int(k) + part.start for k, part in zip(offsets, self.box, strict=True))

    def entry(self, i: int, j: int) -> tuple[int, ...]:
        """Where class j of the block's i-th row lies in the array."""
        position = self.position(i)
        return (*position[: self.axis], j, *position[self.axis :])


def row_blocks(shape: tuple[int, ...], axis: int, size: int = BLOCK_SIZE) -> Iterator[RowBlock]:
    """Cut an array of this shape into blocks of rows, in C order; ``axis`` is the class axis, 0 or above.

    A block has at most ``size`` elements, or one row.
    """
    rows = shape[:axis] + shape[axis + 1 :]
    for box in _boxes(rows, max(1, size // max(1, shape[axis]))):
        yield RowBlock(box, axis)


def _boxes(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cut an index space into boxes of at most ``limit`` positions that follow one another in C order."""
    if 0 in shape:
        return
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


def to_host(values: Any) -> np.ndarray:
    """Bring an array of any library to NumPy, with all its numbers."""
    if hasattr(values, "detach"):  # PyTorch, which alone has a bfloat16 that NumPy cannot read
        values = values.detach().cpu()
        if "bfloat16" in str(values.dtype) or "float8" in str(values.dtype):
            values = values.float()
    elif hasattr(values, "get") and hasattr(values, "device"):  # CuPy
        values = values.get()
    try:
        found = np.asarray(values)
    except (TypeError, RuntimeError, ValueError):
        return np.from_dlpack(values)
    return from_bfloat(found.view(np.uint16)) if is_bfloat_bits(found) else found

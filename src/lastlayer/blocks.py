"""Read the rows of any array in blocks. In: an array of any library, its class axis. Out: NumPy rows (n, V).

    array = opened(values)                            an array with a shape and a dtype
    for block in row_blocks(array.shape, axis):       the rows, in C order
        block.rows(array)                             (n, V), float64
        block.values(targets)                         (n,), one number per row, in its own dtype

Only the requested block is read, so an array may be larger than memory (a mapped file, a Dask array) or in
GPU memory.
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

BLOCK_SIZE = 1 << 16  # elements in a block, unless a single row has more


class UnreadableError(Exception):
    """The values are no array, or one whose numbers cannot be read; the text says what they are."""


def opened(values: Any) -> Any:
    """``values`` as an array of any library, with ``shape`` and ``dtype``; or raises `UnreadableError`.

    Lists and arrays of unknown shape become NumPy arrays. Other arrays are returned unchanged and unread.
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
    except Exception as error:  # libraries raise various errors for ragged lists and unknown objects
        ragged = isinstance(values, (list, tuple))
        raise UnreadableError("rows of unequal length?" if ragged else type(values).__name__) from error


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and not a bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


# --- dtypes -------------------------------------------------------------------------------------------------


def number_family(array: Any) -> str:
    """The kind of an array's dtype in any library: "float", "int", "bool", or "" for any other."""
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
    """The name of an array's dtype without the library's name: "float32", "bfloat16"."""
    return str(getattr(array.dtype, "name", array.dtype)).rpartition(".")[2]


def is_bfloat_bits(array: Any) -> bool:
    """Whether a NumPy array holds the bits of bfloat16."""
    return isinstance(array.dtype, np.dtype) and array.dtype == BFLOAT16


# --- blocks -------------------------------------------------------------------------------------------------


class RowBlock(NamedTuple):
    """A block of rows of an array, and how to read them."""

    box: tuple[slice, ...]  # the positions of the rows, a slice for each row axis
    axis: int  # the class axis, 0 <= axis <= len(box)

    def rows(self, array: Any) -> np.ndarray:
        """The rows of an array with a class axis: (n, V), a new float64 array."""
        index = (*self.box[: self.axis], slice(None), *self.box[self.axis :])
        rows = np.moveaxis(to_host(array[index]), self.axis, -1)
        return rows.astype(np.float64).reshape(math.prod(rows.shape[:-1]), rows.shape[-1])

    def values(self, array: Any) -> np.ndarray:
        """The values of these rows in an array without a class axis: (n,), in its own dtype."""
        return to_host(array[self.box]).reshape(-1)

    def position(self, i: int) -> tuple[int, ...]:
        """The index of the block's i-th row among all rows."""
        sizes = tuple(part.stop - part.start for part in self.box)
        offsets = np.unravel_index(i, sizes)
        return tuple(int(k) + part.start for k, part in zip(offsets, self.box, strict=True))

    def entry(self, i: int, j: int) -> tuple[int, ...]:
        """The index in the array of class j of the block's i-th row."""
        position = self.position(i)
        return (*position[: self.axis], j, *position[self.axis :])


def row_blocks(shape: tuple[int, ...], axis: int, size: int = BLOCK_SIZE) -> Iterator[RowBlock]:
    """Blocks of rows of an array of this shape, in C order; ``axis`` is the class axis, not negative.

    A block has at most ``size`` elements, or a single row.
    """
    rows = shape[:axis] + shape[axis + 1 :]
    for box in _boxes(rows, max(1, size // max(1, shape[axis]))):
        yield RowBlock(box, axis)


def _boxes(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most ``limit`` positions that cover an index space in C order."""
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
    """An array of any library as a NumPy array, copied to CPU memory if necessary."""
    if hasattr(values, "detach"):  # PyTorch, whose bfloat16 NumPy cannot read
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

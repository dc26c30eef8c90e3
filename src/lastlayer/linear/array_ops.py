"""The operations that the tile loop needs from an array library: memory and products; those of NumPy.

A tile is a contiguous matrix of ``dtype``; sums over several tiles have ``sum_dtype``.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = ["ArrayOps", "HostArrayOps", "NumPyOps"]


class ArrayOps(Protocol):
    """The array library's operations. ``out`` is written to; tiles are contiguous, indices are the rows'."""

    dtype: Any  # of tiles, and of the matrices multiplied with them
    sum_dtype: Any  # of sums over tiles
    itemsize: int  # bytes of a number of a tile
    separate: bool  # whether a product has to be computed before it is added to a sum
    half: bool  # whether such a product is rounded to 16 bits
    double: bool  # whether tiles are of float64
    pack_bytes: int  # scratch of a thread within a product, approximately

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def view(self, a: Any, dtype: Any) -> Any: ...
    def convert(self, a: Any) -> Any: ...
    def select(self, a: Any, index: Any) -> Any: ...
    def scatter(self, a: Any, index: Any, n: int) -> Any: ...
    def all_finite(self, a: Any) -> bool: ...
    def logits(self, x: Any, weight: Any, bias: Any, out: Any) -> None: ...
    def multiply(self, a: Any, b: Any, out: Any, first: bool, product: Any) -> None: ...
    def sum_rows(self, tile: Any, out: Any, first: bool) -> None: ...


class HostArrayOps(ArrayOps, Protocol):
    """Operations on arrays in CPU memory. Their single numbers are read through NumPy arrays."""

    def dots(self, a: Any, b: Any, c: Any) -> Any: ...
    def rounded(self, a: Any) -> Any: ...
    def pick(self, tile: Any, columns: Any) -> Any: ...
    def as_numpy(self, tile: Any) -> Any: ...
    def take_out(self, tile: Any, rows: Any, columns: Any) -> Any: ...
    def add_entries(self, entries: Any, matrix: Any, out: Any, room: int) -> None: ...


class NumPyOps:
    """NumPy's operations. 16-bit floats are multiplied as float32: NumPy has no fast product for them."""

    pack_bytes = 0
    separate = True
    half = False

    def __init__(self, dtype: Any) -> None:
        self.double = bool(dtype == np.float64)
        self.dtype = self.sum_dtype = np.dtype(np.float64 if self.double else np.float32)
        self.itemsize = self.dtype.itemsize

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def view(self, a: Any, dtype: Any) -> Any:
        """The memory of a contiguous array, viewed as another dtype."""
        flat, ratio = a.reshape(-1), max(1, dtype.itemsize // a.itemsize)
        return flat[: flat.size - flat.size % ratio].view(dtype)

    def convert(self, a: Any) -> Any:
        return a.astype(self.dtype, copy=False)

    def select(self, a: Any, index: Any) -> Any:
        return a[index]

    def scatter(self, a: Any, index: Any, n: int) -> Any:
        """An array of n rows: these rows at their indices, zeros elsewhere."""
        out = np.zeros((n, *a.shape[1:]), a.dtype)
        out[index] = a
        return out

    def all_finite(self, a: Any) -> bool:
        return bool(np.isfinite(self.convert(a)).all())

    def logits(self, x: Any, weight: Any, bias: Any, out: Any) -> None:
        np.matmul(x, weight.T, out=out)
        if bias is not None:
            np.add(out, bias, out=out)

    def multiply(self, a: Any, b: Any, out: Any, first: bool, product: Any) -> None:
        """Write the product, or add it if it is not the ``first``, with ``product`` as scratch memory."""
        if first:
            np.matmul(a, b, out=out)
        else:
            product = product[: out.size].reshape(out.shape)
            np.add(out, np.matmul(a, b, out=product), out=out)

    def sum_rows(self, tile: Any, out: Any, first: bool) -> None:
        total = np.sum(tile, axis=0, dtype=self.dtype)
        out[...] = total if first else out + total

    def dots(self, a: Any, b: Any, c: Any) -> Any:
        """The product of each row of a with that of b, and c if given: float64."""
        found = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
        return found if c is None else found + c.astype(np.float64)

    def rounded(self, a: Any) -> Any:
        """float64 numbers, rounded as a tile stores them."""
        return a.astype(self.dtype).astype(np.float64)

    def pick(self, tile: Any, columns: Any) -> Any:
        """Entries of a tile, some in each row: float64."""
        return np.take_along_axis(tile, columns, 1).astype(np.float64)

    def as_numpy(self, tile: Any) -> Any:
        """A tile as a NumPy array that shares its memory; bfloat16 as its bits."""
        return tile

    def take_out(self, tile: Any, rows: Any, columns: Any) -> Any:
        """Read distinct entries of a tile, and replace them by zeros."""
        values = tile[rows, columns]
        tile[rows, columns] = 0
        return values

    def add_entries(self, entries: Any, matrix: Any, out: Any, room: int) -> None:
        """Add the product of a sparse matrix (rows, columns, values) with another, in ``room`` bytes."""
        rows, columns, values = entries
        if len(rows) == 0:
            return
        order = np.argsort(rows, kind="stable")
        rows, columns, values = rows[order], columns[order], values[order]
        some = max(1, room // (3 * max(1, matrix.shape[1]) * self.itemsize))
        for start in range(0, len(rows), some):
            r, c, v = (a[start : start + some] for a in (rows, columns, values))
            added = self.convert(matrix[c]) * v[:, None]
            first = np.flatnonzero(np.diff(r, prepend=-1))
            out[r[first]] += added if len(first) == len(r) else np.add.reduceat(added, first, axis=0)

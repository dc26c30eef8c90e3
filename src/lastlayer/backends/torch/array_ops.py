"""What the linear head's loop asks of PyTorch, in CPU memory; see `lastlayer.linear.array_ops`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lastlayer.arrays import from_bfloat

from .tensors import new_like, wide

__all__ = ["TorchOps"]


class TorchOps:
    """PyTorch's operations. bfloat16 is multiplied as it is and added up in float32, float16 as float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.double = dtype is torch.float64
        self.dtype = torch.float32 if dtype is torch.float16 else dtype
        self.sum_dtype = wide(dtype)
        self.separate = self.half = self.dtype is not self.sum_dtype
        self.itemsize = self.dtype.itemsize
        self.pack_bytes = 3 << 19 if dtype is torch.bfloat16 else 0  # measured; about 0 for other dtypes

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return new_like(torch.empty(1, dtype=dtype).expand(shape))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def view(self, a: Tensor, dtype: torch.dtype) -> Tensor:
        flat, ratio = a.view(-1), max(1, dtype.itemsize // a.element_size())
        return flat[: flat.numel() - flat.numel() % ratio].view(dtype)

    def convert(self, a: Tensor) -> Tensor:
        return a.to(self.dtype)

    def select(self, a: Tensor, index: Any) -> Tensor:
        return a.index_select(0, torch.from_numpy(index))

    def scatter(self, a: Tensor, index: Any, n: int) -> Tensor:
        return torch.zeros((n, *a.shape[1:]), dtype=a.dtype).index_copy_(0, torch.from_numpy(index), a)

    def all_finite(self, a: Tensor) -> bool:
        return bool(a.isfinite().all())

    def dots(self, a: Tensor, b: Tensor, c: Tensor | None) -> Any:
        """The product of each row of a with that of b, and c if given: NumPy's float64."""
        found = (a.double() * b).sum(1)
        return (found if c is None else found + c).numpy()

    def rounded(self, a: Any) -> Any:
        """Numbers of float64 as a tile would hold them."""
        return torch.from_numpy(a).to(self.dtype).double().numpy()

    def logits(self, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
        if bias is None:
            torch.mm(x, weight.T, out=out)
        else:
            torch.addmm(bias, x, weight.T, out=out)

    def multiply(self, a: Tensor, b: Tensor, out: Tensor, first: bool, product: Tensor) -> None:
        if out.dtype is a.dtype:
            if first:
                torch.mm(a, b, out=out)
            else:
                out.addmm_(a, b)
            return
        part = torch.mm(a, b, out=product[: out.numel()].view(out.shape))
        if first:
            out.copy_(part)
        else:
            out.add_(part)

    def sum_rows(self, tile: Tensor, out: Tensor, first: bool) -> None:
        total = torch.sum(tile, 0, dtype=self.sum_dtype)
        if first:
            out.copy_(total)
        else:
            out.add_(total)

    def pick(self, tile: Tensor, columns: Any) -> Any:
        """Entries of a tile, some in each row, as NumPy's float64."""
        return tile.gather(1, torch.from_numpy(columns)).double().numpy()

    def as_numpy(self, tile: Tensor) -> Any:
        """A tile as a NumPy array that shares its memory; bfloat16 as its bits."""
        return (tile.view(torch.uint16) if tile.dtype is torch.bfloat16 else tile).numpy()

    def take_out(self, tile: Tensor, rows: Any, columns: Any) -> Any:
        """Different entries of a tile, for NumPy, of bfloat16 as float32; zeros are left in their place."""
        z = self.as_numpy(tile)  # by NumPy, on one thread: there are few of them
        values = z[rows, columns]
        z[rows, columns] = 0
        return from_bfloat(values) if self.half else values

    def add_entries(self, entries: Any, matrix: Tensor, out: Tensor, room: int) -> None:
        """Add the product of a sparse matrix with another, unrounded, in ``room`` bytes."""
        rows, columns, values = entries
        some = max(1, room // (max(1, matrix.shape[1]) * (matrix.element_size() + out.element_size())))
        for start in range(0, len(rows), some):
            r, c, v = (torch.from_numpy(a[start : start + some]) for a in (rows, columns, values))
            out.index_add_(0, r, matrix.index_select(0, c).to(self.sum_dtype).mul_(v.unsqueeze(1)))

"""Where the scores of a row lie in memory. In: tensors of one shape. Out: two sizes and three strides each.

With the class axis taken out, the other axes are merged, if all tensors allow, into at most two: row number r
is (r // inner, r % inner), in row-major order, and class j of it lies at

    (r // inner) outer_stride + (r % inner) inner_stride + j class_stride
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from torch import Tensor

from .plan import power_of_two

__all__ = ["Layout", "Tiling", "layout", "tiling"]

Strides = tuple[int, int, int]


class Layout(NamedTuple):
    """The rows of tensors that have one shape."""

    rows: int
    inner: int
    classes: int
    strides: tuple[Strides, ...]  # of each tensor: outer, inner, class

    def is_long(self, rows: int, classes: int) -> bool:
        """Whether offsets within a tile of so many rows, over all classes, need 64 bits."""
        return any(
            rows * abs(i) >= 2**31 or (self.classes + classes) * abs(s) >= 2**31 for _, i, s in self.strides
        )


def layout(axis: int, *tensors: Tensor) -> Layout | None:
    """The layout of tensors of one shape; None if their axes cannot be merged into two."""
    shape = tensors[0].shape
    axis %= len(shape)
    classes = shape[axis]
    of_classes = [t.stride(axis) for t in tensors]
    if all(t.is_contiguous() for t in tensors):
        outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
        if inner == 1:
            outer, inner = 1, outer
            return Layout(inner, inner, classes, ((0, classes, 1),) * len(tensors))
        return Layout(outer * inner, inner, classes, ((classes * inner, 1, inner),) * len(tensors))
    groups: list[tuple[int, list[int]]] = []  # sizes and strides, outermost first
    for d, size in enumerate(shape):
        if d == axis or size == 1:
            continue
        strides = [t.stride(d) for t in tensors]
        if groups and all(g == s * size for g, s in zip(groups[-1][1], strides, strict=True)):
            groups[-1] = groups[-1][0] * size, strides
        else:
            groups.append((size, strides))
    none = [0] * len(tensors)
    while len(groups) < 2:
        groups.insert(0, (1, none))
    if len(groups) > 2:
        return None
    (outer, o), (inner, i) = groups
    return Layout(outer * inner, inner, classes, tuple(zip(o, i, of_classes, strict=True)))


class Tiling(NamedTuple):
    """How many rows and classes a program looks at together."""

    rows: int
    classes: int


def tiling(found: Layout, listed: int = 1, most: int = 2048) -> Tiling:
    """Neighbours in memory become neighbours in the tile: classes, or rows (two for each of 128 threads).

    ``listed``: how many classes of each row are looked up.
    """
    _, inner_stride, class_stride = found.strides[0]
    many = max(1, 4096 // (listed * listed))
    if found.inner > 1 and inner_stride < class_stride:
        rows = min(power_of_two(found.inner), 256, many)
        return Tiling(rows, min(power_of_two(found.classes), max(1, 256 // rows)))
    classes = min(power_of_two(found.classes), most)
    return Tiling(min(power_of_two(found.inner), max(1, 256 // classes), many), classes)

"""The memory of tiles. In: a plan, the weight's gradient. Out: buffers of tiles kept; matrices in them."""

from __future__ import annotations

from typing import Any

from .array_ops import ArrayOps
from .plan import Plan, Tile

__all__ = ["buffers", "matrix"]


def buffers(arrays: ArrayOps, plan: Plan, dw: Any) -> list[Any]:
    """Memory of the kept tiles: first newly allocated memory, then that of the aliased tiles, in ``dw``."""
    size, own = plan.rows * plan.classes, plan.kept - plan.aliased
    memory = arrays.empty((own * size,), arrays.dtype)  # in one piece, so that its pages are large
    found = [memory[i * size : (i + 1) * size] for i in range(own)]
    if not plan.aliased:
        return found
    shared = arrays.view(dw, arrays.dtype)
    return found + [shared[i * size : (i + 1) * size] for i in range(plan.aliased)]


def matrix(memory: list[Any], tile: Tile) -> Any:
    """The memory of a tile: (rows, classes)."""
    height, width = tile.rows.stop - tile.rows.start, tile.classes.stop - tile.classes.start
    return memory[tile.buffer][: height * width].reshape(height, width)

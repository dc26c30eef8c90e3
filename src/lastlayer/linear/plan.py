"""How the linear head is cut into tiles: a pure function. In: shapes and bytes per number. Out: a `Plan`.

A tile is the logits of some rows and some classes. The tile loop makes two passes over all tiles: the first
computes the statistics of each row, the second turns each tile into its part of the gradients. Tiles that
stay in memory from the first pass to the second are *kept*; the others are *recomputed*, which costs one more
product. Some of the kept tiles are *aliased*: they are stored in the memory of the weight's gradient, which
is not written before the second pass.

Callers use `planner`; `use` replaces it, for tests and measurements.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "FEW",
    "Costs",
    "Plan",
    "Planner",
    "Tile",
    "default_memory",
    "is_small",
    "most_aliased",
    "plan",
    "planner",
    "use",
]

FEW = 64  # classes; up to this number the order of a gradient's sum hardly changes its rounding error

_STEP = 16  # classes: a multiple of every vector's length, and of a blocked product's
_ROWS_STEP = 16
_CLASSES = 4096  # classes; a product is no faster per class if a tile has more
_NARROW = 2048  # classes; tiles get fewer rows before they get narrower: each tile is added to all of dx
_SMALL = 1 << 18  # logits; below this the overhead of the loop exceeds the time of the products
_CACHE = 4 << 20  # bytes of a tile per thread: somewhat more than its share of the last-level cache


class Tile(NamedTuple):
    """Some of the rows and some of the classes, and the buffer that holds their logits."""

    rows: slice
    classes: slice
    buffer: int
    kept: bool  # from the first pass to the second


class Costs(NamedTuple):
    """Bytes that the loop needs besides its tiles."""

    fixed: int = 0  # for tiles of any size
    a_row: int = 0  # for each row of a tile
    a_class: int = 0  # for each class of a tile
    a_class_again: int = 0  # the same, if rows are in several tiles
    row_product: int = 0  # for each row of a tile, of a product that is computed before it is added to a sum
    class_product: int = 0  # for each class of a tile, of such a product, if rows are in several tiles
    aliasable: int = 0  # for each class, of a result that is unused until the second pass reaches the class


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles of N rows and V classes.

    The outer loop is over classes, the inner one over rows, so that the weight's gradient of some classes is
    complete before the next classes begin. The last tiles of the first pass are kept, since the second pass
    goes backwards and starts with them; at least one tile is always kept.
    """

    n: int
    v: int
    rows: int  # rows a tile
    classes: int  # classes a tile
    kept: int  # tiles kept
    recomputed: int  # tiles recomputed
    memory: int  # bytes of all tiles and costs
    aliased: int = 0  # how many of the kept tiles are stored in the weight's gradient, at earlier classes

    def tiles(self) -> Iterator[Tile]:
        """Every tile once, in the order of the first pass."""
        number = 0
        for start in range(0, self.v, self.classes):
            classes = slice(start, min(start + self.classes, self.v))
            for first in range(0, self.n, self.rows):
                rows = slice(first, min(first + self.rows, self.n))
                buffer = max(0, number - self.recomputed)
                yield Tile(rows, classes, buffer, number >= self.recomputed)
                number += 1


def plan(
    n: int,
    v: int,
    number: int,
    threads: int,
    max_memory: int,
    costs: Costs,
    *,
    keep: bool = True,
    wide: int = 0,
) -> Plan:
    """The plan for ``n`` rows and ``v`` classes.

    Parameters
    ----------
    n, v : int
        Rows and classes, each at least one.
    number : int
        Bytes of a logit.
    threads : int
        The number of threads of a product.
    max_memory : int
        Bytes that all tiles and ``costs`` may take together. If even the smallest tile takes more, the
        plan has that tile, and its ``memory`` is larger.
    costs : Costs
        Bytes besides the tiles.
    keep : bool
        Whether there is a second pass to keep tiles for.
    wide : int
        Classes of a tile, if an additional tile costs more than a tile that exceeds the cache.
    """
    cache = _CACHE * max(1, threads)
    rows = _even(n, max(_ROWS_STEP, cache // (number * min(v, _NARROW))), 1)
    classes = _even(v, max(wide, min(_CLASSES, max(_STEP, cache // (number * rows)))), _STEP)

    def memory(tiles: int) -> int:
        a_class = costs.a_class + (costs.a_class_again if rows < n else 0)
        product = max(costs.row_product * rows, costs.class_product * classes if rows < n else 0)
        return (
            costs.fixed + costs.a_row * rows + a_class * classes + product + tiles * rows * classes * number
        )

    while memory(1) > max_memory and (rows > _ROWS_STEP or classes > _STEP):
        if rows > _ROWS_STEP and (rows >= classes or classes <= _STEP):
            rows = _even(n, rows // 2, 1)
        else:
            classes = _even(v, classes // 2, _STEP)
    count = -(-n // rows) * -(-v // classes)
    tile = rows * classes * number
    aliased = most_aliased(count, -(-n // rows), tile, costs.aliasable * classes) if keep else 0
    own = max(1, min(count - aliased, (max_memory - memory(0)) // tile)) if keep else 1
    return Plan(n, v, rows, classes, own + aliased, count - own - aliased, memory(own), aliased)


def is_small(n: int, v: int, max_memory: int | None) -> bool:
    """Whether ``n`` rows of ``v`` logits are computed as a whole: less than a tile, and no ``max_memory``."""
    return max_memory is None and 0 < n * v <= _SMALL


def most_aliased(count: int, chunks: int, tile: int, aliasable: int) -> int:
    """How many tiles fit in the weight's gradient, at earlier classes than their own; at least one does not.

    They are stored in order, so that the tile that is used first is overwritten first.
    """

    def fits(aliased: int) -> bool:
        first = count - aliased
        return all((i + 1) * tile <= (first + i) // chunks * aliasable for i in range(aliased))

    aliased = min(count - 1, (count - 1) // chunks * aliasable // tile)
    while not fits(aliased):
        aliased -= 1
    return aliased


def _even(total: int, limit: int, step: int) -> int:
    """The size of equal parts of ``total``, of at most ``limit``: a multiple of ``step``, or all of it."""
    limit = max(step, limit - limit % step)
    if total <= limit:
        return total
    size = -(-total // -(-total // limit))
    return -(-size // step) * step


def default_memory() -> int:
    """The bytes of a call without ``max_memory``: a 32nd of the machine's memory, within 64 and 512 MiB."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not known to every system
        machine = 0
    return min(512 << 20, max(64 << 20, machine // 32))


# --- the planner in use -------------------------------------------------------------------------------------


class Planner(NamedTuple):
    """The decisions of a call, as functions: whether it is computed as a whole, and if not, by which plan."""

    is_small: Callable[[int, int, int | None], bool] = is_small
    plan: Callable[..., Plan] = plan


planner = Planner()  # read at every call


@contextmanager
def use(other: Planner) -> Iterator[None]:
    """Use another planner inside a ``with`` block, in all threads: for tests and measurements."""
    global planner
    before, planner = planner, other
    try:
        yield
    finally:
        planner = before

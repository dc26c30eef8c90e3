"""How the linear head is cut into tiles. In: shapes and what a number takes. Out: a `Plan`, and nothing else.

A tile is the logits of some rows and some classes. The tile loop goes through all of them twice: to
find each row's statistics, then, with those known, to turn each tile into its part of the gradients. Tiles
that the memory holds from the first pass to the second are *kept*; the others are *recomputed*, which costs
one more product. Some are *lent* the memory of the weight's gradient, whose rows wait for the second pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["FEW", "Costs", "Plan", "Tile", "default_memory", "is_small", "most_lent", "plan"]

FEW = 64  # classes; up to here the order in which a gradient is summed costs no digits worth keeping

_STEP = 16  # classes: what vectors and blocked products like
_ROWS_STEP = 16
_CLASSES = 4096  # beyond these a product gains nothing by another class
_NARROW = 2048  # classes: what a narrower tile adds to dx costs more than fewer rows do
_SMALL = 1 << 18  # logits; with fewer the loop's own work takes longer than their products
_CACHE = 4 << 20  # bytes of a tile for each thread: what its share of the last cache holds, and more


class Tile(NamedTuple):
    """Some of the rows and some of the classes, and where their logits lie meanwhile."""

    rows: slice
    classes: slice
    buffer: int
    kept: bool  # from the first pass to the second


class Costs(NamedTuple):
    """Bytes that the loop takes besides its tiles."""

    fixed: int = 0  # whatever the tiles are
    a_row: int = 0  # for each row of a tile
    a_class: int = 0  # for each class of a tile
    a_class_again: int = 0  # the same, where the rows take several tiles
    row_product: int = 0  # of a product apart from its sum, for each row of a tile
    class_product: int = 0  # of such a product for each class, where the rows take several tiles
    idle: int = 0  # of a result, for each class: free until the second pass is through with the later classes


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles of N rows and V classes.

    The order is that of the classes, and within some classes that of the rows: so that the part of a weight's
    gradient is complete when its classes are through. The last tiles of the first pass are those kept, since
    the second pass goes backwards and starts with them; at least one always is.
    """

    n: int
    v: int
    rows: int  # rows a tile
    classes: int  # classes a tile
    kept: int  # tiles kept
    recomputed: int  # tiles recomputed
    memory: int  # bytes that all this takes
    lent: int = 0  # tiles kept, the last, that lie in the idle memory of classes before theirs

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
        How many share the work.
    max_memory : int
        Bytes that all tiles and ``costs`` may take together. Where even the smallest tile takes more, the
        plan is of that tile, and its ``memory`` says so.
    costs : Costs
        What is taken besides the tiles.
    keep : bool
        Whether there is a second pass to keep tiles for.
    wide : int
        Classes of a tile, where each further tile costs more than one that is larger than the cache.
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
    lent = most_lent(count, -(-n // rows), tile, costs.idle * classes) if keep else 0
    own = max(1, min(count - lent, (max_memory - memory(0)) // tile)) if keep else 1
    return Plan(n, v, rows, classes, own + lent, count - own - lent, memory(own), lent)


def is_small(n: int, v: int, max_memory: int | None) -> bool:
    """Whether ``n`` rows of ``v`` logits are computed as a whole: less than a tile, and no budget to keep."""
    return max_memory is None and 0 < n * v <= _SMALL


def most_lent(count: int, chunks: int, tile: int, idle: int) -> int:
    """How many tiles find room in the idle memory of classes before theirs; one at least has its own.

    They lie in their order, so that the first to be used up is the first to be written over.
    """

    def fits(lent: int) -> bool:
        first = count - lent
        return all((i + 1) * tile <= (first + i) // chunks * idle for i in range(lent))

    lent = min(count - 1, (count - 1) // chunks * idle // tile)
    while not fits(lent):
        lent -= 1
    return lent


def _even(total: int, limit: int, step: int) -> int:
    """The size of equal parts of ``total``, of at most ``limit``: a multiple of ``step``, or all of it."""
    limit = max(step, limit - limit % step)
    if total <= limit:
        return total
    size = -(-total // -(-total // limit))
    return -(-size // step) * step


def default_memory() -> int:
    """What a call may take where nobody says: a 32nd of the machine's memory, within 64 and 512 MiB."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not known to every system
        machine = 0
    return min(512 << 20, max(64 << 20, machine // 32))

"""Which kernel computes a problem, and how it is divided among programs: pure functions of sizes.

The numbers were measured on an H200 and an H100; see `docs/performance.md`. Nothing is searched at run time.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

__all__ = [
    "MOST_PROGRAMS",
    "SCALED",
    "SCALING",
    "Long",
    "Pixels",
    "Tile",
    "alignment",
    "is_short",
    "long_rows",
    "many_rows",
    "most_programs",
    "pixels",
    "power_of_two",
    "short_rows",
    "tiles_of",
    "written_again",
]

WARP = 32


class Tile(NamedTuple):
    """Short rows: see `tile`. A program's tile has ``rows`` times ``pieces`` times ``classes`` scores."""

    rows: int
    pieces: int
    classes: int
    warps: int


class Long(NamedTuple):
    """Long rows: see `long`. A tile has ``pieces`` times ``classes`` scores."""

    pieces: int
    classes: int
    warps: int
    tiles_of_part: int  # `spans`
    lag: int  # `follow`, in tasks


class Pixels(NamedTuple):
    """Planes of pixels: see `planes`. A program has so many pixels, of all classes."""

    pixels: int
    warps: int


class Lines(NamedTuple):
    """Rows of which a program finds several, one after another: see `long.lines`."""

    pieces: int
    classes: int
    warps: int
    rows_of_program: int


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def alignment(itemsize: int, *numbers: int) -> int:
    """By how many scores, at most 16 bytes, all these offsets and strides can be divided."""
    return gcd(16 // itemsize, *numbers)


def is_short(classes: int, itemsize: int, writes: bool) -> bool:
    """Whether a row is held on chip by one program."""
    return classes <= 4096 if not writes else classes * itemsize <= 32768


def short_rows(classes: int, vector: int, itemsize: int, sums: bool, writes: bool) -> Tile:
    """The tile of rows that are held on chip; ``vector``: the scores of one load; ``sums``: of losses."""
    lanes = 4 if sums and (itemsize == 2 or not writes) else 8
    lanes = min(lanes, power_of_two(-(-classes // vector)))
    pieces = power_of_two(-(-classes // (lanes * vector)))
    if pieces * vector <= 32:  # several rows a warp
        return Tile(WARP // lanes * 4, pieces, lanes * vector, 4)
    most = 128 // itemsize if writes else 64  # scores of a thread
    pieces = power_of_two(-(-classes // (WARP * vector)))
    if sums and pieces * vector <= 32 and itemsize == 2:
        return Tile(4, pieces, WARP * vector, 4)
    warps = 1
    while power_of_two(-(-classes // (warps * WARP * vector))) * vector > most and warps < 32:
        warps *= 2
    pieces = power_of_two(-(-classes // (warps * WARP * vector)))
    return Tile(1, pieces, warps * WARP * vector, warps)


def most_programs(classes: int, itemsize: int, sums: bool) -> int:
    """The programs of short rows: few with a mean, whose parts one program adds up at last."""
    if not sums or (itemsize == 4 and classes > 256):
        return 1 << 15
    return 1024


def group_size(programs: int) -> int:
    """The parts of a sum that are added up at once: all of them, if they are not too many."""
    return 1024 if programs <= 1024 else 128


def pixels(classes: int, itemsize: int) -> Pixels:
    """The pixels of a program: as many neighbours a thread as its registers hold the classes of."""
    if classes > 32:
        neighbours = 2
    else:
        neighbours = min(16 // itemsize, power_of_two(48 // classes + 1) // 2)
    return Pixels(128 * neighbours, 4)


def long_rows(rows: int, classes: int, itemsize: int, processors: int, writes: bool) -> Long:
    """The tiles of long rows, which are read by whole vectors."""
    vector = 16 // itemsize
    if writes:
        pieces, warps = (4, 2) if itemsize == 2 and classes <= 1 << 16 else (8, 2)
        size = pieces * warps * WARP * vector
        tiles = -(-(classes + vector - 1) // size)
        lag = min(rows * tiles, (LAG_BYTES if pieces == 8 else 7 << 20) // (size * itemsize))
        return Long(pieces, warps * WARP * vector, warps, 1, lag)
    pieces, warps = 4, 1
    tile = pieces * warps * WARP * vector
    tiles = -(-(classes + vector - 1) // tile)
    parts = -(-tiles // 16)
    while rows * parts < 64 * processors and tiles // (2 * parts) >= 4:
        parts *= 2
    return Long(pieces, warps * WARP * vector, warps, -(-tiles // parts), 0)


def many_rows(rows: int, classes: int, itemsize: int, processors: int) -> Lines | None:
    """How whole rows are found by one program each; None if there are too few of them."""
    if rows < 32 * processors or classes > 1 << 13:
        return None
    vector = 16 // itemsize
    pieces = 4 if classes > 2 * WARP * vector else 2
    return Lines(pieces, WARP * vector, 1, 1 if classes > 2048 else 4)


def written_again(rows: int, classes: int, itemsize: int, processors: int) -> Long:
    """The tiles of rows that are written from kept statistics: of any length."""
    vector = 16 // itemsize
    if classes + vector > 1024:
        return long_rows(rows, classes, itemsize, processors, True)
    width = max(WARP, power_of_two(classes + vector - 1))
    return Long(1, width, max(1, min(4, width // (WARP * vector))), 1, 0)


SCALED = 4096  # numbers of a gradient that a program scales at once
SCALING = 8  # programs of that, a processor: most end at once
FEW = 32  # classes that a thread holds
MOST_PROGRAMS = 1 << 15  # each computes several tiles, or rows, if there are more
COMPARED = 256  # classes of a row with which each score is compared with the target
LAG_BYTES = 9 << 20


def few_rows(classes: int, itemsize: int) -> int:
    """The rows of a program for few classes."""
    del itemsize
    return 128 if classes > 2 else 512


def tiles_of(numbers: int) -> tuple[int, int]:
    """The tiles of SCALED numbers, and how many the last one has."""
    tiles = -(-numbers // SCALED)
    return tiles, numbers - (tiles - 1) * SCALED

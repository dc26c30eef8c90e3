"""Buckets of the target's rank. In: ranks, the number of classes. Out: the bucket of each, and the edges.

::

    rank = how many classes rank above the target        0: the prediction is right

Ranks up to 127 have a bucket each. The buckets above begin at ``128 * 2^(k/4)``, rounded up, so each is about
19 % wider than the one before it. Their beginnings do not depend on the number of classes V; none begins at V
or above, and the last ends at ``V - 1``.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np
import numpy.typing as npt

__all__ = ["RANK_STARTS", "rank_bucket", "rank_ends", "rank_starts"]

Ints = npt.NDArray[np.int64]

_EXACT = 128  # ranks below have a bucket each


def _start(k: int) -> int:
    """The least integer of ``128 * 2^(k/4)`` or more: that whose fourth power is ``2^(28 + k)`` or more."""
    return isqrt(isqrt((1 << 28 + k) - 1)) + 1


# The first rank of every bucket, for any number of classes.
RANK_STARTS: Ints = np.array([*range(_EXACT), *(_start(k) for k in range(4 * (63 - 7)))], np.int64)


@lru_cache(maxsize=16)  # of a tally that is given few rows at a time
def rank_starts(classes: int) -> Ints:
    """The first rank of each bucket that so many classes have, read-only."""
    found: Ints = RANK_STARTS[: int(np.searchsorted(RANK_STARTS, classes))].copy()
    found.flags.writeable = False
    return found


def rank_ends(classes: int) -> Ints:
    """The last rank of each of these buckets."""
    return np.append(rank_starts(classes)[1:], classes) - 1


def rank_bucket(ranks: Ints) -> Ints:
    """The bucket of each rank; -1 where the rank is -1: unknown."""
    return np.searchsorted(RANK_STARTS, ranks, side="right") - 1

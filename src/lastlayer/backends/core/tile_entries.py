"""Single entries of tiles. In: columns of rows. Out: `Entries`, a sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Entries", "inside", "joined_entries"]


class Entries(NamedTuple):
    """Some entries of a matrix, no two at the same place."""

    rows: Any
    columns: Any
    values: Any


def joined_entries(parts: Sequence[Entries]) -> Entries:
    """The entries of all parts."""
    return Entries(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def inside(columns: Any, width: int) -> tuple[Any, Any]:
    """The rows whose column is one of a tile's, and these columns."""
    rows = np.flatnonzero((columns >= 0) & (columns < width))
    return rows, columns[rows]

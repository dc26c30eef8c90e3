"""An order in which classes that are confused are neighbours. In: a matrix. Out: a permutation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["in_blocks"]

_BEST = 60  # classes, up to which the order within the tree is the best one, at a cost of the cube


def in_blocks(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Order classes by average linkage of how often they are confused, both ways.

    Without SciPy, with fewer than 3 classes or without a confusion the classes stay in their order.
    """
    count = len(shares)
    near = (shares + shares.T) / 2
    np.fill_diagonal(near, 0.0)
    near = np.nan_to_num(near)
    if count < 3 or not near.any():
        return np.arange(count)
    try:
        from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
        from scipy.spatial.distance import squareform
    except ImportError:
        return np.arange(count)
    far = near.max() - near
    np.fill_diagonal(far, 0.0)
    distances: Any = squareform(far, checks=False)
    tree = linkage(distances, "average")
    if count <= _BEST:
        tree = optimal_leaf_ordering(tree, distances)
    order: npt.NDArray[np.intp] = np.asarray(leaves_list(tree), np.intp)
    return order if order[0] < order[-1] else order[::-1]

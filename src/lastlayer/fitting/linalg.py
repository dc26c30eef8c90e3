"""Dense linear algebra of the metrics. In: symmetric matrices. Out: their scaled inverses.

During a fit BLAS libraries run on one thread each, and the work is divided among threads here: idle threads
of BLAS spin for a while, and would compete with the core's threads for the processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import lapack
from threadpoolctl import ThreadpoolController

from lastlayer.threads import get_num_threads

from .rows import Floats

__all__ = ["blas_on_one_thread", "in_parallel", "scaled_inverse"]

_WORTH_THREADS = 1e7  # multiplications
_JITTER = 1e-6  # added to the unit diagonal, so that the matrix of collinear features has a factorization


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Every BLAS library of the process runs on its caller's thread."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of the process, searched once: the search takes as long as a small fit."""
    return ThreadpoolController()


def in_parallel(function: Callable[[Any], Any], items: Any, work: float) -> list[Any]:
    """Apply a function to each item, on the core's number of threads; ``work``: its multiplications."""
    items = list(items)
    threads = min(get_num_threads(), len(items))
    if threads <= 1 or work * len(items) < _WORTH_THREADS:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def scaled_inverse(m: Floats, dtype: Any = np.float64) -> tuple[Floats, Floats]:
    """s and A with M^-1 = diag(s) A diag(s), for a symmetric M that is positive semidefinite.

    M is scaled to a unit diagonal before it is inverted, so that the units of features do not matter, and A
    can be computed in float32 (``dtype``).
    """
    d = np.diagonal(m)
    s = 1 / np.sqrt(np.where(d > 0, d, 1.0))
    scaled = (m * s[:, None] * s).astype(dtype)
    factorize, invert = (
        (lapack.spotrf, lapack.spotri) if dtype == np.float32 else (lapack.dpotrf, lapack.dpotri)
    )
    jitter = _JITTER
    while True:
        scaled[np.diag_indices(len(m))] = 1 + jitter
        factor, failed = factorize(scaled, lower=1, clean=0)
        if not failed:
            break
        jitter *= 10
    inverse, _ = invert(factor, lower=1, overwrite_c=1)
    upper = np.triu_indices(len(m), 1)
    inverse[upper] = inverse.T[upper]
    return s, inverse

"""What the tests of evaluations share: rows, and how two evaluations are compared number by number."""

from __future__ import annotations

import numpy as np

N, V = 300, 5
NAMES = ["ant", "bee", "cat", "dog", "emu"]


def numbers(evaluation):
    """The numbers of an evaluation, without what its source says besides."""
    return {k: v for k, v in evaluation.to_dict().items() if k not in ("findings", "labels")}


def assert_same(found, expected):
    """Raise unless two evaluations have the same numbers."""
    a, b = numbers(found), numbers(expected)
    different = [name for name in a if a[name] != b[name]]
    if different or a.keys() != b.keys():
        raise AssertionError({name: (a[name], b[name]) for name in different})


def rows(n, seed=0):
    """Logits of four classes, and labels: for tallies."""
    r = np.random.default_rng(seed)
    z, y = r.normal(size=(n, 4)) * 3, r.integers(0, 4, n)
    return z.astype(np.float32), y

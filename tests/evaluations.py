"""What the tests of evaluations share: rows, and how two evaluations are compared number by number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

N, V = 300, 5
NAMES = ["ant", "bee", "cat", "dog", "emu"]


def numbers(evaluation):
    """The numbers of an evaluation, without what its source says besides."""
    return {k: v for k, v in evaluation.to_dict().items() if k not in ("findings", "labels", "run")}


def json_of(evaluation):
    """The JSON of an evaluation, without how it was computed: that differs from run to run."""
    return replace(evaluation, run=None).to_json()


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

"""What the tests of `evaluate` compare: two evaluations number by number."""

from __future__ import annotations

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

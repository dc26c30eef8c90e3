"""The tile loop does not read what a backend returns: neither the state of rows nor entries of a tile."""

from __future__ import annotations

import numpy as np
import pytest
from backends import in_tiles
from numpy.testing import assert_array_equal
from random_arrays import numbers

from lastlayer import dispatch, problem
from lastlayer.linear.active_rows import counted_rows
from lastlayer.linear.array_ops import NumPyOps
from lastlayer.linear.loop import Loop
from lastlayer.linear.tile import NO_GRADIENTS, Needs, Operands
from lastlayer.options import Options
from lastlayer.resolving import resolve

tiles = pytest.importorskip("lastlayer.backends.core.tiles")
pytest.importorskip("lastlayer._core", reason="the native core is not built")

N, D, V, K = 40, 6, 50, 4
ALL = (True, True, True)


class Sealed:
    """A value that cannot be read; a number of a GPU would have to be waited for."""

    __slots__ = ("_value",)

    def __init__(self, value):
        self._value = value

    def _refuse(self, *_):
        raise AssertionError("the loop reads a backend's value")

    __bool__ = __int__ = __float__ = __index__ = __array__ = _refuse
    __len__ = __iter__ = __getitem__ = __eq__ = _refuse
    __hash__ = None


def opened(value):
    if isinstance(value, list):
        return [opened(part) for part in value]
    return value._value if isinstance(value, Sealed) else value


class SealedTiles:
    """The core's operations, of which every result is sealed."""

    def __init__(self, ops):
        self._ops, self.takes_large = ops, ops.takes_large

    def __getattr__(self, name):
        def call(*arguments):
            found = getattr(self._ops, name)(*map(opened, arguments))
            return None if found is None else Sealed(found)

        return call


class SealedBackend(tiles.CoreTileBackend):
    def open(self, *arguments):
        return SealedTiles(super().open(*arguments))


def loop_of(backend, kind, wanted, needs):
    head = problem.head("f", numbers(N, D), numbers(V, D), numbers(V))
    scores = problem.head_scores("f", head)
    y = np.random.default_rng(0).integers(0, V, N) if kind == "index" else np.full((N, V), 1 / V)
    checked = resolve(scores, dispatch.backend(scores), (y, None, None), Options("f"))
    backend = backend(NumPyOps(np.dtype(np.float64)))
    return Loop(backend, Operands(head, checked, counted_rows(backend.arrays, head, checked)), wanted, needs)


@pytest.mark.parametrize("kind", ["index", "dense"])
@pytest.mark.parametrize("kept", [1, 9])
def test_the_loop_reads_no_value_of_a_backend(kind, kept):
    with in_tiles(16, 20, kept):
        usual, other = (loop_of(b, kind, ALL, Needs()) for b in (tiles.CoreTileBackend, SealedBackend))
        stats, sealed = usual.statistics(("gap", "mass")), other.statistics(("gap", "mass"))
        for name in ("peak", "rest", "gap", "mass"):
            assert_array_equal(getattr(opened(sealed), name), getattr(stats, name))
        for found, expected in zip(other.gradients(sealed, ALL), usual.gradients(stats, ALL), strict=True):
            assert_array_equal(found, expected)


def test_the_loop_reads_no_top_k_class():
    with in_tiles(16, 20, 1):
        usual, other = (
            loop_of(b, "index", NO_GRADIENTS, Needs()) for b in (tiles.CoreTileBackend, SealedBackend)
        )
        for found, expected in zip(opened(other.top_k(K)), usual.top_k(K), strict=True):
            assert_array_equal(found, expected)

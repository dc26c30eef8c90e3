"""Row statistics as one vector, to be sent from one process to another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll
from lastlayer.row_statistics import ARRAYS


def shards_of(convert):
    z = np.random.default_rng(5).normal(size=(2, 3, 11)) * 4
    y = np.array([[0, 4, -100], [10, 5, 3]])
    cuts = (0, 4, 9, 11)
    return [
        ll.row_stats(convert(z[..., a:b]), convert(y), class_offset=a) for a, b in itertools.pairwise(cuts)
    ]


LIBRARIES = ["numpy", "torch"]


def converter(library):
    return np.asarray if library == "numpy" else pytest.importorskip(library).asarray


@pytest.mark.parametrize("library", LIBRARIES)
def test_packed_statistics_are_the_same_again(library):
    first, second, third = shards_of(converter(library))
    vector = second.pack()
    assert vector.ndim == 1
    assert "float64" in str(vector.dtype)
    again = first.unpack(vector)
    assert again.classes == second.classes == ((4, 9),)
    for name in ARRAYS:
        a, b = getattr(again, name), getattr(second, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype or name in ("weight", "target_weight")
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    whole = first.merge(again).merge(first.unpack(third.pack()))
    expected = first.merge(second).merge(third)
    for name in ("lse", "nll", "entropy", "confidence", "sum_p2", "mean_nll", "accuracy"):
        np.testing.assert_array_equal(np.asarray(getattr(whole, name)), np.asarray(getattr(expected, name)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_packed_may_lack_fields_rows_or_classes(library):
    convert = converter(library)
    whole = ll.row_stats(convert(np.eye(3)))
    assert whole.unpack(whole.pack()).classes is None
    assert whole.unpack(whole.pack()).gap is None
    none = ll.row_stats(convert(np.zeros((0, 3))), class_offset=2)
    assert none.unpack(none.pack()).classes == ((2, 5),)


def test_a_vector_of_other_rows():
    _, second, _ = shards_of(np.asarray)
    other = ll.row_stats(np.eye(3), class_offset=2)
    rule = "expected a vector that pack() made of statistics of rows of shape (3,)"
    with raises(ll.ShapeError, f"RowStats.unpack: packed is of shape {second.pack().shape}; {rule}"):
        other.unpack(second.pack())
    with raises(ll.ShapeError, f"RowStats.unpack: packed is of shape (2,); {rule}"):
        other.unpack(np.zeros(2))


def test_ranges_with_a_gap_are_not_packed():
    first, _, third = shards_of(np.asarray)
    rule = "expected one range of classes; merge what lies between first"
    with raises(ll.OptionError, f"RowStats.pack: classes is ((0, 4), (9, 11)); {rule}"):
        first.merge(third).pack()

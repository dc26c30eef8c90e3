"""Blocks of rows: every row once and in order, in float64, whatever the array's library and layout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lastlayer.arrays import BFLOAT16
from lastlayer.blocks import RowBlock, UnreadableError, number_family, opened, row_blocks, to_host

SHAPES = [(7,), (5, 3), (2, 3, 4), (3, 1, 5, 2), (1, 1), (40, 6)]


@pytest.mark.parametrize("size", [1, 7, 24, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_row_once_and_in_order(shape, size):
    array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    for axis in range(len(shape)):
        blocks = list(row_blocks(shape, axis, size))
        rows = np.moveaxis(array, axis, -1).reshape(-1, shape[axis])
        read = [block.rows(array) for block in blocks]
        assert all(block.dtype == np.float64 for block in read)
        assert all(len(block) == 1 or block.size <= size for block in read)
        np.testing.assert_array_equal(np.concatenate(read), rows)
        labels = np.arange(len(rows), dtype=np.uint8).reshape(shape[:axis] + shape[axis + 1 :])
        values = [block.values(labels) for block in blocks]
        assert all(block.dtype == np.uint8 for block in values)
        np.testing.assert_array_equal(np.concatenate(values), labels.reshape(-1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_positions_and_entries_lead_back_to_the_array(axis):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    labels = array.sum(axis=axis)
    for block in row_blocks(array.shape, axis, 9):
        for i, (row, label) in enumerate(zip(block.rows(array), block.values(labels), strict=True)):
            assert labels[block.position(i)] == label
            assert [array[block.entry(i, j)] for j in range(len(row))] == row.tolist()


def test_no_rows_are_no_blocks():
    assert list(row_blocks((0, 3), 1)) == []
    assert list(row_blocks((3, 0), 0)) == []
    assert [block.rows(np.zeros((2, 0))).shape for block in row_blocks((2, 0), 1)] == [(2, 0)]


def test_only_the_block_is_read():
    class Watched:
        def __init__(self, array):
            self.array, self.read = array, []

        def __getitem__(self, index):
            self.read.append(index)
            return self.array[index]

    watched = Watched(np.zeros((100, 10)))
    for block in row_blocks((100, 10), 1, 200):
        block.rows(watched)
    assert watched.read == [(slice(start, start + 20), slice(None)) for start in range(0, 100, 20)]


def test_rows_are_copies():
    array = np.zeros((2, 3))
    RowBlock((slice(0, 2),), 1).rows(array)[:] = 1
    assert not array.any()


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ([[1.0, 2.0]], "float"),
        ([1, 2], "int"),
        (3, "int"),
        ([True], "bool"),
        ([1j], ""),
        (["cat"], ""),
        (np.zeros(2, "datetime64[s]"), ""),
        (np.zeros(2, np.longdouble), "float"),
        (np.zeros(2, BFLOAT16), "float"),
        (np.zeros(2, ">i2"), "int"),
    ],
)
def test_the_family_of_a_dtype(values, family):
    assert number_family(opened(values)) == family


@pytest.mark.parametrize(
    ("values", "reason"), [([[1], [1, 2]], "rows of unequal length?"), (None, "NoneType")]
)
def test_values_that_are_no_array(values, reason):
    with pytest.raises(UnreadableError) as caught:
        opened(values)
    assert str(caught.value) == reason


def test_an_array_is_opened_as_it_is():
    array = np.zeros((2, 3))
    assert opened(array) is array


def test_bits_of_bfloat16_are_read_as_numbers():
    bits = (np.array([[1.0, -2.0]], np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)
    assert RowBlock((slice(0, 1),), 1).rows(bits).tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize("library", ["torch", "array_api_strict", "dask.array"])
def test_arrays_of_other_libraries(library):
    xp = pytest.importorskip(library)
    numbers = np.arange(24.0).reshape(2, 3, 4)
    array = opened(xp.asarray(numbers))
    assert number_family(array) == "float"
    rows = [block.rows(array) for block in row_blocks(array.shape, 1, 6)]
    np.testing.assert_array_equal(np.concatenate(rows), np.moveaxis(numbers, 1, -1).reshape(-1, 3))


def test_tensors():
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1.0, 2.5]], requires_grad=True)
    assert number_family(x.bfloat16()) == "float"
    assert to_host(x.bfloat16()).tolist() == [[1.0, 2.5]]
    with pytest.raises(UnreadableError, match="a tensor without numbers"):
        opened(x.to("meta"))

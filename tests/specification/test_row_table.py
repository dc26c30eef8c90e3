"""Row statistics as a table: the rows that were asked for, and the columns that every library reads."""

import numpy as np
import pytest
from assertions import assert_same_bits, raises

import lastlayer as ll
from lastlayer.row_statistics import ARRAYS

COLUMNS = ["nll", "rank", "correct", "argmax", "confidence", "entropy", "lse", "sum_p2", "counted", "weight"]
LOGITS = np.random.default_rng(0).normal(size=(7, 4))
TARGETS = np.array([0, 1, 2, 3, -100, 1, 0])
STATS = ll.row_stats(LOGITS, TARGETS)


@pytest.mark.parametrize("rows", [slice(2, 5), slice(None, None, -2), slice(0), TARGETS == 1, [5, 0], []])
def test_some_rows_are_the_statistics_of_these_rows(rows):
    chosen = np.arange(7)[np.asarray(rows, dtype=int) if isinstance(rows, list) else rows]
    found, expected = STATS[rows], ll.row_stats(LOGITS[chosen], TARGETS[chosen])
    assert len(found) == len(chosen)
    for name in ARRAYS:
        if (value := getattr(expected, name)) is not None:
            assert_same_bits(getattr(found, name), value, name)
    assert_same_bits(found.mean_nll, expected.mean_nll)


def test_slices_join_to_the_whole():
    joined = ll.RowStats.concat([STATS[:3], STATS[3:]])
    assert_same_bits(joined.nll, STATS.nll)


def test_rows_of_several_axes():
    stats = ll.row_stats(LOGITS[:6].reshape(2, 3, 4), TARGETS[:6].reshape(2, 3))
    assert len(stats) == 2
    assert_same_bits(stats[1:].nll, stats.nll[1:])
    assert_same_bits(stats.to_dict()["nll"], STATS.nll[:6])


def test_what_is_no_choice_of_rows():
    rule = "expected a slice, a mask or an array of row numbers"
    for index in (3, "nll", None):
        with raises(ll.DtypeError, f"RowStats: index is {index!r}; {rule}"):
            STATS[index]
    with pytest.raises(TypeError, match="not iterable"):
        list(STATS)
    with pytest.raises(TypeError, match="a single row have no length"):
        len(ll.row_stats(LOGITS[0], 0))
    assert ll.row_stats(LOGITS[:0], TARGETS[:0])  # no rows are no reason to be false


def test_columns():
    found = STATS.to_dict()
    assert list(found) == COLUMNS
    for name in COLUMNS:
        assert_same_bits(found[name], np.asarray(getattr(STATS, name)), name)
    assert list(ll.row_stats(LOGITS).to_dict()) == ["argmax", "confidence", "entropy", "lse", "sum_p2"]


def test_tables_of_other_libraries():
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    for table in (STATS.to_arrow(), pa.table(STATS), pl.DataFrame(STATS)):
        assert list(getattr(table, "column_names", None) or table.columns) == COLUMNS
        assert np.array_equal(np.asarray(table["nll"]), STATS.nll)
    frame = STATS.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["rank"].tolist() == STATS.rank.tolist()
    assert frame[frame.counted].nll.mean() == pytest.approx(float(STATS.mean_nll))


def test_tensors():
    torch = pytest.importorskip("torch")
    logits = torch.tensor(LOGITS, requires_grad=True)
    stats = ll.row_stats(logits, torch.tensor(TARGETS))
    assert not stats[2:5].nll.requires_grad
    assert_same_bits(stats[2:5].nll.numpy(), STATS.nll[2:5])
    assert_same_bits(stats.to_dict()["entropy"], STATS.entropy)


def test_tensors_are_packed():
    torch = pytest.importorskip("torch")
    logits = torch.tensor(LOGITS)
    mine, other = (ll.row_stats(logits[:, k : k + 2], torch.tensor(TARGETS), class_offset=k) for k in (0, 2))
    assert_same_bits(mine.merge(mine.unpack(other.pack())).nll.numpy(), mine.merge(other).nll.numpy())

"""The law of the class axis: a row may be cut anywhere, and its parts joined in any grouping."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import oracle
import pytest
from assertions import assert_ulp
from hypothesis import example, given
from hypothesis import strategies as st

from lastlayer.row_statistics import ARRAYS, RowStats, joined

FIELDS = [*ARRAYS[: ARRAYS.index("weight")], "moment"]
FLOATS = [n for n in FIELDS if n not in ("argmax", "rank")]

logit = st.one_of(
    st.sampled_from([-np.inf, np.inf, np.nan, 0.0, -0.0, -800.0, 800.0, 1e300]),
    st.integers(-20, 20).map(float),
    st.floats(-50, 50, width=32),
)
finite = st.one_of(
    st.sampled_from([-np.inf, 0.0, -800.0]), st.integers(-9, 9).map(float), st.floats(-50, 50, width=32)
)


def part_of(z, t, y, start, stop, best):
    """The state of one part of a row, from the definitions alone, class by class."""
    z, t = z[start:stop], t[start:stop]
    empty = RowStats.empty(())
    if len(z) == 0:
        return empty
    if np.isnan(z).any():
        nan = np.float64(np.nan)
        mass = np.float64(t.sum())
        gap = np.float64(0 if mass == 0 else nan)
        return RowStats(nan, nan, np.int64(-1), gap, mass, np.int64(-1), nan, nan, moment=nan)
    peak = z.max()
    top = int(np.argmax(z))
    with np.errstate(all="ignore"):
        fall = np.where(z == peak, 0.0, peak - z)
        e = np.exp(-fall)
        rest = np.delete(e, top).sum() if peak > -np.inf else 0.0
        gap = np.where((t == 0) | (fall == 0), 0.0, t * fall).sum()
        spread = np.where(e == 0, 0.0, e * fall).sum()
        moment = np.where(e == 0, 0.0, e * fall**2).sum()
        square = (np.delete(e, top) ** 2).sum() if peak > -np.inf else 0.0
    if peak == np.inf:
        rest = spread = square = moment = np.nan
    elif peak == -np.inf:
        spread = moment = 0.0
    number = np.arange(start, stop)
    rank = ((z > best) | ((z == best) & (number < y))).sum()
    numbers = [np.float64(v) for v in (peak, rest)]
    others = [np.float64(v) for v in (gap, t.sum())]
    return RowStats(
        *numbers,
        np.int64(start + top),
        *others,
        np.int64(rank),
        np.float64(spread),
        np.float64(square),
        moment=np.float64(moment),
    )


def assert_close(a, b, bound=64):
    """Equal but for rounding, NaN and infinities in the same places."""
    for name in FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        if name in ("argmax", "rank"):
            assert (np.asarray(x) == np.asarray(y)).all(), (name, a, b)
        else:
            scale = np.where(np.isfinite(y), np.maximum(np.abs(y), 2.0**-900), np.nan)
            assert_ulp(np.asarray(x, np.float64), np.asarray(y), bound, scale=scale, what=name)


@st.composite
def rows(draw, elements=logit):
    z = np.asarray(draw(st.lists(elements, min_size=1, max_size=12)))
    y = draw(st.integers(0, len(z) - 1))
    smoothing = draw(st.sampled_from([0.0, 0.1, 1.0]))
    t = smoothing / len(z) + (1 - smoothing) * (np.arange(len(z)) == y)
    if draw(st.booleans()):
        t = t * draw(st.sampled_from([0.0, 0.5, 3.0]))
    cuts = sorted(draw(st.lists(st.integers(0, len(z)), min_size=2, max_size=2)))
    return z, t, y, cuts


def parts(row):
    z, t, y, (i, j) = row
    return [part_of(z, t, y, a, b, z[y]) for a, b in ((0, i), (i, j), (j, len(z)))]


def law(*shards):
    """The law applied to parts in the order of their classes."""
    return reduce(joined, shards)


@given(rows())
@example((np.asarray([-800.0, 0.0]), np.asarray([1.0, 0.0]), 0, [0, 1]))
@example((np.asarray([-800.0, -800.0]), np.asarray([1.0, 0.0]), 0, [0, 0]))
@example((np.asarray([-np.inf, 3.0]), np.asarray([1.0, 0.0]), 0, [1, 1]))
@example((np.asarray([-np.inf, -np.inf]), np.asarray([0.0, 1.0]), 1, [1, 1]))
@example((np.asarray([np.inf, np.inf]), np.asarray([1.0, 0.0]), 0, [1, 1]))
def test_associative_and_equal_to_the_whole(row):
    z, t, y, _ = row
    a, b, c = parts(row)
    left, right = law(a, b, c), joined(a, joined(b, c))
    assert_close(left, right)
    assert_close(left, part_of(z, t, y, 0, len(z), z[y]))


@given(rows())
def test_the_empty_part_is_the_identity(row):
    z, t, y, _ = row
    whole = part_of(z, t, y, 0, len(z), z[y])
    empty = RowStats.empty(())
    assert_close(law(whole, empty), whole, 0)
    assert_close(law(empty, whole), whole, 0)
    assert_close(law(empty, empty), empty, 0)


@given(rows(finite), st.sampled_from([1024.0, -1024.0, 2.0**30]))
def test_shift(row, shift):
    """Adding a number to every logit moves the peak, and nothing else."""
    z, t, y, cuts = row
    grid = np.round(z * 16) / 16
    near = parts((grid, t, y, cuts))
    far = parts((grid + shift, t, y, cuts))
    a, b = law(*near), law(*far)
    assert_close(replace(a, peak=a.peak + shift), b, 0)


@given(rows(), st.permutations(range(3)))
def test_any_order(row, order):
    """Shards of the classes are merged in any order; ties count for the lowest class."""
    z, _, _, cuts = row
    shards = [
        replace(part, classes=((a, b),) if a < b else ())
        for part, a, b in zip(parts(row), (0, *cuts), (*cuts, len(z)), strict=True)
    ]
    first, second, third = (shards[i] for i in order)
    found = first.merge(second.merge(third))
    assert found.classes == ((0, len(z)),)
    assert_close(found, law(*shards))


@given(rows(finite))
def test_results(row):
    """What is read from a merged state is what the definitions say."""
    z, t, y, _ = row
    stats = law(*parts(row))
    true = oracle.truth(z[None], np.asarray([y]))
    assert_ulp(stats.lse, true.lse[0], 8, scale=true.peak[0])
    p, logp = true.softmax[0], true.log_softmax[0]
    with np.errstate(invalid="ignore"):
        terms = -np.where(t == 0, 0, t * logp)
    if t.sum() > 0:
        scale = np.maximum(np.abs(terms).sum(), 2.0**-900) if np.isfinite(terms).all() else None
        assert_ulp(stats.nll, terms.sum(), 64, scale=scale)
    else:
        assert stats.nll == 0
    assert_ulp(stats.entropy, true.entropy[0], 64, scale=np.maximum(true.entropy[0], 2.0**-900))
    assert_ulp(stats.confidence, p.max(), 8)
    assert_ulp(stats.sum_p2, true.sum_p2[0], 16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_many_rows_in_every_float(dtype):
    rng = np.random.default_rng(0)
    z = np.round(rng.normal(size=(50, 9)) * 8).astype(dtype)
    z[rng.random(z.shape) < 0.2] = -np.inf
    t, y = np.zeros_like(z), np.zeros(50, int)
    t[:, 0] = 1
    pieces = []
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        states = [part_of(r, s, j, start, stop, r[j]) for r, s, j in zip(z.astype(float), t, y, strict=True)]
        columns = {n: np.asarray([getattr(s, n) for s in states]) for n in FIELDS}
        pieces.append(RowStats(**{n: c.astype(dtype) if n in FLOATS else c for n, c in columns.items()}))
    merged = law(*pieces)
    assert merged.lse.dtype == dtype
    true = oracle.truth(z, y)
    assert_ulp(merged.lse, true.lse, 8, scale=true.peak)
    assert (merged.argmax == z.argmax(-1)).all()


def test_absent_fields_stay_absent():
    bare = RowStats(peak=np.zeros(2), rest=np.ones(2))
    merged = law(bare, RowStats.empty((2,)))
    assert [getattr(merged, n) for n in FIELDS[2:]] == [None] * 7
    assert (merged.lse == np.log(2)).all()
    with pytest.raises(AttributeError, match="lack 'gap'"):
        _ = merged.nll
    with pytest.raises(AttributeError, match="lack 'rank'"):
        _ = merged.correct


def test_frozen():
    stats = RowStats.empty((2,))
    with pytest.raises(AttributeError):
        stats.peak = 3

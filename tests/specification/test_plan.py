"""The plan of the linear head: every row with every class once, within the memory that was allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lastlayer.linear.plan import Costs, default_memory, is_small, plan

small = st.integers(1, 300)
costs = st.builds(Costs, st.integers(0, 5000), *[st.integers(0, 300)] * 6)


@given(small, small, st.sampled_from([2, 4, 8]), st.integers(1, 8), st.integers(1, 1 << 20), costs)
@example(1, 1, 4, 1, 1, Costs())
@example(300, 300, 8, 1, 1, Costs(9999, 300, 300))
@example(17, 33, 4, 2, 3000, Costs())
def test_every_class_of_every_row_once_and_within_the_memory(n, v, number, threads, memory, costs):
    p = plan(n, v, number, threads, memory, costs)
    tiles = list(p.tiles())
    assert len(tiles) == p.kept + p.recomputed
    assert p.kept >= 1
    assert p.recomputed >= 0
    assert sum(tile.kept for tile in tiles) == p.kept
    seen = np.zeros((n, v), int)
    for tile in tiles:
        seen[tile.rows, tile.classes] += 1
        height, width = tile.rows.stop - tile.rows.start, tile.classes.stop - tile.classes.start
        assert 0 < height <= p.rows
        assert 0 < width <= p.classes
    assert (seen == 1).all()
    used = costs.fixed + costs.a_row * p.rows + costs.a_class * p.classes
    if p.rows < n:
        used += costs.a_class_again * p.classes
    used += max(costs.row_product * p.rows, costs.class_product * p.classes * (p.rows < n))
    assert 0 <= p.aliased < p.kept
    assert p.memory == used + (p.kept - p.aliased) * p.rows * p.classes * number
    assert p.memory <= memory or (p.kept - p.aliased == 1 and p.rows <= 16 and p.classes <= 16)


@given(small, small, st.integers(1, 1 << 18))
def test_kept_tiles_lie_apart_and_nothing_overwrites_them(n, v, memory):
    held = {}
    for number, tile in enumerate(plan(n, v, 4, 1, memory, Costs()).tiles()):
        assert tile.buffer not in {tiles[1] for tiles in held.values()}
        if tile.kept:
            held[number] = (number, tile.buffer)


@given(small, small, st.integers(1, 1 << 18), st.integers(0, 3000))
def test_aliased_tiles_are_used_up_before_their_memory_is_needed(n, v, memory, aliasable):
    p = plan(n, v, 4, 1, memory, Costs(aliasable=aliasable))
    size = p.rows * p.classes * 4
    assert p.aliased * size <= v * aliasable
    assert len({tile.buffer for tile in p.tiles() if tile.kept}) == p.kept
    held = {tile.buffer - (p.kept - p.aliased) for tile in p.tiles() if tile.buffer >= p.kept - p.aliased}
    assert held == set(range(p.aliased))
    for tile in reversed(list(p.tiles())):
        written = tile.classes.start * aliasable  # from here on, once this tile has been used
        assert all((number + 1) * size <= written for number in held)
        held.discard(tile.buffer - (p.kept - p.aliased))


def test_a_square_head_is_kept_in_the_weights_gradient():
    """As many rows as features or fewer: no logit is computed twice, whatever the budget."""
    p = plan(1024, 128256, 2, 2, 20 << 20, Costs(aliasable=2048))
    assert p.recomputed == 0
    assert p.memory <= 20 << 20


@given(small, small, st.integers(1, 1 << 18))
def test_more_memory_recomputes_no_more_of_the_logits(n, v, memory):
    def share(p):
        return sum(
            (t.rows.stop - t.rows.start) * (t.classes.stop - t.classes.start) for t in p.tiles() if not t.kept
        )

    assert share(plan(n, v, 4, 1, 1 << 30, Costs())) == 0
    assert share(plan(n, v, 4, 1, 2 * n * v * 4, Costs())) <= share(plan(n, v, 4, 1, memory, Costs()))


def test_a_forward_pass_keeps_one_tile():
    p = plan(64, 128256, 4, 1, 1 << 30, Costs(), keep=False)
    assert p.kept == 1


@pytest.mark.parametrize(("n", "v"), [(2048, 32000), (1024, 128256), (8192, 50257), (1, 7), (100000, 1000)])
def test_real_shapes(n, v):
    """One chunk of rows is the rule; a tile is as wide as the cache allows, and none is a sliver."""
    p = plan(n, v, 2, 2, 64 << 20, Costs())
    assert p.memory <= 64 << 20
    assert p.rows == n or p.rows >= 2000
    assert p.rows * p.classes * 2 <= 16 << 20
    assert p.classes == v or p.classes >= 512
    last = list(p.tiles())[-1].classes
    assert last.stop - last.start > p.classes // 2


def test_the_default_is_of_the_machine():
    assert 64 << 20 <= default_memory() <= 512 << 20


def test_wide_tiles_are_as_wide_as_the_memory_allows():
    assert plan(256, 32000, 4, 1, 1 << 30, Costs(), keep=False, wide=32000).classes == 32000
    assert plan(256, 32000, 4, 1, 1 << 30, Costs(), keep=False, wide=640).classes < 5000
    narrow = plan(256, 32000, 4, 1, 8 << 20, Costs(), keep=False, wide=32000)
    assert (narrow.rows, narrow.memory <= 8 << 20) == (256, True)


def test_small_problems_are_those_of_few_logits_and_no_budget():
    assert is_small(1, 2, None)
    assert is_small(256, 1024, None)
    assert not is_small(256, 1025, None)
    assert not is_small(0, 10, None)
    assert not is_small(4, 10, 1 << 30)

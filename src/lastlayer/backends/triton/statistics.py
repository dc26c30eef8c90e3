"""Row statistics and losses with any option and any class axis: one read of the scores.

    loss = s (gap + mass log1p(rest) + z_loss lse^2)
    gap = sum_j t_j (peak - z_j) / s          mass = sum_j t_j / s

What each row has is written to the buffers that are asked for, (fields, N):

    KEEP       the peak as x, other, mass: for `visit`. Inactive rows have other -1, wrong targets mass NaN
    REPORT     peak (v where temperature < 1), rest, gap, mass, weight, target_weight, spread, square,
               and int64 argmax, rank
    PREDICT    the probability of the argmax, and int64 argmax

Rows that are inactive or wrong are those of `losses`. A program goes through every P-th tile of rows, and a
sum over rows is finished in the same launch. Accuracy, measured in ULP of float32: losses 3, lse 1.6.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, log1p
from .online import NOTHING, finite, scan
from .scores import FACTOR, FACTOR_LOW, capped, columns, left_over, limited, neighbours, places
from .sums import MEAN, NONE, finish

__all__ = ["ABSENT", "INDEX", "KEEP", "LISTED", "NO_RESULT", "PREDICT", "REPORT", "statistics"]

NO_RESULT, KEEP, REPORT, PREDICT = (tl.constexpr(i) for i in range(4))
# Which classes the targets name: none, one a row, or a list of K with probabilities.
ABSENT, INDEX, LISTED = (tl.constexpr(i) for i in range(3))


@triton.jit
def tempered(high, low, how):
    """(high + low) / temperature, which may be infinite."""
    z = high * how[FACTOR]
    more = tl.fma(high, how[FACTOR], -z) + (high * how[FACTOR_LOW] + low * how[FACTOR])
    return tl.where(tl.abs(z) < INF, z + more, z)


@triton.jit
def statistics(
    x_ptr, q_ptr, mask_ptr, y_ptr, p_ptr, left_ptr, w_ptr, s_ptr,
    rows_ptr, found_ptr, numbers_ptr, result_ptr, parts_ptr, counters_ptr,
    n, inner, V, K, xo, xi, xs, qo, qi, qs, mo, mi, ms, ss,
    scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low,
    on, off, left_share, ignore, z_loss, factor,
    ROWS: tl.constexpr, REDUCE: tl.constexpr, FOUND: tl.constexpr,
    CAPPED: tl.constexpr, MASKED: tl.constexpr, PLACED: tl.constexpr, T: tl.constexpr,
    INTEGER: tl.constexpr, LEFT: tl.constexpr, WEIGHTED: tl.constexpr, SAMPLED: tl.constexpr,
    IGNORED: tl.constexpr, Z_LOSS: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr, KP: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """``ROWS``: store the loss of each row, or lse where there are no targets.

    ``left``: the probability that top-k targets leave over.

    Strides: of rows that are neighbours (i), of groups of ``inner`` such rows (o), of classes (s).
    """
    LOSSES: tl.constexpr = PLACED != ABSENT or T != NOTHING
    CHECKED: tl.constexpr = LOSSES and (SAMPLED or WEIGHTED or PLACED != INDEX)
    how = (scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low)
    loss_sum = tl.zeros([R], tl.float64)
    weight_sum = tl.zeros([R], tl.float64)
    for tile in range(tl.program_id(0), (n // inner) * tl.cdiv(inner, R), tl.num_programs(0)):
        o, i, live, row = neighbours(tile, inner, R, LONG)
        x = x_ptr + o * xo + i * xi
        zero = tl.zeros([R], tl.float32)
        share, s, at_place, x_y, y = zero + off, zero + 1.0, zero, zero, tl.zeros([R], tl.int32)
        dropped, wrong, weight = live & (y != y), live & (y != y), zero
        if SAMPLED:
            s = tl.load(s_ptr + row * ss, live, other=0.0).to(tl.float32)
        if LEFT:
            share += left_share * left_over(left_ptr, row, live)
        if PLACED != ABSENT:
            place, at, weights, ignored, wrongs = places(
                y_ptr, p_ptr, w_ptr, row, live, V, K, on, ignore, PLACED == INDEX, IGNORED, WEIGHTED, KP
            )
            wrong = tl.sum(wrongs.to(tl.int32), 1) > 0
            at_place = tl.sum(at, 1)
            named = tl.load(x + columns(place, xs, LONG), live[:, None] & (at != 0.0), other=0.0).to(
                tl.float32
            )
            named = limited(named, how, CAPPED)
            if PLACED == INDEX:
                dropped = tl.sum(ignored.to(tl.int32), 1) > 0
                weight = tl.sum(weights, 1)
                y = tl.sum(place, 1)
                if FOUND == REPORT:
                    x_y = tl.load(x + columns(place, xs, LONG), live[:, None], other=0.0).to(tl.float32)
                    x_y = tl.sum(limited(x_y, how, CAPPED), 1)
        found, sums, counts, whole = scan(
            x, q_ptr + o * qo + i * qi, mask_ptr + o * mo + i * mi, w_ptr, live, share, x_y, y,
            how, on, off, V, xs, qs, ms, CAPPED, MASKED, T, WEIGHTED,
            FOUND >= REPORT, FOUND == REPORT, FOUND == REPORT and PLACED == INDEX, CHECKED, R, C, WIDE, LONG,
        )  # fmt: skip
        x_peak, rest, other, top, spread, square, rank = found
        v, v_low = capped(finite(x_peak), how, CAPPED)
        v = tl.where(tl.abs(x_peak) < INF, v, x_peak)  # NaN, too
        peak = tempered(v, v_low, how)
        spread = tempered(spread, 0.0, how)
        gap, mass = sums
        possible, infinite, strange = counts
        norm = log1p(rest)
        lse = tl.where(tl.abs(peak) == INF, peak, peak + norm)
        if MASKED:
            lse = tl.where(possible > 0, lse, -INF)
        if PLACED != ABSENT:
            v_at, low_at = capped(named, how, CAPPED)
            below = v[:, None] - v_at
            if CAPPED:
                below += v_low[:, None] - low_at
            gap += tl.sum(tl.where(at == 0.0, 0.0, at * below), 1)
            mass += at_place
        gap = tempered(gap, 0.0, how)
        if INTEGER:
            wrong = ((whole != 1.0) | (strange > 0)) & (s != 0.0)
        if LOSSES:
            weightless = s == 0.0
            if not Z_LOSS:
                weightless |= mass == 0.0
            inactive = dropped
            if CHECKED:
                inactive = dropped | (weightless & (infinite > 0))
            loss = gap + mass * norm
            if Z_LOSS:
                loss += z_loss * lse * lse
            loss = tl.where(inactive, 0.0, s * loss)
            loss = tl.where(wrong, float("nan"), loss)
            if ROWS:
                tl.store(rows_ptr + row, loss, live)
            if REDUCE != NONE:
                loss_sum += tl.where(live, loss, 0.0).to(tl.float64)
            if REDUCE == MEAN:
                if PLACED == INDEX:
                    share_of_mean = tl.where(dropped, 0.0, weight * s)
                else:
                    share_of_mean = s
                weight_sum += tl.where(live, share_of_mean, 0.0).to(tl.float64)
            if FOUND == KEEP:
                tl.store(found_ptr + row, x_peak, live)
                tl.store(found_ptr + n + row, tl.where(inactive, -1.0, other), live)
                tl.store(found_ptr + 2 * n + row, tl.where(wrong, float("nan"), mass), live)
        elif ROWS:
            tl.store(rows_ptr + row, lse, live)
        if FOUND == KEEP and not LOSSES:
            tl.store(found_ptr + row, x_peak, live)
            tl.store(found_ptr + n + row, other, live)
        if FOUND == PREDICT:
            tl.store(found_ptr + row, tl.div_rn(1.0, 1.0 + rest), live)
            tl.store(numbers_ptr + row, top, live)
        if FOUND == REPORT:
            tl.store(found_ptr + row, tl.where(per_t > 1.0, v, peak), live)
            tl.store(found_ptr + n + row, tl.where(x_peak == -INF, 0.0, rest), live)
            tl.store(found_ptr + 6 * n + row, spread, live)
            tl.store(found_ptr + 7 * n + row, square, live)
            tl.store(numbers_ptr + row, top, live)
            if LOSSES:
                out = dropped
                if SAMPLED:
                    out = dropped | (s == 0.0)
                gap = tl.where(wrong, float("nan"), tl.where(out, 0.0, s * gap))
                tl.store(found_ptr + 2 * n + row, gap, live)
                tl.store(found_ptr + 3 * n + row, tl.where(dropped, 0.0, s * mass), live)
                tl.store(found_ptr + 4 * n + row, tl.where(dropped, 0.0, s), live)
                tl.store(found_ptr + 5 * n + row, tl.where(dropped, 0.0, weight), live)
                unranked = out | wrong | (peak != peak)
                tl.store(numbers_ptr + n + row, tl.where(unranked, -1, rank), live)
    if REDUCE != NONE:
        loss, weights = tl.sum(loss_sum, 0), tl.sum(weight_sum, 0)
        i, parts = tl.program_id(0), tl.num_programs(0)
        finish(loss, weights, i, parts, result_ptr, parts_ptr, counters_ptr, factor, REDUCE, True)

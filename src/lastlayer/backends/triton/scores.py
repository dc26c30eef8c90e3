"""Canonical scores of a tile: temperature and softcap; and where a tile's rows and targets lie. Device code.

    z = softcap tanh(x / softcap) / temperature          dz/dx = (1 - tanh^2(x / softcap)) / temperature

A tile is (R, C): R rows that are neighbours, C classes. Rows are numbered outer * inner in row-major order,
so that three strides reach every score of tensors with any class axis. Offsets are 64-bit numbers where they
must be.

Accuracy, in ULP of float32, against arbitrary precision: `tanh` 2.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lastlayer import problem

from .elementary import exp_below

__all__ = ["canonical", "columns", "left_over", "places", "slope", "tanh"]


ROUNDED = tl.constexpr(problem.ROUNDED)


@triton.jit
def tanh(u):
    """(tanh u, 1 - tanh^2 u), by exp(-2|u|), and near 0 by a polynomial."""
    a = tl.abs(u)
    e = exp_below(-2.0 * a, 0.0, 0.0)
    far = tl.div_rn(1.0 - e, 1.0 + e)
    a2 = a * a
    p = tl.fma(a2, -5.70498872745e-3, 2.06390887954e-2)  # coefficients: Cephes, tanhf
    p = tl.fma(p, a2, -5.37397155531e-2)
    p = tl.fma(p, a2, 1.33314422036e-1)
    p = tl.fma(p, a2, -3.33332819422e-1)
    value = tl.where(a < 0.625, tl.fma(p * a2, a, a), far)
    return tl.where(u < 0.0, -value, value), tl.div_rn(4.0 * e, (1.0 + e) * (1.0 + e))


@triton.jit
def canonical(x, temperature, softcap, TEMPERED: tl.constexpr, CAPPED: tl.constexpr):
    """z, from x in float32."""
    z = x
    if CAPPED:
        z = softcap * tanh(tl.div_rn(z, softcap))[0]
    if TEMPERED:
        z = tl.div_rn(z, temperature)
    return z


@triton.jit
def slope(x, temperature, softcap, TEMPERED: tl.constexpr, CAPPED: tl.constexpr):
    """dz/dx."""
    d = x * 0.0 + 1.0
    if CAPPED:
        d = tanh(tl.div_rn(x, softcap))[1]
    if TEMPERED:
        d = tl.div_rn(d, temperature)
    return d


@triton.jit
def columns(col, stride, LONG: tl.constexpr):
    """Offsets of classes from the first; LONG: they need 64 bits."""
    if LONG:
        return col.to(tl.int64) * stride
    else:
        return col * stride


@triton.jit
def places(
    y_ptr, p_ptr, w_ptr, row, live, V, K, on, ignore,
    INDEX: tl.constexpr, IGNORED: tl.constexpr, WEIGHTED: tl.constexpr, KP: tl.constexpr,
):  # fmt: skip
    """The classes that targets name: (place, at, weight, ignored, wrong), each (R, KP).

    ``at`` is the part of t / s that belongs to the class ``place``; it is 0 where nothing is named.
    ``ignored`` and ``wrong``: entries that are ignore_index, and that are out of range; their place is 0.
    """
    k = tl.arange(0, KP)[None, :]
    inside = live[:, None] & (k < K)
    y = tl.load(y_ptr + row[:, None] * K + k, inside, other=0).to(tl.int64)
    if IGNORED:
        ignored = (y == ignore) & inside
    else:
        ignored = inside & (y != y)
    wrong = ((y < 0) | (y >= V)) & inside & (ignored == 0)
    place = tl.where(ignored | wrong, 0, y).to(tl.int32)
    weight = tl.where(inside, 1.0, 0.0)
    if WEIGHTED:
        weight = tl.load(w_ptr + place, inside, other=0.0).to(tl.float32)
    at = on * weight
    if not INDEX:
        p = tl.load(p_ptr + row[:, None] * K + k, inside, other=0.0).to(tl.float32)
        at = tl.where(ignored, 0.0, at * p)
    return place, at, weight, ignored, wrong


@triton.jit
def left_over(left_ptr, row, live):
    """The probability that top-k targets leave for all classes; a rounding error below 0 counts as 0."""
    left = tl.load(left_ptr + row, live, other=0.0).to(tl.float32)
    return tl.where((left < 0.0) & (left >= -ROUNDED), 0.0, left)

"""Gradients of what is known of each row, by the loop's second pass alone. In: statistics, and what they are
multiplied with. Out: dx, dweight, dbias.

Whoever differentiates a row's loss, log-normaliser or entropy comes with a number g for each row, after the
first pass is long over. Every tile is computed again and turned into::

    dz_j = (c + tilt (z_j - peak)) p_j - t_j        p = softmax(z)

    of the loss           g ((mass + 2 s z_loss lse) p_j - t_j)
    of the lse            g p_j
    of the entropy H      -g p_j (log p_j + H) = -g p_j ((z_j - peak) + spread / (1 + rest))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lastlayer.problem import Head, Problem, Targets
from lastlayer.row_statistics import RowStats
from lastlayer.row_terms import pulled

from .active_rows import active_rows, count_rows
from .array_ops import Products
from .loop import Loop, Wanted
from .run import finished

__all__ = ["row_gradients"]


@np.errstate(all="ignore")
def row_gradients(
    head: Head,
    problem: Problem,
    stats: RowStats,
    heights: Mapping[str, Any],
    wanted: Wanted,
    products: Products,
) -> list[Any]:
    """Those of dx, dweight and dbias that are wanted, of the sum of ``heights`` times the rows' values.

    ``heights`` has for "loss", "lse" or "entropy" a float64 number of each row. ``stats`` are float64, of all
    rows: peak and rest, mass for a loss, spread for an entropy, and argmax where tiles are of 16 bits.
    """
    t = problem.targets
    n = count_rows(head)
    loss, others = np.zeros(n, bool), np.zeros(n, bool)
    for name, g in heights.items():
        part = loss if name == "loss" else others
        part |= g != 0
    if t is not None and not t.z_loss and "loss" in heights:
        loss &= (
            np.asarray(stats.mass).reshape(n) != 0
        )  # of t = 0 throughout: no part of the loss, whatever they hold
    if t is None or "loss" not in heights:
        t = Targets("index", np.full(n, -1), 1.0, 0.0, None, None, None, 0.0)  # of no class
    rows = active_rows(products, head, problem._replace(targets=t), loss, others)
    if rows.x.shape[0] == 0:
        return finished(products, head, rows, [None] * 3, wanted)
    index = slice(None) if rows.index is None else rows.index
    known = RowStats(**{k: np.reshape(v, n)[index] for k in _STATE if (v := getattr(stats, k)) is not None})
    c: Any = np.zeros(len(known.peak))
    s, tilt = rows.s, None
    if "loss" in heights:
        g = heights["loss"][index]
        s = g if s is None else np.where(s == 0, 0.0, g * s)
        c = np.where(g == 0, 0.0, g * known.mass)
        c = pulled(replace(known, mass=c), t.z_loss, s).mass
    if "lse" in heights:
        c = c + heights["lse"][index]
    if "entropy" in heights:
        tilt = -heights["entropy"][index]
        c = c + np.where(tilt == 0, 0.0, tilt * known.spread / (1 + known.rest))
    checked = problem._replace(targets=t._replace(z_loss=0.0), scale=1.0)
    loop = Loop(products, head, checked, rows._replace(s=s), wanted, again=True)
    return finished(products, head, rows, loop.gradients(replace(known, mass=c), wanted, tilt), wanted)


_STATE = ("peak", "rest", "argmax", "mass", "spread")

"""Gradients of per-row values, by the loop's second pass alone. In: statistics, and upstream gradients.
Out: dx, dweight, dbias.

The upstream gradient g of each row's loss, log-normaliser or entropy is known only in backward, so tiles are
recomputed there, and turned into::

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
from .loop import Loop
from .run import finished
from .tile import Needs, Operands, TileBackend, Wanted

__all__ = ["row_gradients"]


@np.errstate(all="ignore")
def row_gradients(
    head: Head,
    problem: Problem,
    stats: RowStats,
    upstream: Mapping[str, Any],
    wanted: Wanted,
    backend: TileBackend,
) -> list[Any]:
    """The wanted ones of dx, dweight and dbias, for the sum of ``upstream`` times the values of the rows.

    ``upstream`` has a float64 number per row for "loss", "lse" or "entropy". ``stats`` are float64, of all
    rows: peak and rest, mass for a loss, spread for an entropy, and argmax if tiles have 16 bits.
    """
    t = problem.targets
    n = count_rows(head)
    loss, others = np.zeros(n, bool), np.zeros(n, bool)
    for name, g in upstream.items():
        part = loss if name == "loss" else others
        part |= g != 0
    if t is not None and not t.z_loss and "loss" in upstream:
        loss &= np.asarray(stats.mass).reshape(n) != 0  # a row with t = 0 throughout is inactive
    if t is None or "loss" not in upstream:
        t = Targets("index", np.full(n, -1), 1.0, 0.0, None, None, None, 0.0)  # of no class
    rows = active_rows(backend.arrays, head, problem._replace(targets=t), loss, others)
    if rows.x.shape[0] == 0:
        return finished(backend.arrays, head, rows, [None] * 3, wanted)
    index = slice(None) if rows.index is None else rows.index
    known = RowStats(**{k: np.reshape(v, n)[index] for k in _STATE if (v := getattr(stats, k)) is not None})
    c: Any = np.zeros(len(known.peak))
    s, tilt = rows.s, None
    if "loss" in upstream:
        g = upstream["loss"][index]
        s = g if s is None else np.where(s == 0, 0.0, g * s)
        c = np.where(g == 0, 0.0, g * known.mass)
        c = pulled(replace(known, mass=c), t.z_loss, s).mass
    if "lse" in upstream:
        c = c + upstream["lse"][index]
    if "entropy" in upstream:
        tilt = -upstream["entropy"][index]
        c = c + np.where(tilt == 0, 0.0, tilt * known.spread / (1 + known.rest))
    checked = problem._replace(targets=t._replace(z_loss=0.0), scale=1.0)
    loop = Loop(backend, Operands(head, checked, rows._replace(s=s)), wanted, Needs(recompute=True))
    grads = loop.gradients(replace(known, mass=c), wanted, tilt)
    return finished(backend.arrays, head, rows, grads, wanted)


_STATE = ("peak", "rest", "argmax", "mass", "spread")

"""Rows that the core counts in one pass. In: a tally, logits (n, V), class indices. Out: the rows left.

The core reads the logits once, and adds to the tally's own arrays what `Tally` would: the same numbers of
each row, and exact sums and counts of them, so the tally's bytes are the same. Rows with a peak that is not
finite or a very large loss are left to NumPy, and so is every tally that counts more than this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.backends.core import core
from lastlayer.blocks import to_host
from lastlayer.problem import is_top_k

from .counters import FINE_EDGES
from .inputs import Shape, facts_of
from .rows import core_counts

__all__ = ["count"]

Ints = npt.NDArray[np.int64]


def count(tally: Any, scores: Any, shape: Shape, targets: Any, rows: Any) -> Ints | None:
    """Count rows. The places of those that are left over; None: nothing was counted, and all are.

    ``rows`` are the rows' numbers among all, or None.
    """
    o = tally.options
    if o.kind != "logits" or o.binary or o.classwise or o.labels is not None or len(shape) != 1:
        return None
    if not (core_counts() and _is_readable(scores)):
        return None
    y = None if is_top_k(targets) else targets if type(targets) is np.ndarray else to_host(targets)
    if y is None or y.shape not in (shape, (*shape, 1)) or y.dtype.kind not in "iub":
        return None
    y = core.contiguous(y)
    if not y.dtype.isnative or core.target_totals(y, o.classes, o.ignore_index, None, None)[0] >= 0:
        return None
    return _count(tally, np.asarray(scores), y, facts_of("Tally.update", shape, rows=rows).numbers)


def _is_readable(scores: Any) -> bool:
    if type(scores) not in (np.ndarray, np.memmap) or not scores.dtype.isnative:
        return False
    return scores.dtype.char in "efd" or core.is_bfloat(scores)


def _count(tally: Any, scores: Any, y: Any, numbers: Ints | None) -> Ints:
    o, moments, hardest = tally.options, tally.moments, tally.hardest
    tables = {
        "top_k": np.array(o.top_k, np.int64),
        "edges": np.arange(o.bins + 1) / o.bins,
        "fine_edges": FINE_EDGES,
        "sums": moments.plain[0].limbs,
        "squares": moments.plain[1].limbs,
        "support": tally.support.counts,
        "predicted": tally.predicted.counts,
        "correct": tally.correct.counts,
        "class_loss": tally.class_loss.limbs,
    }
    for name, bins in (("bin", tally.bins), ("fine", tally.fine)):
        tables[f"{name}_rows"], tables[f"{name}_hits"] = bins.weight.counts, bins.hits.counts
        tables[f"{name}_confidence"] = bins.confidence.limbs
    if o.has_confusion:
        tables["confusion"] = tally.confusion.counts
    elif tally.confusion.sums is not None:
        tables["argmax"] = np.empty(len(scores), np.int64)
    z, half = core.readable(scores)
    n, ignored, left, hard = core.tally(
        z, half, y, o.ignore_index, o.temperature, tables, numbers, hardest.floor
    )
    tally.n, tally.ignored = tally.n + n, tally.ignored + ignored
    for place in (0, 1):  # all have a loss
        moments.rows.add(np.array([float(n)]), place)
    hardest.keep(hard)
    if "argmax" in tables:
        argmax = tables["argmax"]
        counted = np.flatnonzero(argmax >= 0)
        tally.confusion.add(y.reshape(-1)[counted].astype(np.int64) * o.classes + argmax[counted], None)
    return np.frombuffer(left, np.int64)

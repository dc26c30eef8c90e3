"""Rows that the core counts in one pass. In: a tally, logits (n, V), class indices. Out: the rows left.

The core reads the logits once, and adds to the tally's own arrays what `Tally` would: the same numbers of
each row, and exact sums and counts of them, so the tally's bytes are the same. Rows with a peak that is not
finite or a very large loss or weight are left to NumPy, and so is every tally that counts more than this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.backends.core import core
from lastlayer.blocks import to_host
from lastlayer.problem import is_top_k

from .counters import FINE_EDGES
from .exact import Counts, Sums
from .inputs import Facts, Shape, facts_of
from .ranks import rank_starts

__all__ = ["count"]

Ints = npt.NDArray[np.int64]


def count(tally: Any, scores: Any, shape: Shape, targets: Any, rows: Any, weights: Any = None) -> Ints | None:
    """Count rows. The places of those that are left over; None: nothing was counted, and all are.

    ``rows`` are the rows' numbers among all, and ``weights`` their sample weights, or None.
    """
    o = tally.options
    if o.kind != "logits" or o.binary or o.classwise or o.labels is not None or len(shape) != 1:
        return None
    if not (core.in_use() and _is_readable(scores)):
        return None
    y = None if is_top_k(targets) else targets if type(targets) is np.ndarray else to_host(targets)
    if y is None or y.shape not in (shape, (*shape, 1)) or y.dtype.kind not in "iub":
        return None
    y = core.contiguous(y)
    if not y.dtype.isnative or core.target_totals(y, o.classes, o.ignore_index, None, None)[0] >= 0:
        return None
    facts = facts_of("Tally.update", shape, rows=rows, sample_weight=weights)
    return _count(tally, np.asarray(scores), y, facts)


def _is_readable(scores: Any) -> bool:
    if type(scores) not in (np.ndarray, np.memmap) or not scores.dtype.isnative:
        return False
    return scores.dtype.char in "efd" or core.is_bfloat(scores)


def _count(tally: Any, scores: Any, y: Any, facts: Facts) -> Ints:
    o, hardest = tally.options, tally.hardest
    tables = {
        "top_k": np.array(o.top_k, np.int64),
        "edges": np.arange(o.bins + 1) / o.bins,
        "fine_edges": FINE_EDGES,
        "rank_starts": rank_starts(o.classes),
        "class_loss": tally.class_loss.limbs,
    }
    counts = {name: getattr(tally, name) for name in ("support", "predicted", "correct", "ranks")}
    for name, bins in (("bin", tally.bins), ("fine", tally.fine)):
        counts[f"{name}_rows"], counts[f"{name}_hits"] = bins.weight, bins.hits
        tables[f"{name}_confidence"] = bins.confidence.limbs
    if o.has_confusion:
        counts["confusion"] = tally.confusion
    elif tally.confusion.sums is not None:
        tables["argmax"] = np.empty(len(scores), np.int64)
    moments, weighted = tally.moments, facts.weights is not None
    sums = _sums_of(counts) if weighted else {}
    if weighted:
        tables |= {name: part.limbs for name, part in sums.items()}
        tables["weight"] = moments.weight.limbs
        tables |= {name: part.limbs for name, part in zip(_WEIGHTED, moments.weighted, strict=True)}
    else:
        tables |= {name: part.counts for name, part in counts.items()}
        tables["sums"], tables["squares"] = (part.limbs for part in moments.plain)
    z, half = core.readable(scores)
    n, ignored, left, hard = core.tally(
        z, half, y, o.ignore_index, o.temperature, tables, facts.numbers, hardest.floor, facts.weights
    )
    tally.n, tally.ignored = tally.n + n, tally.ignored + ignored
    for name, part in sums.items():
        counts[name].sums = part
    for place in () if weighted else (0, 1):  # all have a loss
        moments.rows.add(np.array([float(n)]), place)
    hardest.keep(hard)
    if "argmax" in tables:
        argmax = tables["argmax"]
        counted = np.flatnonzero(argmax >= 0)
        pairs = y.reshape(-1)[counted].astype(np.int64) * o.classes + argmax[counted]
        tally.confusion.add(pairs, facts.weights[counted] if facts.weights is not None else None)
    return np.frombuffer(left, np.int64)


_WEIGHTED = ("wx", "w2x", "w2x2")  # of each metric x


def _sums_of(counts: dict[str, Counts]) -> dict[str, Sums]:
    """The sums of weights, to which the core adds: new ones are the tally's only once it has."""
    return {name: Sums(len(part)) if part.sums is None else part.sums for name, part in counts.items()}

"""The compiled core as the package calls it. In: arrays or tensors in CPU memory. Out: filled arrays.

Only this module imports `_core`, whose stub says what the arguments mean. Where the core was not built,
`BUILT` is False, `WHY_NOT` says why, and the functions are missing. Arguments are given by position: to match
twenty keywords takes longer than the losses of a small batch.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from lastlayer import selection

try:
    from lastlayer._core import (
        cross_entropy,
        digest,
        get_num_threads,
        isa,
        isas,
        large_pages,
        row_stats,
        set_isa,
        set_num_threads,
        softmax,
        softmax_backward,
        target_totals,
        use_threads,
    )

    BUILT, WHY_NOT = True, ""
except ImportError as error:
    BUILT, WHY_NOT = False, f"the compiled core does not import: {error}"
    if find_spec("lastlayer._core") is None:
        WHY_NOT = (
            "this installation was built without a C++ compiler; get one, then run "
            "pip install --force-reinstall --no-cache-dir lastlayer"
        )
    selection.lack("native", WHY_NOT)

__all__ = [
    "BUILT",
    "GRADIENT",
    "GRADIENT_ALONE",
    "LOSS",
    "PICK",
    "PICK_GRADIENT",
    "PICK_LOG",
    "PICK_LOG_GRADIENT",
    "WHY_NOT",
    "bits",
    "contiguous",
    "cross_entropy",
    "digest",
    "doubles",
    "get_num_threads",
    "is_bfloat",
    "isa",
    "isas",
    "large_pages",
    "readable",
    "row_stats",
    "set_isa",
    "set_num_threads",
    "softmax",
    "softmax_backward",
    "target_totals",
    "use_threads",
]

# What `cross_entropy` computes. PICK: of log-probabilities. PICK_LOG: of probabilities. ALONE: no loss.
LOSS, GRADIENT, PICK, PICK_LOG, GRADIENT_ALONE, PICK_GRADIENT, PICK_LOG_GRADIENT = range(7)

# --- arrays in the form that the core reads -----------------------------------------------------------------


def is_bfloat(x: Any) -> bool:
    """Whether an array holds bfloat16."""
    return x.dtype.kind == "V" or (x.dtype.char not in "efd?bBhHiIlLqQ" and x.dtype.name == "bfloat16")


def bits(x: Any) -> Any:
    """``x`` as the buffer protocol can describe it: bfloat16 as its 16 bits."""
    return x.view(np.uint16) if is_bfloat(x) else x


def readable(x: Any) -> tuple[Any, bool]:
    """``x`` as the buffer protocol can describe it, and whether that is the 16 bits of bfloat16."""
    if x.dtype.char in "fdel" or not is_bfloat(x):
        return x, False
    return x.view(np.uint16), True


def contiguous(y: Any) -> Any:
    """One integer a row, side by side; the core reads them at any address."""
    return y if y.flags.c_contiguous else np.ascontiguousarray(y)


def doubles(weights: Any) -> Any:
    """Weights as contiguous float64; None stays None."""
    return None if weights is None else np.ascontiguousarray(weights, np.float64)

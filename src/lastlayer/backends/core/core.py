"""The functions of the compiled core. In: arrays or tensors in CPU memory. Out: filled arrays.

Only this module imports `_core`; `_core.pyi` documents the arguments. If the core was not built, `BUILT` is
False, `WHY_NOT` says why, and the functions do not exist. Arguments are passed by position, since matching
twenty keywords takes longer than computing the losses of a small batch.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from lastlayer import selection

try:
    from lastlayer._core import (
        add_exactly,
        cross_entropy,
        digest,
        get_num_threads,
        isa,
        isas,
        large_pages,
        linear_sums,
        row_metrics,
        row_stats,
        set_isa,
        set_num_threads,
        softmax,
        softmax_backward,
        sparse_product,
        tally,
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
    "GRADIENT_ONLY",
    "LOSS",
    "PICK",
    "PICK_GRADIENT",
    "PICK_LOG",
    "PICK_LOG_GRADIENT",
    "WHY_NOT",
    "add_exactly",
    "bits",
    "contiguous",
    "cross_entropy",
    "digest",
    "doubles",
    "get_num_threads",
    "in_use",
    "is_bfloat",
    "isa",
    "isas",
    "large_pages",
    "linear_sums",
    "readable",
    "row_metrics",
    "row_stats",
    "set_isa",
    "set_num_threads",
    "softmax",
    "softmax_backward",
    "sparse_product",
    "tally",
    "target_totals",
    "use_threads",
]

# What `cross_entropy` computes. PICK: from log-probabilities. PICK_LOG: from probabilities. Otherwise from
# logits. GRADIENT: loss and gradient; GRADIENT_ONLY, PICK_GRADIENT, PICK_LOG_GRADIENT: the gradient.
LOSS, GRADIENT, PICK, PICK_LOG, GRADIENT_ONLY, PICK_GRADIENT, PICK_LOG_GRADIENT = range(7)

# --- arrays in the form that the core reads -----------------------------------------------------------------


def in_use() -> bool:
    """Whether the core computes NumPy arrays: it is built, and no other backend is selected."""
    return BUILT and selection.arrays in (None, "native")


def is_bfloat(x: Any) -> bool:
    """Whether an array holds bfloat16."""
    return x.dtype.kind == "V" or (x.dtype.char not in "efd?bBhHiIlLqQ" and x.dtype.name == "bfloat16")


def bits(x: Any) -> Any:
    """``x``, with bfloat16 as uint16: the buffer protocol has no bfloat16."""
    return x.view(np.uint16) if is_bfloat(x) else x


def readable(x: Any) -> tuple[Any, bool]:
    """``x``, with bfloat16 as uint16 (see `bits`), and whether it was bfloat16."""
    if x.dtype.char in "fdel" or not is_bfloat(x):
        return x, False
    return x.view(np.uint16), True


def contiguous(y: Any) -> Any:
    """``y`` as a C-contiguous array; it may be misaligned."""
    return y if y.flags.c_contiguous else np.ascontiguousarray(y)


def doubles(weights: Any) -> Any:
    """Weights as contiguous float64; None stays None."""
    return None if weights is None else np.ascontiguousarray(weights, np.float64)

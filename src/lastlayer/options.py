"""The options of a call, once: their order, their defaults and their types for registered operations.

In: what a user passed to a public function besides arrays. Out: `Options`, unchecked; `problem` checks them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["SCHEMA", "Given", "Options", "Said"]

Given = tuple[Any, Any, Any]  # targets, class_weight, sample_weight: the arrays of a loss besides its scores


class Options(NamedTuple):
    """What a caller said besides arrays, in the order of the public signatures."""

    function: str  # the public function
    axis: Any = -1
    ignore_index: Any = -100
    label_smoothing: Any = 0.0
    temperature: Any = 1.0
    softcap: Any = None
    z_loss: Any = 0.0
    reduction: Any = "mean"
    denominator: Any = None
    shift: Any = 0  # of the linear head


# The same values as a plain tuple: to name them takes as long as a tenth of the loss of three logits.
Said = tuple[Any, ...]

# All but the last, which the logits' own functions lack, as PyTorch declares arguments of operations.
SCHEMA = (
    "str function, int axis, SymInt? ignore_index, float label_smoothing, float temperature, float? softcap, "
    "float z_loss, str reduction, float? denominator"
)

"""The options of a call, once: their order, their defaults and their types for registered operations.

In: what a user passed to a public function besides arrays. Out: `Options`, unchecked; `problem` checks them.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

__all__ = [
    "AMONG",
    "AXIS",
    "DENOMINATOR",
    "IGNORE_INDEX",
    "NUMBERS",
    "OF_TARGETS",
    "REDUCTION",
    "SCHEMA",
    "SHIFT",
    "Given",
    "Number",
    "Options",
    "Said",
    "has_defaults",
    "shares",
]

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


class Number(NamedTuple):
    """What an option that is a number may be, and one such number, for where its own cannot be read."""

    valid: float
    high: float = inf
    positive: bool = False  # above 0; else 0 or more


# The options that are numbers, each finite.
NUMBERS = {
    "label_smoothing": Number(0.0, high=1.0),
    "temperature": Number(1.0, positive=True),
    "softcap": Number(1.0, positive=True),
    "z_loss": Number(0.0),
    "denominator": Number(1.0),
}
_places = [Options._fields.index(name) for name in NUMBERS]
AMONG = slice(min(_places), max(_places) + 1)  # where they are in `Options`, with a few others

# Those of `Options` that are a part of the target.
OF_TARGETS = ("ignore_index", "label_smoothing")

# All but the last, which the logits' own functions lack, as PyTorch declares arguments of operations.
SCHEMA = (
    "str function, int axis, SymInt? ignore_index, float label_smoothing, float temperature, float? softcap, "
    "float z_loss, str reduction, float? denominator"
)


# Where some are in it.
AXIS, IGNORE_INDEX, REDUCTION, DENOMINATOR, SHIFT = map(
    Options._fields.index, ("axis", "ignore_index", "reduction", "denominator", "shift")
)


def has_defaults(said: Said) -> bool:
    """Whether every option is at its default but those that change no formula: axis, ignored rows, mean."""
    _, _, _, smoothing, temperature, softcap, z_loss, _, denominator, _ = said
    return (
        softcap is denominator is None
        and type(smoothing) is type(temperature) is type(z_loss) is float  # no tensor, which takes long
        and smoothing == z_loss == 0.0
        and temperature == 1.0
    )


def shares(options: Options, classes: Any) -> tuple[Any, Any]:
    """(on, off) of the effective target ``s_i w_j (on q_ij + off)`` of ``classes``: numbers, or tensors."""
    smoothing = options.label_smoothing
    return 1.0 - smoothing, smoothing / classes

"""The options of a call: their order, defaults, and types for registered operations, defined only here.

In: the arguments of a public function besides arrays. Out: `Options`, unchecked; `problem` checks them.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

__all__ = [
    "AXIS",
    "DENOMINATOR",
    "IGNORE_INDEX",
    "NUMBERS",
    "NUMBER_RANGE",
    "OF_TARGETS",
    "REDUCTION",
    "SCHEMA",
    "SHIFT",
    "Given",
    "Number",
    "OptionValues",
    "Options",
    "has_defaults",
    "shares",
]

Given = tuple[Any, Any, Any]  # targets, class_weight, sample_weight: the arrays of a loss besides its scores


class Options(NamedTuple):
    """The arguments of a call besides arrays, in the order of the public signatures."""

    function: str  # the public function
    axis: Any = -1
    ignore_index: Any = -100
    label_smoothing: Any = 0.0
    temperature: Any = 1.0
    softcap: Any = None
    z_loss: Any = 0.0
    reduction: Any = "mean"
    denominator: Any = None
    shift: Any = 0  # linear head only


# The values of `Options` as a plain tuple. To build the named tuple takes a tenth of a loss of three logits.
OptionValues = tuple[Any, ...]


class Number(NamedTuple):
    """The range of an option that is a number."""

    valid: float  # some number in the range: stands in for a tensor whose value cannot be read
    high: float = inf
    positive: bool = False  # above 0; else 0 or more


# The options that are numbers. All have to be finite.
NUMBERS = {
    "label_smoothing": Number(0.0, high=1.0),
    "temperature": Number(1.0, positive=True),
    "softcap": Number(1.0, positive=True),
    "z_loss": Number(0.0),
    "denominator": Number(1.0),
}
_places = [Options._fields.index(name) for name in NUMBERS]
NUMBER_RANGE = slice(min(_places), max(_places) + 1)  # the part of `Options` with all of them

# The options that are part of the effective target.
OF_TARGETS = ("ignore_index", "label_smoothing")

# The types of `Options` in PyTorch's notation for registered operations; without `shift`.
SCHEMA = (
    "str function, int axis, SymInt? ignore_index, float label_smoothing, float temperature, float? softcap, "
    "float z_loss, str reduction, float? denominator"
)


# Positions in `Options`.
AXIS, IGNORE_INDEX, REDUCTION, DENOMINATOR, SHIFT = map(
    Options._fields.index, ("axis", "ignore_index", "reduction", "denominator", "shift")
)


def has_defaults(values: OptionValues) -> bool:
    """Whether all options that change the formula have their defaults: not axis, ignore_index, reduction."""
    _, _, _, smoothing, temperature, softcap, z_loss, _, denominator, _ = values
    return (
        softcap is denominator is None
        and type(smoothing) is type(temperature) is type(z_loss) is float  # comparing tensors would be slow
        and smoothing == z_loss == 0.0
        and temperature == 1.0
    )


def shares(options: Options, classes: Any) -> tuple[Any, Any]:
    """(on, off) of the effective target ``s_i w_j (on q_ij + off)`` of ``classes``: numbers, or tensors."""
    smoothing = options.label_smoothing
    return 1.0 - smoothing, smoothing / classes

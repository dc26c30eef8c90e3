"""Parts of error messages that several checks share: names and shapes of arguments, remedies."""

from __future__ import annotations

from math import inf
from typing import Any, NoReturn

import numpy as np

from lastlayer.arrays import library
from lastlayer.errors import DtypeError, OptionError, Text, named

__all__ = [
    "REDUCTIONS",
    "bad_number",
    "bad_reduction",
    "element",
    "name_of",
    "of_shape",
    "other_library",
    "shape_text",
    "two_columns",
    "unfit",
    "unknown_head",
]

REDUCTIONS = ("mean", "sum", "none")
_NAMES = {
    "softmax": "x",
    "log_softmax": "x",
    "logsumexp": "x",
    "nll_loss": "log_probs",
    "log_loss": "probs",
    "linear_cross_entropy": "x @ weight.T",
    "linear_cross_entropy_grad": "x @ weight.T",
    "linear_row_stats": "x @ weight.T",
    "linear_top_k": "x @ weight.T",
}


def two_columns(function: str) -> Text:
    """The remedy for binary scores with one column: two classes need two."""
    name, columns = {
        "log_loss": ("probs", "1 - p, p"),
        "nll_loss": ("log_probs", "log(1 - p), log(p)"),
    }.get(function, ("logits", "0, x"))
    return "two classes need two columns of " + named(name) + f": [{columns}]"


def element(name: str, position: int, shape: Any, axis: int = 0, shift: int = 0) -> str:
    """The element at a flat position, as ``name[i, j]``; ``shift`` is added to its index on ``axis``."""
    if not len(shape):
        return name
    place = [int(i) for i in np.unravel_index(position, tuple(shape))]
    place[axis] += shift
    return f"{name}[{', '.join(map(str, place))}]"


def bad_number(function: str, name: str, value: Any, high: float, strict: bool) -> NoReturn:
    """Refuse the value of a number option."""
    given = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    if getattr(value, "ndim", 1) == 0:
        given = str(value)
    bounds = f"in [0, {high:g}]" if high < inf else "above 0" if strict else "of 0 or more"
    raise OptionError(function, name, given, f"a finite number {bounds}")


def bad_reduction(function: str, reduction: Any) -> NoReturn:
    """Refuse a reduction."""
    near = {"avg": "mean", "average": "mean", "batchmean": "mean", "total": "sum"}
    text = str(reduction).strip().lower()
    meant = near.get(text, text)
    remedy = f"did you mean {meant!r}?" if meant in REDUCTIONS else ""
    raise OptionError(function, "reduction", repr(reduction), "'mean', 'sum' or 'none'", remedy)


def unfit(function: str, name: str, value: Any, dtype: Any) -> NoReturn:
    """Refuse an argument that holds no real numbers."""
    found, rule, remedy = f"of dtype {dtype}", "real numbers", Text(())
    if name == "targets":
        rule = "class indices or probabilities"
        if getattr(dtype, "kind", "-") in "OSUTMm":
            remedy = "number the labels with pd.Categorical(" + named(name) + ").codes"
            remedy += ", and pass ignore_index=-1 for missing ones"
    elif isinstance(value, dict):
        found, rule = "a dict", "an array, one weight for each class in order"
    raise DtypeError(function, name, found, rule, remedy)


def other_library(function: str, name: str, value: Any, wanted: str, like: str = "") -> NoReturn:
    """Refuse an array that is not of the library ``wanted``, that of the argument ``like`` (the scores)."""
    rule = f"a {wanted} array, as " + named(like or name_of(function)) + " is"
    raise DtypeError(function, name, f"a {library(value)} array", rule)


def unknown_head(function: str, owner: str, head: Any) -> NoReturn:
    """Refuse a layer that is not a plain ``torch.nn.Linear``."""
    rule = "a torch.nn.Linear"
    if head is None:
        raise DtypeError(function, owner, "None", rule)
    name, module = type(head).__name__, type(head).__module__
    if name == "Linear" and not module.startswith("torch."):  # another layer of this name
        name = f"{module}.{name}"
    found = f"a {name}" + (" whose forward is replaced" if "forward" in getattr(head, "__dict__", {}) else "")
    remedy = f"call {function} before get_peft_model" if hasattr(head, "base_layer") else ""
    raise DtypeError(function, owner, found, rule, remedy)


def name_of(function: str) -> str:
    """The name of the argument in which this function takes its scores."""
    return _NAMES.get(function, "logits")


def shape_text(x: Any) -> str:
    """A shape as Python writes it."""
    return str(tuple(int(n) for n in (x if isinstance(x, tuple) else x.shape)))


def of_shape(x: Any) -> str:
    """The phrase "of shape (...)" for messages."""
    return f"of shape {shape_text(x)}"

"""The words of error messages: names, shapes and elements of arguments, and what to do about a mistake."""

from __future__ import annotations

from math import inf
from typing import Any, NoReturn

import numpy as np

from lastlayer.errors import DtypeError, OptionError, quoted, shown

__all__ = [
    "NUMBER_THE_LABELS",
    "REDUCTIONS",
    "bad_number",
    "bad_reduction",
    "element",
    "name_of",
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
NUMBER_THE_LABELS = (
    "number the labels with pd.Categorical(targets).codes, and pass ignore_index=-1 for missing ones"
)


def two_columns(function: str) -> str:
    """What to do about one score for two classes."""
    name, columns = {
        "log_loss": ("probs", "1 - p, p"),
        "nll_loss": ("log_probs", "log(1 - p), log(p)"),
    }.get(function, ("logits", "0, x"))
    return f"; two classes need two columns of {name}: [{columns}]"


def element(name: str, position: int, shape: Any, axis: int = 0, shift: int = 0) -> str:
    """What an element is called, ``name[i, j]`` for a flat position; ``shift``: so much further on."""
    if not len(shape):
        return name
    place = [int(i) for i in np.unravel_index(position, tuple(shape))]
    place[axis] += shift
    return f"{name}[{', '.join(map(str, place))}]"


def bad_number(function: str, name: str, value: Any, high: float, strict: bool) -> NoReturn:
    """What is wrong with a number option."""
    given = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    if getattr(value, "ndim", 1) == 0:
        given = str(value)
    bounds = f"in [0, {high:g}]" if high < inf else "above 0" if strict else "of 0 or more"
    raise OptionError(f"{function}: {name} is {quoted(given)}; expected a finite number {bounds}")


def bad_reduction(function: str, reduction: Any) -> str:
    """What is wrong with a reduction."""
    near = {"avg": "mean", "average": "mean", "batchmean": "mean", "total": "sum"}
    text = str(reduction).strip().lower()
    meant = near.get(text, text)
    remedy = f"; did you mean {shown(meant)}?" if meant in REDUCTIONS else ""
    return f"{function}: reduction is {shown(reduction)}; expected 'mean', 'sum' or 'none'{remedy}"


def unfit(function: str, name: str, value: Any, dtype: Any) -> DtypeError:
    """What is wrong with an argument that holds no real numbers."""
    if name == "targets":
        remedy = f"; {NUMBER_THE_LABELS}" if getattr(dtype, "kind", "-") in "OSUTMm" else ""
        rule = "expected class indices or probabilities"
        return DtypeError(f"{function}: targets is of dtype {quoted(dtype)}; {rule}{remedy}")
    if isinstance(value, dict):
        rule = "expected an array, one weight for each class in order"
        return DtypeError(f"{function}: {name} is a dict; {rule}")
    return DtypeError(f"{function}: {name} is of dtype {quoted(dtype)}; expected real numbers")


def unknown_head(function: str, owner: str, head: Any) -> DtypeError:
    """What is wrong with a layer that is no linear head, or not only that."""
    if head is None:
        return DtypeError(f"{function}: {owner} is None; expected a torch.nn.Linear")
    name, module = type(head).__name__, type(head).__module__
    if name == "Linear" and not module.startswith("torch."):  # another layer of this name
        name = f"{module}.{name}"
    kind = f"a {quoted(name)}"
    kind += " whose forward is replaced" if "forward" in getattr(head, "__dict__", {}) else ""
    remedy = f"; call {function} before get_peft_model" if hasattr(head, "base_layer") else ""
    return DtypeError(f"{function}: {owner} is {kind}; expected a torch.nn.Linear{remedy}")


def name_of(function: str) -> str:
    """What the function calls its scores."""
    return _NAMES.get(function, "logits")


def shape_text(x: Any) -> str:
    """A shape as Python writes it."""
    return str(tuple(int(n) for n in (x if isinstance(x, tuple) else x.shape)))

"""Arguments that only PyTorch accepts: deprecated ones, and those that the common losses refuse.

In: a drop-in's arguments. Out: arguments of the common function, or an error in PyTorch's terms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer.backends.torch.number_options import differs, over
from lastlayer.backends.torch.tensors import class_of, is_autocast
from lastlayer.errors import LastlayerError, OptionError, TensorClassError
from lastlayer.problem import tensor_errors

from .errors import raise_in_torch_terms

__all__ = [
    "FLOATS",
    "FULL",
    "as_input",
    "as_torch_takes_it",
    "by_torch",
    "dtype_of_loss",
    "implicit_dim",
    "is_given",
    "named_reduction",
    "weight_of_rows",
]

FULL = frozenset({torch.float32, torch.float64})
FLOATS = FULL | {torch.float16, torch.bfloat16}


def as_input(function: str, x: Any, dtype: torch.dtype | None = None) -> Tensor:
    """``x``, if it is a floating-point tensor; converted to ``dtype`` if given."""
    try:
        if not isinstance(x, Tensor):
            remedy = f"write torch.as_tensor(input), or call lastlayer.{function}"
            kind = class_of(x).removeprefix("builtins.")
            tensor_errors.not_tensor(function, "input", kind, "" if x is None else remedy)
        if dtype is not None:
            if dtype not in FLOATS:
                tensor_errors.no_float(function, dtype)
            return x.to(dtype)
        if x.dtype not in FLOATS:
            tensor_errors.not_floating_input(function, x)
    except LastlayerError as error:
        raise_in_torch_terms(error)
    return x


def implicit_dim(function: str, x: Tensor, stacklevel: int) -> int:
    """PyTorch's choice of the class dimension if ``dim`` is None, with its warning."""
    dim = 0 if x.ndim in (0, 1, 3) else 1
    warnings.warn(
        f"{function}: dim is None; PyTorch deprecates this choice and takes {dim} here; write dim={dim}",
        UserWarning,
        stacklevel=stacklevel,
    )
    return dim


def named_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """The ``reduction`` that PyTorch's deprecated arguments mean, with a warning; None stands for True."""
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        "size_average, reduce and reduction='elementwise_mean' are deprecated; "
        f"write reduction={reduction!r}",
        UserWarning,
        stacklevel=3,
    )
    return reduction


def dtype_of_loss(x: Tensor) -> torch.dtype:
    """The dtype of PyTorch's losses: the input's, or float32 under autocast."""
    if x.dtype in FULL:
        return x.dtype
    return torch.float32 if is_autocast(x) else x.dtype


# --- losses that the common functions refuse ----------------------------------------------------------------


def as_torch_takes_it(
    loss: Callable[..., Tensor], error: LastlayerError, x: Tensor, target: Any, **options: Any
) -> Tensor:
    """The loss of a call that PyTorch accepts although ``loss`` raised ``error``; else raise in its terms.

    These cases are tested only after an error, so that they cost other calls nothing.
    """
    if isinstance(error, TensorClassError):
        return by_torch(loss.__name__, error, x, target, options)
    if isinstance(target, Tensor):
        dense = target.shape == x.shape
        single_row = x.ndim == 1 and target.shape == (1,) and not dense
        index = options["ignore_index"]
        not_used = dense and type(index) is int and index < 0 and index != -100  # by PyTorch
        if single_row or not_used:
            options["ignore_index"] = -100 if not_used else index
            return _again(loss, x, target[0] if single_row else target, options)
    weight = options["class_weight"]
    if isinstance(error, OptionError) and isinstance(weight, Tensor) and bool((weight < 0).any()):
        return _with_negative_weights(loss, x, target, options)
    raise_in_torch_terms(error)


def by_torch(name: str, error: LastlayerError, x: Any, target: Any, options: dict[str, Any]) -> Tensor:
    """PyTorch's own loss, for a tensor subclass that lacks an operation; ``error`` for options of ours."""
    given = {"weight" if option == "class_weight" else option: value for option, value in options.items()}
    del given["axis"]
    own = _OWN | ({"label_smoothing": 0.0} if name == "nll_loss" else {})
    if any(is_given(given.pop(option, default), default) for option, default in own.items()):
        raise_in_torch_terms(error)
    found: Tensor = getattr(torch.nn.functional, name)(x, target, **given)
    return found


_OWN = {
    "sample_weight": None,
    "denominator": None,
    "temperature": 1.0,
    "softcap": None,
    "z_loss": 0.0,
    "validate": False,
}


def is_given(value: Any, default: Any) -> bool:
    """Whether an option may differ from its default."""
    return value is not None and (default is None or differs(value, default))


def _again(loss: Callable[..., Tensor], x: Tensor, target: Any, options: dict[str, Any]) -> Tensor:
    try:
        return loss(x, target, **options)
    except LastlayerError as error:
        return as_torch_takes_it(loss, error, x, target, **options)


def _with_negative_weights(
    loss: Callable[..., Tensor], x: Tensor, target: Any, options: dict[str, Any]
) -> Tensor:
    """The loss is linear in the class weights: the loss with the positive ones minus that with the others."""
    weight, denominator = options["class_weight"], options["denominator"]
    mean = options["reduction"] == "mean"
    own = options | ({"reduction": "sum", "denominator": None} if mean else {})
    positive = _again(loss, x, target, own | {"class_weight": torch.where(weight > 0, weight, 0)})
    once = {"z_loss": 0.0} if "z_loss" in options else {}  # it has no class weights: count it only once
    negative = _again(loss, x, target, own | {"class_weight": torch.where(weight > 0, 0, -weight)} | once)
    total = positive - negative
    if not mean:
        return total
    if denominator is None:
        return total / weight_of_rows(x, target, options, total.dtype)
    return over(total, torch.as_tensor(denominator, dtype=total.dtype, device=total.device))


def weight_of_rows(x: Tensor, target: Any, options: dict[str, Any], dtype: torch.dtype) -> Tensor:
    """``sum_i s_i w[y_i]`` over the rows that are not ignored; for dense targets ``sum_i s_i``."""
    axis, s, ignored = options["axis"], options["sample_weight"], options["ignore_index"]
    rows = x.shape[:axis] + x.shape[axis + 1 :]
    s = torch.as_tensor(1 if s is None else s, dtype=dtype, device=x.device).expand(rows)
    target = torch.as_tensor(target, device=x.device)
    if target.shape == x.shape:
        return s.sum()
    target = target.long()  # in uint8, -100 and 156 would be equal
    counted = target != (-1 if ignored is None else ignored)
    w = options["class_weight"]
    weights = s if w is None else s * w.to(dtype)[torch.where(counted, target, 0)]
    return torch.where(counted, weights, 0).sum()

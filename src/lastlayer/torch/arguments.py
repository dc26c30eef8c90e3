"""What only PyTorch takes: its deprecated arguments, and what the common losses refuse.

In: a drop-in's arguments. Out: those of the common function, or an error in PyTorch's terms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer.errors import DtypeError, LastlayerError, OptionError

from .errors import DropInDtypeError, in_torch_terms

__all__ = [
    "FLOATS",
    "FULL",
    "as_input",
    "as_torch_takes_it",
    "dtype_of_loss",
    "implicit_dim",
    "named_reduction",
]

FULL = frozenset({torch.float32, torch.float64})
FLOATS = FULL | {torch.float16, torch.bfloat16}


def as_input(function: str, x: Any, dtype: torch.dtype | None = None) -> Tensor:
    """``x``, a floating tensor, or converted to ``dtype``."""
    if not isinstance(x, Tensor):
        raise DropInDtypeError(_not_a_tensor(function, x))
    if dtype is None:
        if x.dtype not in FLOATS:
            remedy = "input.abs() or input.real" if x.is_complex() else "input.float()"
            raise DropInDtypeError(
                f"{function}: input is of dtype {x.dtype}; expected a floating one; write {remedy}"
            )
        return x
    if dtype not in FLOATS:
        raise DropInDtypeError(
            f"{function}: dtype is {dtype}; expected a floating one, such as torch.float32"
        )
    return x.to(dtype)


def _not_a_tensor(function: str, x: Any) -> str:
    kind = type(x)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    remedy = f"; write torch.as_tensor(input), or call lastlayer.{function}"
    return f"{function}: input is a {name}; expected a torch.Tensor{'' if x is None else remedy}"


def implicit_dim(function: str, x: Tensor, stacklevel: int) -> int:
    """PyTorch's choice of a class dimension where none is given, with its warning."""
    dim = 0 if x.ndim in (0, 1, 3) else 1
    warnings.warn(
        f"{function}: dim is None; PyTorch deprecates this choice and takes {dim} here; write dim={dim}",
        UserWarning,
        stacklevel=stacklevel,
    )
    return dim


def named_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """``reduction`` for PyTorch's deprecated ways to say it, with a warning; the default of both is True."""
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        "size_average, reduce and reduction='elementwise_mean' are deprecated; "
        f"write reduction={reduction!r}",
        UserWarning,
        stacklevel=3,
    )
    return reduction


def dtype_of_loss(x: Tensor) -> torch.dtype:
    """The dtype of PyTorch's losses: the input's, but autocast takes them in float32."""
    if x.dtype in FULL:
        return x.dtype
    return torch.float32 if torch.is_autocast_enabled(x.device.type) else x.dtype


# --- losses that the common functions refuse ----------------------------------------------------------------


def as_torch_takes_it(
    loss: Callable[..., Tensor], x: Tensor, target: Any, options: dict[str, Any], error: LastlayerError
) -> Tensor:
    """The loss of a call that ``loss`` refused with ``error``, if PyTorch takes it; else raise in its terms.

    Looked at only after a refusal, so that the usual call does not pay for it.
    """
    if isinstance(target, Tensor):
        dense = target.shape == x.shape
        lone = x.ndim == 1 and target.shape == (1,) and not dense
        ignore_index = options["ignore_index"]
        unheeded = dense and type(ignore_index) is int and ignore_index < 0 and ignore_index != -100
        if lone or unheeded:
            target = target[0] if lone else target
            options = {**options, "ignore_index": -100 if unheeded else ignore_index}
            try:
                return loss(x, target, **options)
            except LastlayerError as another:
                return as_torch_takes_it(loss, x, target, options, another)
        if isinstance(error, DtypeError) and target.dtype in FLOATS | {torch.bool} and not dense:
            raise DropInDtypeError(
                f"{loss.__name__}: target is of dtype {target.dtype} with shape {tuple(target.shape)}; "
                "expected class indices of an integer dtype; write target.long()"
            ) from None
    weight = options["class_weight"]
    if isinstance(error, OptionError) and isinstance(weight, Tensor) and bool((weight < 0).any()):
        return _with_negative_weights(loss, x, target, options)
    raise in_torch_terms(error) from None


def _with_negative_weights(
    loss: Callable[..., Tensor], x: Tensor, target: Any, options: dict[str, Any]
) -> Tensor:
    """The loss, linear in the class weights: that of their positive part less that of their negative part."""
    weight, reduction, denominator = options["class_weight"], options["reduction"], options["denominator"]
    mean = reduction == "mean"
    common = {**options, "denominator": None, "reduction": "sum" if mean else reduction}
    terms = []
    for part, z_loss in ((weight.clamp(min=0), True), ((-weight).clamp(min=0), False)):
        own = {**common, "class_weight": part}
        if not z_loss and "z_loss" in own:  # it has no class weight: once is enough
            own["z_loss"] = 0.0
        try:
            terms.append(loss(x, target, **own))
        except LastlayerError as error:
            return as_torch_takes_it(loss, x, target, own, error)
    total = terms[0] - terms[1]
    if not mean:
        return total
    return total / (_weight_of_rows(x, target, options, total.dtype) if denominator is None else denominator)


def _weight_of_rows(x: Tensor, target: Tensor, options: dict[str, Any], dtype: torch.dtype) -> Tensor:
    """``sum_i s_i w[y_i]`` over the rows that count, ``sum_i s_i`` for targets of the input's shape."""
    weight, s = options["class_weight"].to(dtype), options["sample_weight"]
    rows = x.shape[: options["axis"]] + x.shape[options["axis"] + 1 :]
    s = torch.ones(rows, dtype=dtype, device=x.device) if s is None else s.expand(rows)
    if target.shape == x.shape:
        return s.sum()
    counted = target != options["ignore_index"]
    return torch.where(counted, s * weight[torch.where(counted, target, 0).long()], 0).sum()

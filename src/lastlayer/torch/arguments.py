"""What only PyTorch takes: its deprecated arguments, and what the common losses refuse.

In: a drop-in's arguments. Out: those of the common function, or an error in PyTorch's terms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer.backends.torch.number_options import differs, over
from lastlayer.backends.torch.tensors import is_autocast, missing
from lastlayer.errors import DtypeError, LastlayerError, OptionError, TensorClassError

from .errors import DropInDtypeError, in_torch_terms

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
    """``x``, a floating tensor, or converted to ``dtype``."""
    if not isinstance(x, Tensor):
        raise DropInDtypeError(_not_a_tensor(function, x))
    if dtype is None:
        if x.dtype not in FLOATS:
            remedy = "input.abs() or input.real" if x.is_complex() else "input.float()"
            rule = "float16, bfloat16, float32 or float64" if x.is_floating_point() else "a floating one"
            raise DropInDtypeError(
                f"{function}: input is of dtype {x.dtype}; expected {rule}; write {remedy}"
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
    return torch.float32 if is_autocast(x) else x.dtype


# --- losses that the common functions refuse ----------------------------------------------------------------


def as_torch_takes_it(
    loss: Callable[..., Tensor], error: LastlayerError, x: Tensor, target: Any, **options: Any
) -> Tensor:
    """The loss of a call that ``loss`` refused with ``error``, if PyTorch takes it; else raise in its terms.

    Looked at only after a refusal, so that the usual call does not pay for it.
    """
    if isinstance(error, TensorClassError):
        return by_torch(loss.__name__, error, x, target, options)
    if isinstance(target, Tensor):
        dense = target.shape == x.shape
        lone = x.ndim == 1 and target.shape == (1,) and not dense
        index = options["ignore_index"]
        unheeded = dense and type(index) is int and index < 0 and index != -100
        if lone or unheeded:
            options["ignore_index"] = -100 if unheeded else index
            return _again(loss, x, target[0] if lone else target, options)
        if isinstance(error, DtypeError) and target.dtype in FLOATS | {torch.bool} and not dense:
            holds, remedy = missing(target, "target")
            raise DropInDtypeError(
                f"{loss.__name__}: target is of dtype {target.dtype} with shape {tuple(target.shape)}"
                f"{holds}; expected class indices of an integer dtype; write {remedy}"
            ) from None
    weight = options["class_weight"]
    if isinstance(error, OptionError) and isinstance(weight, Tensor) and bool((weight < 0).any()):
        return _with_negative_weights(loss, x, target, options)
    raise in_torch_terms(error) from None


def by_torch(name: str, error: LastlayerError, x: Any, target: Any, options: dict[str, Any]) -> Tensor:
    """PyTorch's own loss, of a tensor whose class lacks an operation of ours; ``error`` for an option."""
    given = {"weight" if option == "class_weight" else option: value for option, value in options.items()}
    del given["axis"]
    own = _OWN | ({"label_smoothing": 0.0} if name == "nll_loss" else {})
    if any(is_given(given.pop(option, default), default) for option, default in own.items()):
        raise in_torch_terms(error) from error.__cause__
    found: Tensor = getattr(torch.nn.functional, name)(x, target, **given)
    return found


_OWN = {"sample_weight": None, "denominator": None, "temperature": 1.0, "softcap": None, "z_loss": 0.0}


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
    """The loss, linear in the class weights: that of their positive part less that of their negative part."""
    weight, denominator = options["class_weight"], options["denominator"]
    mean = options["reduction"] == "mean"
    own = options | ({"reduction": "sum", "denominator": None} if mean else {})
    positive = _again(loss, x, target, own | {"class_weight": torch.where(weight > 0, weight, 0)})
    once = {"z_loss": 0.0} if "z_loss" in options else {}  # it has no class weight, and is in the other part
    negative = _again(loss, x, target, own | {"class_weight": torch.where(weight > 0, 0, -weight)} | once)
    total = positive - negative
    if not mean:
        return total
    if denominator is None:
        return total / weight_of_rows(x, target, options, total.dtype)
    return over(total, torch.as_tensor(denominator, dtype=total.dtype, device=total.device))


def weight_of_rows(x: Tensor, target: Any, options: dict[str, Any], dtype: torch.dtype) -> Tensor:
    """``sum_i s_i w[y_i]`` over the rows that count, ``sum_i s_i`` for targets of the input's shape."""
    axis, s, ignored = options["axis"], options["sample_weight"], options["ignore_index"]
    rows = x.shape[:axis] + x.shape[axis + 1 :]
    s = torch.as_tensor(1 if s is None else s, dtype=dtype, device=x.device).expand(rows)
    target = torch.as_tensor(target, device=x.device)
    if target.shape == x.shape:
        return s.sum()
    target = target.long()  # as a byte it would not tell -100 from 156
    counted = target != (-1 if ignored is None else ignored)
    w = options["class_weight"]
    weights = s if w is None else s * w.to(dtype)[torch.where(counted, target, 0)]
    return torch.where(counted, weights, 0).sum()

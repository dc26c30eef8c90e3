"""Number options given as tensors. In: the user's options. Out: options with Python numbers or 0-d tensors.

A CPU tensor that needs no gradient is read. Any other stays a tensor, and the call is computed by PyTorch's
operations: reading it would synchronize a GPU or drop its gradient, and is not possible inside
``torch.vmap``, in a compiled graph or on the meta device. For the same reasons its value is not checked; a
value out of range makes the result NaN.
"""

from __future__ import annotations

from math import inf, nan
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import problem
from lastlayer.options import NUMBER_RANGE, NUMBERS, Options
from lastlayer.problem import tensor_errors

from .tensors import in_memory, is_watched, wide

__all__ = [
    "Number",
    "are_read",
    "as_floats",
    "as_passed",
    "differs",
    "integer",
    "over",
    "read",
    "stand_ins",
    "tensors",
]

Number: TypeAlias = float | Tensor


def read(o: Options, x: Tensor) -> Options:
    """The options with tensors replaced by numbers where they can be read; ``x``: the scores."""
    if torch.compiler.is_compiling():
        o = _as_tensors(o)
    if are_read(o):
        return o
    found: dict[str, Any] = {name: _number(o, name, value, x) for name, value in tensors(o).items()}
    return o._replace(**found)


def tensors(o: Options) -> dict[str, Tensor]:
    """The number options that are tensors."""
    given = {name: getattr(o, name) for name in NUMBERS}
    return {name: value for name, value in given.items() if isinstance(value, Tensor)}


def as_passed(o: Options, given: Options) -> Options:
    """``o`` with the number options of ``given``, which were not read."""
    found: dict[str, Any] = {name: getattr(given, name) for name in NUMBERS}
    return o._replace(**found)


def are_read(o: Any) -> bool:
    """Whether every number option is a Python number, not a tensor."""
    for value in o[NUMBER_RANGE]:  # noqa: SIM110 - takes half the time of a generator
        if isinstance(value, Tensor):
            return False
    return True


def as_floats(o: Options) -> tuple[Any, ...]:
    """The options with floats for numbers, as registered operations take them."""
    numbers: dict[str, Any] = {n: float(getattr(o, n)) for n in NUMBERS if getattr(o, n) is not None}
    return o._replace(**numbers)


def stand_ins(o: Options) -> Options:
    """The options with a valid number in place of every tensor, to check the rest of a call."""
    if are_read(o):
        return o
    found: dict[str, Any] = {n: v.valid for n, v in NUMBERS.items() if isinstance(getattr(o, n), Tensor)}
    return o._replace(**found)


def _as_tensors(o: Options) -> Options:
    """The options with NumPy numbers as tensors: a compiler traces NumPy numbers as tensors."""
    given = {name: getattr(o, name) for name in NUMBERS}
    arrays = {n: v for n, v in given.items() if isinstance(v, (np.ndarray, np.generic))}
    found: dict[str, Any] = {n: torch.as_tensor(v) for n, v in arrays.items()}
    return o._replace(**found) if found else o


def integer(function: str, name: str, value: Any) -> Any:
    """``value``; a tensor with one element becomes its number, or an error if it cannot be read."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        return value  # checked later, with the other arguments
    if _can_be_read(value):
        return value.item()
    tensor_errors.no_number(function, name)


def differs(value: Any, default: Any) -> bool:
    """Whether an option may differ from its default; a tensor may."""
    return isinstance(value, Tensor) or bool(value != default)


def over(x: Tensor, total: Tensor) -> Tensor:
    """``x`` divided by ``total``; 0 if the total is 0."""
    is_zero = total == 0
    return torch.where(is_zero, 0.0, x / torch.where(is_zero, 1.0, total))


def _number(o: Any, name: str, value: Tensor, x: Tensor) -> Number:
    """The number of a tensor; or, if it cannot be read, the tensor in the computing dtype, NaN if invalid."""
    _, high, strict = NUMBERS[name]
    if value.numel() != 1 or value.is_complex():
        problem.bad_number(o.function, name, value, high, strict)
    if not value.requires_grad or not torch.is_grad_enabled():
        if _can_be_read(value):
            return float(value)
        value = value.detach() if value.requires_grad else value
    if value.device != x.device and value.device.type != "cpu":
        tensor_errors.other_device(o.function, name, value.device, x.device)
    value = value.reshape(()).to(x.device, wide(x.dtype))
    good = (value >= problem.LEAST if strict else value >= 0) & (value <= high) & (value < inf)
    return torch.where(good, value, nan)


def _can_be_read(value: Tensor) -> bool:
    """Whether a tensor's value can be read: without synchronizing, and outside of tracing."""
    if torch.compiler.is_compiling() or forward_ad._current_level >= 0:
        return False
    return in_memory(value) and not is_watched(value)

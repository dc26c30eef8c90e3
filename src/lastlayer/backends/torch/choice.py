"""Choose what computes a tensor: the core if it can read the tensor's memory, else PyTorch's operations.

In: tensors. Out: bools. No other module makes this decision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import selection

from .tensors import in_memory, is_traced, is_transformed, is_watched

__all__ = ["can_defer", "is_usual", "on_core"]

_KINDS = (Tensor, torch.nn.Parameter)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_compiling = torch.compiler.is_compiling
_watchers = torch._C._len_torch_dispatch_stack


def on_core(x: Tensor) -> bool:
    """Whether the core computes ``x``."""
    if _compiling():
        return False
    if selection.native_tensors and in_memory(x):
        return True
    if not selection.composed:
        selection.refuse_tensor(x.device)
    return False


def is_usual(x: Any) -> bool:
    """Whether `fast_path` may try ``x``: a plain float CPU tensor, and no tracing, compiling or transform.

    It tests less than `on_core`. The core itself raises for the remaining cases; `entry` then takes the call.
    """
    return (
        type(x) in _KINDS
        and x.is_cpu
        and x.dtype in _FLOATS
        and selection.native_tensors
        and not _compiling()
        and not is_transformed()
        and not is_traced()
        and forward_ad._current_level < 0
        and not _watchers()
    )


def can_defer(x: Any, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a linear head may defer its logits: the core can compute its losses without them."""
    return (
        isinstance(x, Tensor)
        and not is_watched(x)
        and not is_traced()
        and forward_ad._current_level < 0
        and not torch.is_inference_mode_enabled()
        and selection.native_tensors
        and all(t is None or _is_own_memory(t) for t in (x, weight, bias))
        and x.ndim > 0
        and x.shape[-1:] == weight.shape[1:]
    )


def _is_own_memory(t: Tensor) -> bool:
    """Whether a tensor holds floats in CPU memory that is not shared with other processes."""
    return in_memory(t) and t.is_floating_point() and not t.is_shared()  # type: ignore[no-untyped-call]

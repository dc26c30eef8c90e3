"""What computes a tensor: the core, where it can read the tensor's memory, else PyTorch's operations.

In: tensors. Out: a decision. Everything that depends on the backend of a tensor asks here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import selection

from .tensors import in_memory, is_traced, is_transformed, is_watched

__all__ = ["is_usual", "may_wait", "on_core"]

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
    """Whether the core can read ``x`` now, and nobody but autograd's backward pass wants to know.

    It looks at less than `on_core`: the core itself refuses the rest, and the call goes the common way.
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


def may_wait(x: Any, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a loss of the logits of a linear head can be computed without them, here and now."""
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
    """Whether a tensor is of floats in CPU memory that no other process writes to."""
    return in_memory(t) and t.is_floating_point() and not t.is_shared()  # type: ignore[no-untyped-call]

"""Choose what computes a tensor: the core, the kernels in Triton, or PyTorch's operations.

In: tensors. Out: the way, or bools. No other module makes this decision.

- CORE: the core can read the tensor's memory.
- TRITON: a CUDA tensor that the kernels can compute; where "triton" is selected, a CPU tensor too.
- COMPOSED: all others.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import selection

from .tensors import in_memory, is_readable, is_traced, is_transformed, is_watched

__all__ = [
    "COMPOSED",
    "CORE",
    "TRITON",
    "can_defer",
    "has_address",
    "is_usual",
    "is_usual_for_kernels",
    "kernels",
    "may_use_kernels",
    "on_core",
    "way_of",
]

CORE, TRITON, COMPOSED = "core", "triton", "composed"

_KINDS = (Tensor, torch.nn.Parameter)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_compiling = torch.compiler.is_compiling
_watchers = torch._C._len_torch_dispatch_stack

kernels: Any = None  # lastlayer.backends.triton.calls, imported at the first tensor that it may compute
_reasons: dict[tuple[int, torch.dtype], str | None] = {}  # by device (-1: the CPU): why not by the kernels


def way_of(x: Tensor) -> str:
    """CORE, TRITON or COMPOSED; or an error, where the selected backend cannot compute ``x``."""
    if _compiling():
        return COMPOSED
    if selection.native_tensors and in_memory(x):
        return CORE
    why_not = None
    if selection.triton and (x.is_cuda or not selection.composed):
        if not is_readable(x) or x.is_neg():  # fake, or inside a transform: composed, whatever is selected
            return COMPOSED
        why_not = _why_not_triton(x)
        if why_not is None:
            return TRITON
    if not selection.composed:
        selection.refuse_tensor(x.device, why_not)
    return COMPOSED


def _why_not_triton(x: Tensor) -> str | None:
    """None if the kernels compute tensors of this device and dtype."""
    global kernels
    if not (x.is_cuda or x.is_cpu):
        return "it computes CUDA tensors"
    if x.is_cpu and os.environ.get("TRITON_INTERPRET") != "1":
        return "it computes CPU tensors only where TRITON_INTERPRET=1"
    key = x.get_device(), x.dtype
    if key not in _reasons:
        from lastlayer.backends.triton import runtime

        _reasons[key] = runtime.why_not(x)
        if _reasons[key] is None and kernels is None:
            from lastlayer.backends.triton import calls

            kernels = calls
    return _reasons[key]


def on_core(x: Tensor) -> bool:
    """Whether the core computes ``x``."""
    return way_of(x) is CORE


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


def is_usual_for_kernels(x: Any) -> bool:
    """Whether `kernel_rules` may compute ``x``: as `is_usual`, where `way_of` has seen such a tensor before.

    The kernels check nothing themselves, so this tests everything.
    """
    return (
        not _compiling()
        and type(x) in _KINDS
        and selection.triton
        and (x.is_cuda or (x.is_cpu and not selection.composed))
        and _reasons.get((x.get_device(), x.dtype), "") is None
        and not is_transformed()
        and not is_traced()
        and forward_ad._current_level < 0
        and not _watchers()
        and not x.is_neg()
        and not x.is_nested
        and has_address(x)
    )


def has_address(x: Tensor) -> bool:
    """Whether a tensor has memory: not if it is sparse, batched, lazily zero, freed, or empty."""
    try:
        return x.data_ptr() != 0
    except RuntimeError:
        return False


def may_use_kernels(x: Tensor) -> bool:
    """Whether the kernels may compute ``x``, as far as its device tells: also for a tensor of a graph."""
    return selection.triton and (x.is_cuda or not selection.composed)


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

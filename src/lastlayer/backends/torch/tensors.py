"""Properties of tensors, and their memory as NumPy arrays. In: a tensor. Out: a bool, a dtype or an array.

The core reads a tensor's own memory, without a copy. Only this module decides whether that is possible, and
makes the NumPy view of the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad

from lastlayer import problem
from lastlayer.arrays import BFLOAT16, is_foreign
from lastlayer.backends.core import core
from lastlayer.problem import tensor_errors

from .lazy import materialized

__all__ = [
    "as_tensor",
    "can_write",
    "class_of",
    "from_memory",
    "has_own_operations",
    "holds_nan",
    "in_memory",
    "in_strides",
    "is_autocast",
    "is_batched",
    "is_kept_elsewhere",
    "is_readable",
    "is_transformed",
    "is_watched",
    "memory",
    "new_like",
    "shape_of",
    "tracks",
    "unchanged",
    "versions_of",
    "why_unreadable",
    "wide",
]

_TRACED = (FakeTensor, FunctionalTensor)
_STRIDED = (torch.strided, torch.jagged)
_HALVES = (torch.float16, torch.bfloat16)
_KINDS = (Tensor, torch.nn.Parameter)
_NUMPY: dict[torch.dtype, Any] = {
    torch.float16: np.dtype(np.float16),
    torch.bfloat16: BFLOAT16,
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.bool: np.dtype(np.bool_),
    **{getattr(torch, f"{u}int{n}"): np.dtype(f"{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)},
}

is_transformed = torch._C._are_functorch_transforms_active  # inside torch.func's grad, vmap, jvp, ...
is_traced = torch._C._get_tracing_state  # by torch.jit.trace, which records only PyTorch's operations
is_batched = torch._C._functorch.is_legacy_batchedtensor  # by autograd.grad(..., is_grads_batched=True)


def is_watched(x: Tensor) -> bool:
    """Whether PyTorch's operations are intercepted: by a compiler, a dispatch mode or the tensor's class."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or (type(x) not in _KINDS and _dispatches(x))
    )


def in_memory(x: Any) -> bool:
    """Whether the core can read ``x``: a strided tensor in CPU memory, and no subclass without numbers.

    Raises a BackendError if that memory was freed.
    """
    return x.is_cpu and is_readable(x)


def is_readable(x: Any) -> bool:
    """Whether a kernel on its device can read ``x``: strided memory, and no subclass without numbers.

    Raises a BackendError if that memory was freed.
    """
    return (
        (type(x) in _KINDS or not _dispatches(x))
        and x.layout is torch.strided
        and not is_transformed()
        and not is_batched(x)
        and not is_traced()
        and not x._is_zerotensor()  # zero tensors have no memory
        and _is_allocated(x)
    )


def has_own_operations(x: Any) -> bool:
    """Whether a tensor's class implements ``__torch_dispatch__``; False for tracing and for this package."""
    kind = type(x)
    if kind in _KINDS or not isinstance(x, Tensor) or not _dispatches(x):
        return False
    return not isinstance(x, _TRACED) and not kind.__module__.startswith("lastlayer.")


def class_of(x: Any) -> str:
    """The name of a tensor's class, for messages."""
    kind = type(x)
    return f"{kind.__module__}.{kind.__qualname__}"


def in_strides(function: str, name: str, x: Tensor) -> Tensor:
    """``x``, if it is a strided tensor of real numbers; otherwise an error."""
    if torch.compiler.is_compiling():
        return x
    if x._is_zerotensor():
        return x.clone()  # zeros in memory
    if (x.is_nested and x.layout is torch.strided) or x.layout not in _STRIDED or x.is_quantized:
        tensor_errors.not_strided(function, name, x)
    return x.resolve_neg() if x.is_neg() else x


def _is_allocated(x: Tensor) -> bool:
    """True if the storage holds the whole tensor; an error if it was shrunk by ``resize_``."""
    size, place = x.untyped_storage().nbytes(), x.storage_offset()
    count = x.numel()
    if count and not x.is_contiguous():
        count = 1 + sum(step * (n - 1) for step, n in zip(x.stride(), x.shape, strict=True))
    needed = (place + count) * x.element_size() if count else 0
    if size < needed:
        tensor_errors.freed_memory(x, size, needed)
    return True


def why_unreadable(x: Tensor) -> str | None:
    """The reason why the numbers of a tensor cannot be read; None if they can."""
    if x.is_meta or isinstance(x, _TRACED):
        return "a tensor without numbers, on the meta device or in a fake mode"
    if has_own_operations(x):
        return f"a {class_of(x)}"
    if x.is_nested or x.layout is not torch.strided:
        return f"a {'nested tensor' if x.is_nested else f'tensor of layout {x.layout}'}"
    if x.is_quantized:
        return "a quantized tensor"
    if is_transformed() or is_batched(x):
        return "a tensor inside a transform of torch.func"
    return None


def _dispatches(x: Tensor) -> bool:
    """Whether the tensor's class implements ``__torch_dispatch__``; it may then hold no numbers."""
    return type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__


def memory(x: Tensor) -> Any:
    """The tensor as a NumPy array that shares its memory; bfloat16 as `arrays.BFLOAT16`."""
    _is_allocated(x)
    if x.is_neg():
        x = x.resolve_neg()
    if x.dtype is torch.bfloat16:
        return x.detach().view(torch.uint16).numpy().view(BFLOAT16)
    return x.detach().numpy()


def can_write(out: Tensor, x: Tensor, where: Tensor | None) -> bool:
    """Whether a kernel may write to ``out`` while it reads: its memory is that of ``x``, or disjoint.

    Ranges of addresses are compared, since tensors made from one NumPy array have different storages.
    """
    if not is_readable(out) or out.is_neg():  # `memory` copies negative views
        return False
    if where is not None and _share(out, where):
        return False
    return not _share(out, x) or (
        out.data_ptr() == x.data_ptr() and out.stride() == x.stride() and not x.is_neg()
    )


def _share(a: Tensor, b: Tensor) -> bool:
    """Whether the memory between the first and the last element of two tensors overlaps."""
    (first, end), (other, stop) = _extent(a), _extent(b)
    return first < stop and other < end


def _extent(x: Tensor) -> tuple[int, int]:
    first = x.data_ptr()
    if x.numel() == 0:
        return first, first
    last = sum(step * (n - 1) for step, n in zip(x.stride(), x.shape, strict=True))
    return first, first + x.element_size() * (last + 1)


def new_like(x: Tensor) -> Tensor:
    """An uninitialized tensor of the shape and dtype of ``x``; if it is large, in large memory pages.

    With 4 KB pages, the page faults of a large result can take longer than its computation. NumPy requests
    large pages too.
    """
    y = torch.empty_like(x)
    if y.numel() >= 1 << 20 and core.BUILT and y.is_cpu:
        core.large_pages(y)
    return y


def from_memory(a: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array, or holds a NumPy scalar."""
    return torch.from_numpy(np.asarray(a))


def shape_of(x: Tensor) -> Any:
    """A NumPy array of the same shape and dtype, one zero broadcast: to check a call without its numbers."""
    return np.broadcast_to(np.zeros((), dtype_of(x)), tuple(x.shape))


def dtype_of(x: Tensor) -> Any:
    """NumPy's dtype for a tensor; complex64, which every check refuses, where NumPy has none."""
    return _NUMPY.get(x.dtype, np.dtype(np.complex64))


def as_tensor(function: str, name: str, value: Any, scores: Tensor) -> Tensor:
    """``value`` as a tensor on the device of the scores."""
    if torch.compiler.is_compiling():
        return value if isinstance(value, Tensor) else torch.as_tensor(value, device=scores.device)
    value = materialized(value)
    if isinstance(value, Tensor):
        tensor = in_strides(function, name, value)
        if has_own_operations(tensor) and not has_own_operations(scores):
            tensor_errors.other_class(function, name, class_of(tensor))
        if tensor.dtype not in _NUMPY:
            tensor_errors.not_real(function, name, tensor.dtype)
        if tensor.device != scores.device:
            tensor_errors.other_device(function, name, tensor.device, scores.device)
        return tensor
    if is_foreign(value):
        problem.other_library(function, name, value, "torch")
    array = problem.to_numpy(function, name, value)
    if array.dtype.kind not in "biuf":
        problem.unfit(function, name, value, array.dtype)
    return torch.tensor(array, device=scores.device)


def holds_nan(y: Tensor) -> bool:
    """Whether a tensor holds NaN; False if its numbers cannot be read."""
    return (
        y.is_floating_point() and not torch.compiler.is_compiling() and in_memory(y) and bool(y.isnan().any())
    )


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which PyTorch's operations compute, and of losses: float64 for float64, else float32."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def is_autocast(x: Tensor) -> bool:
    """Whether autocast is available and enabled on the device of ``x``."""
    kind = x.device.type
    if torch.compiler.is_compiling():  # Dynamo of PyTorch 2.11 cannot trace the other function
        return torch.is_autocast_enabled(kind)
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def tracks(*tensors: Any) -> bool:
    """Whether autograd has to record operations on these tensors (or None)."""
    if torch.is_grad_enabled():
        for x in tensors:
            if x is not None and x.requires_grad:
                return True
    return is_transformed() or forward_ad._current_level >= 0


def is_kept_elsewhere() -> bool:
    """Whether hooks on saved tensors are active: activation checkpointing or offloading.

    Such hooks discard or move what is saved for backward. A gradient kept on the side would evade them, so it
    is then computed in the backward pass.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def versions_of(*tensors: Tensor | None) -> tuple[int, ...] | None:
    """The version counters of tensors; None where PyTorch has none."""
    if torch.compiler.is_compiling() or is_transformed():
        return None
    return tuple(0 if t is None or t.is_inference() else t._version for t in tensors)


def unchanged(function: str, versions: tuple[int, ...] | None, *tensors: Tensor | None) -> None:
    """Raise the error of a backward pass if a tensor was written to since `versions_of`."""
    if versions is not None and versions_of(*tensors) != versions:
        raise RuntimeError(
            f"{function}: an argument has been modified by an inplace operation since the statistics were "
            "computed; expected the same numbers, to differentiate them; read the statistics before, or pass "
            "a clone()"
        )

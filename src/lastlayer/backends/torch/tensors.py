"""What the other modules need to know about tensors. In: a tensor. Out: its memory, or what kind it is.

The core reads a tensor's own memory; nothing is copied. How it gets at that memory is decided here alone.
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

from .lazy import made

__all__ = [
    "as_tensor",
    "can_write",
    "class_of",
    "from_memory",
    "hidden",
    "holds_nan",
    "in_memory",
    "in_strides",
    "is_autocast",
    "is_batched",
    "is_kept_elsewhere",
    "is_own",
    "is_transformed",
    "is_watched",
    "memory",
    "new_like",
    "shape_of",
    "tracks",
    "unchanged",
    "versions_of",
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
is_traced = torch._C._get_tracing_state  # by torch.jit.trace, which sees PyTorch's operations alone
is_batched = torch._C._functorch.is_legacy_batchedtensor  # many gradients in one backward pass


def is_watched(x: Tensor) -> bool:
    """Whether a program looks on that has to see operations: a compiler, a mode, or the tensor itself."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or (type(x) not in _KINDS and _dispatches(x))
    )


def in_memory(x: Any) -> bool:
    """Whether the core can read ``x``: a strided tensor in CPU memory that holds its own numbers.

    A BackendError if that memory was freed.
    """
    return (
        (type(x) in _KINDS or not _dispatches(x))
        and x.is_cpu
        and x.layout is torch.strided
        and not is_transformed()
        and not is_batched(x)
        and not is_traced()
        and not x._is_zerotensor()  # which has no memory
        and _is_allocated(x)
    )


def is_own(x: Any) -> bool:
    """Whether the class of a tensor answers operations itself; not those of tracing, and of this package."""
    kind = type(x)
    if kind in _KINDS or not isinstance(x, Tensor) or not _dispatches(x):
        return False
    return not isinstance(x, _TRACED) and not kind.__module__.startswith("lastlayer.")


def class_of(x: Any) -> str:
    """What a message calls the class of a tensor."""
    kind = type(x)
    return f"{kind.__module__}.{kind.__qualname__}"


def in_strides(function: str, name: str, x: Tensor) -> Tensor:
    """``x``, which holds real numbers by strides; anything else is an error."""
    if torch.compiler.is_compiling():
        return x
    if x._is_zerotensor():
        return x.clone()  # zeros in memory
    if (x.is_nested and x.layout is torch.strided) or x.layout not in _STRIDED or x.is_quantized:
        tensor_errors.not_strided(function, name, x)
    return x


def _is_allocated(x: Tensor) -> bool:
    """Whether the storage holds all of the tensor; a storage can be made smaller under it."""
    size, place = x.untyped_storage().nbytes(), x.storage_offset()
    count = x.numel()
    if count and not x.is_contiguous():
        count = 1 + sum(step * (n - 1) for step, n in zip(x.stride(), x.shape, strict=True))
    needed = (place + count) * x.element_size() if count else 0
    if size < needed:
        tensor_errors.freed_memory(x, size, needed)
    return True


def hidden(x: Tensor) -> str | None:
    """Why the numbers of a tensor cannot be looked at; None where they can."""
    if x.is_meta or isinstance(x, _TRACED):
        return "a tensor without numbers, on the meta device or in a fake mode"
    if is_own(x):
        return f"a {class_of(x)}"
    if x.is_nested or x.layout is not torch.strided:
        return f"a {'nested tensor' if x.is_nested else f'tensor of layout {x.layout}'}"
    if x.is_quantized:
        return "a quantized tensor"
    if is_transformed() or is_batched(x):
        return "a tensor inside a transform of torch.func"
    return None


def _dispatches(x: Tensor) -> bool:
    """Whether this subclass answers PyTorch's operations itself, and may hold no numbers of its own."""
    return type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__


def memory(x: Tensor) -> Any:
    """The numbers of a tensor as a NumPy array that shares its memory; bfloat16 as `arrays.BFLOAT16`."""
    _is_allocated(x)
    if x.is_neg():
        x = x.resolve_neg()
    if x.dtype is torch.bfloat16:
        return x.detach().view(torch.uint16).numpy().view(BFLOAT16)
    return x.detach().numpy()


def can_write(out: Tensor, x: Tensor, where: Tensor | None) -> bool:
    """Whether the core may write to ``out`` while it reads the others: the place of ``x``, or one of its own.

    The extents in memory are compared, since tensors made of one NumPy array have different storages.
    """
    if not in_memory(out) or out.is_neg():  # of a negative view the core would get a copy
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
    """Memory for a result of the shape and dtype of ``x``, in large pages where it is much.

    First written in pages of 4 KB, a large result can take longer to come by than to compute; NumPy asks for
    large pages likewise.
    """
    y = torch.empty_like(x)
    if y.numel() >= 1 << 20 and core.BUILT and y.is_cpu:
        core.large_pages(y)
    return y


def from_memory(a: Any) -> Tensor:
    """The tensor of a NumPy array or scalar of numbers, in the same memory."""
    return torch.from_numpy(np.asarray(a))


def shape_of(x: Tensor) -> Any:
    """Zeros of the same shape and dtype, in no memory: to check a call without looking at its numbers."""
    return np.broadcast_to(np.zeros((), dtype_of(x)), tuple(x.shape))


def dtype_of(x: Tensor) -> Any:
    """NumPy's name for a tensor's dtype; torch's own for one that NumPy lacks."""
    return _NUMPY.get(x.dtype, np.dtype(np.complex64))


def as_tensor(function: str, name: str, value: Any, scores: Tensor) -> Tensor:
    """``value`` as a tensor where the scores are."""
    if torch.compiler.is_compiling():
        return value if isinstance(value, Tensor) else torch.as_tensor(value, device=scores.device)
    value = made(value)
    if isinstance(value, Tensor):
        tensor = in_strides(function, name, value)
        if is_own(tensor) and not is_own(scores):
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
    """Whether a tensor is seen to hold NaN."""
    return (
        y.is_floating_point() and not torch.compiler.is_compiling() and in_memory(y) and bool(y.isnan().any())
    )


def wide(dtype: torch.dtype) -> torch.dtype:
    """What a dtype is computed in, and its losses come in: float64 for float64, else float32."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def is_autocast(x: Tensor) -> bool:
    """Whether autocast is at work on the device of ``x``, which need not have it."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def tracks(*tensors: Any) -> bool:
    """Whether autograd has to know what becomes of these tensors (or None)."""
    if torch.is_grad_enabled():
        for x in tensors:
            if x is not None and x.requires_grad:
                return True
    return is_transformed() or forward_ad._current_level >= 0


def is_kept_elsewhere() -> bool:
    """Whether someone decides what is kept from forward to backward: activation checkpointing, offloading.

    What is kept then is not for long, or not here: gradients are computed when the backward pass asks.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def versions_of(*tensors: Tensor | None) -> tuple[int, ...] | None:
    """How often each tensor has been written to; None where PyTorch does not count."""
    if torch.compiler.is_compiling() or is_transformed():
        return None
    return tuple(0 if t is None or t.is_inference() else t._version for t in tensors)


def unchanged(function: str, versions: tuple[int, ...] | None, *tensors: Tensor | None) -> None:
    """Raise what a backward pass raises if a tensor has been written to since its version was noted."""
    if versions is not None and versions_of(*tensors) != versions:
        raise RuntimeError(
            f"{function}: an argument has been modified by an inplace operation since the statistics were "
            "computed; expected the same numbers, to differentiate them; read the statistics before, or pass "
            "a clone()"
        )

"""Whether the kernels can run. In: a tensor. Out: None, or the reason why not, in words.

Triton comes with PyTorch's builds for GPUs. With ``TRITON_INTERPRET=1`` its interpreter runs the kernels on
CPU tensors, slowly: that is how they are tested on machines without a GPU.
"""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor

__all__ = ["INTERPRETED", "unavailable", "why_not"]

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # read once, as Triton does
_OLDEST = (3, 4)
_CAPABILITY = (8, 0)  # of a CUDA device: bfloat16
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@cache
def unavailable() -> str | None:
    """Why no tensor can be computed; None if Triton can be imported."""
    try:
        import triton
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if version < _OLDEST:
        return f"Triton {triton.__version__} is older than {'.'.join(map(str, _OLDEST))}"
    return None


@cache
def _device(index: int) -> str | None:
    """Why a CUDA device cannot run the kernels."""
    if torch.version.hip is not None:
        return "the kernels are tuned for CUDA"
    if torch.cuda.get_device_capability(index) < _CAPABILITY:
        return f"cuda:{index} has a compute capability below {'.'.join(map(str, _CAPABILITY))}"
    return None


def why_not(x: Tensor) -> str | None:
    """None if the kernels can compute ``x``."""
    if x.dtype not in _DTYPES:
        return f"dtype {x.dtype}"
    if (reason := unavailable()) is not None:
        return reason
    if x.is_cuda:
        return _device(x.device.index)
    if x.is_cpu and INTERPRETED:
        return None
    return f"a tensor on {x.device}"

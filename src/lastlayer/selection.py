"""Which backends may run. In: a name, or ``LASTLAYER_BACKEND``. Out: module variables, for all threads.

There are four backends:

- "native": the C++ core, for NumPy arrays and CPU tensors;
- "triton": kernels in Triton, for CUDA tensors. If selected, in Triton's interpreter, for CPU tensors too;
- "composed": PyTorch's own operations, for all other tensors;
- "reference": the specification, for arrays of all other libraries. If selected, it runs everything.

`dispatch` and `backends.torch.choice` read the variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from .errors import BackendError

__all__ = ["lack", "missing", "refuse_tensor", "select", "use"]

# Plain variables, since every call reads them, however small.
arrays: str | None = None  # the only backend allowed for arrays; None: all are
native_tensors = True  # whether the core may compute tensors
triton = True  # whether the kernels in Triton may compute tensors
composed = True  # whether PyTorch's operations may compute tensors
tensors = True  # whether any of them may; else tensors are computed as arrays

missing: dict[str, str] = {}  # the name of a backend that is not installed -> why not
names: list[str] = []  # the backends for arrays, first choice first; filled by `dispatch`

_OF_TENSORS = ("triton", "composed")  # they do not change how arrays are computed


def lack(name: str, why_not: str) -> None:
    """Note that a backend is not installed."""
    global native_tensors, tensors
    missing[name] = why_not
    native_tensors = native_tensors and name != "native"
    tensors = native_tensors or triton or composed


def select(name: str | None) -> None:
    """Allow only the backend of this name; None allows all."""
    global arrays, native_tensors, triton, composed, tensors
    if name in missing:
        raise BackendError("", "backend", repr(name), f"one that is available ({missing[name]})")
    if name not in (None, *_OF_TENSORS, *names):
        raise BackendError("", "backend", repr(name), " or ".join(map(repr, names)))
    arrays = None if name in _OF_TENSORS else name
    native_tensors = name in (None, "native") and "native" not in missing
    triton = name in (None, "triton")
    composed = name in (None, "composed")
    tensors = native_tensors or triton or composed


def refuse_tensor(device: object, why_not: str | None) -> NoReturn:
    """Refuse a tensor that the selected backend cannot compute. ``why_not``: the reason of the kernels."""
    what, verb = f"a tensor on {device}", "cannot be run by"
    if triton:
        raise BackendError("", what, f"backend 'triton' ({why_not})", verb=verb)
    raise BackendError("", what, "backend 'native'", "CPU memory", verb=verb)


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Run everything on one backend inside a ``with`` block, for comparisons and tests.

    "composed" computes tensors by PyTorch's operations, as on a GPU without Triton; "triton" by the kernels,
    where ``TRITON_INTERPRET=1`` on the CPU. They do not change how arrays are computed.
    """
    global arrays, native_tensors, triton, composed, tensors
    before = arrays, native_tensors, triton, composed, tensors
    select(name)
    try:
        yield
    finally:
        arrays, native_tensors, triton, composed, tensors = before


def select_by_environment() -> None:
    """Select the backend that ``LASTLAYER_BACKEND`` names. Called after all calls of `lack`."""
    select(os.environ.get("LASTLAYER_BACKEND") or None)

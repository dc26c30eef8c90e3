"""Which backends may run. In: a name, or ``LASTLAYER_BACKEND``. Out: module variables, for all threads.

There are three backends:

- "native": the C++ core, for NumPy arrays and CPU tensors;
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
composed = True  # whether PyTorch's operations may compute tensors
tensors = True  # whether either of them may; else tensors are computed as arrays

missing: dict[str, str] = {}  # the name of a backend that is not installed -> why not
names: list[str] = []  # the backends for arrays, first choice first; filled by `dispatch`


def lack(name: str, why_not: str) -> None:
    """Note that a backend is not installed."""
    global native_tensors, tensors
    missing[name] = why_not
    native_tensors = native_tensors and name != "native"
    tensors = native_tensors or composed


def select(name: str | None) -> None:
    """Allow only the backend of this name; None allows all."""
    global arrays, native_tensors, composed, tensors
    if name in missing:
        raise BackendError("", "backend", repr(name), f"one that is available ({missing[name]})")
    if name not in (None, "composed", *names):
        raise BackendError("", "backend", repr(name), " or ".join(map(repr, names)))
    arrays = None if name == "composed" else name
    native_tensors = name in (None, "native") and "native" not in missing
    composed = name in (None, "composed")
    tensors = native_tensors or composed


def refuse_tensor(device: object) -> NoReturn:
    """Refuse a tensor that the native backend cannot read, where no other backend is allowed."""
    raise BackendError("", f"a tensor on {device}", "backend 'native'", "CPU memory", verb="cannot be run by")


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Run everything on one backend inside a ``with`` block, for comparisons and tests.

    "composed" computes tensors by PyTorch's operations, as on a GPU. It does not change how arrays are
    computed.
    """
    global arrays, native_tensors, composed, tensors
    before = arrays, native_tensors, composed, tensors
    select(name)
    try:
        yield
    finally:
        arrays, native_tensors, composed, tensors = before


def select_by_environment() -> None:
    """Select the backend that ``LASTLAYER_BACKEND`` names. Called after all calls of `lack`."""
    select(os.environ.get("LASTLAYER_BACKEND") or None)

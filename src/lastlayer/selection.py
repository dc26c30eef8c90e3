"""Which backends may run. In: a name, or ``LASTLAYER_BACKEND``. Out: switches, for all threads.

There are three: "native", the C++ core, for NumPy arrays and CPU tensors; "composed", PyTorch's own
operations, for every other tensor; "reference", the specification, for the arrays of every other library,
and for everything where it is the only one left. `dispatch` and `backends.torch.choice` read the switches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from .errors import BackendError

__all__ = ["lack", "missing", "refuse_tensor", "select", "use"]

# Plain variables: a call of three logits reads them too.
arrays: str | None = None  # the one backend that is left for arrays; None: every one
native_tensors = True  # the core, for tensors
composed = True  # PyTorch's operations, for tensors

missing: dict[str, str] = {}  # a backend that is not installed -> why not
names: list[str] = []  # of the backends for arrays, first choice first: `dispatch` has the list


def lack(name: str, why_not: str) -> None:
    """Note that a backend is not installed."""
    global native_tensors
    missing[name] = why_not
    native_tensors = native_tensors and name != "native"


def select(name: str | None) -> None:
    """Leave only the backend of this name; None: every one."""
    global arrays, native_tensors, composed
    if name in missing:
        raise BackendError("", "backend", repr(name), f"one that is available ({missing[name]})")
    if name not in (None, "composed", *names):
        raise BackendError("", "backend", repr(name), " or ".join(map(repr, names)))
    arrays = None if name == "composed" else name
    native_tensors = name in (None, "native") and "native" not in missing
    composed = name in (None, "composed")


def refuse_tensor(device: object) -> NoReturn:
    """Refuse a tensor that the native backend cannot read, where only this is left."""
    raise BackendError("", f"a tensor on {device}", "backend 'native'", "CPU memory", verb="cannot be run by")


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Run everything on one backend inside a ``with`` block: for comparisons and tests.

    "composed" computes tensors with PyTorch's operations, as on a device; arrays as without it.
    """
    global arrays, native_tensors, composed
    before = arrays, native_tensors, composed
    select(name)
    try:
        yield
    finally:
        arrays, native_tensors, composed = before


def select_by_environment() -> None:
    """Select what ``LASTLAYER_BACKEND`` names. Called once the backends have said what they lack."""
    select(os.environ.get("LASTLAYER_BACKEND") or None)

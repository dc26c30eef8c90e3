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

# What each switch allows. Plain variables: a call of three logits reads them too.
native = True  # the core, for arrays
native_tensors = True  # the core, for tensors
composed = True  # PyTorch's operations
reference = True

missing: dict[str, str] = {}  # a backend that is not installed -> why not
_ALLOWED = {
    None: (True, True, True, True),
    "native": (True, True, False, False),
    "composed": (True, False, True, True),
    "reference": (False, False, False, True),
}


def _switch(allowed: tuple[bool, bool, bool, bool]) -> None:
    global native, native_tensors, composed, reference
    native, native_tensors, composed, reference = allowed
    if "native" in missing:
        native = native_tensors = False


def lack(name: str, why_not: str) -> None:
    """Note that a backend is not installed."""
    missing[name] = why_not
    _switch((native, native_tensors, composed, reference))


def select(name: str | None) -> None:
    """Leave only the backend of this name; None: every one."""
    if name in missing:
        raise BackendError("", "backend", repr(name), f"one that is available ({missing[name]})")
    if name not in _ALLOWED:
        raise BackendError("", "backend", repr(name), "'native' or 'reference'")
    _switch(_ALLOWED[name])


def refuse_tensor(device: object) -> NoReturn:
    """Refuse a tensor that the native backend cannot read, where only this is left."""
    raise BackendError("", f"a tensor on {device}", "backend 'native'", "CPU memory", verb="cannot be run by")


@contextmanager
def use(name: str | None) -> Iterator[None]:
    """Run everything on one backend inside a ``with`` block: for comparisons and tests.

    "composed" computes tensors with PyTorch's operations, as on a device; arrays as without it.
    """
    before = native, native_tensors, composed, reference
    select(name)
    try:
        yield
    finally:
        _switch(before)


def select_by_environment() -> None:
    """Select what ``LASTLAYER_BACKEND`` names. Called once the backends have said what they lack."""
    select(os.environ.get("LASTLAYER_BACKEND") or None)

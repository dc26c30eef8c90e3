"""Choose the backend of a call. In: checked scores, or the user's argument. Out: a module of functions.

For arrays it is the first backend of the list that `selection` allows and whose ``why_not`` returns None: the
native core for NumPy arrays, the reference for all others. PyTorch tensors go to `backends.torch`, which
supports autograd and in which `choice` decides between the core, the kernels in Triton and PyTorch's
operations. Tensors are treated as arrays only where `selection` allows nothing but the reference.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from . import selection
from .backends import reference
from .backends.backend import Backend
from .backends.core import native
from .errors import BackendError
from .problem import Scores

__all__ = ["Availability", "backend", "heads_of_tensors", "show_backends", "tensor_functions"]

_BACKENDS: tuple[Backend, ...] = (native, reference)  # first choice first
_INSTALLED = tuple(backend for backend in _BACKENDS if backend.name not in selection.missing)

# Imported at the first tensor: PyTorch is not imported for arrays.
_functions: Any = None  # lastlayer.backends.torch.entry
_heads: Any = None  # lastlayer.backends.torch.head


def backend(scores: Scores) -> Backend:
    """The first backend that can compute these scores."""
    only = selection.arrays
    for candidate in _INSTALLED:
        if (only is None or candidate.name == only) and candidate.why_not(scores) is None:
            return candidate
    left = [candidate for candidate in _INSTALLED if only in (None, candidate.name)]
    reasons = [f"{candidate.name}: {candidate.why_not(scores)}" for candidate in left]
    raise BackendError(scores.function, "no backend", f"this ({'; '.join(reasons)})", verb="can run")


def tensor_functions(x: Any) -> Any:
    """The module with the functions for ``x`` if it is a PyTorch tensor; None for arrays."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return None
    if not selection.tensors:
        return None
    global _functions
    if torch.compiler.is_compiling():  # writing to the global variable would cause a recompilation
        from .backends.torch import entry as functions

        return functions
    if _functions is None:
        from .backends.torch import entry as functions

        _functions = functions
    return _functions if type(x) is torch.Tensor else _functions.functions_for(_functions, x)


def heads_of_tensors(x: Any, weight: Any) -> Any:
    """The module with the functions of the linear head if ``x`` is a PyTorch tensor; None for arrays."""
    global _heads
    functions = tensor_functions(x)
    if functions is None:
        return None
    if functions.torch.compiler.is_compiling():  # as in `tensor_functions`
        from .backends.torch import head as heads

        return heads
    if _heads is None:
        from .backends.torch import head as heads  # once: the statement takes as long as a small product

        _heads = heads
    return functions.functions_for(_heads, x, weight)


class Availability(NamedTuple):
    """One backend, and whether it can run on this machine."""

    name: str
    arrays: str
    why_not: str | None


class Backends(tuple[Availability, ...]):
    """The result of ``show_backends``; prints as a table."""

    def __repr__(self) -> str:
        lines = []
        for name, arrays, why_not in self:
            lines.append(f"{name:<10} {arrays if why_not is None else 'not available: ' + why_not}")
        return "\n".join(lines)


def show_backends() -> Backends:
    """The available backends, the arrays that each computes, and why others are not available.

    Imports PyTorch, if it is installed, to find its devices.

    Returns
    -------
    Backends
        A tuple of ``(name, arrays, why_not)``, first choice first; ``why_not`` is None for one that can run.

    Examples
    --------
    >>> import lastlayer as ll
    >>> ll.show_backends()[-1].name
    'reference'
    """
    found = []
    for candidate in _BACKENDS:
        why_not = selection.missing.get(candidate.name)
        if why_not is None and selection.arrays not in (None, candidate.name):
            why_not = "left out by LASTLAYER_BACKEND"
        what = ", ".join(filter(None, (candidate.arrays, candidate.describe())))
        found.append(Availability(candidate.name, what, why_not))
    kernels = Availability("triton", "CUDA tensors", _why_not_triton())
    return Backends([*found[:-1], kernels, found[-1]])


def _why_not_triton() -> str | None:
    """Why the kernels in Triton cannot run on this machine; None if they can."""
    if not selection.triton:
        return "left out by LASTLAYER_BACKEND"
    try:
        import torch

        from .backends.triton import runtime
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported: {error}"
    if torch.cuda.is_available():
        return runtime.why_not(torch.empty(0, device="cuda"))
    if os.environ.get("TRITON_INTERPRET") == "1":
        return runtime.why_not(torch.empty(0))
    return "no CUDA device"


selection.names += [candidate.name for candidate in _BACKENDS]
selection.select_by_environment()

"""Start kernels with little delay. In: a kernel, its grid and its arguments. Out: nothing, or its registers.

Triton's own launcher finds out at each call for which types and alignments a kernel has to be compiled; that
takes longer than a small problem. Here a compiled kernel is looked up by what its caller has decided, and is
started by its handle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .runtime import INTERPRETED

__all__ = ["Base", "Workspace", "launch", "processors", "registers", "workspace"]

Handle = tuple[Any, Any, Any, int]  # run, function, metadata, registers
_handles: dict[Any, Handle] = {}
_processors: dict[int, int] = {}
_workspaces: dict[tuple[int, int], Workspace] = {}

MOST_PARTS = 4096  # of a sum over all rows


class Base(NamedTuple):
    """The address of a tensor, rounded down to 16 bytes: where a kernel that reads whole vectors starts."""

    dtype: torch.dtype
    address: int

    def data_ptr(self) -> int:
        return self.address


class Workspace(NamedTuple):
    """Memory for sums over rows: parts, and a counter that is 0 before and after each launch."""

    parts: Tensor
    counter: Tensor


def launch(
    kernel: Any, grid: int, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int
) -> None:
    """Start ``kernel`` on the device and the stream of its first argument, a tensor."""
    if grid == 0:
        return
    if INTERPRETED:
        kernel[(grid,)](*arguments, *constants, num_warps=warps)
        return
    device = _device_of(arguments)
    if device != torch._C._cuda_getDevice():
        with torch.cuda.device(device):
            _launch(kernel, grid, arguments, constants, warps, device)
    else:
        _launch(kernel, grid, arguments, constants, warps, device)


def _device_of(arguments: tuple[Any, ...]) -> int:
    for x in arguments:
        if isinstance(x, Tensor):
            return x.get_device()
    raise AssertionError("a kernel without tensors")


def _launch(
    kernel: Any, grid: int, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int, device: int
) -> None:
    run, function, metadata, _ = _handle(kernel, grid, arguments, constants, warps, device)
    if run is None:  # compiled, and started by that
        return
    stream = torch._C._cuda_getCurrentRawStream(device)
    found = [x if type(x) is int or type(x) is float or x is None else x.data_ptr() for x in arguments]
    run(grid, 1, 1, stream, function, metadata, None, None, None, *found, *constants)


def _key(kernel: Any, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int, device: int) -> Any:
    types = tuple([None if type(x) is int or type(x) is float or x is None else x.dtype for x in arguments])
    return kernel, types, constants, warps, device


def _handle(
    kernel: Any, grid: int, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int, device: int
) -> Handle:
    key = _key(kernel, arguments, constants, warps, device)
    found = _handles.get(key)
    if found is None:
        compiled = kernel[(grid,)](*arguments, *constants, num_warps=warps)
        run = compiled.run  # loads the kernel
        _handles[key] = run, compiled.function, compiled.packed_metadata, compiled.n_regs
        return None, None, None, compiled.n_regs
    return found


def registers(kernel: Any, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int) -> int:
    """The registers of a thread of a kernel that has run; a guess before that."""
    if INTERPRETED:
        return 64
    found = _handles.get(_key(kernel, arguments, constants, warps, _device_of(arguments)))
    return 64 if found is None else found[3]


def processors(x: Tensor) -> int:
    """The multiprocessors of a tensor's device."""
    if INTERPRETED:
        return 2
    device = x.get_device()
    found = _processors.get(device)
    if found is None:
        found = torch.cuda.get_device_properties(device).multi_processor_count
        _processors[device] = found
    return found


def workspace(x: Tensor) -> Workspace:
    """Memory for sums over rows, of the stream on which ``x`` is computed.

    Kernels of one stream follow each other and share it. A graph that is being captured gets its own, since
    it may be replayed on any stream.
    """
    if INTERPRETED:
        return _new_workspace(x)
    device = x.get_device()
    if torch.cuda.is_current_stream_capturing():
        return _new_workspace(x)
    key = device, torch._C._cuda_getCurrentRawStream(device)
    found = _workspaces.get(key)
    if found is None:
        found = _workspaces[key] = _new_workspace(x)
    return found


def _new_workspace(x: Tensor) -> Workspace:
    return Workspace(
        torch.empty(2 * MOST_PARTS, dtype=torch.float64, device=x.device),
        torch.zeros(1, dtype=torch.int32, device=x.device),
    )

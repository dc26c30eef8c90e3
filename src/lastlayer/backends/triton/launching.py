"""Start kernels with little delay. In: a kernel, its grid and its arguments. Out: nothing.

Triton's own launcher finds out at each call for which types and alignments a kernel has to be compiled; that
takes longer than a small problem. Here a compiled kernel is looked up by what its caller has decided, and is
started by its handle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .runtime import INTERPRETED

__all__ = ["Base", "Workspace", "handle_of", "launch", "processors", "stream_workspace", "workspace"]

Handle = tuple[Any, Any, Any]  # run, function, metadata
_handles: dict[Any, Handle] = {}
_processors: dict[int, int] = {}
_workspaces: dict[tuple[int, int], Workspace] = {}

LEAST = 1 << 14  # parts and rows for which memory is kept


class Base(NamedTuple):
    """The address of a tensor, rounded down to 16 bytes: where a kernel that reads whole vectors starts."""

    dtype: torch.dtype
    address: int

    def data_ptr(self) -> int:
        return self.address


class Workspace(NamedTuple):
    """Memory for sums over rows, see `sums.finish`; counters of the parts of rows, see `long.spans`."""

    parts: Tensor  # float64
    counters: Tensor  # 0 before and after each launch
    arrived: Tensor  # likewise


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
    run, function, metadata = _handle(kernel, grid, arguments, constants, warps, device)
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
        _handles[key] = run, compiled.function, compiled.packed_metadata
        return None, None, None
    return found


def handle_of(
    kernel: Any, arguments: tuple[Any, ...], constants: tuple[Any, ...], warps: int, device: int
) -> Handle | None:
    """What starts a kernel that has been launched before; None if it was not."""
    return _handles.get(_key(kernel, arguments, constants, warps, device))


def stream_workspace(x: Tensor, device: int, stream: int, parts: int) -> Workspace:
    """As `workspace`, where the stream is known."""
    found = _workspaces.get((device, stream))
    if found is None or parts > LEAST or torch._C._cuda_isCurrentStreamCapturing():
        return workspace(x, parts)
    return found


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


def workspace(x: Tensor, parts: int, rows: int = 0) -> Workspace:
    """Memory for a sum of ``parts``, and for counters of ``rows``, on the stream on which ``x`` is computed.

    Kernels of one stream follow each other and share it. A graph that is being captured gets its own, since
    it may be replayed on any stream.
    """
    if INTERPRETED or torch.cuda.is_current_stream_capturing():
        return _new_workspace(x, parts, rows)
    device = x.get_device()
    key = device, torch._C._cuda_getCurrentRawStream(device)
    found = _workspaces.get(key)
    if found is None or found.parts.numel() < _numbers(parts) or found.arrived.numel() < rows:
        parts, rows = max(parts, LEAST), max(rows, LEAST)
        if found is not None:
            parts, rows = max(parts, found.parts.numel() // 2), max(rows, found.arrived.numel())
        found = _workspaces[key] = _new_workspace(x, parts, rows)
    return found


def _numbers(parts: int) -> int:
    return 2 * parts + 2 * _groups(parts)


def _groups(parts: int) -> int:
    return -(-parts // 128)  # `sums.GROUP`


def _new_workspace(x: Tensor, parts: int, rows: int) -> Workspace:
    return Workspace(
        torch.empty(_numbers(parts), dtype=torch.float64, device=x.device),
        torch.zeros(1 + _groups(parts), dtype=torch.int32, device=x.device),
        torch.zeros(rows, dtype=torch.int32, device=x.device),
    )

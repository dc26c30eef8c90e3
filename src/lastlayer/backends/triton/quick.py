"""Small problems without delay: what a call of the same kind launched is launched again.

In: tensors. Out: tensors, or None where such a call was not prepared; `fast` then computes it. For a few
thousand scores the time of a call is that of Python and of the launch, so as little as possible is done here:
a kind of call (shapes, dtypes, options) is looked up, memory is allocated, and the kernel is started.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import fast
from .fast import Launch
from .launching import handle_of, stream_workspace
from .runtime import INTERPRETED
from .sums import FEW_ROWS

__all__ = ["gradient", "loss", "prepare_loss", "prepare_softmax", "softmax"]

MOST = 1 << 16  # scores of a small problem
KINDS = 1 << 12  # that are remembered

_Kind = tuple[Launch, dict[int, Any]]  # and the handle of the kernel, by device
_kinds: dict[Any, _Kind | None] = {}  # None: such calls are not prepared
_numbers: dict[int, Tensor] = {}  # a float32 number on each device, for its kind
_device = torch._C._cuda_getDevice if hasattr(torch._C, "_cuda_getDevice") else lambda: -1


def loss(x: Tensor, y: Tensor, form: Any) -> Tensor | None:
    """The mean or sum of the losses."""
    found = _kinds.get((fast.LOSS, x.shape, x.dtype, y.shape, y.dtype, form, x.data_ptr() & 15))
    if found is None or not y.is_contiguous() or not x.is_contiguous():
        return None
    number = _numbers.get(x.get_device())
    if number is None:
        number = _numbers[x.get_device()] = torch.empty((), dtype=torch.float32, device=x.device)
    result = torch.empty_like(number)
    return result if _start(found, x, None, y, result) else None


def gradient(x: Tensor, y: Tensor, form: Any) -> tuple[Tensor, Tensor] | None:
    """The mean or sum of the losses, and its gradient."""
    found = _kinds.get((fast.GRADIENT, x.shape, x.dtype, y.shape, y.dtype, form, x.data_ptr() & 15))
    if found is None or not y.is_contiguous() or not x.is_contiguous():
        return None
    number = _numbers.get(x.get_device())
    if number is None:
        number = _numbers[x.get_device()] = torch.empty((), dtype=torch.float32, device=x.device)
    result, dx = torch.empty_like(number), torch.empty_like(x)
    return (result, dx) if _start(found, x, dx, y, result) else None


def softmax(x: Tensor, log: bool) -> Tensor | None:
    """Softmax or log-softmax along the last axis."""
    mode = fast.LOG_SOFTMAX if log else fast.SOFTMAX
    found = _kinds.get((mode, x.shape, x.dtype, x.data_ptr() & 15))
    if found is None or not x.is_contiguous():
        return None
    out = torch.empty_like(x)
    return out if _start(found, x, out, None, None) else None


def _start(kind: _Kind, x: Tensor, out: Tensor | None, y: Tensor | None, result: Tensor | None) -> bool:
    """Start the kernel; False if it has to be compiled first, or belongs to another device."""
    launch, handles = kind
    device = x.get_device()
    if device != _device():
        return False
    handle = handles.get(device)
    parts = counters = None
    stream = torch._C._cuda_getCurrentRawStream(device)
    if y is not None:
        workspace = stream_workspace(x, device, stream, launch.programs)
        parts, counters = workspace.parts, workspace.counters
    if handle is None:
        pointers = x, out, y, None, None, None, None, result, parts, counters
        handle = handle_of(
            launch.kernel, (*pointers, *launch.numbers), launch.constants, launch.warps, device
        )
        if handle is None:
            return False
        handles[device] = handle
    run, function, metadata = handle
    if y is None:
        assert out is not None
        run(
            launch.programs, 1, 1, stream, function, metadata, None, None, None,
            x.data_ptr(), out.data_ptr(), None, None, None, None, None, None, None, None,
            *launch.numbers, *launch.constants,
        )  # fmt: skip
    else:
        assert result is not None
        assert parts is not None
        assert counters is not None
        run(
            launch.programs, 1, 1, stream, function, metadata, None, None, None,
            x.data_ptr(), None if out is None else out.data_ptr(), y.data_ptr(), None, None, None, None,
            result.data_ptr(), parts.data_ptr(), counters.data_ptr(), *launch.numbers, *launch.constants,
        )  # fmt: skip
    return True


def prepare_loss(x: Tensor, shape: torch.Size, usual: fast.Usual, form: Any, writes: bool) -> None:
    """Remember how a loss, or a loss and its gradient, is computed: the next of its kind is quick.

    ``shape``: that of the targets.
    """
    mode = fast.GRADIENT if writes else fast.LOSS
    key = mode, x.shape, x.dtype, shape, usual.y.dtype, form, x.data_ptr() & 15
    n, small = usual.rows.n, x.numel() <= MOST
    counted = fast.ROWS if writes and usual.reduction == fast.MEAN else fast.FACTOR
    if usual.reduction == fast.NONE or (counted == fast.ROWS and n > FEW_ROWS.value):
        small = False
    _remember(key, x, usual.rows, small, mode, usual.reduction, counted, usual.ignore, usual.factor, writes)


def prepare_softmax(x: Tensor, log: bool) -> None:
    """As `prepare_loss`."""
    mode = fast.LOG_SOFTMAX if log else fast.SOFTMAX
    rows = fast.rows_of(x, -1)
    if rows is not None:
        key = mode, x.shape, x.dtype, x.data_ptr() & 15
        _remember(key, x, rows, x.numel() <= MOST, mode, fast.NONE, fast.FACTOR, 0, 1.0, True)


def _remember(
    key: Any, x: Tensor, rows: fast.Rows, small: bool, mode: int, reduction: int, counted: int, ignore: int,
    factor: float, writes: bool,
) -> None:  # fmt: skip
    if INTERPRETED or key in _kinds:
        return
    n, classes, stride = rows
    if len(_kinds) >= KINDS:
        _kinds.clear()
    if not small or n == 0 or stride != classes or not fast.is_short(classes, x.element_size(), writes):
        _kinds[key] = None
        return
    straight = x.data_ptr() % 16 == 0
    size = x.element_size()
    vector = fast.alignment(size, classes, stride, x.data_ptr() // size)
    launch = fast.short_launch(
        rows, stride if writes else 0, x.dtype, vector, straight, mode, reduction, False, counted, ignore,
        factor, writes,
    )  # fmt: skip
    _kinds[key] = launch, {}

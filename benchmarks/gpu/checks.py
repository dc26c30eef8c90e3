"""Whether the answers are right. In: functions of `contenders`. Out: None, or what is wrong, in words.

Memory is filled with NaN before a function runs, so that an entry that was not written shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from contenders import OURS
from shapes import Shape
from timing import Run
from torch import Tensor

__all__ = ["Truth", "captured", "equal", "peak_memory", "poison", "repeated", "tensors_of", "without_waiting"]

PART = 1 << 24  # numbers in float64 at a time
ROWS = 64

# Relative, of lastlayer (`accuracy` measures closer); of the others 100 times as much: some round every step.
TOLERANCE = {torch.bfloat16: 1.2e-2, torch.float32: 1e-5}


def tensors_of(answer: Any) -> list[Tensor]:
    return [t for t in (answer if isinstance(answer, (tuple, list)) else (answer,)) if t is not None]


def rows_of(x: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Some rows of a tensor, its class axis last, in float64."""
    if x.ndim == 2 and axis in (-1, 1):
        return x[rows].double()
    return x.movedim(axis, -1).flatten(0, -2)[rows].double()


class Truth:
    """The results of some rows, and the mean loss of all, in float64."""

    def __init__(self, shape: Shape, z: Tensor, y: Tensor) -> None:
        self.shape, self.dtype = shape, z.dtype
        count = min(shape.rows, ROWS)
        self.rows = torch.linspace(0, shape.rows - 1, count, device=z.device, dtype=torch.float64).long()
        scores, labels = rows_of(z, shape.axis, self.rows), y.flatten()[self.rows]
        log_p = torch.log_softmax(scores, 1)
        hot = torch.zeros_like(log_p).scatter_(1, labels[:, None], 1)
        self.softmax, self.log_softmax = log_p.exp(), log_p
        self.gradient = (self.softmax - hot) / shape.rows
        self.loss = self._mean_loss(z, y)

    def _mean_loss(self, z: Tensor, y: Tensor) -> float:
        total = torch.zeros((), dtype=torch.float64, device=z.device)
        step = max(1, PART * z.shape[0] // z.numel())
        for start in range(0, z.shape[0], step):
            part = z[start : start + step].double()
            picked = part.gather(self.shape.axis, y[start : start + step].unsqueeze(self.shape.axis))
            total += part.logsumexp(self.shape.axis).sum() - picked.sum()
        return float(total) / self.shape.rows

    def wrong(self, function: str, contender: str, answer: Any) -> str | None:
        """What is wrong with an answer."""
        found = tensors_of(answer)
        near = TOLERANCE[self.dtype] * (1 if contender == OURS else 100)
        if function not in ("softmax", "log_softmax"):
            rounded = contender != OURS and self.dtype != torch.float32  # a loss in 16 bits
            error = abs(float(found[0]) - self.loss)
            if not error <= (1e-2 if rounded else 1e-5) * abs(self.loss):
                return f"loss {float(found[0])!r}, not {self.loss!r}"
        if function == "loss":
            return None
        truth = {"softmax": self.softmax, "log_softmax": self.log_softmax}.get(function, self.gradient)
        value = found[-1]
        if not bool(torch.isfinite(value).all()):
            return f"{int((~torch.isfinite(value)).sum())} of {value.numel()} results are not finite"
        got = rows_of(value, self.shape.axis, self.rows)
        least = 0.0 if contender == OURS else near * float(truth.abs().max())
        bad = ~((got - truth).abs() <= near * truth.abs() + least + 1e-37)
        return f"{int(bad.sum())} of {bad.numel()} results are off" if bool(bad.any()) else None


def poison(like: Tensor) -> None:
    """Fill freed memory of this size, which the next allocation gets, with NaN."""
    torch.full_like(like, torch.nan)


def equal(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def repeated(run: Run) -> str | None:
    """Whether a second call gives the same bits."""
    first = [t.clone() for t in tensors_of(run())]
    return None if equal(first, tensors_of(run())) else "differs from run to run"


def captured(run: Run) -> str | None:
    """Whether a CUDA graph, replayed, gives the bits of a call."""
    first = [t.clone() for t in tensors_of(run())]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = tensors_of(run())
    for t in kept:
        t.fill_(torch.nan)
    graph.replay()
    torch.cuda.synchronize()
    return None if equal(first, kept) else "a replayed graph differs"


def without_waiting(run: Run) -> str | None:
    """Whether a call returns without waiting for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return f"waits for the GPU: {error}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def peak_memory(run: Run, z: Tensor) -> float:
    """The peak of a call beyond what was there before and its results, as a multiple of the logits."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = tensors_of(run())
    torch.cuda.synchronize()
    results = sum(t.numel() * t.element_size() for t in kept)
    peak = torch.cuda.max_memory_allocated() - before - results
    return round(peak / (z.numel() * z.element_size()), 4)

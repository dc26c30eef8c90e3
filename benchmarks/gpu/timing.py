"""Time on the GPU alone. In: functions that launch kernels. Out: milliseconds, each the median of a few.

The GPU sleeps while the host launches: the events around a function then have no launch between them that
the GPU had to wait for. Before each time the second-level cache is overwritten. All functions run in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

__all__ = ["Clock", "Measured", "Run", "small_calls"]

Run = Callable[[], Any]

FLUSHED = 256 << 20  # bytes: more than the second-level cache of any card
CYCLES = 2e9  # of the GPU's clock in a second, at most


class Measured(NamedTuple):
    """Milliseconds: the median and the least; whether the launches were hidden from them."""

    ms: float
    least: float
    hidden: bool


class Clock:
    """Times functions on a device; on the CPU, for a dry run, by the wall clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.flushed = None
        if device.type == "cuda":
            self.flushed = torch.empty(FLUSHED, dtype=torch.int8, device=device)

    def in_turns(self, runs: dict[str, Run], repetitions: int) -> dict[str, Measured]:
        """Time all runs in turns, after two untimed rounds."""
        sleep = {name: self._launching(run) for name, run in runs.items()}
        times: dict[str, list[tuple[float, bool]]] = {name: [] for name in runs}
        for _ in range(repetitions):
            for name, run in runs.items():
                one = self._once(run, sleep[name])
                if not one[1] and sleep[name] < 0.02:  # a slow launch, or a function that waits for the GPU
                    sleep[name] *= 2
                    one = self._once(run, sleep[name])
                times[name].append(one)
        return {
            name: Measured(
                statistics.median(ms for ms, _ in found),
                min(ms for ms, _ in found),
                sum(hidden for _, hidden in found) > len(found) // 2,
            )
            for name, found in times.items()
        }

    def _launching(self, run: Run) -> float:
        """Seconds for the GPU to sleep: twice the host's time for this function."""
        run()
        self.wait()
        start = time.perf_counter()
        run()
        found = time.perf_counter() - start
        self.wait()
        return min(0.02, 2 * found + 50e-6)

    def _once(self, run: Run, sleep: float) -> tuple[float, bool]:
        if self.flushed is None:
            begin = time.perf_counter()
            run()
            return (time.perf_counter() - begin) * 1e3, True
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flushed.zero_()
        torch.cuda._sleep(int(sleep * CYCLES))
        start.record()
        run()
        end.record()
        hidden = not start.query()
        self.wait()
        return start.elapsed_time(end), hidden

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def small_calls(clock: Clock, runs: dict[str, Run], calls: int, blocks: int) -> dict[str, float]:
    """Microseconds of wall time of a call, launch included: the median of blocks of calls, in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for block in range(blocks + 1):
        for name, run in runs.items():
            clock.wait()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            clock.wait()
            if block:  # the first warms up
                times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}

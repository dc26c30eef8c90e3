"""Compile every kernel before it is timed, in processes side by side. In: shapes. Out: caches on disk."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from accuracy import SIZES, largest_errors
from contenders import FUNCTIONS, compiled, ours
from rules import RULES
from sanitize import SHAPES as SANITIZED
from sanitize import every_function
from shapes import DTYPES, Shape
from small import small
from timing import Clock

__all__ = ["one_part", "start", "wait"]

Job = tuple[str, Callable[[], object]]


def jobs(shapes: list[Shape], options: argparse.Namespace, device: torch.device) -> Iterator[Job]:
    """Everything that compiles, with a name."""
    functions = options.only or FUNCTIONS
    peers = [name for name in ("softmax", "loss", "both ways") if options.compile and name in functions]
    for shape in shapes:
        for dtype in options.dtypes:
            yield f"{shape.name} {dtype}", lambda s=shape, d=dtype: of_ours(s, d, functions, device)  # type: ignore[misc]
            for name in peers:
                what = f"{shape.name} {dtype} {name}, compiled"
                yield what, lambda s=shape, d=dtype, n=name: of_compile(s, d, n, device)  # type: ignore[misc]
    if options.general:
        for size in SIZES:
            yield f"accuracy {size}", lambda n=size: largest_errors(device, (n,), (1,))  # type: ignore[misc]
        yield "small calls", lambda: small(Clock(device), 1, 1)
        for rule, check in RULES.items():
            yield rule, lambda f=check: f(device)  # type: ignore[misc]
        for shape in SANITIZED:
            yield f"sanitizer {shape.name}", lambda s=shape: every_function(s, device)  # type: ignore[misc]


def of_ours(shape: Shape, dtype: str, functions: Sequence[str], device: torch.device) -> None:
    z, y = shape.data(DTYPES[dtype], device)
    for name in functions:
        ours(name, shape, z, y)()


def of_compile(shape: Shape, dtype: str, function: str, device: torch.device) -> None:
    torch._dynamo.reset()
    for run in compiled(function, shape, *shape.data(DTYPES[dtype], device)).values():
        run()


def one_part(part: int, parts: int, shapes: list[Shape], options: argparse.Namespace) -> None:
    """Run every n-th job; whatever fails here fails again, and is noted, when it is timed."""
    device = torch.device("cuda", 0)
    found = list(jobs(shapes, options, device))
    random.Random(0).shuffle(found)  # large tensors spread over the processes and over time
    for name, job in found[part::parts]:
        began = time.monotonic()
        try:
            job()
            torch.cuda.synchronize()
            print(f"warm-up: {name}: {time.monotonic() - began:.1f} s", flush=True)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            print(f"warm-up: {name}: {type(error).__name__}: {text}", flush=True)
        torch.cuda.empty_cache()


def start(parts: int, arguments: list[str]) -> list[subprocess.Popen[bytes]]:
    """Start the processes: this benchmark with the same arguments, each with its part."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("run.py")), *arguments]
    return [
        subprocess.Popen([*command, "--part", f"{part}/{parts}"], env=environment) for part in range(parts)
    ]


def wait(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait until all have ended, and end those that take longer."""
    end = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

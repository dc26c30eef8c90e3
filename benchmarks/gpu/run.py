"""Measure softmax and cross-entropy on a GPU beside their peers: a table, and a record.

    python benchmarks/gpu/run.py                           everything, into benchmarks/record/gpu
    python benchmarks/gpu/run.py --shapes 100 4096x50257   columns or shapes
    python benchmarks/gpu/run.py --only softmax loss       functions
    python benchmarks/gpu/run.py --budget 120              stops after two minutes, with what it has
    TRITON_INTERPRET=1 LASTLAYER_BACKEND=triton python benchmarks/gpu/run.py --device cpu --quick

First every kernel is compiled, in processes side by side (`warm`). Every answer is compared with float64
before it is timed (`checks`), by GPU time alone and beside a copy of the same tensor (`timing`). The record
is written after every shape. A function that fails is noted, and the others are measured all the same. After
an error from which CUDA does not recover, the benchmark starts itself again behind that shape.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accuracy import largest_errors
from checks import Truth, captured, peak_memory, poison, repeated, without_waiting
from contenders import BYTES, FUNCTIONS, OURS, contenders
from rules import RULES
from shapes import DTYPES, SHAPES, TINY, Shape, selected
from small import small
from table import faults, rendered
from timing import Clock, Run
from torch import Tensor
from warm import one_part, start, wait

RECORDS = Path(__file__).resolve().parents[1] / "record" / "gpu"
WARM_SHARE = 0.4  # of the budget, at most, for compiling

Record = dict[str, Any]


def machine(device: torch.device) -> Record:
    """Describe the card and the versions."""
    found = {"card": "CPU", "python": sys.version.split()[0], "cuda": str(torch.version.cuda)}
    for package in ("lastlayer", "torch", "triton", "liger-kernel"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "card": properties.name,
            "processors": properties.multi_processor_count,
            "L2 MB": round(properties.L2_cache_size / 2**20),
            "memory GB": round(properties.total_memory / 2**30),
        }
    return found


class Session:
    """The record of one run, and where it is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.began = options, time.time()
        self.device = torch.device(options.device, 0 if options.device == "cuda" else None)
        self.clock = Clock(self.device)
        self.record: Record = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine(self.device),
            "began": self.began,
            "measured": [],
            "errors": [],
        }
        card = re.sub(r"[^a-z0-9]+", "-", self.record["machine"]["card"].lower()).strip("-")
        self.path = options.out / f"{self.record['date'][:10]}-{card}.json"
        if options.resume:
            self.record = json.loads(self.path.read_text())
            self.began = self.record["began"]

    @property
    def left(self) -> float:
        return float(self.options.budget - (time.time() - self.began))

    def write(self) -> None:
        self.record["seconds"] = round(time.time() - self.began, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.record, indent=1) + "\n")
        self.path.with_suffix(".md").write_text(rendered(self.record) + "\n")

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Note an error, and go on: in a new process if CUDA does not recover from it."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            self.record["errors"].append(f"{what}: {type(error).__name__}: {text}")
            print("FAILED", self.record["errors"][-1], flush=True)
            if self.device.type != "cuda":
                return
            torch.cuda.set_sync_debug_mode("default")
            try:
                torch.ones(1, device=self.device).item()
            except Exception:
                self.write()
                rest = [word for word in sys.argv[1:] if word != "--resume"]
                os._exit(subprocess.call([sys.executable, str(Path(__file__)), *rest, "--resume"]))


# ------------------------------ one shape


def measure(session: Session, one: Record, shape: Shape, dtype: str) -> None:
    """Check and time all functions of one shape and dtype; `one` is filled."""
    options = session.options
    z, y = shape.data(DTYPES[dtype], session.device)
    truth, copy = Truth(shape, z, y), torch.empty_like(z)
    if options.compile:
        torch._dynamo.reset()
    runs: dict[str, Run] = {"copy": lambda: copy.copy_(z)}
    for function in options.only or FUNCTIONS:
        found: Record = {"wrong": {}, "checks": {}}
        one["functions"][function] = found
        mine: dict[str, Run] = {}
        with session.noting(f"{one['shape']} {dtype} {function}"):
            mine = contenders(function, shape, z, y, options.compile, options.composed)
        for name, run in mine.items():
            with session.noting(f"{one['shape']} {dtype} {function}, {name}"):
                poison(z)
                wrong = truth.wrong(function, name, run())
                if wrong is not None:
                    found["wrong"][name] = wrong
                if name == OURS:
                    examine(session, found, run, z, f"{one['shape']} {dtype} {function}")
                runs[f"{function}, {name}"] = run
    with session.noting(f"{one['shape']} {dtype}, timing"):
        collect(one, session.clock.in_turns(runs, options.repetitions), z)


def examine(session: Session, found: Record, run: Run, z: Tensor, what: str) -> None:
    """Note what our function does beside its numbers."""
    checks: dict[str, Callable[[], str | None]] = {"repeated": lambda: repeated(run)}
    if session.device.type == "cuda":
        checks["waiting"] = lambda: without_waiting(run)
        if z.dtype == torch.bfloat16:  # other dtypes are launched in the same way
            checks["captured"] = lambda: captured(run)
        with session.noting(f"{what}, memory"):
            found["memory"] = peak_memory(run, z)
    for name, check in checks.items():
        with session.noting(f"{what}, {name}"):
            found["checks"][name] = check()


def collect(one: Record, times: dict[str, Any], z: Tensor) -> None:
    """Milliseconds by function and contender, and our shares of the speed of the copy."""
    copy = times.pop("copy").ms
    one["copy ms"] = round(copy, 5)
    one["copy TB/s"] = round(2 * z.numel() * z.element_size() / copy / 1e9, 3)
    for key, time_ in times.items():
        function, name = key.split(", ", 1)
        found = one["functions"][function]
        found.setdefault("ms", {})[name] = round(time_.ms, 5)
        found.setdefault("least", {})[name] = round(time_.least, 5)
        if not time_.hidden:
            found.setdefault("not hidden", []).append(name)
        if name == OURS:
            found["share"] = round(BYTES[function] / 2 * copy / time_.ms, 7)


# ------------------------------ all of it


def in_general(session: Session) -> None:
    """Small calls, accuracy, and the rules."""
    options, record = session.options, session.record
    sizes = {"sizes": (10, 257), "entries": 1 << 10} if options.quick else {}
    if "small" not in record:
        record["small"] = []
        with session.noting("small calls"):
            record["small"] = small(session.clock, *((1, 1) if options.quick else ()))
    if "accuracy" not in record:
        record["accuracy"] = {}
        with session.noting("accuracy"):
            record["accuracy"] = largest_errors(session.device, **sizes)  # type: ignore[arg-type]
    if session.device.type == "cuda":
        rules = record.setdefault("rules", {})
        for name, rule in RULES.items():
            if name not in rules:
                rules[name] = None
                with session.noting(name):
                    rules[name] = rule(session.device)
    session.write()


def all_shapes(session: Session, shapes: list[Shape]) -> None:
    """Measure shape after shape, until the budget is spent."""
    record, longest = session.record, 0.0
    done = {(one["shape"], one["dtype"]) for one in record["measured"]}
    for shape in shapes:
        for dtype in session.options.dtypes:
            if (shape.name, dtype) in done:
                continue
            if session.left < longest:
                record["stopped"] = f"stopped before {shape.name} {dtype}: the budget is spent"
                session.write()
                return
            began = time.time()
            one: Record = {"shape": shape.name, "column": shape.column, "dtype": dtype, "functions": {}}
            record["measured"].append(one)
            with session.noting(f"{shape.name} {dtype}"):
                measure(session, one, shape, dtype)
            one["seconds"] = round(time.time() - began, 2)
            longest = max(longest, time.time() - began)
            if session.device.type == "cuda":
                torch.cuda.empty_cache()
            session.write()
            shares = {name: found.get("share") for name, found in one["functions"].items()}
            print(f"{shape.name} {dtype} {one['seconds']} s", shares, flush=True)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="tiny shapes, once: does it work?")
    parser.add_argument("--only", nargs="+", choices=FUNCTIONS)
    parser.add_argument("--shapes", nargs="+", help="shapes or columns")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="without torch.compile")
    parser.add_argument("--composed", action="store_true", help="also our way by PyTorch's operations")
    parser.add_argument("--no-general", dest="general", action="store_false", help="the shapes alone")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds, after which it stops")
    parser.add_argument("--processes", type=int, default=min(12, os.cpu_count() or 1), help="to compile in")
    parser.add_argument("--warm", action="store_true", help="compile, and measure nothing")
    parser.add_argument("--no-table", dest="table", action="store_false", help="do not print the table")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the record")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device; --device cpu --quick is a dry run")
    if options.quick:
        options.repetitions = 1
    if options.device == "cpu":
        options.compile = False
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    warnings.simplefilter("ignore")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # `warm` has compiled what inductor needs
    shapes = selected(TINY if options.quick else SHAPES, options.shapes)
    if options.part:
        part, parts = map(int, options.part.split("/"))
        one_part(part, parts, shapes, options)
        return 0
    began = time.time()
    if options.device == "cuda" and options.processes > 1 and not options.resume:
        arguments = [word for word in (sys.argv[1:] if argv is None else argv) if word != "--warm"]
        wait(start(options.processes, arguments), options.budget * WARM_SHARE)
        print(f"compiled in {time.time() - began:.1f} s", flush=True)
    if options.warm:
        return 0
    session = Session(options)
    session.began = min(session.began, began)
    session.record["began"] = session.began
    if options.general:
        in_general(session)
    all_shapes(session, shapes)
    session.write()
    if options.table:
        print(f"\n{rendered(session.record)}")
    print(f"\n{session.record['seconds']} s; {session.path}")
    return 1 if faults(session.record) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Build, test and measure on a machine with a GPU: what `make gpu` runs, unattended and without a network.

    python benchmarks/gpu/steps.py --budget 360 --out benchmarks/record/gpu
    TRITON_INTERPRET=1 LASTLAYER_BACKEND=triton python benchmarks/gpu/steps.py --device cpu    a dry run

1. The compiled core is built; meanwhile all kernels that will be timed are compiled (`warm`).
2. The tests that need a GPU run (tests/gpu).
3. The benchmark runs (`run`).
4. compute-sanitizer watches every function on small tensors (`sanitize`), where it is installed.

A step that fails or takes too long does not stop the next. Uses the interpreter that runs it, and whatever is
installed there. Writes one table and one record; what became of each step is in both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from glob import glob
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECORDS = HERE.parent / "record" / "gpu"

# Of the whole budget, at most.
BUILDING, TESTING = 0.3, 0.3
SANITIZING = 60.0  # seconds of each tool
TOOLS = ("memcheck", "racecheck")

SAYING = ("test", *TOOLS)  # steps whose last line is part of the table
TAIL = 40  # lines of a step that failed


class Steps:
    """Runs commands, keeps what they print in files, and notes what became of them."""

    def __init__(self, budget: float, logs: Path) -> None:
        self.budget, self.began, self.logs = budget, time.monotonic(), logs
        logs.mkdir(parents=True, exist_ok=True)
        self.outcomes: dict[str, str] = {}
        self.logged: set[str] = set()
        self.failed = False
        paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # of each of many processes
        }

    @property
    def left(self) -> float:
        return self.budget - (time.monotonic() - self.began)

    def log(self, step: str) -> Path:
        return self.logs / f"{step}.log"

    def start(self, command: Sequence[str], step: str | None, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own; the output of a step goes to its file."""
        print("+", *command, flush=True)
        environment = {**self.environment, **variables}
        if step is None:
            return subprocess.Popen(list(command), cwd=ROOT, env=environment, start_new_session=True)
        with self.log(step).open("ab" if step in self.logged else "wb") as out:
            self.logged.add(step)
            return subprocess.Popen(
                list(command),
                cwd=ROOT,
                env=environment,
                start_new_session=True,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def finish(self, process: subprocess.Popen[bytes], seconds: float) -> int | None:
        """Wait for a command; None if it took too long and was ended with what it started."""
        try:
            return process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None

    def run(self, command: Sequence[str], step: str | None, seconds: float, **variables: str) -> int | None:
        return self.finish(self.start(command, step, **variables), seconds)

    def note(self, step: str, status: int | None, began: float, optional: bool = False) -> None:
        """Note what became of a step; too little time for an optional one is no failure."""
        took = time.monotonic() - began
        words = "took too long" if status is None else "done" if status == 0 else f"FAILED, status {status}"
        text = self.log(step).read_text(errors="replace") if step in self.logged else ""
        lines = [line for line in text.splitlines() if line.strip()]
        last = f": {lines[-1]}" if lines and step in SAYING else ""
        self.outcomes[step] = f"{words}, {took:.0f} s{last}"
        self.failed |= status != 0 and not (optional and status is None)
        if status != 0:
            print("\n".join(lines[-TAIL:]))
        print(f"= {step}: {self.outcomes[step]}; {self.left:.0f} s are left", flush=True)


def build(steps: Steps, seconds: float) -> int | None:
    """Build the compiled core: an editable installation, or CMake alone where pip is absent."""
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        status = steps.run([*pip, "--no-build-isolation", "--editable", "."], "build", seconds)
        if status == 0 or status is None:
            return status
    folder = ROOT / "build" / "gpu"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configured = steps.run(
        ["cmake", "-S", ".", "-B", str(folder), *generator, f"-DPython_EXECUTABLE={sys.executable}"],
        "build",
        60,
    )
    if configured != 0:
        return configured
    parallel = str(os.cpu_count() or 1)
    status = steps.run(["cmake", "--build", str(folder), "--parallel", parallel], "build", seconds)
    for core in folder.glob("_core*.so"):
        shutil.copy(core, ROOT / "src" / "lastlayer")
    return status


def benchmark(options: argparse.Namespace, *more: str) -> list[str]:
    command = [sys.executable, str(HERE / "run.py"), "--device", options.device, "--out", str(options.out)]
    return [*command, *(["--quick"] if options.device == "cpu" else []), *more]


def test(steps: Steps) -> int | None:
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "--tb=short",
        "-rfE",
        "-p",
        "no:cacheprovider",
    ]
    if importlib.util.find_spec("xdist"):
        pytest += ["-n", str(min(14, os.cpu_count() or 1))]
    # Warnings of other versions of other packages are no errors here.
    seconds = steps.budget * TESTING
    limit = {"LASTLAYER_TEST_SECONDS": f"{seconds - 10:.0f}"}  # the rest is skipped
    return steps.run([*pytest, "-W", "default", "tests/gpu"], "test", seconds + 20, **limit)


def sanitizer() -> str | None:
    """Where compute-sanitizer is."""
    found = shutil.which("compute-sanitizer")
    for pattern in ("bin/compute-sanitizer", "compute-sanitizer/compute-sanitizer"):
        found = found or next(iter(sorted(glob(f"/usr/local/cuda*/{pattern}"), reverse=True)), None)
    return found


def sanitize(steps: Steps) -> None:
    tool = sanitizer()
    for check in TOOLS:
        if tool is None:
            steps.outcomes[check] = "skipped: compute-sanitizer is not installed"
        elif steps.left < SANITIZING / 2:
            steps.outcomes[check] = "skipped: no time is left"
        else:
            began = time.monotonic()
            command = [
                tool,
                "--tool",
                check,
                "--error-exitcode",
                "9",
                sys.executable,
                str(HERE / "sanitize.py"),
            ]
            uncached = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
            status = steps.run(command, check, min(SANITIZING, steps.left), **uncached)
            steps.note(check, status, began, optional=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--budget", type=float, default=360.0, help="seconds, of all steps together")
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the table and the record")
    parser.add_argument(
        "--logs", type=Path, default=ROOT / "build" / "gpu", help="folder of what steps print"
    )
    parser.add_argument("--skip", nargs="+", default=[], choices=["build", "test", "measure", "sanitize"])
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    on_gpu = options.device == "cuda"
    steps = Steps(options.budget, options.logs.resolve())
    began = time.monotonic()
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            parser.error("no CUDA device; --device cpu is a dry run")
        warm = steps.start(benchmark(options, "--warm", "--budget", str(steps.budget)), "compile")
        if "build" not in options.skip:
            steps.note("build", build(steps, steps.budget * BUILDING), began)
        left = steps.budget * BUILDING - (time.monotonic() - began)
        steps.note("compile", steps.finish(warm, left), began, optional=True)
    if on_gpu and "test" not in options.skip:
        began = time.monotonic()
        steps.note("test", test(steps), began)
    if "measure" not in options.skip:
        began = time.monotonic()
        for_sanitizer = SANITIZING if on_gpu and "sanitize" not in options.skip and sanitizer() else 0
        seconds = steps.left - for_sanitizer - 10
        command = benchmark(options, "--processes", "1", "--budget", f"{seconds:.0f}", "--no-table")
        steps.note("measure", steps.run(command, None, seconds + 20), began)
    if on_gpu and "sanitize" not in options.skip:
        sanitize(steps)
    conclude(steps, options.out)
    return 1 if steps.failed else 0


def conclude(steps: Steps, folder: Path) -> None:
    """Add the steps to the newest record, and print its table."""
    written = [
        path for path in folder.glob("*.json") if path.stat().st_mtime > time.time() - steps.budget - 60
    ]
    if not written:
        print("\n".join(f"{name}: {what}" for name, what in steps.outcomes.items()))
        return
    sys.path[:0] = [str(HERE), str(ROOT / "src")]
    from table import rendered

    path = max(written, key=lambda path: path.stat().st_mtime)
    record = {**json.loads(path.read_text()), "steps": steps.outcomes}
    path.write_text(json.dumps(record, indent=1) + "\n")
    path.with_suffix(".md").write_text(rendered(record) + "\n")
    print(f"\n{rendered(record)}\n\n{time.monotonic() - steps.began:.0f} s; {path}")


if __name__ == "__main__":
    sys.exit(main())

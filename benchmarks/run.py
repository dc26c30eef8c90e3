"""Measure every demand on speed beside its peers, record it, and render the record.

    python benchmarks/run.py                     everything: a record in benchmarks/record, then --render
    python benchmarks/run.py --only softmax      one function (nothing is recorded unless --out is given)
    python benchmarks/run.py --quick             an eighth of the rows, three repetitions: does it work?
    python benchmarks/run.py --render            docs/performance.md and the README's table, from the record

All contenders of one measurement run in turns (A, B, C, A, B, C, ...) in one process, each answer is compared
with float64 before it is timed, and medians are compared: only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE)]

import gpu_pages  # noqa: E402 - found beside this file
from problems import DEMANDS, FUNCTIONS, LIMITS, PROBLEMS, Problem  # noqa: E402 - found beside this file

Record = dict[str, Any]


# ------------------------------ the machine


def set_threads(count: int) -> None:
    """Give every contender this many threads."""
    import torch

    torch.set_num_threads(count)
    os.environ["LASTLAYER_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        from lastlayer import _core
    except ImportError:
        return  # the reference backend has no threads
    _core.set_num_threads(count)


def machine() -> Record:
    """Describe the machine and the versions: enough to compare, nothing that names a place."""
    import numpy
    import scipy
    import sklearn
    import torch

    import lastlayer

    cpu = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text()
        named = re.search(r"model name\s*:\s*(.+)", info)
        cpu = named[1].strip() if named else cpu
    except OSError:
        pass
    try:
        from lastlayer import _core

        isa = str(_core.isa())
    except ImportError:
        isa = "reference backend only"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": cpu,
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "isa": isa,
        "python": platform.python_version(),
        "lastlayer": lastlayer.__version__,
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }


def write_record(record: Record, folder: Path) -> None:
    """Write a record under its date and processor; `record["date"]` begins with year, month and day."""
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", record["machine"]["cpu"].lower()).strip("-")
    (folder / f"{record['date'][:10]}-{slug}.json").write_text(json.dumps(record, indent=1) + "\n")


# ------------------------------ measuring


def in_turns(runs: dict[str, Callable[[], Any]], repetitions: int, budget: float) -> dict[str, list[float]]:
    """Time all runs in turns, in seconds per call: three rounds, then until `repetitions` or the budget."""
    loops = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        loops[name] = max(1, min(1000, math.ceil(0.004 / max(1e-9, time.perf_counter() - start))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.perf_counter()
    for done in range(repetitions):
        if done >= 3 and time.perf_counter() - begin > budget:
            break
        for name, run in runs.items():
            time.sleep(0.01)  # until the threads of the one before have stopped spinning
            if loops[name] > 1:
                run()  # and its data has left the cache
            start = time.perf_counter()
            for _ in range(loops[name]):
                run()
            times[name].append((time.perf_counter() - start) / loops[name])
    return times


def measure(function: str, problem: Problem, threads: int, options: argparse.Namespace) -> Record:
    """Measure one function on one problem: the median milliseconds of every contender."""
    from contenders import contenders

    set_threads(threads)
    times = in_turns(contenders(function, problem, threads), options.repetitions, options.budget)
    return {
        "function": function,
        "problem": problem.name,
        "entries": problem.rows * problem.classes,
        "threads": threads,
        "repetitions": len(times["lastlayer"]),
        "ms": {name: round(statistics.median(t) * 1e3, 4) for name, t in times.items()},
        "best_ms": {name: round(min(t) * 1e3, 4) for name, t in times.items()},
    }


SMALL = {
    "softmax of 3": ("x = np.array([0.1, 0.9, 4.0])", "ll.softmax(x)"),
    "cross_entropy of 1x3": ("x = np.array([[1.0, 1.1, 2.5]]); y = np.array([2])", "ll.cross_entropy(x, y)"),
}


def small_calls() -> Record:
    """Time calls on three numbers, in microseconds: the median of 15 timings of 2000 calls."""
    found = {}
    for name, (setup, call) in SMALL.items():
        timer = timeit.Timer(call, "import numpy as np, lastlayer as ll; " + setup)
        timer.timeit(200)
        found[name] = round(statistics.median(timer.repeat(15, 2000)) / 2000 * 1e6, 3)
    return found


BOTH_WAYS = """
x = torch.tensor([[1.0, 1.1, 2.5]], requires_grad=True); y = torch.tensor([2])
def both_ways(function):
    function(x, y).backward()
    x.grad = None
"""


def small_tensors() -> Record:
    """Time calls on three logits beside torch's, in turns on one thread: the ratio of the medians."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    setup = "import torch, torch.nn.functional as F, lastlayer.torch as lt" + BOTH_WAYS
    found = {}
    for name, call in (("forward of 1x3", "{}(x.detach(), y)"), ("both ways of 1x3", "both_ways({})")):
        timers = [timeit.Timer(call.format(f"{who}.cross_entropy"), setup) for who in ("lt", "F")]
        times: list[list[float]] = [[], []]
        for _ in range(15):
            for timer, seconds in zip(timers, times, strict=True):
                timer.timeit(200)
                seconds.append(timer.timeit(2000))
        ours, theirs = map(statistics.median, times)
        found[name] = round(ours / theirs, 3)
    torch.set_num_threads(before)
    return found


IMPORT = """
import sys, time
import numpy
start = time.perf_counter()
import lastlayer
print(time.perf_counter() - start, sum(name in sys.modules for name in ("torch", "scipy", "matplotlib")))
"""


def import_time(repetitions: int) -> Record:
    """Time `import lastlayer` in fresh processes that have imported NumPy; the median in milliseconds."""
    results = [fresh(IMPORT).split() for _ in range(repetitions)]
    return {
        "import": round(statistics.median(float(seconds) for seconds, _ in results) * 1e3, 2),
        "slow imports": max(int(count) for _, count in results),
    }


MEMORY = """
import sys, tracemalloc
import numpy as np
import lastlayer as ll

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024

rows, classes = 2048, 8000
x = np.zeros((rows, classes), np.float32)
np.random.default_rng(0).standard_normal(dtype=np.float32, out=x)
y = np.arange(rows) % classes
ll.cross_entropy_grad(x[:512], y[:512])  # starts the threads
beyond = 4 * x.size + 64 * rows
if sys.argv[1] == "autograd":
    import torch
    from lastlayer.torch import cross_entropy
    x, y = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
    cross_entropy(x[:512], y[:512]).backward()
    x.grad = None
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    cross_entropy(x, y).backward()
    print(peak() - before - 1.05 * 4 * x.numel())
elif sys.argv[1] == "numpy":
    tracemalloc.start()
    ll.cross_entropy_grad(x, y)
    print(tracemalloc.get_traced_memory()[1] - beyond)
else:
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
    before = peak()
    ll.cross_entropy_grad(x, y)
    print(peak() - before - beyond)
"""


def memory() -> Record:
    """Measure the memory of a loss and its gradient beyond what they may take, in MB."""
    found: Record = {}
    for name, what in (("grad", "numpy"), ("grad", "process"), ("autograd process", "autograd")):
        name = f"{name} {what}" if name == "grad" else name
        try:
            found[name] = round(max(0.0, float(fresh(MEMORY, what))) / 1e6, 3)
        except (subprocess.CalledProcessError, ValueError):
            found[name] = None  # no /proc here
    return found


def fresh(code: str, *arguments: str) -> str:
    """Run code in a fresh process with this one's import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment["MALLOC_MMAP_THRESHOLD_"] = str(128 << 10)  # large memory that is freed is given back
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


# ------------------------------ judging


def ratio(record: Record, function: str, problem: str, peer: str, threads: int) -> float | None:
    """How many times faster than the peer; None where it was not measured."""
    if problem == "geometric mean":
        names = [name for name in FUNCTIONS[function] if PROBLEMS[name].dtype == "float32"]
        ratios = [ratio(record, function, name, peer, threads) for name in names]
        known = [r for r in ratios if r]
        return statistics.geometric_mean(known) if len(known) == len(ratios) else None
    for one in record["measured"]:
        if (one["function"], one["problem"], one["threads"]) == (function, problem, threads):
            ms = one["ms"]
            if peer == "memcpy" and "torch copy_" in ms:
                return float(min(ms["memcpy"], ms["torch copy_"]) / ms["lastlayer"])
            return ms[peer] / ms["lastlayer"] if peer in ms else None
    return None


def threads_of(record: Record) -> list[int]:
    return sorted({one["threads"] for one in record["measured"]})


def significant(value: float | None, digits: int = 3) -> str:
    """Write a number with this many digits, rounded down: a demand is not met by rounding."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    value = math.floor(value / unit + 1e-9) * unit
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if value else "0"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def judged(record: Record) -> list[tuple[Any, list[float | None], str]]:
    """Every demand with what was got at each number of threads, and whether all of them meet it."""
    result = []
    for demand in DEMANDS:
        got = [
            ratio(record, demand.function, demand.problem, demand.peer, threads)
            for threads in threads_of(record)
        ]
        known = [value for value in got if value is not None]
        met = "-" if not known else "yes" if min(known) >= demand.ratio else "**no**"
        result.append((demand, got, met))
    return result


# ------------------------------ rendering


def render(record: Record) -> str:
    """Write the page docs/performance.md."""
    about, threads = record["machine"], threads_of(record)
    parts = [
        "<!-- generated by `make bench`; do not edit -->\n# Performance\n",
        f"Measured on {record['date']}: {about['cpu']}, {about['cores']} cores, {about['system']}; lastlayer "
        f"{about['lastlayer']} ({about['isa']}), Python {about['python']}, NumPy {about['numpy']}, torch "
        f"{about['torch']}, SciPy {about['scipy']}, scikit-learn {about['scikit-learn']}.\n",
        "All implementations in a row of a table were measured in turns in one process; the figures are "
        "medians. Every result was compared with float64 before its time was measured. `out=` was passed to "
        "every function that has it. Times differ between machines and between runs: compare them only "
        "within a row. SciPy, NumPy and scikit-learn always use one thread.\n",
        "Tensors on a GPU: [On NVIDIA GPUs](#on-nvidia-gpus).\n",
    ]
    goals = [
        "## Goals and results\n",
        "How many times faster than the baseline: the goal, and the measured ratio.\n",
    ]
    head = [
        "function",
        "problem",
        "baseline",
        "goal",
        *(f"measured, {n} thread{'s' * (n > 1)}" for n in threads),
        "met",
    ]
    goals.append(
        table(
            head,
            (
                [
                    f"`{demand.function}`",
                    demand.problem,
                    demand.peer,
                    f"{demand.ratio:g}",
                    *map(significant, got),
                    met,
                ]
                for demand, got, met in judged(record)
            ),
        )
    )
    goals.append(
        "The baseline `memcpy` copies the scores to the result's memory (with several threads, the faster of "
        "`np.copyto` and torch's `copy_`). A ratio of 1 is the speed of a copy.\n"
    )
    single = record["single"]
    goals.append(
        table(
            ["quantity", "at most", "measured", "met"],
            (
                [
                    limit.what,
                    f"{limit.most:g} {limit.unit}",
                    "-" if single.get(limit.name) is None else f"{single[limit.name]:g} {limit.unit}",
                    "-"
                    if single.get(limit.name) is None
                    else "yes"
                    if single[limit.name] <= limit.most
                    else "**no**",
                ]
                for limit in LIMITS
            ),
        )
    )
    parts += [
        "## Times\n",
        "Milliseconds. GB/s counts one read of each score, and one write where the result or the gradient "
        "has the shape of the scores.\n",
    ]
    for function in FUNCTIONS:
        lines = [one for one in record["measured"] if one["function"] == function]
        if not lines:
            continue
        names = list(dict.fromkeys(name for one in lines for name in one["ms"]))
        rows = []
        for one in lines:
            problem = PROBLEMS[one["problem"]]
            size = one["entries"] * (4 if problem.dtype == "float32" else 2)
            passes = 1 if function in ("cross_entropy", "logsumexp", "log_loss") else 2
            speed = (
                "-" if function == "log_loss" else significant(passes * size / one["ms"]["lastlayer"] / 1e6)
            )
            row = [one["problem"], str(one["threads"])]
            row += [significant(one["ms"].get(name)) for name in names]
            rows.append([*row, speed])
        parts.append(f"### `{function}`\n")
        parts.append(table(["problem", "threads", *names, "lastlayer, GB/s"], rows))
    return "\n".join([*parts, *goals, gpu_pages.marked(gpu_pages.speed())])


def short_table(record: Record) -> str:
    """Write the README's table: one thread, how many times faster than torch and SciPy."""
    names = ("262144x10", "65536x100", "8192x1000", "1024x32000", "256x128256", "images")
    first = threads_of(record)[0]

    def cell(function: str, name: str, peer: str) -> str:
        got = ratio(record, function, name, peer, first)
        return "-" if got is None else f"{significant(got, 2)}x"

    rows = [
        [
            name,
            cell("softmax", name, "torch"),
            cell("softmax", name, "scipy"),
            cell("logsumexp", name, "scipy"),
            cell("cross_entropy", name, "torch"),
            cell("cross_entropy_grad", name, "torch"),
            cell("cross_entropy, autograd", name, "torch"),
            cell("cross_entropy, autograd", name, "torch.compile"),
        ]
        for name in names
    ]
    about = record["machine"]
    head = [
        "float32",
        "`softmax` / torch",
        "`softmax` / SciPy",
        "`logsumexp` / SciPy",
        "`cross_entropy` / torch",
        "`cross_entropy_grad` / torch forward + backward",
        "`lastlayer.torch`, forward + backward / torch",
        "the same / torch.compile",
    ]
    return (
        f"How many times faster, {first} thread of {about['cpu']} ({about['isa']}), torch "
        f"{about['torch']}, SciPy {about['scipy']}; all figures, two threads and 16-bit floats: "
        f"[docs/performance.md](docs/performance.md).\n\n{table(head, rows)}"
    )


def write_pages(record: Record) -> None:
    """Write docs/performance.md, and the README's table between its marks."""
    (ROOT / "docs" / "performance.md").write_text(render(record))
    readme = ROOT / "README.md"
    text = readme.read_text()
    mark = re.compile(r"(<!-- bench:start -->\n).*?(<!-- bench:end -->)", re.DOTALL)
    readme.write_text(mark.sub(lambda found: found[1] + short_table(record) + found[2], text))


def newest(folder: Path) -> Record:
    """Read the newest record of a folder."""
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    if not records:
        sys.exit(f"no record in {folder.name}: run python benchmarks/run.py first")
    return max(records, key=lambda record: str(record["date"]))


# ------------------------------ command line


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[*FUNCTIONS, "single"], help="these functions only")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), help="these problems only")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--budget", type=float, default=12.0, help="seconds for one measurement, about")
    parser.add_argument("--quick", action="store_true", help="an eighth of the rows, three repetitions")
    parser.add_argument(
        "--out", type=Path, help="folder of the record (default: benchmarks/record, if complete)"
    )
    parser.add_argument("--render", action="store_true", help="only write the pages from the newest record")
    options = parser.parse_args(argv)
    folder = options.out or HERE / "record"
    if options.render:
        write_pages(newest(folder))
        return 0
    if options.quick:
        options.repetitions, options.budget = 3, 3.0

    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    record: Record = {"date": date, "machine": machine(), "measured": [], "single": {}}
    if not options.only or "single" in options.only:
        record["single"] = {
            **small_calls(),
            **small_tensors(),
            **import_time(3 if options.quick else 15),
            **memory(),
        }
        print("\n".join(f"{name:48} {value}" for name, value in record["single"].items()), flush=True)
    for function, names in FUNCTIONS.items():
        for name in names:
            if (options.only and function not in options.only) or (
                options.problems and name not in options.problems
            ):
                continue
            problem = PROBLEMS[name].smaller(8) if options.quick else PROBLEMS[name]
            for threads in options.threads:
                one = measure(function, problem, threads, options)
                record["measured"].append(one)
                ours = one["ms"]["lastlayer"]
                peers = "  ".join(
                    f"{peer} {ms / ours:.2f}x" for peer, ms in one["ms"].items() if peer != "lastlayer"
                )
                print(f"{function:20} {name:22} {threads} threads {ours:10.3f} ms  {peers}", flush=True)

    complete = not (options.only or options.problems or options.quick)
    if complete or options.out:
        write_record(record, folder)
    if complete:
        write_pages(record)
    for demand, got, met in judged(record):
        if met == "**no**":
            print(
                f"NOT MET: {demand.function} {demand.problem} vs {demand.peer}: {demand.ratio:g} asked, "
                f"{got} got"
            )
    for limit in LIMITS:
        value = record["single"].get(limit.name)
        if value is not None and value > limit.most:
            print(f"NOT MET: {limit.what}: at most {limit.most:g} {limit.unit} asked, {value:g} got")
    return 0


if __name__ == "__main__":
    sys.exit(main())

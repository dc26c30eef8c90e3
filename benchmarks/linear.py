"""Measure the linear head beside its peers: time, memory and error; record it, and render the record.

    python benchmarks/linear.py                  all: a record in benchmarks/record/linear, and --render
    python benchmarks/linear.py --only 2048x768x32000-bfloat16    measured again, within the newest record
    python benchmarks/linear.py --render         docs/performance-linear.md, from the newest record

Forward and backward, of all contenders in turns in one process, each after an untimed run of its own; each
answer is compared with float64 before anything is timed. Memory is the peak of a fresh process for each
contender, beyond what it started with and beyond the gradients. The floor is the three products of matrices
alone, measured in the same turns.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from run import fresh, machine, newest, set_threads, table, write_record

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECORDS = HERE / "record" / "linear"

SMALL = 64 << 20  # bytes: the budget that is asked for beside the default one
K = 10

Record = dict[str, Any]
Run = Callable[[], Any]


class Problem(NamedTuple):
    """Rows, features and classes; features as after a normalisation, weights as after an initialisation."""

    n: int
    d: int
    v: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.n}x{self.d}x{self.v}-{self.dtype}"

    def arrays(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        g = torch.Generator().manual_seed(0)
        x = torch.randn(self.n, self.d, generator=g)
        weight = torch.randn(self.v, self.d, generator=g) * (2 / self.d**0.5)
        y = torch.randint(0, self.v, (self.n,), generator=g)
        dtype = getattr(torch, self.dtype)
        return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), y


SHAPES = [(2048, 768, 32000), (1024, 1024, 128256), (8192, 512, 50257)]
PROBLEMS = {p.name: p for p in (Problem(*s, t) for t in ("bfloat16", "float32") for s in SHAPES)}


# ------------------------------ contenders


def ours(x: Any, weight: Any, y: Any, memory: int | None = None) -> Any:
    import lastlayer as ll

    return ll.linear_cross_entropy(x, weight, y, max_memory=memory)


def eager(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, weight), y)


def chunked(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    return torch.nn.functional.linear_cross_entropy(x, weight, y, options=options)


def cut(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from cut_cross_entropy import linear_cross_entropy

    loss: torch.Tensor = linear_cross_entropy(x, weight, y, impl="torch_compile")
    return loss


_compiled: Any = None


def compiled(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    global _compiled
    if _compiled is None:
        _compiled = torch.compile(eager, dynamic=False)
    loss: torch.Tensor = _compiled(x, weight, y)
    return loss


LOSSES: dict[str, Callable[..., Any]] = {
    "lastlayer": ours,
    "lastlayer, 64 MiB": lambda x, w, y: ours(x, w, y, SMALL),
    "torch": eager,
    "torch.compile": compiled,
    "CCE torch_compile": cut,
    "torch chunked": chunked,
}
OURS = ("lastlayer", "lastlayer, 64 MiB")
PEERS = [name for name in LOSSES if name not in OURS]
NUMPY = ("lastlayer", "lastlayer, 1/10", "materialised")


def both_ways(loss: Callable[..., Any], x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> Run:
    def run() -> tuple[Any, ...]:
        x.grad = weight.grad = None
        value = loss(x, weight, y)
        value.backward()
        return value.detach(), x.grad, weight.grad

    return run


def products(x: torch.Tensor, weight: torch.Tensor) -> tuple[Run, Run]:
    """The three products alone, into memory that is there; and the first of them."""
    x, weight = x.detach(), weight.detach()
    z = torch.empty(x.shape[0], weight.shape[0], dtype=x.dtype)
    dx, dw = torch.empty_like(x), torch.empty_like(weight)

    def one() -> None:
        torch.mm(x, weight.T, out=z)

    def three() -> None:
        one()
        torch.mm(z, weight, out=dx)
        torch.mm(z.T, x, out=dw)

    return one, three


def materialised(x: Any, weight: Any, y: Any) -> Any:
    """What NumPy is used for today, with the fastest loss there is."""
    import lastlayer as ll

    loss, g = ll.cross_entropy_grad(x @ weight.T, y)
    return loss, g @ weight, g.T @ x


def with_numpy(problem: Problem) -> dict[str, Run]:
    import lastlayer as ll

    x, weight, y = (t.detach().numpy() for t in problem.arrays())
    tenth = 4 * problem.n * problem.v * 2 // 10  # of the logits and their gradient

    def run(memory: int | None) -> Any:
        loss, (dx, dw, _) = ll.linear_cross_entropy_grad(x, weight, y, max_memory=memory)
        return loss, dx, dw

    runs = (lambda: run(None), lambda: run(tenth), lambda: materialised(x, weight, y))
    return dict(zip(NUMPY, runs, strict=True))


# ------------------------------ truth


class Truth(NamedTuple):
    """The loss, and the gradients of a few rows and a few classes, in float64."""

    loss: float
    dx: torch.Tensor
    dw: torch.Tensor
    rows: torch.Tensor
    classes: torch.Tensor

    def errors(self, found: Sequence[Any]) -> list[float]:
        """The relative errors of loss, dx and dW: of the largest entries."""
        loss, dx, dw = (torch.as_tensor(a) for a in found)
        pairs = (
            (loss.double(), torch.tensor(self.loss).double()),
            (dx[self.rows].double(), self.dx),
            (dw[self.classes].double(), self.dw),
        )
        return [float((a - b).norm() / b.norm()) for a, b in pairs]


def truth(problem: Problem) -> Truth:
    x, weight, y = problem.arrays()
    x, weight = x.detach().double(), weight.detach().double()
    n, v = problem.n, problem.v
    rows = torch.arange(0, n, max(1, n // 64))
    classes = torch.cat([torch.arange(0, v, max(1, v // 64)), y[:64]])
    lse, picked, z_classes = torch.empty(n).double(), torch.empty(n).double(), []
    dx = torch.empty(len(rows), problem.d).double()
    for start in range(0, n, 512):
        part = slice(start, min(start + 512, n))
        z = x[part] @ weight.T
        lse[part] = z.logsumexp(1)
        picked[part] = z.gather(1, y[part].unsqueeze(1)).squeeze(1)
        z_classes.append(z[:, classes])
        mine = (rows >= start) & (rows < part.stop)
        p = (z[rows[mine] - start] - lse[rows[mine]].unsqueeze(1)).exp()
        p[torch.arange(len(p)), y[rows[mine]]] -= 1
        dx[mine] = p @ weight / n
    g = (torch.cat(z_classes) - lse.unsqueeze(1)).exp() - (y.unsqueeze(1) == classes).double()
    return Truth(float((lse - picked).mean()), dx, g.T @ x / n, rows, classes)


TOLERANCE = {"bfloat16": 0.02, "float32": 1e-4}


# ------------------------------ measuring


def measure(problem: Problem, options: argparse.Namespace) -> Record:
    """Time every contender in turns; torch's chunked operation, which is slow, once, when it is checked."""
    x, weight, y = problem.arrays()
    runs = {name: both_ways(loss, x, weight, y) for name, loss in LOSSES.items()}
    right = truth(problem)
    errors = {}
    for name, run in runs.items():
        start = time.perf_counter()
        found = run()
        once = time.perf_counter() - start
        errors[name] = right.errors(found)
        seen = errors[name] if name in OURS else errors[name][1:]  # the chunked loss is summed in 16 bits
        assert max(seen) < TOLERANCE[problem.dtype], (name, errors[name])
    slow = runs.popitem()[0]
    one, three = products(x, weight)
    import lastlayer as ll

    with torch.no_grad():
        ours(x, weight, y), ll.linear_row_stats(x, weight, y)
    runs |= {"3 products": three, "1 product": one, **forward(x.detach(), weight.detach(), y)}
    return {"times": in_turns(runs, options) | {slow: [once]}, "errors": errors}


def forward(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> dict[str, Run]:
    import lastlayer as ll

    return {
        "loss alone": lambda: ll.linear_cross_entropy(x, weight, y),
        "row_stats": lambda: ll.linear_row_stats(x, weight, y),
        "top_k": lambda: ll.linear_top_k(x, weight, K),
    }


def in_turns(runs: dict[str, Run], options: argparse.Namespace) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repetitions):
        for name, run in runs.items():
            run()  # each follows one of its kind, as in training: memory is there, in pages of its size
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def measure_numpy(problem: Problem, options: argparse.Namespace) -> Record:
    right, runs = truth(problem), with_numpy(problem)
    errors = {name: right.errors(run()) for name, run in runs.items()}
    assert max(max(e) for e in errors.values()) < TOLERANCE["float32"], errors
    return {"times": in_turns(runs, options), "errors": errors}


MEMORY = """
import sys
sys.path[:0] = {paths!r}
import linear
linear.peak_of({problem!r}, {name!r}, {library!r}, {threads})
"""


def status(field: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


def release() -> None:
    """Hand back what the C library keeps of freed memory, which the next run would find there, unseen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_of(name: str, contender: str, library: str, threads: int) -> None:
    """Print the peak of one call beyond the start and the gradients, and what the plan predicts (or 0)."""
    set_threads(threads)
    n, d, v, dtype = name.replace("-", "x").split("x")
    problem = Problem(int(n), int(d), int(v), dtype)
    planned = [0]
    recording: Any = nullcontext()
    if contender in (*OURS, *NUMPY):
        from lastlayer.linear import plan

        usual = plan.planner

        def seen(*arguments: Any, **rest: Any) -> Any:
            found = usual.plan(*arguments, **rest)
            planned[0] = found.memory
            return found

        recording = plan.use(usual._replace(plan=seen))
    if library == "torch":
        x, weight, y = problem.arrays()
        run = both_ways(LOSSES[contender], x, weight, y)
        few = both_ways(LOSSES[contender], *Problem(256, problem.d, 512, problem.dtype).arrays())
    else:
        run = with_numpy(problem)[contender]
        few = with_numpy(Problem(256, problem.d, 512, problem.dtype))["materialised"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few()  # starts threads, loads what is loaded late
        if (
            contender != "torch chunked"
        ):  # compiles; what libraries keep for later products is not of the call
            run()
    if library == "torch":
        x.grad = weight.grad = None
    release()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmHWM")
    with recording:
        kept = run()
    results = sum(t.nbytes if isinstance(t, np.ndarray) else t.numel() * t.element_size() for t in kept[1:])
    print(status("VmHWM") - before - results, planned[0])


def memory(problem: Problem, contender: str, library: str, threads: int) -> list[int] | None:
    """Peak and prediction in bytes; None where the system does not say."""
    code = MEMORY.format(
        paths=[str(HERE), *filter(None, sys.path)],
        problem=problem.name,
        name=contender,
        library=library,
        threads=threads,
    )
    try:
        return [int(word) for word in fresh(code).split()[-2:]]
    except (subprocess.CalledProcessError, ValueError, OSError) as error:
        print("memory:", contender, getattr(error, "stderr", error), file=sys.stderr)
        return None


# ------------------------------ judging


class Demand(NamedTuple):
    """A goal of one problem, and the measured ratio: ``got <= most`` meets it."""

    what: str
    most: float
    got: float | None


def median(record: Record, name: str, library: str = "torch") -> float | None:
    """Milliseconds."""
    times = record[library]["times"].get(name)
    return statistics.median(times) * 1e3 if times else None


def over(record: Record, a: str, b: str | float | None, library: str = "torch") -> float | None:
    """Time of a over time of b."""
    mine = median(record, a, library)
    theirs = median(record, b, library) if isinstance(b, str) else b
    return mine / theirs if mine and theirs else None


def demands(record: Record) -> list[Demand]:
    """The goals of a problem, with the measured ratios."""
    half = record["dtype"] == "bfloat16"
    best = min(t for name in PEERS if (t := median(record, name)))
    small = "lastlayer, 64 MiB"
    found = [
        Demand("default memory / best baseline", 1.0 if half else 1.05, over(record, "lastlayer", best)),
        Demand("64 MiB / best baseline", 1.0 if half else 1.25, over(record, small, best)),
    ]
    chunk = {
        ("bfloat16", 32000): 10,
        ("bfloat16", 128256): 35,
        ("float32", 32000): 1.5,
        ("float32", 128256): 4,
    }
    times = chunk.get((record["dtype"], record["v"]), 1.0)
    found.append(Demand("64 MiB / torch chunked", 1 / times, over(record, small, "torch chunked")))
    for name in OURS:
        plan = record["plans"].get(name)
        if plan:
            share = 0.85 if plan["recomputed"] == 0 else 0.7
            what = "nothing" if plan["recomputed"] == 0 else f"{plan['share']:.0%}"
            found.append(
                Demand(f"{name} / 3 products, {what} recomputed", 1 / share, over(record, name, "3 products"))
            )
    for name, most in (("loss alone", 1.15), ("row_stats", 1.15), ("top_k", 1.3)):
        found.append(Demand(f"{name} / 1 product", most, over(record, name, "1 product")))
    if not half:
        found.append(
            Demand("NumPy: 1/10 of the memory / materialised", 1.0, over(record, NUMPY[1], NUMPY[2], "numpy"))
        )
    for name in OURS:
        one = record["memory"].get(name)
        if one and one[1]:
            found.append(
                Demand(f"{name}: peak memory, difference from the plan", 0.1, abs(one[0] / one[1] - 1))
            )
    e = record["torch"]["errors"]
    for i, what in ((1, "dx"), (2, "dW")):
        worst = max(e[name][i] for name in OURS)
        found.append(Demand(f"error of {what} / torch's", 1.0, worst / e["torch"][i]))
    return found


# ------------------------------ rendering


def render(record: Record) -> str:
    """Write the page docs/performance-linear.md."""
    about, days = record["machine"], sorted({one["date"][:10] for one in record["measured"]})
    runs = sorted({str(len(one["torch"]["times"]["lastlayer"])) for one in record["measured"]})
    parts = [
        "<!-- generated by `make bench`; do not edit -->\n# Performance of the linear head\n",
        f"Measured on {' and '.join(days)}: {about['cpu']}, {about['cores']} cores, {about['system']}, "
        f"{record['threads']} threads; lastlayer {about['lastlayer']} ({about['isa']}), Python "
        f"{about['python']}, NumPy {about['numpy']}, torch {about['torch']}, cut-cross-entropy "
        f"{about['cut-cross-entropy']}.\n",
        "The loss, and its gradients with respect to features and weight. A problem is named by N x D x V: "
        "rows, features, classes. For each problem all implementations ran in turns in one process, each "
        "after an untimed run and after its result had been compared with float64. Times are medians of "
        f"{' or '.join(runs)} runs: compare them only within a row. Memory is the peak of a fresh process, "
        'less its memory at the start and the gradients. "3 products" is the time of the matrix products '
        "alone, into allocated memory: about the least time of computing each logit once. "
        "torch chunked is `torch.nn.functional.linear_cross_entropy` with its options; NumPy materialised is "
        "`cross_entropy_grad` of `x @ weight.T` and two more products.\n",
    ]
    rows = []
    for one in record["measured"]:
        for d in demands(one):
            got = "-" if d.got is None else f"{d.got:.3g}"
            met = "-" if d.got is None else "yes" if d.got <= d.most else "**no**"
            rows.append([one["problem"], d.what, f"{d.most:.3g}", got, met])
    goals = [
        "## Goals and results\n\nRatios of times, of memory and of errors.\n",
        table(["problem", "ratio", "at most", "measured", "met"], rows),
    ]
    parts.append("## Times\n\nMilliseconds, forward and backward.\n")
    names = [*LOSSES, "3 products"]
    parts.append(
        table(
            ["problem", *names],
            ([one["problem"], *(_ms(median(one, name)) for name in names)] for one in record["measured"]),
        )
    )
    parts.append("Forward alone.\n")
    names = ["loss alone", "row_stats", "top_k", "1 product"]
    parts.append(
        table(
            [
                "problem",
                "`linear_cross_entropy`",
                "`linear_row_stats`",
                f"`linear_top_k`, k = {K}",
                "1 product",
            ],
            ([one["problem"], *(_ms(median(one, name)) for name in names)] for one in record["measured"]),
        )
    )
    parts.append("NumPy, `linear_cross_entropy_grad`.\n")
    parts.append(
        table(
            ["problem", *NUMPY],
            (
                [one["problem"], *(_ms(median(one, name, "numpy")) for name in NUMPY)]
                for one in record["measured"]
                if "numpy" in one
            ),
        )
    )
    parts.append("## Memory\n\nMB beyond the start and the gradients; in brackets the planned MB.\n")
    names = list(LOSSES)
    parts.append(
        table(
            ["problem", *names],
            ([one["problem"], *_memory(one, "memory", names)] for one in record["measured"]),
        )
    )
    parts.append("NumPy.\n")
    parts.append(
        table(
            ["problem", *NUMPY],
            (
                [one["problem"], *_memory(one, "memory of numpy", NUMPY)]
                for one in record["measured"]
                if "numpy" in one
            ),
        )
    )
    parts.append(
        "## Error\n\nThe relative errors of dx and dW against float64: the norm of the difference divided by "
        "the norm, on a sample of rows and classes.\n"
    )
    parts.append(
        table(
            ["problem", *LOSSES],
            (
                [
                    one["problem"],
                    *(
                        "{:.2g}, {:.2g}".format(*one["torch"]["errors"][name][1:])
                        if name in one["torch"]["errors"]
                        else "-"
                        for name in LOSSES
                    ),
                ]
                for one in record["measured"]
            ),
        )
    )
    return "\n".join([*parts, *goals])


def short_table(record: Record) -> str:
    """Write the README's table: times over those of peers, and memory beside PyTorch's."""
    rows = []
    for one in record["measured"]:
        cells = [over(one, "lastlayer, 64 MiB", peer) for peer in PEERS]
        used = [one["memory"].get(name) for name in ("lastlayer, 64 MiB", "torch")]
        rows.append(
            [
                one["problem"],
                *("-" if c is None else f"{1 / c:.2f}x" if c > 0.1 else f"{1 / c:.0f}x" for c in cells),
                " / ".join("-" if not u else f"{u[0] / 1e6:.0f}" for u in used),
            ]
        )
    head = ["N x D x V", *(f"{name}" for name in PEERS), "MB beyond the gradients: ours / torch"]
    about = record["machine"]
    return (
        "`linear_cross_entropy` with `max_memory=2**26`, forward and backward: how many times faster than "
        f"the baselines, {record['threads']} threads of {about['cpu']}; all figures, with the default memory "
        f"and for NumPy: [docs/performance-linear.md](docs/performance-linear.md).\n\n{table(head, rows)}"
    )


def write_pages(record: Record) -> None:
    """Write docs/performance-linear.md, and the README's table between its marks."""
    (ROOT / "docs" / "performance-linear.md").write_text(render(record))
    readme = ROOT / "README.md"
    mark = re.compile(r"(<!-- linear:start -->\n).*?(<!-- linear:end -->)", re.DOTALL)
    text = mark.sub(lambda found: found[1] + short_table(record) + found[2], readme.read_text())
    readme.write_text(text)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _memory(one: Record, key: str, names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        found = one[key].get(name)
        cell = "-" if not found else f"{found[0] / 1e6:.0f}"
        cells.append(cell + (f" ({found[1] / 1e6:.0f})" if found and found[1] else ""))
    return cells


# ------------------------------ command line


def plans(problem: Problem) -> Record:
    """How much each of our budgets recomputes."""
    from lastlayer.linear import plan

    found: Record = {}
    usual = plan.planner
    x, weight, y = problem.arrays()
    for name in OURS:

        def seen(*arguments: Any, name: str = name, **rest: Any) -> Any:
            p = usual.plan(*arguments, **rest)
            share = p.recomputed / (p.kept + p.recomputed)
            found[name] = {f: getattr(p, f) for f in p.__slots__} | {"share": share}
            return p

        with plan.use(usual._replace(plan=seen)):
            LOSSES[name](x, weight, y)
    return found


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--patient", action="store_true", help="the memory of torch's chunked operation, too")
    parser.add_argument("--quick", action="store_true", help="an eighth of the rows: does it work?")
    parser.add_argument("--out", type=Path, help="folder of the record (default: record/linear)")
    parser.add_argument("--render", action="store_true", help="only write the page from the newest record")
    options = parser.parse_args(argv)
    if options.render:
        write_pages(newest(options.out or RECORDS))
        return 0
    complete, recorded = options.only == list(PROBLEMS), options.out is not None or not options.quick
    set_threads(options.threads)
    about = machine() | {"cut-cross-entropy": version("cut-cross-entropy")}
    date = now()
    others = [] if complete or options.out or options.quick else newest(RECORDS)["measured"]
    record: Record = {"date": date, "machine": about, "threads": options.threads, "measured": others}
    for name in options.only:
        problem = PROBLEMS[name]
        if options.quick:
            problem = problem._replace(n=problem.n // 8)
            PROBLEMS[problem.name] = problem
        one: Record = {"problem": problem.name, "date": now(), **problem._asdict(), "plans": plans(problem)}
        one["torch"] = measure(problem, options)
        one["memory"] = {
            who: memory(problem, who, "torch", options.threads)
            for who in LOSSES
            if who != "torch chunked" or options.patient
        }
        if problem.dtype == "float32":
            one["numpy"] = measure_numpy(problem, options)
            one["memory of numpy"] = {who: memory(problem, who, "numpy", options.threads) for who in NUMPY}
        measured = [other for other in record["measured"] if other["problem"] != problem.name]
        record["measured"] = sorted([*measured, one], key=lambda a: list(PROBLEMS).index(a["problem"]))
        print(problem.name, {who: round(median(one, who) or 0) for who in one["torch"]["times"]}, flush=True)
        for d in demands(one):
            print(f"  {d.what:55} {d.most:6.3f} {d.got if d.got is None else round(d.got, 3)}", flush=True)
        if recorded:  # after each, since the whole takes long
            write_record(record, options.out or RECORDS)
    if recorded and not options.out:
        write_pages(record)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure small and special calls beside torch: few classes, small heads, losses of probabilities, top-k.

    python benchmarks/small.py                   everything: a table, and a record in benchmarks/record/small
    python benchmarks/small.py --only few nll    the lines whose group or name contains one of these words
    python benchmarks/small.py --threads 2

lastlayer and torch run in turns in one process, on one thread by default; every answer is compared with
torch's in float64 before it is timed, and medians are compared. A ratio is lastlayer's time over torch's:
below 1 lastlayer is faster. Only ratios within one run mean anything. The package under test is the one that
the interpreter imports, so another build's interpreter measures another build.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from run import Record, in_turns, machine, set_threads, significant, table, write_record
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

import lastlayer as ll
import lastlayer.torch as lt

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "record" / "small"

Run = Callable[[], Any]
Pair = tuple[Run, Run]  # lastlayer's and torch's


class Case(NamedTuple):
    """One line: ``make(dtype)`` sets up both contenders; ``ask`` is the most that the ratio should be."""

    group: str
    name: str
    ask: float
    make: Callable[[torch.dtype], Pair]
    dtype: torch.dtype = torch.float32

    @property
    def title(self) -> str:
        return f"{self.group}: {self.name}"


# ------------------------------ data


def normal(dtype: torch.dtype, *shape: int, scale: float = 1.0, seed: int = 0, like: Any = None) -> Tensor:
    """Draw numbers that ``like`` (float32) holds exactly, in ``dtype``: the truth has the same inputs."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale
    return drawn.to(like or torch.float32).to(dtype)


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(1))


def both_ways(loss: Callable[..., Tensor], *leaves: Tensor) -> Run:
    """The loss and its gradient in every leaf."""
    held = [leaf.detach().requires_grad_() for leaf in leaves]

    def run() -> tuple[Tensor, ...]:
        value = loss(*held)
        return value.detach(), *torch.autograd.grad(value, held)

    return run


def without_graph(function: Callable[..., Any], *arguments: Any) -> Run:
    def run() -> Any:
        with torch.no_grad():
            return function(*arguments)

    return run


# ------------------------------ few classes


def losses(shape: tuple[int, ...], like: torch.dtype = torch.float32) -> Callable[[torch.dtype], Pair]:
    """Cross-entropy forward and backward, class axis 1."""

    def make(dtype: torch.dtype) -> Pair:
        x, y = normal(dtype, *shape, scale=3, like=like), classes(shape[1], shape[0], *shape[2:])
        ours = both_ways(lambda x: lt.cross_entropy(x, y), x)
        return ours, both_ways(lambda x: F.cross_entropy(x, y), x)

    return make


def forwards(name: str, shape: tuple[int, ...]) -> Callable[[torch.dtype], Pair]:
    """softmax, log_softmax or logsumexp over axis 1."""

    def make(dtype: torch.dtype) -> Pair:
        x = normal(dtype, *shape, scale=3)
        mine, theirs = getattr(ll, name), getattr(torch, name)
        return without_graph(lambda: mine(x, axis=1)), without_graph(lambda: theirs(x, 1))

    return make


def gradients(shape: tuple[int, ...]) -> Callable[[torch.dtype], Pair]:
    """`cross_entropy_grad` of NumPy arrays beside torch's forward and backward."""

    def make(dtype: torch.dtype) -> Pair:
        x, y = normal(dtype, *shape, scale=3), classes(shape[1], shape[0], *shape[2:])
        a, b = x.numpy(), y.numpy()
        ours = lambda: ll.cross_entropy_grad(a, b, axis=1)  # noqa: E731
        return ours, both_ways(lambda x: F.cross_entropy(x, y), x)

    return make


def few_classes() -> list[Case]:
    found = []
    for count in (1, 2, 3, 4, 5, 8, 16):
        image, rows = (2, count, 256, 256), (131072, count)
        found += [
            Case("few classes", f"cross_entropy 2x{count}x256x256, both ways", 0.7, losses(image)),
            Case("few classes", f"cross_entropy 131072x{count}, both ways", 0.7, losses(rows)),
        ]
    found += [
        Case(
            "few classes",
            f"cross_entropy 2x{count}x256x256 {str(dtype)[6:]}, both ways",
            0.7,
            losses((2, count, 256, 256), dtype),
            dtype,
        )
        for dtype in (torch.bfloat16, torch.float64)
        for count in (2, 4)
    ]
    for name in ("softmax", "log_softmax", "logsumexp"):
        found += [
            Case("few classes", f"{name} {shape}", 0.7, forwards(name, tuple(map(int, shape.split("x")))))
            for shape in ("2x2x256x256", "131072x2", "2x4x256x256", "131072x4")
        ]
    return [
        *found,
        Case("few classes", "cross_entropy_grad 2x2x256x256, NumPy", 0.7, gradients((2, 2, 256, 256))),
        Case("few classes", "cross_entropy_grad 131072x2, NumPy", 0.7, gradients((131072, 2))),
    ]


# ------------------------------ losses of probabilities


def of_log_probabilities(
    shape: tuple[int, ...], backward: bool, **options: Any
) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        x, y = torch.log_softmax(normal(dtype, *shape), 1), classes(shape[1], shape[0], *shape[2:])
        given = dict(options)
        if "weight" in given:
            given["weight"] = normal(dtype, shape[1], seed=3).abs()
        ours, theirs = (lambda x, f=f: f(x, y, **given) for f in (lt.nll_loss, F.nll_loss))
        if options.get("reduction") == "none":
            g = normal(dtype, *y.shape, seed=4)
            return both_ways(lambda x: (ours(x) * g).sum(), x), both_ways(lambda x: (theirs(x) * g).sum(), x)
        if backward:
            return both_ways(ours, x), both_ways(theirs, x)
        return without_graph(ours, x), without_graph(theirs, x)

    return make


def of_probabilities(shape: tuple[int, ...]) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        p, y = torch.softmax(normal(dtype, *shape), 1), classes(shape[1], shape[0])
        ours = both_ways(lambda p: ll.log_loss(p, y), p)
        return ours, both_ways(lambda p: F.nll_loss(p.log(), y), p)

    return make


def probabilities() -> list[Case]:
    image = (2, 21, 128, 128)
    nll = [
        ("2048x1000, both ways", (2048, 1000), True, {}),
        ("2x21x128x128, both ways", image, True, {}),
        ("2048x1000", (2048, 1000), False, {}),
        ("2x21x128x128", image, False, {}),
        ("2048x1000, weight, both ways", (2048, 1000), True, {"weight": True}),
        ("2048x1000, ignore_index, both ways", (2048, 1000), True, {"ignore_index": 3}),
        ("2048x1000, none, both ways", (2048, 1000), True, {"reduction": "none"}),
    ]
    return [
        *(
            Case("nll", f"nll_loss {name}", 1.1, of_log_probabilities(shape, both, **o))
            for name, shape, both, o in nll
        ),
        Case("nll", "log_loss 2048x1000, both ways", 1.1, of_probabilities((2048, 1000))),
    ]


# ------------------------------ derivatives beyond the usual


def soft_targets(rows: int, count: int) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        x, q = normal(dtype, rows, count), torch.softmax(normal(dtype, rows, count, seed=2), 1)
        return both_ways(lt.cross_entropy, x, q), both_ways(F.cross_entropy, x, q)

    return make


def double_backward(rows: int, count: int) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        y = classes(count, rows)

        def of(loss: Callable[..., Tensor]) -> Run:
            x = normal(dtype, rows, count).requires_grad_()

            def run() -> tuple[Tensor, Tensor]:
                (g,) = torch.autograd.grad(loss(x, y), x, create_graph=True)
                return g.detach(), torch.autograd.grad(g.square().sum(), x)[0]

            return run

        return of(lt.cross_entropy), of(F.cross_entropy)

    return make


def per_row_gradients(rows: int, count: int) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        x, y = normal(dtype, rows, count), classes(count, rows)

        def of(loss: Callable[..., Tensor]) -> Run:
            return lambda: torch.func.vmap(torch.func.grad(loss))(x, y)

        return of(lt.cross_entropy), of(F.cross_entropy)

    return make


DERIVATIVES = [
    Case("derivatives", "soft targets 1024x1000, gradient in q too", 1.3, soft_targets(1024, 1000)),
    Case("derivatives", "cross_entropy 1024x1000, double backward", 1.3, double_backward(1024, 1000)),
    Case("derivatives", "vmap of grad, 1024 rows of 1000", 1.3, per_row_gradients(1024, 1000)),
    Case("derivatives", "vmap of grad, 128 rows of 10", 1.3, per_row_gradients(128, 10)),
]


# ------------------------------ the best classes


def ordered(order: str, rows: int, count: int, dtype: torch.dtype) -> Tensor:
    """Scores of scale 3, in this order along each row."""
    x = normal(dtype, rows, count, scale=3)
    if order == "random":
        return x
    if order == "constant":
        return torch.ones_like(x)
    return x.sort(-1, descending=order == "descending").values


def best(order: str, k: int, rows: int = 64, count: int = 32000) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        x = ordered(order, rows, count, dtype)

        def theirs() -> Tensor:
            return torch.exp(torch.topk(x, k)[0] - torch.logsumexp(x, -1, keepdim=True))

        return (lambda: ll.top_k(x, k)[1]), theirs  # of equal scores torch takes any: labels may differ

    return make


def best_of_head(rows: int, features: int, count: int, k: int) -> Callable[[torch.dtype], Pair]:
    def make(dtype: torch.dtype) -> Pair:
        x, w = normal(dtype, rows, features), normal(dtype, count, features, scale=0.1, seed=2)

        def theirs() -> Tensor:
            z = x @ w.T
            return torch.exp(torch.topk(z, k)[0] - torch.logsumexp(z, -1, keepdim=True))

        return without_graph(lambda: ll.linear_top_k(x, w, k)[1]), without_graph(theirs)

    return make


TOP_K = [
    *(
        Case("top_k", f"{order} rows 64x32000, k = {k}", 1.0, best(order, k))
        for order in ("ascending", "random", "descending", "constant")
        for k in (5, 20, 50, 100, 500)
    ),
    *(
        Case("top_k", f"{order} rows 8192x1000, k = {k}", 1.0, best(order, k, 8192, 1000))
        for order in ("ascending", "random")
        for k in (20, 50)
    ),
    Case("top_k", "linear_top_k 256x256x16000, k = 500", 1.0, best_of_head(256, 256, 16000, 500)),
]


# ------------------------------ the linear head


def head_losses(n: int, d: int, v: int, way: str, layer: bool) -> Callable[[torch.dtype], Pair]:
    """The loss of features and weights; ``way``: both ways, forward (with a graph), or no_grad."""

    def make(dtype: torch.dtype) -> Pair:
        x, y = normal(dtype, n, d), classes(v, n)
        w, b = normal(dtype, v, d, scale=0.1, seed=2), normal(dtype, v, seed=3)
        if layer:
            mine, theirs = lt.LinearHead(d, v), torch.nn.Linear(d, v)
            for head in (mine, theirs):
                head.weight, head.bias = torch.nn.Parameter(w.clone()), torch.nn.Parameter(b.clone())
            pairs: Any = [
                (lambda x, h=h: F.cross_entropy(h(x), y), (x,), list(h.parameters())) for h in (mine, theirs)
            ]
        else:
            pairs = [
                (lambda x, w: ll.linear_cross_entropy(x, w, y), (x, w), []),
                (lambda x, w: F.cross_entropy(F.linear(x, w), y), (x, w), []),
            ]
        return tuple(along(way, *pair) for pair in pairs)  # type: ignore[return-value]

    return make


def along(way: str, loss: Callable[..., Tensor], leaves: tuple[Tensor, ...], more: list[Tensor]) -> Run:
    if way == "no_grad":
        return without_graph(loss, *leaves)
    held = [leaf.detach().requires_grad_() for leaf in leaves]
    if way == "forward":
        return lambda: loss(*held).detach()

    def run() -> tuple[Tensor, ...]:
        value = loss(*held)
        return value.detach(), *torch.autograd.grad(value, [*held, *more])

    return run


def heads() -> list[Case]:
    found = []
    for n, d, v in ((1, 16, 10), (8, 32, 10), (32, 64, 10), (64, 256, 10), (256, 512, 10)):
        name = f"{n}x{d}x{v}"
        found += [
            Case("linear head", f"loss {name}, both ways", 1.5, head_losses(n, d, v, "both ways", False)),
            Case(
                "linear head", f"LinearHead {name}, both ways", 1.5, head_losses(n, d, v, "both ways", True)
            ),
            Case("linear head", f"loss {name}, no_grad", 2.0, head_losses(n, d, v, "no_grad", False)),
        ]
    for n, d, v in ((256, 512, 8000), (512, 256, 8000)):
        name = f"{n}x{d}x{v}"
        found += [
            Case("linear head", f"loss {name}, forward only", 1.3, head_losses(n, d, v, "forward", False)),
            Case("linear head", f"loss {name}, both ways", 1.0, head_losses(n, d, v, "both ways", False)),
        ]
    return found


CASES = [*heads(), *few_classes(), *probabilities(), *DERIVATIVES, *TOP_K]


# ------------------------------ checking and measuring


def tensors_of(answer: Any) -> list[Tensor]:
    if isinstance(answer, (tuple, list)):
        return [t for part in answer for t in tensors_of(part)]
    return [torch.as_tensor(answer).detach()]


def check(case: Case, ours: Run, theirs: Run) -> None:
    """Compare both answers with torch's in float64; raise where one is wrong."""
    truth = tensors_of(case.make(torch.float64)[1]())
    tolerance = 2e-2 if case.dtype is torch.bfloat16 else 1e-4
    for name, run in (("lastlayer", ours), ("torch", theirs)):
        found = tensors_of(run())
        if len(found) != len(truth):
            raise AssertionError(f"{case.title}: {name} gives {len(found)} results, not {len(truth)}")
        for got, right in zip(found, truth, strict=True):
            error = (got.double() - right.double()).abs().max()
            if got.shape != right.shape or not error <= tolerance * right.double().abs().max():
                raise AssertionError(f"{case.title}: {name} is wrong by {error}")


def measure(case: Case, options: argparse.Namespace) -> Record:
    ours, theirs = case.make(case.dtype)
    check(case, ours, theirs)
    times = in_turns({"lastlayer": ours, "torch": theirs}, options.repetitions, options.budget)
    ms = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    return {
        "group": case.group,
        "name": case.name,
        "ask": case.ask,
        "ms": {name: round(value, 5) for name, value in ms.items()},
        "ratio": round(ms["lastlayer"] / ms["torch"], 3),
    }


def rendered(record: Record) -> str:
    """The table of a record: times in milliseconds, and how many times torch's time lastlayer takes."""
    rows = [
        [
            f"{one['group']}: {one['name']}",
            significant(one["ms"]["lastlayer"]),
            significant(one["ms"]["torch"]),
            f"{one['ratio']:.2f}",
            f"{one['ask']:g}",
            "yes" if one["ratio"] <= one["ask"] else "**no**",
        ]
        for one in record["measured"]
    ]
    return table(["case", "lastlayer, ms", "torch, ms", "ratio", "at most", "met"], rows)


# ------------------------------ command line


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="lines with one of these words; nothing is recorded")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for one line, about")
    parser.add_argument("--out", type=Path, help="folder of the record (default: benchmarks/record/small)")
    options = parser.parse_args(argv)
    words = options.only or [""]
    wanted = [case for case in CASES if any(word in case.title for word in words)]
    if not wanted:
        parser.error(f"--only {' '.join(words)}: no line has such a word")

    warnings.simplefilter("ignore")
    set_threads(options.threads)
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    record: Record = {"date": date, "machine": machine(), "threads": options.threads, "measured": []}
    for case in wanted:
        one = measure(case, options)
        record["measured"].append(one)
        print(f"{case.title:68} {one['ms']['lastlayer']:10.4f} ms  ratio {one['ratio']:.2f}", flush=True)
    print(f"\n{rendered(record)}")
    if options.out or not options.only:
        write_record(record, options.out or RECORDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure `SoftmaxClassifier.fit` beside scikit-learn's solvers and L-BFGS of torch.

    python benchmarks/fit.py                 a table, and a record in benchmarks/record/fit
    python benchmarks/fit.py --only sparse   the lines whose name contains one of these words
    python benchmarks/fit.py --many          also 20 000 classes, which takes a quarter of an hour

A time is that of a fit until no entry of the gradient of the common objective exceeds the tolerance. The
gradient of each result is computed again in float64: a peer that ends above the tolerance (its own criterion
stopped it, or rounding did) is marked, and is the best peer only where no other reached it. Contenders run in
turns on two threads; a ratio is the best peer's median time over ours, the worst of the seeds.

The floor of a pass over dense features is one read of X, and 4 N D K floating-point operations.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from run import Record, machine, set_threads, table, write_record
from training_sets import CASES, MANY, Case

import lastlayer as ll

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "record" / "fit"
TOLERANCES = (1e-4, 1e-6)
_LONG, _SHORT = 8.0, 0.2  # seconds: one run is enough of longer ones, and shorter ones get five times as many


def ours(case: Case, x: Any, y: Any, tol: float, seed: int) -> Callable[[], Any]:
    from lastlayer.sklearn import SoftmaxClassifier

    model = SoftmaxClassifier(case.penalty, tol=tol, max_memory=case.memory, random_state=seed)
    return lambda: parameters(model.fit(x, y))


def peer(name: str, case: Case, x: Any, y: Any, tol: float) -> Callable[[], Any]:
    if name == "torch L-BFGS":
        return lambda: by_torch(x, y, case.penalty, tol)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=case.penalty, solver=name, tol=tol, max_iter=2000)
    return lambda: parameters(model.fit(x, y))


def parameters(model: Any) -> Any:
    return np.concatenate([model.coef_, model.intercept_[:, None]], axis=1).astype(np.float64)


def by_torch(x: Any, y: Any, c: float, tol: float) -> Any:
    """The usual loop: logits of all rows, the mean loss and its penalty, L-BFGS with a line search."""
    import torch

    rows, targets, classes = torch.from_numpy(x), torch.from_numpy(y), int(y.max()) + 1
    head = torch.nn.Linear(x.shape[1], classes, dtype=rows.dtype)
    torch.nn.init.zeros_(head.weight), torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), 1.0, 1000, 1250, tol, 0.0, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Any:
        optimizer.zero_grad()
        penalty = head.weight.square().sum() / (2 * c * len(rows))
        loss = torch.nn.functional.cross_entropy(head(rows), targets) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return torch.cat([head.weight, head.bias[:, None]], dim=1).double().numpy()


def objective(x: Any, y: Any, v: Any, c: float) -> tuple[float, float]:
    """F and the largest entry of its gradient, in float64."""
    n, d = x.shape
    loss, g = 0.0, np.zeros(v.shape)
    step = max(1, min(10_000, (1 << 25) // len(v)))
    for a in range(0, n, step):
        b = x[a : a + step].astype(np.float64)
        z = np.asarray(b @ np.ascontiguousarray(v[:, :d].T)) + v[:, d]
        part, r = ll.cross_entropy_grad(z, y[a : a + step], reduction="sum")
        loss += float(part)
        g[:, :d] += (b.T @ r).T
        g[:, d] += r.sum(axis=0)
    g /= n
    g[:, :d] += v[:, :d] / (c * n)
    return loss / n + float((v[:, :d] ** 2).sum()) / (2 * c * n), float(np.abs(g).max())


def race(case: Case, tol: float, seed: int, rounds: int) -> dict[str, Any]:
    """The median time of each contender, its F and its gradient."""
    x, y = case.make(seed)
    runs = {"ours": ours(case, x, y, tol, seed), **{p: peer(p, case, x, y, tol) for p in case.peers}}
    times: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    names = list(runs)
    for turn in range(rounds * 5):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:  # none is always after the same
            run = runs[name]
            if times[name] and (times[name][0] > _LONG or (turn >= rounds and times[name][0] > _SHORT)):
                continue
            time.sleep(0.05)  # until the threads of the one before have stopped spinning
            start = time.perf_counter()
            results[name] = run()
            times[name].append(time.perf_counter() - start)
    found = {}
    for name, v in results.items():
        loss, norm = objective(x, y, v, case.penalty)
        distance = float(np.abs(v - results["ours"]).sum())
        found[name] = {
            "seconds": statistics.median(times[name]), "loss": loss, "gradient": norm, "distance": distance,
        }  # fmt: skip
    check(case, tol, found)
    return found


def check(case: Case, tol: float, found: dict[str, Any]) -> None:
    """Ours reached the tolerance, and its objective is no further above a peer's than a convex one can be.

    ``F(v) - F(u) <= g(v) . (v - u) <= max |g(v)| sum |v - u|``
    """
    mine = found["ours"]
    assert mine["gradient"] <= tol * 1.001, f"{case.name}: a gradient of {mine['gradient']} at {tol}"
    for name, one in found.items():
        above = mine["gradient"] * one["distance"] + 1e-12
        assert mine["loss"] <= one["loss"] + above, f"{case.name}: {mine['loss']} beside {name}, {one}"


def measure(case: Case, options: argparse.Namespace) -> Record:
    lines = []
    for tol, ask in zip(TOLERANCES, case.asks, strict=True):
        worst: Record = {}
        for seed in range(options.seeds):
            found = race(case, tol, seed, options.rounds)
            peers = {name: f for name, f in found.items() if name != "ours"}
            reached = {name: f for name, f in peers.items() if f["gradient"] <= 2 * tol} or peers
            best = min(reached, key=lambda name: reached[name]["seconds"])
            ratio = reached[best]["seconds"] / found["ours"]["seconds"]
            if not worst or ratio < worst["ratio"]:
                worst = {"tol": tol, "ask": ask, "seed": seed, "best": best, "ratio": ratio, "found": found}
        lines.append(worst)
        print(case.name, tol, worst["best"], round(worst["ratio"], 2), file=sys.stderr, flush=True)
    return {"name": case.name, "lines": lines}


def rendered(record: Record) -> str:
    rows = []
    for one in record["measured"]:
        for line in one["lines"]:
            mine, best = line["found"]["ours"], line["found"][line["best"]]
            above = "" if best["gradient"] <= 2 * line["tol"] else f" (stopped at {best['gradient']:.0e})"
            rows.append(
                [
                    one["name"],
                    f"{line['tol']:g}",
                    f"{mine['seconds']:.3g}",
                    f"{line['best']} {best['seconds']:.3g}{above}",
                    f"{line['ratio']:.1f}",
                    f"{line['ask']:g}",
                    "yes" if line["ratio"] >= line["ask"] else "**no**",
                ]
            )
    head = ["rows x features x classes", "tol", "ours, s", "best peer, s", "times faster", "asked", "met"]
    return table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    set_threads(options.threads)
    warnings.simplefilter("ignore")  # of peers that did not converge
    cases = [*CASES, *([MANY] if options.many else [])]
    chosen = [c for c in cases if not options.only or any(word in c.name for word in options.only)]
    record: Record = {
        "machine": machine(),
        "threads": options.threads,
        "seeds": options.seeds,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "measured": [],
    }
    for case in chosen:
        record["measured"].append(measure(case, options))
        if not options.only:
            write_record(record, RECORDS)  # what is measured is kept, should a later line not end
    print(rendered(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

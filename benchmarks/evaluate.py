"""Measure `Tally.update` beside `cross_entropy` of the same logits, scikit-learn's metrics and torchmetrics'.

    python benchmarks/evaluate.py             everything: a table, and a record in benchmarks/record/evaluate
    python benchmarks/evaluate.py --only x10  the lines whose name contains one of these words
    python benchmarks/evaluate.py --threads 1

The contenders run in turns in one process, on two threads by default; the tally's numbers are compared with
those of float64 before it is timed, and medians are compared. A ratio is the tally's time over the other's.
scikit-learn is given probabilities, computed beforehand; its metrics and torchmetrics' are those of the name.

The floor of a row of V classes in float32: vector operations for each 16 classes, and for each row

    read, and compare for the peak               4 V bytes       2
    exponentials and their sum                                  15       as for the loss
    sums for entropy and Brier score                             5
    rank and argmax                                              3
    loss, confidence, entropy, Brier score      48 bytes        14 a row: logarithm, exponential, divisions
    eight exact sums                            32 bytes        10 a row
    what a row adds to its confidence's bins    24 bytes         3 a row
    places in four tables                       80 bytes        40 instructions a row

So with 10 classes the last three, which do not depend on V, take as long as the loss, and with 100 a sixth.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from run import Record, in_turns, machine, set_threads, significant, table, write_record

import lastlayer as ll

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "record" / "evaluate"

Run = Callable[[], Any]


class Case(NamedTuple):
    """One line; ``ask`` is the most that the ratio should be."""

    rows: int
    classes: int
    other: str
    ask: float

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.classes} beside {self.other}"


CASES = [
    Case(10_000_000, 10, "cross_entropy", 2.0),
    Case(1_000_000, 100, "cross_entropy", 1.5),
    Case(20_000, 128_256, "cross_entropy", 1.2),
    Case(1_000_000, 100, "scikit-learn", 1 / 20),
    Case(1_000_000, 100, "torchmetrics", 1 / 10),
]


def logits(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits of which the target's is raised, so that about half of the rows are right."""
    r = np.random.default_rng(0)
    step = min(case.rows, max(1, (1 << 24) // case.classes))
    part, target = 2 * r.standard_normal((step, case.classes), np.float32), r.integers(0, case.classes, step)
    part[np.arange(step), target] += 4
    z, y = np.empty((case.rows, case.classes), np.float32), np.empty(case.rows, np.int64)
    for start in range(0, case.rows, step):  # the same again: to draw them all takes minutes
        z[start : start + step] = part[: case.rows - start]
        y[start : start + step] = target[: case.rows - start]
    return z, y


def tally_of(z: np.ndarray, y: np.ndarray) -> ll.Tally:
    found = ll.Tally(z.shape[1])
    found.update(z, y)
    return found


def check(z: np.ndarray, y: np.ndarray) -> None:
    """Compare the tally of some rows with float64; raise where it is wrong."""
    some = 1 + (1 << 22) // z.shape[1]
    z, y = z[:some], y[:some]
    found = tally_of(z, y).result()
    x, n = z.astype(np.float64), np.arange(len(y))
    x -= x.max(1, keepdims=True)
    norm = np.log(np.exp(x).sum(1))
    p = np.exp(x - norm[:, None])
    before = (z > z[n, y][:, None]).sum(1) + (
        (z == z[n, y][:, None]) & (np.arange(z.shape[1]) < y[:, None])
    ).sum(1)
    expected = {
        "log_loss": (norm - x[n, y]).mean(),
        "brier": ((p**2).sum(1) - 2 * p[n, y] + 1).mean(),
        "accuracy": (before == 0).mean(),
        "mean_confidence": p.max(1).mean(),
        "mean_reciprocal_rank": (1 / (before + 1)).mean(),
    }
    for name, right in expected.items():
        got = float(getattr(found, name))
        if not abs(got - right) <= 2e-6 * abs(right):
            raise AssertionError(f"{z.shape}: {name} is {got}, not {right}")


def beside(case: Case, z: np.ndarray, y: np.ndarray) -> Run:
    """The other contender."""
    if case.other == "cross_entropy":
        return lambda: ll.cross_entropy(z, y)
    if case.other == "scikit-learn":
        return sklearn_metrics(ll.softmax(z), y)
    return torchmetrics_of(z, y)


def sklearn_metrics(p: np.ndarray, y: np.ndarray) -> Run:
    from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, top_k_accuracy_score

    labels = np.arange(p.shape[1])
    p = p.astype(np.float64)
    p /= p.sum(1, keepdims=True)

    def run() -> Any:
        return (
            log_loss(y, p, labels=labels),
            top_k_accuracy_score(y, p, k=5, labels=labels),
            brier_score_loss(y, p, labels=labels),
            confusion_matrix(y, p.argmax(1), labels=labels),
        )

    return run


def torchmetrics_of(z: np.ndarray, y: np.ndarray) -> Run:
    import torch
    from torch.nn import functional
    from torchmetrics.functional import classification as m

    scores, targets, classes = torch.from_numpy(z), torch.from_numpy(y), z.shape[1]

    def run() -> Any:
        given = {"num_classes": classes, "validate_args": False}
        p = scores.softmax(1)
        return (
            functional.cross_entropy(scores, targets),
            m.multiclass_accuracy(p, targets, top_k=5, average="micro", **given),
            m.multiclass_calibration_error(p, targets, n_bins=15, **given),
            m.multiclass_confusion_matrix(p, targets, **given),
        )

    return run


def measure(case: Case, options: argparse.Namespace) -> Record:
    z, y = logits(case)
    check(z, y)
    runs = {"Tally": lambda: tally_of(z, y), case.other: beside(case, z, y)}
    times = in_turns(runs, options.repetitions, options.budget)
    ms = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    ratio = ms["Tally"] / ms[case.other]
    return {
        "name": case.name,
        "ask": round(case.ask, 3),
        "ms": {name: round(value, 3) for name, value in ms.items()},
        "ratio": round(ratio, 4),
    }


def rendered(record: Record) -> str:
    """The table of a record: times in milliseconds, and the tally's over the other's."""
    rows = [
        [
            one["name"],
            *(significant(value) for value in one["ms"].values()),
            f"{one['ratio']:.3g}",
            f"{one['ask']:g}",
            "yes" if one["ratio"] <= one["ask"] else "**no**",
        ]
        for one in record["measured"]
    ]
    head = ["rows and classes", "Tally ms", "other ms", "ratio", "asked at most", "met"]
    return table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--budget", type=float, default=40.0, help="seconds for one line")
    options = parser.parse_args(argv)
    set_threads(options.threads)
    chosen = [c for c in CASES if not options.only or any(word in c.name for word in options.only)]
    measured = []
    for case in chosen:
        measured.append(measure(case, options))
        print(measured[-1], file=sys.stderr, flush=True)
    record = {
        "machine": machine(),
        "threads": options.threads,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "measured": measured,
    }
    print(rendered(record))
    if not options.only:
        write_record(record, RECORDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Train three small models twice, with torch.nn.CrossEntropyLoss and with lastlayer's, and compare.

Run by ``make train``; `train.py` is what trains. Both runs of a model start from the same seed and see the
same batches, so that their losses can differ by rounding only. Exits with status 1 if they differ by more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# Nothing large is imported here: a process's peak memory begins at that of the process that started it.

TRAIN = Path(__file__).with_name("train.py")
TASKS = {
    "digits": "Digits, a convolutional network",
    "characters": "Characters, a transformer",
    "tokens": "Tokens, a transformer",
}
PICTURED = ("digits", "characters")  # docs/worked shows these
LOSSES = {"torch": "torch.nn.CrossEntropyLoss", "lastlayer": "lastlayer.torch.CrossEntropyLoss"}
TOLERANCE = 1e-4  # of a loss: training makes differences of one rounding, 6e-8, larger step by step


def run(task: str, loss: str, steps: int | None, threads: int = 1) -> dict[str, Any]:
    """Train in a process of its own, so that each has its own peak memory."""
    command = [sys.executable, str(TRAIN), task, "--loss", loss, "--json", "--threads", str(threads)]
    if steps is not None:
        command += ["--steps", str(steps)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def difference(theirs: list[float], ours: list[float]) -> tuple[float, int]:
    """Return the largest relative difference of two curves, and the step it is at. A NaN is the largest."""
    differences = [abs(b - a) / abs(a) for a, b in zip(theirs, ours, strict=True)]
    differences = [float("inf") if d != d else d for d in differences]
    largest = max(differences)
    return largest, differences.index(largest) + 1


def show(task: str, runs: dict[str, dict[str, Any]]) -> bool:
    """Print the runs of a model side by side, and say whether their curves agree."""
    theirs, ours = runs["torch"], runs["lastlayer"]
    rows, classes = ours["logits"]
    print(f"{TASKS[task]} of {ours['parameters']} parameters: {len(ours['losses'])} steps")
    print(f"  {rows} rows of {classes} classes a step, {plural(ours['threads'], 'thread')}\n")
    head = f"  {'':32}{'last loss':>11}{'held out':>11}{'time':>8}"
    print(f"{head}{'step':>9}{'loss':>10}{'peak':>9}{'growth':>8}")
    for loss, name in LOSSES.items():
        r = runs[loss]
        print(
            f"  {name:32}{r['losses'][-1]:>11.7f}{r['held_out']:>11.7f}{r['seconds']:>6.1f} s"
            f"{r['step'] * 1e3:>6.1f} ms{r['loss_alone'] * 1e3:>7.2f} ms"
            f"{r['peak'] / 2**20:>5.0f} MiB{r['growth'] / 2**20:>4.0f} MiB"
        )
    largest, step = difference(theirs["losses"], ours["losses"])
    agree = largest <= TOLERANCE
    meaning = "rounding" if agree else f"more than rounding makes ({TOLERANCE:.0e})"
    print(f"\n  The curves are apart by {largest:.1e} of the loss at most, at step {step}: {meaning}.")
    if task == "tokens":
        print(
            f"  Without the logits a step takes {ours['step'] / theirs['step']:.2f} of the time, and memory"
            f" grows by {ours['growth'] >> 20} MiB instead of {theirs['growth'] >> 20}.\n"
        )
    else:
        share = theirs["loss_alone"] / theirs["step"]
        print(f"  torch's loss takes {share:.1%} of a step: no other can save more.\n")
    return agree


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def record(path: Path, results: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Write the curves, for docs/worked/pictures.py to draw."""
    curves = {
        task: {loss: [float(f"{x:.9g}") for x in r["losses"]] for loss, r in runs.items()}
        for task, runs in results.items()
        if task in PICTURED
    }
    path.write_text(json.dumps(curves) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="of every run (default: as train.py has them)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the curves there, as JSON")
    options = parser.parse_args(argv)

    print("\nEach model is trained twice from the same seed, in a process of its own.\n")
    print("  time    of all steps")
    print("  step    the median one")
    print("  loss    the loss and its gradient alone, on logits of that step's shape: the median one;")
    print("          for tokens with the last layer, which lastlayer computes it with")
    print("  peak    the most memory that the process held, torch itself included")
    print("  growth  how much of that came after the first step began; a few MiB are chance\n")
    results = {}
    agree = True
    for task in TASKS:
        results[task] = {loss: run(task, loss, options.steps, options.threads) for loss in LOSSES}
        agree &= show(task, results[task])
    if options.record:
        record(options.record, results)
    print("All curves agree within rounding." if agree else "The curves do NOT agree within rounding.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())

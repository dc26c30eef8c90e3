"""The sections on NVIDIA GPUs of docs/performance.md and docs/accuracy.md, from the records of `make gpu`.

    python benchmarks/gpu_pages.py       writes both sections, between their marks

`run.py` and `accuracy.py` write the rest of these pages, and call `speed` and `errors` for the sections.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "record" / "gpu"
sys.path[:0] = [str(ROOT / "tests")]

from declared import KERNEL_BOUNDS  # noqa: E402 - found in tests

Record = dict[str, Any]
Key = tuple[str, str]  # shape, dtype

SHARES = ("softmax", "log_softmax", "loss", "loss+gradient")
QUANTITIES = ("softmax", "log_softmax", "loss", "gradient", "logsumexp")


def records(folder: Path = RECORDS) -> list[Record]:
    """All records, the oldest first."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda r: r["date"])


def newest(found: Sequence[Record], key: str) -> Record:
    return next(record for record in reversed(found) if record.get(key))


def shapes(found: Sequence[Record]) -> dict[Key, Record]:
    """Each shape and dtype, from the newest record that has it, in the order of the number of classes."""
    merged = {(one["shape"], one["dtype"]): one for record in found for one in record["measured"]}
    return dict(sorted(merged.items(), key=lambda item: (classes(item[0][0]), item[0][1])))


def classes(shape: str) -> tuple[int, int]:
    """To sort shapes by: images last."""
    sizes = [int(n) for n in shape.split("x")]
    return len(sizes), sizes[-1] if len(sizes) == 2 else sizes[1]


def milliseconds(one: Record, function: str, who: str) -> float | None:
    """The time of one implementation: of the ways that it was called, the fastest."""
    ms = one["functions"].get(function, {}).get("ms", {})
    return min((t for name, t in ms.items() if name.split(",")[0] == who), default=None)


def ratio(one: Record, function: str, peer: str, ours: str | None = None) -> float | None:
    """How many times as fast as a peer we are; ``ours``: by another function of ours."""
    theirs, mine = milliseconds(one, function, peer), milliseconds(one, ours or function, "lastlayer")
    return theirs / mine if theirs and mine else None


def written(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def compared(one: Record) -> list[str]:
    cells = [ratio(one, "softmax", who) for who in ("eager", "compile", "Liger")]
    cells += [ratio(one, "loss", who) for who in ("eager", "compile")]
    cells += [ratio(one, "both ways", who, "loss+gradient") for who in ("eager", "compile")]
    cells += [ratio(one, "both ways", who) for who in ("eager", "compile", "Liger")]
    return [written(cell) for cell in cells]


def about(record: Record) -> str:
    machine = record["machine"]
    return f"{machine['card']}, torch {machine['torch']}, Triton {machine['triton']}, CUDA {machine['cuda']}"


def slower(every: Iterable[Record], peer: str) -> str:
    """Where a peer is faster, in words: functions, at how many shapes, by how much."""
    every, found = list(every), []
    for name, title in TITLES.items():
        ratios = [r for one in every if (r := ratio(one, name, peer))]
        below = [1 / r for r in ratios if r < 1]
        if below:
            times = f"up to {max(below):.2f} times"
            found.append(f"{title} at {len(below)} of {len(ratios)} ({times} as fast)")
    return ", ".join(found)


TITLES = {
    "softmax": "softmax",
    "log_softmax": "log-softmax",
    "loss": "the loss",
    "both ways": "forward and backward through autograd",
}
NOTES = {  # on single runs, by their date
    "2026-11-27 12:13 UTC": "When this was measured, the backward pass through autograd read and wrote "
    "the gradient once more, to multiply it by grad_output, also where that is 1.",
}


def speed(found: Sequence[Record] | None = None) -> str:
    """The section of docs/performance.md."""
    found = found or records()
    every = shapes(found)
    most = max(f.get("memory", 0.0) for one in every.values() for f in one["functions"].values())
    once = [r for one in every.values() if (r := ratio(one, "both ways", "compile", "loss+gradient"))]
    eager = [r for one in every.values() if (r := ratio(one, "both ways", "eager"))]
    losses = [r for one in every.values() if (r := ratio(one, "loss", "eager"))]
    peers = {"PyTorch's eager functions are": "eager", "`torch.compile` is": "compile", "Liger is": "Liger"}
    behind = [f"{who} faster in {where}." for who, n in peers.items() if (where := slower(every.values(), n))]
    small = newest(found, "small")
    parts = [
        "## On NVIDIA GPUs\n",
        f"Measured on {' and '.join(record['date'] for record in found)}: {about(found[-1])}. Times are "
        "those of the GPU alone, except where stated. Every result was compared with float64 before its time "
        "was measured. The runs ended before all shapes were measured; a dash marks what is missing.\n",
        "Kernels in Triton, which comes with PyTorch, compute float32, bfloat16 and float16 tensors. Loss "
        "and gradient are computed in one pass over the logits: each is read once, and the gradient is "
        "written once. (Rows too long for one processor are read again, from the L2 cache where they still "
        "are.) Beside the gradient nothing of the logits' size is allocated: beyond inputs and results, at "
        f"most {100 * most:.1f} % of the logits' memory was measured.\n",
        "At the shapes and dtypes measured:\n",
        f"- Compared with PyTorch's eager functions, the loss is {min(losses):.1f} to {max(losses):.0f} "
        f"times as fast, and forward and backward through autograd {min(eager):.1f} to {max(eager):.0f}.\n"
        "- `cross_entropy_grad`, which returns loss and gradient in one call, is "
        f"{min(once):.1f} to {max(once):.1f} times as fast as forward and backward with `torch.compile`.",
        *(f"- {line}" for line in behind),
        "- Small calls take longer than PyTorch's; most of that time is spent on the CPU: [the last "
        "table](#small-calls).\n",
        *(f"{NOTES[record['date']]}\n" for record in found if record["date"] in NOTES),
        "### Share of the copy bandwidth\n",
        "The speed of each function as a share of the speed of a copy of the same tensor: the fewest bytes "
        "that it can read and write, over its time. `copy` is in TB/s.\n",
        table(
            ["shape", "dtype", "copy", *(f"`{n}`" for n in SHARES[:2]), "loss", "loss and gradient"],
            (
                [
                    *key,
                    written(one["copy TB/s"]),
                    *(written(one["functions"].get(n, {}).get("share")) for n in SHARES),
                ]
                for key, one in every.items()
            ),
        ),
        "Many of these shares are below the goals, which are in `benchmarks/gpu/bars.py`; the tables beside "
        "the records, in `benchmarks/record/gpu`, show both.\n",
        "### Compared with PyTorch and Liger\n",
        'How many times as fast as the other implementation; below 1.00 the other one is faster. "In one '
        "call\" compares `cross_entropy_grad` with the other's forward and backward pass. `torch.compile` "
        "got 16-bit logits as they are and converted to float32, and the faster way counts. The "
        "launches of Liger's losses take longer than their work on the GPU; the figures include them.\n",
        table(
            [
                "shape",
                "dtype",
                *(f"softmax / {who}" for who in ("eager", "compile", "Liger")),
                *(f"loss / {who}" for who in ("eager", "compile")),
                *(f"in one call / {who}" for who in ("eager", "compile")),
                *(f"through autograd / {who}" for who in ("eager", "compile", "Liger")),
            ],
            ([*key, *compared(one)] for key, one in every.items()),
        ),
        "### Small calls\n",
        "Wall time of a call with 32 rows of 10 classes, in microseconds. `cross_entropy_grad` is compared "
        "with PyTorch's forward and backward pass.\n",
        table(
            ["call", "dtype", "lastlayer", "torch"],
            (
                [one["name"], one["dtype"], *(f"{one['us'][who]:.1f}" for who in ("lastlayer", "torch"))]
                for one in small["small"]
            ),
        ),
    ]
    return "\n".join(parts)


def errors(found: Sequence[Record] | None = None) -> str:
    """The section of docs/accuracy.md."""
    record = newest(found or records(), "accuracy")
    rows = []
    for dtype, bounds in KERNEL_BOUNDS.items():
        mine = [errors for name, errors in record["accuracy"].items() if name.startswith(f"{dtype} ")]
        rows.append([dtype, "declared", *(f"{bounds[quantity]:g}" for quantity in QUANTITIES)])
        if mine:
            worst = {quantity: max(errors[quantity] for errors in mine) for quantity in QUANTITIES}
            cells = [f"**{e:.2f}**" if e > bounds[quantity] else f"{e:.2f}" for quantity, e in worst.items()]
            rows.append([dtype, record["machine"]["card"], *cells])
    above = any("**" in cell for row in rows for cell in row)
    sizes = sorted({int(re.findall(r"V=(\d+)", name)[0]) for name in record["accuracy"]})
    parts = [
        "## On NVIDIA GPUs\n",
        "The kernels for CUDA tensors have bounds of their own, because they add up the exponentials of a "
        "row in float32, the C++ core in float64. A result below the smallest normal float32 (1.2e-38) may "
        "be 0. 16-bit results are float32 results rounded once more. float64 tensors are computed by "
        "PyTorch's operations.\n",
        f"Measured on {record['date']}: {about(record)}; logits of scale 1, 5 and 20 with "
        f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]} classes, 262 144 numbers each. Units are those "
        f"of the table above.{' Errors above the declared bound are bold.' if above else ''}\n",
        table(
            ["dtype", "", *(f"`{n}`" for n in QUANTITIES[:2]), "loss of a row", "gradient", "`logsumexp`"],
            rows,
        ),
        'PyTorch\'s own errors, measured on the CPU, are the rows "torch" above. In float32, PyTorch rounds '
        "losses and log-probabilities of confident rows to exactly 0, an error of 16 million ULP. The "
        "kernels keep their digits, as the core does.\n",
    ]
    return "\n".join(parts)


# ------------------------------ the pages


def marked(section: str) -> str:
    return f"<!-- gpu:start -->\n{section}<!-- gpu:end -->\n"


def write(page: Path, section: str) -> None:
    """Replace the section of a page that has its marks."""
    text = page.read_text()
    new, count = re.subn(
        r"<!-- gpu:start -->\n.*?<!-- gpu:end -->\n", lambda _: marked(section), text, flags=re.S
    )
    assert count == 1, page
    page.write_text(new)


def main() -> None:
    write(ROOT / "docs" / "performance.md", speed())
    write(ROOT / "docs" / "accuracy.md", errors())


if __name__ == "__main__":
    main()

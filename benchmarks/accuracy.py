"""Measure the largest errors on every ISA, beside torch and SciPy, and write docs/accuracy.md.

    python benchmarks/accuracy.py             minutes: every scale, size, dtype and ISA, exp, log1p
    python benchmarks/accuracy.py --quick     a small sample; written only with --out

The declared bounds are those of tests/declared.py, the truth and the errors those of tests/precision.py: the
page shows on more numbers what the tests assert.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

import gpu_pages  # noqa: E402 - beside this file
import precision  # noqa: E402 - found in tests
from declared import BOUNDS, ELEMENTARY, REFERENCE_BOUNDS  # noqa: E402
from precision import DTYPES, QUANTITIES, SCALES, SIZES, Truth, engines, largest, ours, sample, use  # noqa: E402

Errors = dict[tuple[str, str, int, int, str], float]  # who, dtype, scale, classes, quantity
PEERS = ("torch", "SciPy")


def torchs(logits: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Compute all quantities with torch."""
    bits = logits.dtype.name == "bfloat16"
    x = torch.from_numpy(logits.view(np.int16)).view(torch.bfloat16) if bits else torch.from_numpy(logits)
    leaf, y = x.detach().requires_grad_(), torch.from_numpy(targets)
    losses = torch.nn.functional.cross_entropy(leaf, y, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    results = {
        "softmax": torch.softmax(x, -1),
        "log_softmax": torch.log_softmax(x, -1),
        "loss": losses.detach(),
        "gradient": gradient,
        "logsumexp": torch.logsumexp(x, -1),
    }
    return {
        name: (value if value.dtype == torch.float64 else value.float()).numpy()
        for name, value in results.items()
    }


def scipys(logits: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Compute with SciPy what it has, and the loss as its users do."""
    log_p = scipy.special.log_softmax(logits, axis=-1)
    return {
        "softmax": scipy.special.softmax(logits, axis=-1),
        "log_softmax": log_p,
        "loss": -log_p[np.arange(len(targets)), targets],
        "logsumexp": scipy.special.logsumexp(logits, axis=-1),
    }


def measure(entries: int) -> Errors:
    """Measure everyone everywhere."""
    errors: Errors = {}
    for dtype in DTYPES:
        if dtype == "float64" and not precision.LONG:
            continue  # no wider type for the truth
        for scale in SCALES:
            for classes in SIZES:
                logits, targets = sample(scale, classes, dtype, entries)
                truth = Truth(logits, targets)
                found: dict[str, dict[str, float]] = {}
                for engine in engines():
                    with use(engine):
                        found[engine] = largest(truth, ours(logits, targets))
                found["torch"] = largest(truth, torchs(logits, targets))
                if dtype in ("float32", "float64"):
                    with warnings.catch_warnings(), np.errstate(all="ignore"):
                        warnings.simplefilter("ignore")
                        found["SciPy"] = largest(truth, scipys(logits, targets))
                for who, values in found.items():
                    for quantity, error in values.items():
                        errors[who, dtype, scale, classes, quantity] = error
                print(f"{dtype} scale {scale}, {classes} classes", flush=True)
    return errors


def measure_elementary(step: int, count: int) -> dict[tuple[str, str], float]:
    """Sweep exp and log1p on every ISA: every step-th float32, and `count` random float64."""
    found = {}
    rng = np.random.default_rng(0)
    wide = np.ldexp(rng.random(count), rng.integers(-60, 10, count))
    for isa in engines()[:-1]:
        for name in ELEMENTARY:
            with use(isa):
                if name.endswith("f32"):
                    low, high = (-0.0, -3.4e38) if name.startswith("exp") else (0.0, 3.4e38)
                    blocks = precision.all_floats(low, high, step)
                    found[isa, name] = max(precision.elementary(name, x) for x in blocks)
                elif precision.LONG:
                    found[isa, name] = precision.elementary(name, -wide if name.startswith("exp") else wide)
            print(f"{name} on {isa}: {found.get((isa, name), math.nan):.3f} ULP", flush=True)
    return found


# ------------------------------ the page


def number(error: float | None) -> str:
    """Write an error rounded up, so that no figure looks better than it is."""
    if error is None:
        return "-"
    if not math.isfinite(error):
        return "inf"
    if error < 100:
        return f"{math.ceil(error * 100 - 1e-6) / 100:.2f}"
    return f"{math.ceil(error):,}".replace(",", " ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def worst(errors: Errors, quantity: str, **wanted: Any) -> float | None:
    """Find the largest error over everything that is not pinned down."""
    names = ("who", "dtype", "scale", "classes")
    found = [
        error
        for key, error in errors.items()
        if key[4] == quantity
        and all(
            key[names.index(name)] in (value if isinstance(value, tuple) else (value,))
            for name, value in wanted.items()
        )
    ]
    return max(found) if found else None


def page(errors: Errors, sweep: dict[tuple[str, str], float], entries: int, step: int) -> str:
    """Write docs/accuracy.md."""
    isas = engines()[:-1] or ("reference",)
    title = [QUANTITY_TITLES[quantity] for quantity in QUANTITIES]
    parts = [
        "<!-- generated by benchmarks/accuracy.py; do not edit -->\n# Accuracy\n",
        "The largest errors measured, in units in the last place (ULP) of the result's dtype, rounded up. "
        "The true value is computed in float64 for inputs of at most 32 bits, and in 80-bit long double for "
        "float64; the tests compare both with arbitrary precision. Errors of the gradient are in ULP of the "
        "larger of |p| and |t - p|, errors of logsumexp in ULP of the larger of |peak| and |lse|, all other "
        "errors in ULP of the true value. Losses and logsumexp of 16-bit logits are float32, so their errors "
        "are in ULP of float32. Logits are drawn from a normal distribution with the stated scale. Every "
        "other target is the class with the largest logit, where losses are small.\n",
        f"Each row is measured on about {number(entries)} numbers. For 16-bit logits torch returns losses "
        "and logsumexp in 16 bits.\n",
        "## Declared and measured\n",
        'The rows "declared" are the bounds that the tests assert. The others are the largest errors over '
        "all scales and numbers of classes; lastlayer is measured on each instruction set "
        f"({', '.join(isas)}).\n",
    ]
    rows = []
    for dtype in DTYPES:
        bounds = BOUNDS[dtype] if isas != ("reference",) else REFERENCE_BOUNDS[dtype]
        rows.append([dtype, "declared", *(f"{bounds[q]:g}" for q in QUANTITIES)])
        for isa in isas:
            rows.append([dtype, isa, *(number(worst(errors, q, dtype=dtype, who=isa)) for q in QUANTITIES)])
        if isas != ("reference",):
            found = [number(worst(errors, q, dtype=dtype, who="reference")) for q in QUANTITIES]
            rows.append([dtype, "reference", *found])
        for peer in PEERS:
            found = [number(worst(errors, q, dtype=dtype, who=peer)) for q in QUANTITIES]
            if set(found) != {"-"}:
                rows.append([dtype, peer, *found])
    parts.append(table(["dtype", "implementation", *title], rows))
    parts.append(gpu_pages.marked(gpu_pages.errors()))
    if sweep:
        parts += [
            "## exp and log1p\n",
            "The native core's own implementations, measured on "
            f"{'every' if step == 1 else f'every {step}th'} float32 (x <= 0 for exp, x >= 0 for log1p), and "
            "on random float64 numbers.\n",
            table(
                ["function", "declared", *isas],
                [
                    [f"`{name}`", f"{bound:g}", *(number(sweep.get((isa, name))) for isa in isas)]
                    for name, bound in ELEMENTARY.items()
                ],
            ),
        ]
    parts.append("## By scale and number of classes\n")
    parts.append("Each cell is lastlayer (the largest error of all instruction sets) / torch / SciPy.\n")
    for dtype in DTYPES:
        rows = []
        for scale in SCALES:
            for classes in SIZES:
                cells = []
                for quantity in QUANTITIES:
                    every = [
                        worst(errors, quantity, dtype=dtype, scale=scale, classes=classes, who=who)
                        for who in (isas, *PEERS)
                    ]
                    cells.append(" / ".join(map(number, every)))
                rows.append([str(scale), str(classes), *cells])
        parts.append(f"### {dtype}\n")
        parts.append(table(["scale", "classes", *title], rows))
    return "\n".join(parts)


QUANTITY_TITLES = {
    "softmax": "`softmax`",
    "log_softmax": "`log_softmax`",
    "loss": "loss of a row",
    "gradient": "gradient",
    "logsumexp": "`logsumexp`",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1 << 20, help="numbers a line")
    parser.add_argument("--step", type=int, default=7, help="sweep every step-th float32 (1: all of them)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the page (default: docs/accuracy.md)")
    options = parser.parse_args(argv)
    if options.quick:
        options.entries, options.step = 1 << 14, 4001
    errors = measure(options.entries)
    sweep = measure_elementary(options.step, options.entries)
    if options.out or not options.quick:
        (options.out or ROOT / "docs" / "accuracy.md").write_text(
            page(errors, sweep, options.entries, options.step)
        )
    failed = 0
    for (who, dtype, scale, classes, quantity), error in errors.items():
        if who in PEERS:
            continue
        bound = (REFERENCE_BOUNDS if who == "reference" else BOUNDS)[dtype][quantity]
        if not error <= bound:
            failed += 1
            where = f"{who} {dtype} {quantity}, scale {scale}, {classes} classes"
            print(f"ABOVE: {where}: {error:.3f} ULP, declared {bound:g}")
    for (isa, name), error in sweep.items():
        if not error <= ELEMENTARY[name]:
            failed += 1
            print(f"ABOVE: {name} on {isa}: {error:.3f} ULP, declared {ELEMENTARY[name]:g}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

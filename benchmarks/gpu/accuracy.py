"""The largest errors in ULP, against float64, of the results that `tests/declared.py` bounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import lastlayer as ll

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "tests")]

import interpreter  # noqa: E402 - found in tests
from declared import KERNEL_BOUNDS  # noqa: E402 - likewise
from precision import Truth, largest, sample  # noqa: E402 - likewise

__all__ = ["SIZES", "largest_errors", "rendered"]

if interpreter.INTERPRETED:  # a dry run
    interpreter.mend()

SCALES = (1, 5, 20)
LEAST = float(np.finfo(np.float32).tiny)  # smaller numbers may be 0
SIZES = (10, 1000, 50257, 128256)
Errors = dict[str, dict[str, float]]  # "dtype V scale" -> quantity -> ULP


def results(logits: np.ndarray, targets: np.ndarray, device: torch.device) -> dict[str, np.ndarray]:
    """The quantities of `precision`, computed on the device."""
    if logits.dtype == np.float32:
        x = torch.from_numpy(logits).to(device)
    else:
        x = torch.from_numpy(logits.view(np.int16)).view(torch.bfloat16).to(device)
    y = torch.from_numpy(targets).to(device)
    found = {
        "softmax": ll.softmax(x),
        "log_softmax": ll.log_softmax(x),
        "loss": ll.cross_entropy(x, y, reduction="none"),
        "gradient": ll.cross_entropy_grad(x, y, reduction="sum")[1],
        "logsumexp": ll.logsumexp(x),
    }
    return {name: value.float().cpu().numpy() for name, value in found.items()}


def largest_errors(
    device: torch.device,
    sizes: Sequence[int] = SIZES,
    scales: Sequence[int] = SCALES,
    entries: int = 1 << 18,
) -> Errors:
    found = {}
    for dtype in ("bfloat16", "float32"):
        for classes in sizes:
            for scale in scales:
                logits, targets = sample(scale, classes, dtype, entries)
                errors = largest(Truth(logits, targets), results(logits, targets, device), LEAST)
                found[f"{dtype} V={classes} scale {scale}"] = {n: round(e, 2) for n, e in errors.items()}
    return found


def rendered(found: Errors) -> str:
    """The worst of each dtype and quantity, beside its bound."""
    lines = []
    for dtype, bounds in KERNEL_BOUNDS.items():
        mine = {name: errors for name, errors in found.items() if name.startswith(f"{dtype} ")}
        if not mine:
            continue
        parts = []
        for quantity, most in bounds.items():
            name = max(mine, key=lambda name: mine[name][quantity])
            worst = mine[name][quantity]
            where = f" ({name.removeprefix(dtype + ' ')})" if worst > most else ""
            parts.append(f"{quantity} {worst:.2f}{' > ' if worst > most else ' <= '}{most:g}{where}")
        lines.append(f"errors in ULP, {dtype}: " + ", ".join(parts))
    return "\n".join(lines)

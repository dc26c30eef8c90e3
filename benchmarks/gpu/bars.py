"""What the kernels have to reach. In: a function, a column of `shapes`, a dtype. Out: shares and ratios.

A share is the time of the fewest bytes that a function can move, at the speed of a copy of the same tensor,
over the time that it took (GPU time alone). `FLOOR` was reached by the prototype: below is a defect.
"""

from __future__ import annotations

__all__ = ["AT_LEAST", "SMALL", "Bar", "bar", "faster_than_compile", "floor"]

Bar = float | None

COLUMNS = ("10", "100", "1000", "4096", "16k-32k", "50257", "50304", "128256", "262144", "images")

ASKED = {
    "softmax": (0.8, 0.85, 0.95, 0.97, 0.92, 0.85, 0.85, 0.85, 0.8, 0.8),
    "loss": (0.6, 0.7, 0.8, 0.85, 0.9, 0.85, 0.9, 0.95, 0.95, 0.7),
    "loss+gradient": (0.6, 0.7, 0.85, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.7),
}

# bfloat16, float32
FLOOR = {
    "softmax": (
        (0.7, 0.7, 0.92, 0.97, 0.85, 0.47, 0.72, 0.72, 0.66, 0.60),
        (0.8, 0.8, 0.99, 0.97, 0.85, 0.56, 0.68, 0.72, 0.66, 0.60),
    ),
    "loss": (
        (0.3, 0.35, 0.45, 0.64, 0.8, 0.57, 0.74, 0.87, 0.87, 0.33),
        (0.38, 0.40, 0.60, 0.76, 0.9, 0.57, 0.84, 0.95, 0.95, 0.38),
    ),
    "loss+gradient": (
        (0.43, 0.47, 0.67, 0.77, 0.8, None, 0.7, 0.68, 0.64, 0.47),
        (0.57, 0.58, 0.87, 0.9, 0.82, None, 0.7, 0.7, 0.67, 0.55),
    ),
}

# Forward and backward through autograd: how many times faster than torch.compile.
COMPILE = (
    (3, 2.2, 2, 2.5, 1.7, 1.7, 1.7, 1.5, 1.5, 2),
    (1.7, 1.6, 1.5, 2, 1.6, 1.5, 1.5, 1.4, 1.4, 2),
)

AT_LEAST = {"eager": 3.0, "Liger": 1.0}  # likewise, at every shape
SMALL = 1.5  # wall time of a small call, over torch's


def bar(function: str, column: str) -> Bar:
    """The share that is asked for."""
    asked = ASKED.get("softmax" if function == "log_softmax" else function)
    return asked[COLUMNS.index(column)] if asked else None


def floor(function: str, column: str, dtype: str) -> Bar:
    """The share that the prototype reached."""
    reached = FLOOR.get("softmax" if function == "log_softmax" else function)
    return reached[dtype == "float32"][COLUMNS.index(column)] if reached else None


def faster_than_compile(column: str, dtype: str) -> float:
    """The ratio that is asked for, of the time of torch.compile over ours, forward and backward."""
    return COMPILE[dtype == "float32"][COLUMNS.index(column)]

"""The declared accuracy: the largest error of each result, in ULP. Tests assert it, the page shows it.

ULP of the result's dtype: that of the logits for softmax, log_softmax and the gradient; float32 for losses
and logsumexp, float64 where the logits are. At the true value, except for the gradient, where ULP are those
of the larger of |p| and |t - p|, and logsumexp, of the larger of |peak| and |lse|.
"""

from __future__ import annotations

# A 16-bit result is a float32 result rounded once more: half a ULP, and a little for the float32 error.
_WIDE = {"softmax": 3.0, "log_softmax": 3.0, "loss": 3.0, "gradient": 3.0, "logsumexp": 1.0}
_HALF = {**_WIDE, "softmax": 0.51, "log_softmax": 0.51, "gradient": 0.51}

BOUNDS = {"float32": _WIDE, "float64": _WIDE, "float16": _HALF, "bfloat16": _HALF}

# The kernels in Triton, for CUDA tensors: sums of a row are in float32, where the core has float64.
# Results below the smallest normal number of float32 may be 0.
_KERNELS = {"softmax": 4.0, "log_softmax": 5.0, "loss": 5.0, "gradient": 4.0, "logsumexp": 2.5}
_KERNELS_HALF = {**_KERNELS, "loss": 6.0, "softmax": 0.51, "log_softmax": 0.51, "gradient": 0.51}
KERNEL_BOUNDS = {"float32": _KERNELS, "float16": _KERNELS_HALF, "bfloat16": _KERNELS_HALF}
# More names for the same, and what only tests assert.
KERNELS_IN_TESTS = {
    **_KERNELS, "losses": 4.5, "nll": 4.5, "lse": 2.5, "confidence": 3.5, "probs": 3.5,
    "gradient with a softcap": 5.0,
}  # fmt: skip

# The reference backend computes in float64 and rounds once; for float64 every step rounds.
_ROUNDED = {"softmax": 0.51, "log_softmax": 0.51, "loss": 0.51, "gradient": 0.51, "logsumexp": 0.51}
REFERENCE_BOUNDS = {
    "float32": _ROUNDED,
    "float16": _ROUNDED,
    "bfloat16": _ROUNDED,
    # nothing wider inside: exp and log1p, each off by up to 1 ULP, and the formula's own roundings
    "float64": {"softmax": 5.0, "log_softmax": 4.0, "loss": 4.0, "gradient": 5.0, "logsumexp": 6.0},
}

# The elementary functions of the native core: exp for x <= 0, log1p for x >= 0.
ELEMENTARY = {"exp_f32": 1.1, "log1p_f32": 1.0, "exp_f64": 1.1, "log1p_f64": 1.0}

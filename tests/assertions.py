"""The comparison that all tests use. It raises, and measures errors in units in the last place (ULP)."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from declared import KERNELS_IN_TESTS
from interpreter import INTERPRETED

# Explicit bits of the mantissa, and the exponent of the smallest normal number.
_FORMATS = {"float16": (10, -14), "bfloat16": (7, -126), "float32": (23, -126), "float64": (52, -1022)}


def ulp(scale, dtype):
    """The distance between neighbouring numbers of ``dtype`` near ``scale``."""
    bits, smallest = _FORMATS[np.dtype(dtype).name]
    exponent = np.frexp(np.abs(np.asarray(scale, np.longdouble)))[1] - 1
    return np.ldexp(np.longdouble(1), np.maximum(exponent, smallest) - bits)


def errors_in_ulp(actual, truth, dtype, scale=None):
    """Errors of finite results, in ULP of ``dtype`` at the truth, or at ``scale`` where that is larger."""
    actual, truth = np.asarray(actual).astype(np.longdouble), np.asarray(truth).astype(np.longdouble)
    size = np.abs(truth) if scale is None else np.maximum(np.abs(truth), np.abs(scale))
    return np.abs(actual - truth) / ulp(size, dtype)


def assert_ulp(actual, truth, bound, dtype=None, scale=None, what="result"):
    """Raise unless every result is within ``bound`` ULP of the truth, and NaN or infinite only where that is.

    ``dtype`` is that of ``actual`` unless given; a truth beyond its range counts as infinite.
    """
    actual = np.asarray(actual)
    dtype = np.dtype(actual.dtype if dtype is None else dtype)
    truth = np.asarray(truth).astype(np.longdouble)
    if actual.shape != truth.shape:
        raise AssertionError(f"{what} has shape {actual.shape}, the truth {truth.shape}")
    bits, _ = _FORMATS[dtype.name]
    top = np.ldexp(2 - np.ldexp(np.longdouble(1), -bits), 15 if dtype.name == "float16" else 127)
    if dtype.name != "float64":
        truth = np.where(np.abs(truth) > top, np.copysign(np.longdouble(np.inf), truth), truth)
    value = actual.astype(np.longdouble)
    special = ~np.isfinite(truth) | ~np.isfinite(value)
    same = (np.isnan(truth) & np.isnan(value)) | (truth == value)
    plain = ~special
    error = np.zeros(truth.shape, np.longdouble)
    size = None if scale is None else np.broadcast_to(np.asarray(scale, np.longdouble), truth.shape)[plain]
    error[plain] = errors_in_ulp(value[plain], truth[plain], dtype, size)
    error[special & ~same] = np.inf
    if INTERPRETED and dtype.name in ("float32", "bfloat16"):  # the kernels may take what is not normal for 0
        error[plain & (np.abs(truth) < 2.0**-126) & (np.abs(value) < 2.0**-126)] = 0.0
    if error.size == 0 or not error.max() > bound:
        return
    worst = np.unravel_index(np.argmax(error), error.shape)
    count = int((error > bound).sum())
    raise AssertionError(
        f"{what}{list(map(int, worst))} is {value[worst]!r}; "
        f"expected {truth[worst]!r} within {bound} ULP of {dtype}, "
        f"found {float(error[worst]):.4g} ULP ({count} of {error.size} are off)"
    )


def near(backend, actual, truth, bound, *, scale=None, what):
    """`assert_ulp` with this bound, or with the kernels' where these are tested and theirs is larger."""
    if backend == "triton" and bound >= 1:  # a float32 result
        bound = max(bound, KERNELS_IN_TESTS.get(what, bound))
    assert_ulp(actual, truth, bound, scale=scale, what=what)


def assert_same_bits(actual, expected, what="result"):
    """Raise unless both hold the same bytes, shape and dtype."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    same = actual.dtype == expected.dtype and actual.shape == expected.shape
    if not same or actual.tobytes() != expected.tobytes():
        raise AssertionError(f"{what} differs: {actual!r} and {expected!r}")


@contextmanager
def raises(error, text):
    """Expect an error of exactly this type and text."""
    with pytest.raises(error) as caught:
        yield
    found = str(caught.value)
    if type(caught.value) is not error or found != text:
        raise AssertionError(f"{type(caught.value).__name__}: {found}\nexpected {error.__name__}: {text}")


@contextmanager
def unchanged(*arrays):
    """Expect that a block writes to none of these arrays."""
    before = [np.array(a, copy=True, subok=False) for a in arrays]
    yield
    for number, (a, b) in enumerate(zip(arrays, before, strict=True)):
        assert_same_bits(np.array(a, copy=True), b, f"input {number}")

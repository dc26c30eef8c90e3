"""No result is further from the truth than `declared.py` says, on the reference and on every ISA.

A small sample of what `benchmarks/accuracy.py` measures at length for docs/accuracy.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from declared import BOUNDS, ELEMENTARY, REFERENCE_BOUNDS
from oracle import truth as oracle_truth
from precision import (
    DTYPES,
    LONG,
    QUANTITIES,
    SCALES,
    SIZES,
    Truth,
    all_floats,
    elementary,
    engines,
    largest,
    ours,
    sample,
    use,
)

ISAS = [engine for engine in engines() if engine != "reference"]


def needs_a_wider_type(dtype: str) -> None:
    if dtype == "float64" and not LONG:
        pytest.skip("longdouble is no wider than float64 here")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_error_exceeds_the_declared(dtype: str, classes: int, scale: int) -> None:
    needs_a_wider_type(dtype)
    logits, targets = sample(scale, classes, dtype, entries=1 << 14)
    truth = Truth(logits, targets)
    for engine in engines():
        with use(engine):
            found = largest(truth, ours(logits, targets))
        bounds = (REFERENCE_BOUNDS if engine == "reference" else BOUNDS)[dtype]
        excess = {name: error for name, error in found.items() if not error <= bounds[name]}
        assert not excess, f"{engine}, {dtype}, {classes} classes, scale {scale}: {excess}; declared {bounds}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_truth_is_true(dtype: str) -> None:
    needs_a_wider_type(dtype)
    logits, targets = sample(20, 7, dtype, entries=70)
    truth, exact = Truth(logits, targets), oracle_truth(logits, targets, reduction="sum")
    assert exact.losses is not None
    assert exact.gradient is not None
    exacts = {
        "softmax": exact.softmax,
        "log_softmax": exact.log_softmax,
        "loss": exact.losses,
        "gradient": exact.gradient,
        "logsumexp": exact.lse,
    }
    for name, error in largest(truth, exacts).items():
        assert error < 0.01, f"the truth of {name} is {error} ULP off"


@pytest.mark.parametrize("name", QUANTITIES)
def test_an_error_is_seen(name: str) -> None:
    logits, targets = sample(5, 10, "float32", entries=100)
    truth = Truth(logits, targets)
    wrong = truth.values[name].astype(np.longdouble)
    wrong.flat[3] += 4 * truth.units[name].flat[3]
    assert largest(truth, {name: wrong})[name] == pytest.approx(4, rel=1e-6)
    wrong.flat[5] = np.nan
    assert largest(truth, {name: wrong})[name] == np.inf


@pytest.mark.skipif(not ISAS, reason="the native core is not built")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions(name: str, isa: str) -> None:
    with use(isa):
        if name.endswith("f32"):
            low, high = (-0.0, -3.4e38) if name.startswith("exp") else (0.0, 3.4e38)
            worst = max(elementary(name, x) for x in all_floats(low, high, step=4001))
        else:
            needs_a_wider_type("float64")
            rng = np.random.default_rng(0)
            x = np.concatenate([np.ldexp(rng.random(40_000), rng.integers(-60, 10, 40_000)), [0.0]])
            worst = elementary(name, -x if name.startswith("exp") else x)
    assert worst <= ELEMENTARY[name]

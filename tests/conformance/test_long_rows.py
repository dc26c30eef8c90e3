"""Rows of millions of classes: the accuracy of every sum, what stays in memory, and how soon a call ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from backends import on
from endless import repeated

import lastlayer as ll
from lastlayer.backends.core import native

_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
import core_calls  # noqa: E402

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux says of a process")
PERIOD, UNIT = 1 << 22, 2.0**-24


@pytest.fixture(params=native.isas())
def isa(request):
    with on(f"native:{request.param}"):
        yield request.param


@pytest.fixture(scope="module")
def period():
    """Nearly the same number everywhere, so that every addition is rounded in the same direction."""
    z = np.full(PERIOD, 0.9, np.float32)
    z[5], z[9] = 1.0, -3.0
    return z


@pytest.fixture(scope="module")
def scores(period):
    return repeated(period, 100_000_000)[None]


def total(values, n):
    """The sum over n classes of numbers that repeat themselves."""
    whole, left = divmod(n, len(values))
    return values.sum() * whole + values[:left].sum()


def stats_of(x, y, dense, axis=1):
    rows, wide = (
        x.size // x.shape[axis],
        ("rest", "spread", "square", "moment", *(("gap", "mass") if dense else ())),
    )
    into = {name: np.empty(rows) for name in wide} | {"lse": np.empty(rows, np.float32)}
    core_calls.row_stats(x, axis, targets=y, dense=dense, into=into)
    return into


def true_stats(period, n):
    """In float64: pairwise within a period, and exact but for one rounding over the periods."""
    z = period.astype(np.float64)
    below = z.max() - z
    e = np.exp(-below)
    return {
        "rest": total(e, n) - 1,
        "spread": total(e * below, n),
        "moment": total(e * below**2, n),
        "square": total(e * e, n) - 1,
        "lse": z.max() + np.log(total(e, n)),
    }


def assert_near(found, true, bound):
    for name, value in true.items():
        error = float(np.max(np.abs(found[name] / value - 1)))
        assert error < bound, (name, error)


def test_sums_of_a_very_long_row(isa, scores, period):
    assert_near(stats_of(scores, None, False), true_stats(period, scores.shape[1]), 4 * UNIT)


def test_targets_and_gradients_of_a_very_long_row(isa, scores, period):
    n = 50_000_000
    x, q = scores[:, :n], repeated(np.full(PERIOD, 0.7e-7, np.float32), n)[None]
    z, t = period.astype(np.float64), float(np.float32(0.7e-7))
    true = {"mass": t * n, "gap": total(t * (z.max() - z), n)}
    found = stats_of(x, q, True)
    assert_near(found, true_stats(period, n) | true, 6 * UNIT)
    out = repeated(np.zeros(PERIOD, np.float32), n)[None]
    for log, expected in (
        (False, z * (t - total(z * t, n))),
        (True, t - np.exp(z) * t * n),
    ):
        core_calls.softmax_backward(q, x, 1, out, log=log)
        assert_near({"dx": out[0, :PERIOD]}, {"dx": expected}, 6 * UNIT)


def test_sums_of_very_long_columns(isa, period):
    """The class axis first: vectors run across the rows."""
    n = 1 << 21
    x = np.repeat(period[:n, None], 16, 1)
    assert_near(stats_of(x, None, False, axis=0), true_stats(period[:n], n), 4 * UNIT)


def test_weights_of_many_rows_and_classes():
    """Sums of float64, in whatever order: an error that grew with their number would be larger."""
    n = 3_000_000
    y, w = np.zeros(n, np.int8), np.full(n, 0.1)
    assert abs(core_calls.target_totals(y, 1, sample_weight=w)[1] / (n * 0.1) - 1) < 4e-16
    x = np.zeros((1, n))
    loss = ll.cross_entropy(x, [0], class_weight=w, label_smoothing=0.5, reduction="sum")
    assert abs(loss / (0.1 * np.log(n)) - 1) < 2e-15


@pytest.mark.slow
def test_a_row_of_as_many_classes_as_declared(isa, period):
    n = 2**31
    x = repeated(period, n)[None]
    assert_near(stats_of(x, None, False), true_stats(period, n), 4 * UNIT)
    ties = repeated(np.zeros(PERIOD, np.float32), n)[None]
    assert_near(stats_of(ties, None, False), {"rest": n - 1}, UNIT)
    columns = repeated(np.zeros(PERIOD, np.float32), 16 << 25).reshape(-1, 16)
    assert_near(stats_of(columns, None, False, axis=0), {"rest": 2**25 - 1}, UNIT)


# --- memory -------------------------------------------------------------------------------------------------


def python(code):
    source = str(Path(ll.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@linux
def test_threads_keep_little_of_their_scratch():
    grown = python("""
        import os
        import numpy as np
        import lastlayer as ll
        from lastlayer import _core

        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        x = np.zeros((128256, 128), np.float32)
        out = np.empty_like(x)
        _core.set_num_threads(4)
        ll.softmax(x[:2000], axis=0, out=out[:2000])  # starts the threads
        out[:] = 0
        before = resident()
        for _ in range(3):
            ll.softmax(x, axis=0, out=out)
        print(resident() - before)
    """)
    assert int(grown) < 16 << 20  # each of four threads used 16 MiB


# --- other threads, and Ctrl-C ------------------------------------------------------------------------------


def test_other_threads_run_while_targets_are_counted():
    y = repeated(np.zeros(1 << 20, np.int8), 300_000_000)

    def longest_wait():
        took = []

        def count():
            begin = time.perf_counter()
            assert core_calls.target_totals(y, 1) == (-1, float(y.size))
            took.append(time.perf_counter() - begin)

        counter = threading.Thread(target=count)
        last, longest, ended = time.perf_counter(), 0.0, False
        counter.start()
        while not ended:
            ended = bool(took)
            now = time.perf_counter()
            last, longest = now, max(longest, now - last)
        counter.join()
        return longest / took[0]

    assert min(longest_wait() for _ in range(5)) < 0.5  # 1 where the interpreter is held all the time


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT of this kind")
@pytest.mark.parametrize("function", [ll.logsumexp, lambda x: ll.top_k(x, 3)], ids=["logsumexp", "top_k"])
def test_an_interrupt_arrives_within_a_row(function, period):
    x = repeated(period, 2**31)[None]
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.2, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            function(x)
        assert time.perf_counter() - sent[0] < 0.3  # without other work on the machine, 0.03
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)

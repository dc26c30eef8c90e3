"""What a long-lived process does to a library: threads, forks, signals, odd memory, other environments."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from assertions import assert_same_bits, assert_ulp, unchanged
from backends import on
from cases import DTYPES, INDEX_DTYPES

import lastlayer as ll
from lastlayer.backends.core import native
from lastlayer.threads import check_environment

_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
import core_calls  # noqa: E402

SOURCE = str(Path(ll.__file__).parents[1])
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def threads():
    """Sets the number of threads, and puts it back."""
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


# Both forms of the kernels, 16-bit scores, the class axis in the middle; each enough for several threads.
SHAPES = [
    ((7001, 10), -1, "f"),
    ((600, 130), -1, "f"),
    ((40, 4001), -1, "f"),
    ((3, 21, 60, 61), 1, "f"),
    ((130, 700), 0, "d"),
    ((50, 2000), -1, "e"),
    ((9, 70001), -1, "f"),
]


def problem(number):
    shape, axis, kind = SHAPES[number]
    rng = np.random.default_rng(number)
    rows = tuple(np.delete(shape, axis))
    return rng.normal(size=shape).astype(kind) * 5, rng.integers(0, shape[axis], rows), axis


PROBLEMS = [problem(number) for number in range(len(SHAPES))]


def everything(number):
    """Every kind of result of one problem, as arrays."""
    x, y, axis = PROBLEMS[number]
    stats = ll.row_stats(x, y, axis=axis)
    return [
        ll.softmax(x, axis),
        ll.log_softmax(x, axis),
        ll.logsumexp(x, axis),
        *ll.cross_entropy_grad(x, y, axis=axis, label_smoothing=0.1, softcap=30.0, z_loss=1e-3),
        *ll.cross_entropy_grad(x, y, axis=axis),
        ll.cross_entropy(x, y, axis=axis, reduction="sum"),
        stats.nll,
        stats.entropy,
        stats.rank,
        *ll.top_k(x, 3, axis=axis),
    ]


def all_problems():
    return [everything(number) for number in range(len(SHAPES))]


def assert_all_the_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        for one, other in zip(a, b, strict=True):
            assert_same_bits(one, other)


@pytest.fixture(params=native.isas())
def isa(request):
    """Every instruction set."""
    with on(f"native:{request.param}"):
        yield request.param


# --- threads ------------------------------------------------------------------------------------------------


def test_the_same_bits_for_any_number_of_threads(isa, threads):
    threads(1)
    expected = all_problems()
    for n in (2, 3, 8):
        threads(n)
        assert _core.get_num_threads() == n
        assert_all_the_same(all_problems(), expected)


def test_many_callers_with_different_problems(isa, threads):
    threads(1)
    expected = all_problems()
    threads(3)
    order = [(caller * 3 + turn) % len(SHAPES) for caller in range(6) for turn in range(len(SHAPES))]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(everything, order))
    assert_all_the_same(found, [expected[number] for number in order])


def test_targets_that_change_during_the_call():
    """Another thread's mistake: the results mean nothing, but nothing outside of the arrays is touched."""
    x, y = np.zeros((20000, 50), np.float32), np.zeros(20000, np.int64)
    stop = threading.Event()

    def spoil():
        while not stop.is_set():
            y[:] = 2**62
            y[:] = -(2**62)
            y[:] = 3

    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    try:
        for _ in range(20):
            for function in (ll.cross_entropy, ll.cross_entropy_grad, ll.row_stats):
                with suppress(ll.TargetError):
                    function(x, y)
    finally:
        stop.set()
        spoiler.join()
    assert ll.softmax(x)[0, 0] == np.float32(0.02)


# --- forks --------------------------------------------------------------------------------------------------


def in_child(task):
    """The exit status of a forked child that runs ``task``: 0 if it returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are the point
        child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that waits for its parent's threads would wait forever
        status = 1
        try:
            task()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@needs_fork
def test_a_fork_between_calls(isa, threads):
    threads(3)
    expected = all_problems()
    for _ in range(3):
        assert in_child(lambda: assert_all_the_same(all_problems(), expected)) == 0
        assert_all_the_same([everything(0)], expected[:1])
    # children of children
    assert in_child(lambda: os._exit(in_child(lambda: assert_all_the_same(all_problems(), expected)))) == 0


@needs_fork
def test_a_fork_during_calls_of_another_thread(threads):
    threads(2)
    expected = everything(1)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            ll.softmax(PROBLEMS[1][0])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(10):
            assert in_child(lambda: assert_all_the_same([everything(1)], [expected])) == 0
    finally:
        stop.set()
        worker.join()


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_fields_of_packed_records(backend, dtype):
    """Scores and targets in one array of records: misaligned, with odd strides."""
    kind = np.dtype([("flag", np.int8), ("x", dtype, (5,)), ("y", np.int16), ("w", np.float32)])
    rng = np.random.default_rng(0)
    records = np.zeros(37, kind)
    records["x"] = rng.normal(size=(37, 5)).astype(dtype)
    records["y"] = rng.integers(0, 5, 37)
    records["w"] = rng.random(37)
    plain = {name: np.ascontiguousarray(records[name]) for name in "xyw"}
    with unchanged(records):
        loss, gradient = ll.cross_entropy_grad(records["x"], records["y"], sample_weight=records["w"])
        expected = ll.cross_entropy_grad(plain["x"], plain["y"], sample_weight=plain["w"])
        assert_same_bits(loss, expected[0])
        assert_same_bits(gradient, expected[1])
        assert_same_bits(ll.softmax(records["x"]), ll.softmax(plain["x"]))
        assert_same_bits(ll.softmax(records["x"], axis=0), ll.softmax(plain["x"], axis=0))
    before = records.copy()
    ll.softmax(records["x"], out=records["x"])
    assert_same_bits(np.ascontiguousarray(records["x"]), ll.softmax(plain["x"]))
    for name in ("flag", "y", "w"):
        assert_same_bits(np.ascontiguousarray(records[name]), np.ascontiguousarray(before[name]))


@pytest.mark.parametrize("offset", range(1, 9))
def test_views_at_any_byte(backend, offset):
    rng = np.random.default_rng(0)
    memory = np.zeros(4000 * 8 + 16, np.uint8)
    for kind in "efd":
        itemsize = np.dtype(kind).itemsize
        x = memory[offset : offset + 400 * itemsize].view(kind).reshape(4, 100)
        x[...] = rng.normal(size=x.shape)
        y = memory[20000 + offset : 20000 + offset + 32].view(np.int64)
        y[...] = [3, 99, 0, 7]
        for found, expected in zip(
            ll.cross_entropy_grad(x, y), ll.cross_entropy_grad(x.copy(), y.copy()), strict=True
        ):
            assert_same_bits(found, expected)
        for axis in (0, 1):
            assert_same_bits(ll.softmax(x, axis), ll.softmax(x.copy(), axis))


def test_read_only_results_are_refused(backend):
    out = np.zeros((2, 3))
    out.flags.writeable = False
    for function in (ll.softmax, ll.log_softmax):
        with pytest.raises(ll.LastlayerError, match=rf"^{function.__name__}: out"):
            function(np.zeros((2, 3)), out=out)
    assert not out.any()


def test_memory_mapped_scores(backend, tmp_path):
    path = tmp_path / "scores.npy"
    x = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    np.save(path, x)
    mapped = np.load(path, mmap_mode="r")
    assert_same_bits(np.asarray(ll.softmax(mapped)), ll.softmax(x))
    assert_same_bits(
        np.asarray(ll.cross_entropy(mapped, np.zeros(300, int))), ll.cross_entropy(x, np.zeros(300, int))
    )


@pytest.mark.parametrize("dtype", INDEX_DTYPES, ids=str)
def test_the_native_core_survives_any_index(isa, dtype):
    """Below all checks: rows whose target is no class count for nothing, whatever their target says."""
    info = np.iinfo(dtype)
    for classes in (3, 100):
        x = np.random.default_rng(0).normal(size=(33, classes)).astype(np.float32)
        y = np.ones(33, dtype)
        wrong = {4: info.max, 5: info.min, 6: classes, 7: info.max - 1, 8: info.min + 1}
        wrong = {row: value for row, value in wrong.items() if not 0 <= value < classes}
        for row, value in wrong.items():
            y[row] = min(value, info.max)
        losses, gradient = np.empty(33, np.float32), np.empty_like(x)
        core_calls.cross_entropy(x, 1, targets=y, kind=1, losses=losses, grad=gradient)
        rows = [row for row in wrong if not 0 <= int(y[row]) < classes]
        assert (losses[rows] == 0).all()
        assert (gradient[rows] == 0).all()
        assert (np.delete(losses, rows) > 0).all()


def test_the_native_core_refuses_what_would_be_unsafe():
    """Its own checks, should native.py be wrong: nothing is written, and the error has a name."""
    x, out = np.zeros((4, 3), np.float32), np.full((4, 3), 7, np.float32)
    locked = out.copy()
    locked.flags.writeable = False
    wrong = [
        (x, 2, out),
        (x, -1, out),
        (x, 1, out[:3]),
        (x, 1, out.T),
        (x, 1, out.astype(np.float64)),
        (x, 1, locked),
        (x, 1, out, np.ones((4, 2), bool)),
        (x, 1, out, np.ones((4, 3), np.int32)),
        (x.astype(np.int32), 1, out),
        (x.astype(">f4"), 1, out),
        (x[:, :0], 1, out[:, :0]),
        (None, 1, out),
        (np.float32(1), 0, out),
    ]
    for scores, axis, result, *mask in wrong:
        with pytest.raises((ValueError, BufferError, TypeError)):
            core_calls.softmax(scores, axis, result, where=mask[0] if mask else None)
    y = np.zeros(4, np.int64)
    for target in (y[:3], y[::2], y.astype(np.float64), np.zeros(8, np.int64)[::2]):
        with pytest.raises(ValueError, match="targets"):
            core_calls.row_stats(x, 1, targets=target, into={"nll": np.empty(4, np.float32)})
    for target in (y.astype(np.float64), np.zeros(8, np.int64)[::2]):
        with pytest.raises(ValueError, match="targets"):
            core_calls.target_totals(target, 3)
    for into, k in (
        ({"lse": np.empty(3, np.float32)}, 0),
        ({"lse": np.empty(4)}, 0),
        ({"rank": np.empty(4, np.int64)}, 0),
        ({"nll": np.empty(4, np.float32)}, 0),
        ({"top_label": np.empty((4, 2), np.int64)}, 2),
        ({"top_label": np.empty((4, 2), np.int64), "top_probability": np.empty((4, 1), np.float32)}, 2),
        ({"top_label": np.empty((4, 4), np.int64), "top_probability": np.empty((4, 4), np.float32)}, 4),
    ):
        with pytest.raises(ValueError, match=r"."):
            core_calls.row_stats(x, 1, into=into, k=k)
    assert (out == 7).all()


@pytest.mark.parametrize("axes", [33, 64])
def test_as_many_axes_as_numpy_has(axes):
    x = np.zeros((2, *(1,) * (axes - 3), 3, 2), np.float32)
    x[0, ..., 1, 1] = 1
    expected = np.squeeze(ll.softmax(np.squeeze(x), 1))
    assert_ulp(np.squeeze(ll.softmax(x, -2)), expected, 1)
    grad = ll.cross_entropy_grad(x, np.zeros((*x.shape[:-2], 2), int), axis=-2)[1]
    expected = ll.cross_entropy_grad(np.squeeze(x), np.zeros((2, 2), int), axis=1)[1]
    assert_ulp(np.squeeze(grad), expected, 0)


# --- signals ------------------------------------------------------------------------------------------------

LONG = """
    import os, signal, sys, threading, time
    import numpy as np
    import lastlayer as ll
    from lastlayer import _core

    _core.set_num_threads({threads})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    x = np.broadcast_to(np.linspace(-3, 3, 1000, dtype=np.float32), ({rows}, 1000))
    y = np.broadcast_to(np.int8(5), {rows})
    expected = ll.softmax(x[:5000])
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.3, interrupt).start()
    try:
        {call}
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[0])
    else:
        print("finished")
    assert (ll.softmax(x[:5000]) == expected).all()
"""


def python(script, **environment):
    """Runs a script in a fresh interpreter with this package."""
    script = f"import sys; sys.path.insert(0, {SOURCE!r})\n" + textwrap.dedent(script)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LASTLAYER_", "OMP_NUM"))}
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT of this kind")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["ll.logsumexp(x)", "ll.cross_entropy(x, y)", "ll.row_stats(x, y)"])
def test_an_interrupt_arrives_during_a_long_call(threads, call):
    done = python(LONG.format(threads=threads, call=call, rows=20_000_000))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0  # seconds from the signal to the exception


def test_the_interpreter_ends_while_threads_compute():
    done = python("""
        import threading, time
        import numpy as np
        import lastlayer as ll

        def work():
            while True:
                ll.softmax(x)

        x = np.zeros((3000, 300), np.float32)
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# --- environment --------------------------------------------------------------------------------------------


def told(expression, **environment):
    done = python(
        "import lastlayer as ll; from lastlayer import _core; from lastlayer.backends.core import native; "
        f"print({expression})",
        **environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_isa_from_the_environment():
    widest = native.isas()[0]
    assert told("_core.isa()") == widest
    assert told("_core.isa()", LASTLAYER_ISA="") == widest
    for name in native.isas():
        assert told("_core.isa(), native.describe()", LASTLAYER_ISA=name).startswith(
            f"{name} C++ core on {name},"
        )


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("LASTLAYER_ISA", "LASTLAYER_ISA is 'abacus'; expected one that this machine can run: {isas}"),
        ("LASTLAYER_BACKEND", "backend is 'abacus'; expected 'native' or 'reference'"),
    ],
)
def test_a_wrong_name_in_the_environment(variable, message):
    done = python("import lastlayer", **{variable: "abacus"})
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("BackendError: " + message.format(isas=", ".join(native.isas())))


def test_backend_from_the_environment():
    ours = "[name for name, _, why_not in ll.show_backends() if why_not is None]"
    assert told(ours) == "['native', 'reference']"
    assert told(ours, LASTLAYER_BACKEND="reference") == "['reference']"
    assert told(ours, LASTLAYER_BACKEND="native") == "['native']"
    done = python(
        "import array_api_strict as xp, lastlayer; lastlayer.softmax(xp.ones(3))", LASTLAYER_BACKEND="native"
    )
    assert "BackendError: softmax: no backend can run this (native: it reads NumPy arrays, not" in done.stderr


def test_threads_from_the_environment():
    default = told("_core.get_num_threads()")
    if hasattr(os, "sched_getaffinity"):
        assert default == str(len(os.sched_getaffinity(0)))
        done = python("""
            import os
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            from lastlayer import _core
            print(_core.get_num_threads())
        """)
        assert done.stdout == "1\n", done.stderr
    assert told("_core.get_num_threads()", LASTLAYER_NUM_THREADS="3") == "3"
    assert told("_core.get_num_threads()", OMP_NUM_THREADS="5") == "5"
    assert told("_core.get_num_threads()", OMP_NUM_THREADS="5", LASTLAYER_NUM_THREADS="3") == "3"
    assert told("_core.get_num_threads()", LASTLAYER_NUM_THREADS="") == default
    for nonsense in ("0", "-2", "many", "2.5", "1e9", "4096", "99999999999999999999"):
        rule = f"LASTLAYER_NUM_THREADS is {nonsense!r}; expected an int in [1, 4095], or unset it"
        with pytest.raises(ll.OptionError, match=re.escape(rule)):
            check_environment({"LASTLAYER_NUM_THREADS": nonsense})
    assert "OptionError" in python("import lastlayer", LASTLAYER_NUM_THREADS="many").stderr
    check_environment({"LASTLAYER_NUM_THREADS": " 4095 "})
    with pytest.raises(ValueError, match="n is below 1"):
        _core.set_num_threads(0)


def test_number_of_threads(core, threads):
    before = ll.get_num_threads()
    try:
        for n in (1, np.int64(3), 4095):
            ll.set_num_threads(n)
            assert ll.get_num_threads() == n
        assert f"{n} threads" in repr(ll.show_backends())
        for n in (0, -1, 4096, 2.0, "2", None, 1 << 70):
            rule = f"set_num_threads: n is {n!r}; expected an int in [1, 4095]"
            with pytest.raises(ll.OptionError, match=re.escape(rule)):
                ll.set_num_threads(n)
        assert ll.get_num_threads() == 4095
    finally:
        ll.set_num_threads(before)

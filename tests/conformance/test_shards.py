"""Some of the classes, by the core alone: gradients of known mass and tilt, ranks and best by a threshold."""

from __future__ import annotations

import numpy as np
import pytest

_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
import core_calls  # noqa: E402

N, V = 37, 150
GRAD = 1
DTYPES = {"float32": 3e-7, "float64": 1e-15}


@pytest.fixture(params=_core.isas(), autouse=True)
def isa(request):
    before = _core.isa()
    assert _core.set_isa(request.param)
    yield
    _core.set_isa(before)


def scores(dtype, v=V, seed=0):
    return (4 * np.random.default_rng(seed).normal(size=(N, v))).astype(dtype)


def canonical(raw, temperature, softcap):
    raw = raw.astype(np.float64)
    return (softcap * np.tanh(raw / softcap) if softcap else raw) / temperature


def slopes(raw, temperature, softcap):
    raw = raw.astype(np.float64)
    return (1 - np.tanh(raw / softcap) ** 2 if softcap else np.ones_like(raw)) / temperature


@pytest.mark.parametrize("cut", [(0, 150), (0, 5), (30, 47), (64, 150)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("temperature", "softcap", "off"), [(1.0, 0.0, 0.0), (0.5, 0.0, 0.01), (1.5, 6.0, 0.0)]
)
def test_gradient_with_mass_and_tilt(dtype, cut, temperature, softcap, off):
    """Coefficients of both signs, rows without targets, rows with nothing at all, and impossible classes."""
    x = scores(dtype)
    x[:, 100] = -np.inf
    y = np.random.default_rng(1).integers(0, V, N)
    weight = np.where(np.arange(N) % 3 == 0, 0.0, np.random.default_rng(2).normal(size=N))
    mass, tilt = np.random.default_rng(3).normal(size=(2, N))
    mass[6] = tilt[6] = 0.0
    z = canonical(x, temperature, softcap)
    peak, p = z.max(1, keepdims=True), np.exp(z - z.max(1, keepdims=True))
    rest = p.sum(1) - 1
    p /= 1 + rest[:, None]
    t = weight[:, None] * (np.eye(V)[y] + off)
    below = np.where(p == 0, 0, z - peak)
    wanted = 3.0 * slopes(x, temperature, softcap) * ((mass[:, None] + tilt[:, None] * below) * p - t)
    first, last = cut
    kind = np.float64 if dtype == "float64" or temperature != 1 or softcap else np.float32

    def gradient(tilt):
        shard = x[:, first:last].copy()
        core_calls.cross_entropy(
            shard,
            1,
            temperature=temperature,
            softcap=softcap,
            targets=y - first,
            sample_weight=weight,
            off=off,
            scale=3.0,
            kind=GRAD,
            grad=shard,
            peak=peak[:, 0].astype(kind),
            rest=rest,
            mass=mass,
            tilt=tilt,
        )
        return shard

    shard = gradient(tilt)
    assert np.abs(shard - wanted[:, first:last]).max() < DTYPES[dtype] * 30
    assert not shard[6].any()
    without = gradient(None)
    wanted = 3.0 * slopes(x, temperature, softcap) * (mass[:, None] * p - t)
    assert np.abs(without - wanted[:, first:last]).max() < DTYPES[dtype] * 10


@pytest.mark.parametrize("cut", [(0, 150), (0, 5), (5, 22), (22, 111), (111, 150)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("temperature", "softcap"), [(1.0, 0.0), (0.5, 3.0)])
def test_ranks_below_a_threshold(dtype, cut, temperature, softcap):
    """Many ties; a target's own score that seems above itself is not counted."""
    x = np.random.default_rng(0).integers(-3, 4, (N, V)).astype(dtype)
    y = np.random.default_rng(1).integers(0, V, N)
    y[:3] = 0, V - 1, 5
    given = x[np.arange(N), y].astype(np.float64)
    x[0, y[0]] = np.nextafter(x[0, y[0]], x.dtype.type(9))
    first, last = cut
    others = np.arange(first, last)
    part = x[:, first:last].astype(np.float64)
    before = (part > given[:, None]) | ((part == given[:, None]) & (others < y[:, None]))
    wanted = (before & (others != y[:, None])).sum(1)
    into = {"rank": np.empty(N, np.int64)}
    shard = x[:, first:last].copy()
    core_calls.row_stats(
        shard,
        1,
        temperature=temperature,
        softcap=softcap,
        targets=y - first,
        into=into,
        shard=True,
        threshold=given,
    )
    assert into["rank"].tolist() == wanted.tolist()


@pytest.mark.parametrize("cut", [(0, V), (0, 5), (5, 22), (22, V)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("temperature", "softcap"), [(1.0, 0.0), (0.5, 3.0)])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_the_best_that_reach_a_threshold(dtype, cut, temperature, softcap, k):
    """Many ties; fewer than k where fewer reach it; all may be found where it is -inf or NaN."""
    x = np.random.default_rng(0).integers(-30, 31, (N, V)).astype(dtype) / np.dtype(dtype).type(4)
    first, last = cut
    part, k = x[:, first:last].copy(), min(k, last - first)
    least = np.sort(x, axis=1)[:, -k].astype(np.float64)
    least[0], least[1], least[2] = -np.inf, np.nan, 8
    shape = len(x), k
    kind = np.float64 if dtype == "float64" or (dtype == "float32" and temperature != 1) else np.float32
    into = {"top_label": np.empty(shape, np.int64), "top_probability": np.empty(shape, kind)}
    core_calls.row_stats(
        part, 1, temperature=temperature, softcap=softcap, into=into, k=k, shard=True, threshold=least
    )
    z = part.astype(np.float64)
    order = np.argsort(-z, axis=1, kind="stable")[:, :k]
    found = ~(np.take_along_axis(z, order, 1) < least[:, None])
    may, got = np.where(found, order, -1), into["top_label"]
    few = part.shape[1] <= 64  # then the threshold may be passed over
    assert np.where(few & ~found, -1, got).tolist() == may.tolist()
    e = np.exp(canonical(part, temperature, softcap))
    p = np.take_along_axis(e / e.sum(1, keepdims=True), order, 1)
    assert np.abs(into["top_probability"] - np.where(got >= 0, p, 0)).max() < 1e-6


def test_what_does_not_go_together():
    x, y, row = scores("float64", 70), np.zeros(N, np.int64), np.zeros(N)
    into = {"rank": np.zeros(N, np.int64)}

    def stats(shard, threshold=None):
        core_calls.row_stats(x, 1, targets=y, into=into, shard=shard, threshold=threshold)

    def grad(peak, rest, mass, tilt=None):
        known = {"peak": peak, "rest": rest, "mass": mass, "tilt": tilt}
        core_calls.cross_entropy(x, 1, targets=y, kind=GRAD, grad=x.copy(), **known)

    def top(shard, ranks):
        both = {"top_label": np.zeros((N, 2), np.int64), "top_probability": np.zeros((N, 2))}
        both |= into if ranks else {}
        core_calls.row_stats(x, 1, targets=y, into=both, k=2, shard=shard, threshold=row)

    for call, wrong in (
        (top, (True, True)),
        (top, (False, False)),
        (stats, (True,)),
        (stats, (False, row)),
        (stats, (True, row[1:])),
        (stats, (True, row.astype(np.float32))),
        (grad, (row, row, None, row)),
        (grad, (row, row, row, row[1:])),
        (grad, (row, row, row[::2])),
    ):
        with pytest.raises(ValueError, match=r"threshold|tilt|mass"):
            call(*wrong)

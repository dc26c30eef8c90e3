"""The kernels of the usual cases, against float64: values, gradients, odd rows, layouts."""

from __future__ import annotations

import math

import pytest
import torch

from lastlayer.backends.torch.composed import Form
from lastlayer.backends.torch.targets import Target

calls = pytest.importorskip("lastlayer.backends.triton.calls")

# Kernels for short rows of every kind, for long rows that start at 16 bytes, and for those that do not.
CLASSES = [1, 2, 7, 10, 100, 257, 1000, 8200, 8205]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = [(c, d) for c in CLASSES for d in DTYPES if c < 8000 or d is not torch.float16]


def without(classes):
    """The cases; those of so many classes, which take seconds each, only in soaks."""
    return [pytest.param(*case, marks=pytest.mark.soak if case[0] == classes else ()) for case in CASES]


def scores(n, classes, dtype, scale=4.0, stride=None):
    """Rows with ties, with an outlier, with -inf, with two at the peak."""
    torch.manual_seed(n * classes)
    z = torch.randn(n, stride or classes) * scale
    z[0, :classes] = 3.0
    if n > 3 and classes > 2:
        z[1, classes // 2] = 300.0
        z[2, : classes // 2] = -math.inf
        z[3, 1] = z[3, classes - 1] = z[3, :classes].max() + 1
    return z.to(dtype)[:, :classes]


def truth(z):
    """(p, log p, lse, rest) in float64, without terms that cancel."""
    z = z.double()
    peak, top = z.max(1)
    rest = (z - peak[:, None]).exp().scatter(1, top[:, None], 0.0).sum(1)
    log_norm = torch.log1p(rest)
    return z.softmax(1), (z - peak[:, None]) - log_norm[:, None], peak + log_norm, rest


def ulps(x, ref):
    """The largest error in ULP of float32."""
    keep = (ref.abs() > 1e-30) & ref.isfinite()
    unit = torch.exp2(torch.floor(torch.log2(ref.abs()[keep])) - 23)
    error = (x.double()[keep] - ref[keep]).abs() / unit
    return 0.0 if error.numel() == 0 else error.max().item()


def close(x, ref, bound=3.0):
    """At most ``bound`` ULP of float32; for 16 bits, and half a ULP of theirs."""
    if x.dtype is torch.float32:
        return ulps(x, ref) <= bound
    digits = 8 if x.dtype is torch.bfloat16 else 11
    allowed = ref.abs() * 2.0**-digits * 1.01 + (0.0 if digits == 8 else 2.0**-25)
    keep = ref.isfinite() & (ref.abs() > 1e-30)
    return bool(((x.double() - ref).abs() <= allowed)[keep].all())


def targets(n, classes):
    torch.manual_seed(classes)
    y = torch.randint(0, classes, (n,))
    if n > 3 and classes > 2:
        y[1], y[3] = classes // 2, 1
    return y


def true_loss(z, y):
    rest = truth(z)[3]
    z = z.double()
    z_y = z.gather(1, y[:, None])[:, 0]
    return (z.max(1).values - z_y) + torch.log1p(rest)


def true_gradient(z, y):
    p, _, _, rest = truth(z)
    top = z.double().max(1).indices
    peak = z.double().max(1).values
    at = z.double().gather(1, y[:, None])[:, 0] == peak
    p_y = p.gather(1, y[:, None])[:, 0]
    del top
    return p.scatter(1, y[:, None], torch.where(at, -rest / (1 + rest), p_y - 1)[:, None]), p


@pytest.mark.parametrize(("classes", "dtype"), without(8205))
def test_softmax_and_lse(classes, dtype):
    z = scores(5 if classes > 1000 else 9, classes, dtype)
    p, log_p, lse, _ = truth(z)
    assert close(calls.softmax(z, None, -1, 1.0, False), p)
    assert close(calls.softmax(z, None, -1, 1.0, True), log_p)
    assert ulps(calls.logsumexp(z, Form()), lse) <= 1.5
    there = z.clone()
    calls.softmax(there, None, -1, 1.0, False, there)
    assert torch.equal(there, calls.softmax(z, None, -1, 1.0, False))


@pytest.mark.parametrize(("classes", "dtype"), without(8200))
def test_losses_and_gradients(classes, dtype):
    n = 5 if classes > 1000 else 9
    z, y = scores(n, classes, dtype), targets(n, classes)
    losses, (gradient, p) = true_loss(z, y), true_gradient(z, y)
    target = Target(y)
    each, kept = calls.cross_entropy_and_statistics(z, target, Form(reduction="none", ignore_index=-100))
    assert ulps(each, losses) <= 3.0
    found = {
        reduction: calls.cross_entropy_and_gradient(z, target, Form(reduction=reduction, ignore_index=-100))
        for reduction in ("mean", "sum", "none")
    }
    torch.testing.assert_close(found["mean"][0].double(), losses.mean(), rtol=2e-7, atol=0.0)
    torch.testing.assert_close(found["sum"][0].double(), losses.sum(), rtol=2e-7, atol=0.0)
    assert ulps(found["none"][0], losses) <= 3.0
    mean = calls.cross_entropy(z, target, Form(ignore_index=-100))
    torch.testing.assert_close(mean, found["mean"][0], rtol=2e-7, atol=0.0)
    torch.testing.assert_close(
        found["none"][1], found["sum"][1], rtol=3e-7 if dtype is torch.float32 else 1e-2, atol=0.0
    )
    unit = torch.exp2(torch.floor(torch.log2(torch.maximum(p, gradient.abs()).clamp(min=1e-30))) - 23)
    for dx, scale in ((found["sum"][1], 1.0), (found["mean"][1], 1.0 / n)):
        if dtype is torch.float32:
            error = (dx.double() / scale - gradient).abs() / unit
            assert error[p > 1e-30].max() <= 3.5
        else:
            torch.testing.assert_close(dx.double() / scale, gradient, rtol=1e-2, atol=2e-6)
    none = Form(reduction="none", ignore_index=-100)
    again = calls.gradient(torch.ones(n), z, target, none, kept)
    rtol = 2e-6 if dtype is torch.float32 else 1e-2
    torch.testing.assert_close(again.double(), gradient, rtol=rtol, atol=2e-6)


@pytest.mark.parametrize("classes", [10, 1000, pytest.param(8205, marks=pytest.mark.soak)])
def test_ignored_and_wrong_targets(classes):
    z, y = scores(5, classes, torch.float32), targets(5, classes)
    losses, (gradient, _) = true_loss(z, y), true_gradient(z, y)
    y[1], z[1] = -100, math.nan
    loss, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100))
    rows = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(loss.double(), losses[rows].mean(), rtol=2e-7, atol=0.0)
    torch.testing.assert_close(dx[rows].double(), gradient[rows] / 4, rtol=2e-6, atol=1e-12)
    assert (dx[1] == 0).all()
    y[2] = classes
    each, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100, reduction="none"))
    assert each[2].isnan()
    assert dx[2].isnan().all()
    assert each[1] == 0
    assert (dx[1] == 0).all()
    assert each[0].isfinite()
    y[:] = -100
    loss, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100))
    assert loss == 0
    assert (dx == 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("classes", [10, 1000, 8200])
def test_rows_that_are_not_defined(classes, bad):
    z, y = scores(3, classes, torch.bfloat16), torch.zeros(3, dtype=torch.int64)
    z[1] = bad
    p = calls.softmax(z, None, -1, 1.0, False)
    assert p[1].isnan().all()
    assert not p[0].isnan().any()
    assert not p[2].isnan().any()
    lse = calls.logsumexp(z, Form())
    assert lse[1].isnan() if math.isnan(bad) else lse[1] == bad
    each, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100, reduction="none"))
    assert each[1].isnan()
    assert dx[1].isnan().all()
    assert each[0].isfinite()
    z[1] = 0.0
    z[1, classes // 2] = bad
    p = calls.softmax(z, None, -1, 1.0, False)
    assert p[1].isnan().all() if bad != -math.inf else p[1, classes // 2] == 0


@pytest.mark.parametrize("classes", [10, 100, pytest.param(8200, marks=pytest.mark.soak), 8205])
@pytest.mark.parametrize("more", [1, 8])
def test_rows_with_room_between_them(classes, more):
    z = scores(4, classes, torch.bfloat16, stride=classes + more)
    y = targets(4, classes)
    loss, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100))
    same, dy = calls.cross_entropy_and_gradient(z.contiguous(), Target(y), Form(ignore_index=-100))
    torch.testing.assert_close(loss, same, rtol=2e-7, atol=0.0)
    torch.testing.assert_close(dx, dy, rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize(
    ("classes", "dtype"), [(1030, torch.bfloat16), (1040, torch.float32), (2060, torch.bfloat16)]
)
def test_many_rows(classes, dtype):
    n = 70
    z, y = scores(n, classes, dtype), targets(n, classes)
    y[7], z[7, 0], y[9] = -100, math.nan, classes
    z[11, 5], z[12], z[13, 0] = math.nan, -math.inf, math.inf
    form = Form(reduction="none", ignore_index=-100)
    each, kept = calls.cross_entropy_and_statistics(z, Target(y), form)
    usual = torch.tensor([i for i in range(n) if i not in (7, 9, 11, 12, 13)])
    assert ulps(each[usual], true_loss(z[usual], y[usual])) <= 3.0
    assert each[7] == 0
    assert each[[9, 11, 12, 13]].isnan().all()
    lse = calls.logsumexp(z, Form())
    assert ulps(lse[usual], truth(z[usual])[2]) <= 1.5
    assert lse[11].isnan()
    assert lse[12] == -math.inf
    assert lse[13] == math.inf
    y[[9, 11, 12, 13]] = -100
    mean = calls.cross_entropy(z, Target(y), Form(ignore_index=-100))
    torch.testing.assert_close(mean, each[usual].mean(), rtol=3e-7, atol=0.0)
    del kept


@pytest.mark.parametrize("classes", [7, 8200])
def test_no_rows(classes):
    z, y = torch.zeros(0, classes), torch.zeros(0, dtype=torch.int64)
    loss, dx = calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100))
    assert loss == 0
    assert dx.shape == z.shape
    assert calls.softmax(z, None, -1, 1.0, False).shape == z.shape
    assert calls.logsumexp(z, Form()).shape == (0,)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_types_of_targets(kind):
    z, y = scores(6, 100, torch.float32), targets(6, 100)
    form = Form(ignore_index=-100)
    same = calls.cross_entropy(z, Target(y.to(kind)), form)
    assert torch.equal(same, calls.cross_entropy(z, Target(y), form))

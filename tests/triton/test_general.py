"""The general kernels compute what `composed` and `losses` compute in float64: all options, axes, strides."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from lastlayer.backends.torch import composed, losses
from lastlayer.backends.torch.composed import Form
from lastlayer.backends.torch.targets import Target
from lastlayer.backends.triton import general

SHAPES = [((9, 5), 1), ((5, 9), 0), ((3, 4, 3), 1), ((9, 1), 1)]
LONG = (4, 2100), 1  # two tiles of classes
DTYPES = [torch.float32, torch.bfloat16]
OPTIONS = [
    Form(),
    Form(temperature=2.0, off=0.02, on=0.9),
    Form(softcap=10.0, z_loss=0.01, off=0.02, on=0.9),
]


def scores(shape, axis, dtype, odd=True):
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator) * 3
    rows = x.movedim(axis, -1).reshape(-1, shape[axis]).clone()
    classes = shape[axis]
    if odd and len(rows) > 6 and classes > 2:
        rows[0] = 2.0
        rows[1, 0], rows[2, 1], rows[3], rows[4, classes // 2] = inf, nan, -inf, -inf
        rows[5, classes // 2 :] = rows[5].max() + 1
        rows[6] += 1000
    return rows.view(*shape[:axis], *shape[axis + 1 :], classes).movedim(-1, axis).to(dtype)


def close(found, x, expected, ulps=6):
    """``found`` is near ``expected``, of which x has the dtype's precision where they have one dtype."""
    expected = expected.double()
    step = torch.finfo(found.dtype).eps if found.dtype.is_floating_point else 0.0
    torch.testing.assert_close(
        found.double(), expected, rtol=ulps * step, atol=ulps * step * 0.2, equal_nan=True, check_dtype=False
    )


def targets(shape, axis):
    generator = torch.Generator().manual_seed(1)
    rows, classes = shape[:axis] + shape[axis + 1 :], shape[axis]
    y = torch.randint(classes, rows, generator=generator)
    y.view(-1)[2], y.view(-1)[-1] = -100, classes + 3
    dense = torch.rand(shape, generator=generator).softmax(axis)
    dense.select(axis, classes // 2).zero_()
    one_hot = torch.nn.functional.one_hot(y.clamp(0, classes - 1), classes).movedim(-1, axis)
    listed = torch.randint(classes, (*rows, 3), generator=generator)
    listed.view(-1)[4] = -100
    p = torch.rand(*rows, 3, generator=generator) / 3
    return {
        "index": Target(y),
        "dense": Target(dense),
        "one-hot": Target(one_hot),
        "listed": Target(listed, None, None, p),
        "left over": Target(listed, None, None, p, 1 - p.sum(-1)),
    }


def weighted(target, shape, axis):
    generator = torch.Generator().manual_seed(2)
    w = torch.rand(shape[axis], generator=generator)
    s = torch.rand(shape[:axis] + shape[axis + 1 :], generator=generator)
    w[0], s.view(-1)[1], s.view(-1)[3] = 0.0, 0.0, 0.0
    return target._replace(class_weight=w, sample_weight=s)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_softmax(shape, axis, dtype):
    x = scores(shape, axis, dtype)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.3
    mask.movedim(axis, -1)[0] = False
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    for where in (None, mask):
        for log, temperature in ((False, 1.0), (True, 1.0), (False, 0.5)):
            y = general.softmax(x, where, axis, temperature, log)
            assert y.dtype is dtype
            wide = composed.softmax(x.double(), axis, where, temperature, log)
            close(y, x, wide)
            y = composed.softmax(x, axis, where, temperature, log)
            dx = general.softmax_backward(grad, y, where, axis, temperature, log)
            wide = composed.softmax_backward(grad.double(), y.double(), where, axis, temperature, log)
            close(dx, x, wide, 60)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_logsumexp(shape, axis, dtype):
    x = scores(shape, axis, dtype)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.3
    mask.movedim(axis, -1)[0] = False
    grad = torch.randn(shape[:axis] + shape[axis + 1 :], generator=torch.Generator().manual_seed(3))
    for where, form in (
        (None, Form(axis)),
        (mask, Form(axis, temperature=0.5)),
        (None, Form(axis, softcap=10.0)),
    ):
        close(general.logsumexp(x, form, where), x, composed.logsumexp(x.double(), form, where))
        wide = composed.logsumexp_backward(grad.double(), x.double(), form, where)
        close(general.logsumexp_backward(grad, x, form, where), x, wide, 30)


@pytest.mark.parametrize("kind", ["index", "dense", "one-hot", "listed", "left over"])
@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, LONG])
def test_losses(shape, axis, kind):
    plain = targets(shape, axis)[kind]
    for number, form in enumerate(OPTIONS[: 2 if shape == LONG[0] else None]):
        x = scores(shape, axis, DTYPES[number % 2])
        target = weighted(plain, shape, axis) if number else plain
        ignore = None if kind in ("dense", "one-hot") else -100
        reductions = ([("mean", None), ("none", None)], [("none", None)], [("sum", None), ("mean", 7.0)])
        for reduction, denominator in reductions[number]:
            # a mean of rows that include NaN is NaN: leave those rows out
            regular = reduction == "none"
            z = x if regular else scores(shape, axis, x.dtype, odd=False)
            t = target if regular or kind != "index" else target._replace(y=target.y.clamp(max=0))
            f = form._replace(axis=axis, ignore_index=ignore, reduction=reduction, denominator=denominator)
            loss, kept = general.cross_entropy_and_statistics(z, t, f)
            expected = losses.cross_entropy(z.double(), t, f)
            assert loss.dtype is torch.float32
            assert loss.shape == expected.shape
            close(loss, z, expected, 12)
            grad = torch.randn(loss.shape, generator=torch.Generator().manual_seed(3))
            wide = losses.gradient(grad.double(), z.double(), t, f)
            dx = general.gradient(grad, z, t, f, kept)
            assert dx.dtype is z.dtype
            close(dx, z, wide, 60)
        again, dx = general.cross_entropy_and_gradient(z, t, f)
        assert torch.equal(again.nan_to_num(7.0), loss.nan_to_num(7.0))
        close(dx, z, losses.gradient(torch.ones_like(expected), z.double(), t, f), 60)


@pytest.mark.parametrize("kind", [None, "index", "dense", "listed"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_statistics(shape, axis, kind):
    x = scores(shape, axis, torch.float32)
    target = None if kind is None else weighted(targets(shape, axis)[kind], shape, axis)
    form = Form(axis, reduction="none", ignore_index=-100 if kind in ("index", "listed") else None)
    found = general.statistics(x, target, form)
    expected = losses.statistics(x.double(), target, form)
    assert found.keys() == expected.keys()
    for name, number in expected.items():
        assert found[name].is_floating_point() == number.is_floating_point(), name
        close(found[name], x, number, 12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, LONG])
def test_ranking(shape, axis, dtype):
    x = scores(shape, axis, dtype)
    for form in (Form(axis), Form(axis, softcap=10.0)):
        for found, expected in (
            (general.predict(x, form), composed.predict(x, form)),
            (general.top_k(x, min(3, shape[axis]), form), composed.top_k(x, min(3, shape[axis]), form)),
        ):
            assert torch.equal(found[0], expected[0])
            close(found[1], x, expected[1])


@pytest.mark.parametrize("axis", range(4))
def test_strides(axis):
    x = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(0))
    for v in (x[:, :, ::2], x.permute(2, 0, 3, 1), x[:, 1:, :, 1:], x[:1].expand(2, 3, 4, 3)):
        expected = composed.softmax(v.double(), axis, None, 1.0, False)
        close(general.softmax(v, None, axis, 1.0, False), v, expected)
        out = torch.empty(v.shape[::-1]).permute(3, 2, 1, 0)
        assert general.softmax(v, None, axis, 1.0, False, out) is out
        close(out, v, expected)
        same = v.clone()
        general.softmax(same, None, axis, 1.0, False, same)
        assert torch.equal(same, out)
        mask = (torch.arange(v.shape[-1]) % 3 > 0).expand(v.shape)
        expected = composed.softmax(v.double(), axis, mask, 1.0, True)
        close(general.softmax(v, mask, axis, 1.0, True), v, expected)


def test_no_rows_and_totals_of_zero():
    for shape in ((0, 3), (3, 0)):
        x = torch.empty(shape)
        assert general.softmax(x, None, 1, 1.0, False).shape == shape
        assert general.logsumexp(x, Form()).shape == shape[:1]
    x, y = torch.randn(3, 4), torch.full((3,), -100)
    loss, dx = general.cross_entropy_and_gradient(x, Target(y), Form(ignore_index=-100))
    assert loss == 0
    assert not dx.any()


@pytest.mark.parametrize("shift", [-800.0, -200.0, 0.0, 200.0, 800.0])
def test_rows_far_from_zero(shift):
    """The first block of a row has nothing to make relative to its peak."""
    for shape in ((5, 9), (2, 2100)):
        x = scores(shape, 1, torch.float32, odd=False) + shift
        for form in (Form(), Form(temperature=0.4), Form(temperature=3.0, softcap=2 * abs(shift) + 1)):
            close(general.logsumexp(x, form), x, composed.logsumexp(x.double(), form))
            p = composed.top_k(x.double(), 3, form)[1]
            close(general.top_k(x, 3, form)[1], x, p)
        wide = composed.softmax(x.double(), 1, None, 0.4, False)
        close(general.softmax(x, None, 1, 0.4, False), x, wide)


def test_scaled_scores_beyond_float32():
    """The differences of such scores may have values, and so the probabilities."""
    most = torch.finfo(torch.float32).max
    x, form = torch.tensor([[most, 0, 0], [most, most, 0]]), Form(temperature=0.5, reduction="none")
    assert general.softmax(x, None, 1, 0.5, False).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert general.logsumexp(x, form).tolist() == [inf, inf]
    loss, dx = general.cross_entropy_and_gradient(x, Target(torch.tensor([0, 1])), form)
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.6931472]))
    assert dx.tolist() == [[0, 0, 0], [1, -1, 0]]
    found = general.statistics(x, Target(torch.tensor([0, 1])), form)
    assert found["peak"].tolist() == [2.0 * most] * 2
    assert found["rest"].tolist() == [0, 1]

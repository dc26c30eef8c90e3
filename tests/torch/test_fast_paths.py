"""What the core computes for calls that were composed: few classes, probabilities, more derivatives."""

from __future__ import annotations

from functools import partial

import pytest
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
import lastlayer.torch as drop_ins  # noqa: E402

F = torch.nn.functional
NAN, INF = float("nan"), float("inf")


seeded = partial(tensor, dtype=torch.float32, scale=3.0)


def indices(count, *shape):
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(1))


def both(loss, x, *rest):
    x = x.detach().requires_grad_()
    value = loss(x, *rest)
    g = torch.ones_like(value) if value.ndim == 0 else torch.linspace(-1, 2, value.numel()).view(value.shape)
    return value.detach(), torch.autograd.grad(value, x, g.to(value.dtype))[0]


def close(found, wanted, relative=2e-6):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=relative, atol=relative * float(b.abs().max()))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "shape", [(3, 1, 5, 7), (2, 2, 9, 11), (2, 3, 70), (67, 4), (1, 16, 8, 9), (3, 17, 6)]
)
def test_few_classes_as_in_torch(shape, reduction):
    x, y = seeded(*shape), indices(shape[1], shape[0], *shape[2:])
    y.view(-1)[::5] = -100
    w, s = seeded(shape[1], seed=2).abs(), seeded(*y.shape, seed=3).abs()
    for weight in (None, w):
        found = both(lambda x, w=weight: drop_ins.cross_entropy(x, y, w, reduction=reduction), x)
        wide = None if weight is None else w.double()
        close(found, both(lambda x, w=wide: F.cross_entropy(x, y, w, reduction=reduction), x.double()))
    found = both(lambda x: drop_ins.cross_entropy(x, y, reduction="sum", sample_weight=s), x)
    rows = both(lambda x: (F.cross_entropy(x, y, reduction="none") * s).sum(), x.double())
    close(found, rows)
    for name in ("softmax", "log_softmax"):
        close([getattr(ll, name)(x, axis=1)], [getattr(torch, name)(x.double(), 1)])


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_every_backward_pass_of_few_classes_gives_the_same_bits(classes):
    x, y = seeded(3, classes, 50).requires_grad_(), indices(classes, 3, 50)
    loss = drop_ins.cross_entropy(x, y)
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.autograd.grad(loss, x, torch.tensor(4.0), retain_graph=True)[0], 4 * first)
    with torch.autograd.graph.save_on_cpu():
        elsewhere = drop_ins.cross_entropy(x, y)
    assert torch.equal(torch.autograd.grad(elsewhere, x)[0], first)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="inplace operation"):
        torch.autograd.grad(loss, x)


@pytest.mark.parametrize("classes", [1, 2, 5, 16])
def test_few_classes_that_are_not_finite(classes):
    x = torch.zeros(40, classes)
    x[1], x[2, 0], x[3, -1], x[4] = -INF, INF, NAN, 3.4e38
    y = torch.zeros(40, dtype=torch.int64)
    y[5] = -100
    x[5] = NAN
    loss, grad = both(lambda x: drop_ins.cross_entropy(x, y, reduction="none"), x)
    assert loss[1:4].isnan().all()
    assert grad[1:4].isnan().all()
    assert loss[5] == 0
    assert (grad[5] == 0).all()
    for ok in (0, 4, 6):
        assert loss[ok] == pytest.approx(torch.tensor(float(classes)).log().item(), rel=1e-6)
    assert ll.logsumexp(x)[1:3].tolist() == [-INF, INF]
    assert ll.softmax(x)[1:4].isnan().all()


@pytest.mark.parametrize("name", ["nll_loss", "log_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(300, 11), (2, 5, 6, 70)])
def test_gradients_of_losses_of_probabilities(name, shape, reduction):
    p, y = torch.softmax(seeded(*shape), 1), indices(shape[1], shape[0], *shape[2:])
    y.view(-1)[::5] = 3
    w = seeded(shape[1], seed=2).abs()

    def wanted(x, **given):
        return F.nll_loss(x.log() if name == "log_loss" else x, y, reduction=reduction, **given)

    x = p if name == "log_loss" else p.log()
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for options, given in (
            ({}, {}),
            ({"ignore_index": 3}, {"ignore_index": 3}),
            ({"class_weight": w}, {"weight": w.double()}),
        ):
            z = x.to(dtype)
            found = both(lambda z, o=options: getattr(ll, name)(z, y, axis=1, reduction=reduction, **o), z)
            relative = 1e-2 if dtype is torch.bfloat16 else 3e-6
            close(found, both(lambda z, g=given: wanted(z, **g), z.double()), relative)
    q = x.movedim(1, -1).contiguous().movedim(-1, 1)  # classes side by side, rows not
    close(
        both(lambda z: getattr(ll, name)(z, y, axis=1, reduction=reduction), q),
        both(wanted, x.double()),
        3e-6,
    )


def test_a_probability_of_zero_and_an_ignored_row():
    p = torch.tensor([[0.0, 1.0], [NAN, NAN]], requires_grad=True)
    ll.log_loss(p, torch.tensor([0, -100]), reduction="sum").backward()
    assert p.grad.tolist() == [[-INF, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_in_soft_targets(reduction):
    x, q = seeded(7, 12), torch.softmax(seeded(7, 12, seed=2), 1)
    w, s = seeded(12, seed=3).abs(), seeded(7, seed=4).abs()
    options = {"class_weight": w, "sample_weight": s, "label_smoothing": 0.2, "temperature": 1.7}

    def wanted(x, q):
        t = w.double() * (0.8 * q + 0.2 / 12)
        rows = -s.double() * (t * torch.log_softmax(x / 1.7, 1)).sum(1)
        return {"none": rows, "sum": rows.sum(), "mean": rows.sum() / s.double().sum()}[reduction]

    def gradients(loss, x, q):
        x, q = x.detach().requires_grad_(), q.detach().requires_grad_()
        value = loss(x, q)
        g = torch.linspace(-1, 2, 7).to(value.dtype) if reduction == "none" else torch.ones_like(value)
        first = torch.autograd.grad(value, (x, q), g, create_graph=True)
        second = torch.autograd.grad(sum((t * t).sum() for t in first), (x, q))
        alone = torch.autograd.grad(loss(x, q), (x, q), g)
        return [value, *first, *second, *alone]

    found = gradients(lambda x, q: ll.cross_entropy(x, q, reduction=reduction, **options), x, q)
    close([t.detach() for t in found], [t.detach() for t in gradients(wanted, x.double(), q.double())], 2e-5)


def test_soft_targets_at_impossible_classes():
    x = torch.tensor([[-INF, 0.0, 0.0]], requires_grad=True)
    for create_graph in (False, True):
        q = torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)
        loss = ll.cross_entropy(x, q)
        by_core = torch.autograd.grad(loss, (x, q), create_graph=create_graph)
        composed = torch.autograd.grad(
            ll.cross_entropy(x, q, softcap=None, class_weight=torch.ones(3, requires_grad=True)), (x, q)
        )
        for a, b in zip(by_core, composed, strict=True):
            torch.testing.assert_close(a.detach(), b)


@pytest.mark.parametrize("shape", [(6, 9), (2, 9, 5)])
def test_second_derivatives_of_the_usual_loss(shape):
    y = indices(9, shape[0], *shape[2:])
    y.view(-1)[::4] = -100
    w = seeded(9, seed=2).abs()

    def second(loss, x):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
        return [torch.autograd.grad((g**3).sum(), x)[0]]

    for options in ({}, {"weight": w}, {"label_smoothing": 0.1}):
        wide = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        found = second(lambda x, o=options: drop_ins.cross_entropy(x, y, **o), seeded(*shape))
        close(found, second(lambda x, o=wide: F.cross_entropy(x, y, **o), seeded(*shape).double()), 1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 9), (4, 3, 9), (4, 2, 9, 3)])
def test_a_batch_of_gradients(shape, reduction):
    x = seeded(*shape)
    axis = 0 if x.ndim == 2 else 1
    y = indices(shape[axis + 1], *(n for i, n in enumerate(shape) if i != axis + 1))
    y.view(-1)[::3] = -100

    def of(loss, x):
        def total(x, y):
            value = loss(x, y, reduction=reduction)
            return (value * value).sum(), value

        return torch.func.vmap(torch.func.grad(total, has_aux=True))(x, y)

    found, wanted = of(drop_ins.cross_entropy, x), of(F.cross_entropy, x.double())
    close(found, [t.nan_to_num(0.0) for t in wanted], 1e-5)  # torch's mean over nothing is NaN
    shared = torch.func.vmap(torch.func.grad(drop_ins.cross_entropy), in_dims=(0, None))(x, y[0])
    each = torch.stack([torch.func.grad(drop_ins.cross_entropy)(row, y[0]) for row in x])
    close([shared], [each.double()])
    wrong = y.clone()
    wrong.view(-1)[1] = 99
    assert torch.func.vmap(torch.func.grad(drop_ins.cross_entropy))(x, wrong).isnan().any()

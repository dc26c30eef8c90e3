"""Targets at the edge, on every way that a tensor can be computed: not one-hot, 0 throughout, impossible."""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")

import lastlayer.torch as drop_ins  # noqa: E402

INF, NAN = float("inf"), float("nan")
BROKEN_ROWS = [1, 3]


def logits(value=0.5, dtype=torch.float64):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1], x[3, 0] = value, value
    return x.to(dtype).requires_grad_()


W = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64)
DENSE = torch.tensor([[0.5, 0.25, 0.25], [0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.float64)
EMPTY = {
    "class weight": (torch.tensor([1, 0, 2, 0]), W),
    "dense": (DENSE, None),
    "dense and class weight": (DENSE + torch.tensor([[0], [1], [0], [1]]) * torch.tensor([1, 0, 0]), W),
    "top-k": (
        (
            torch.tensor([[1, 2], [0, 0], [2, 0], [-100, -100]]),
            torch.tensor([[1, 1], [0, 0], [1, 0], [9, 9.0]]),
        ),
        None,
    ),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_row_without_a_target_adds_nothing(way, kind):
    targets, w = EMPTY[kind]
    for options in (
        {},
        {"reduction": "none"},
        {"softcap": 5.0, "sample_weight": torch.tensor([1.0, 2, 0.5, 1])},
    ):
        finite = logits()
        expected = ll.cross_entropy(finite, targets, class_weight=w, **options)
        expected.sum().backward()
        for value in (NAN, INF, -INF):
            x = logits(value)
            loss = ll.cross_entropy(x, targets, class_weight=w, **options)
            torch.testing.assert_close(loss, expected)
            (gradient,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
            torch.testing.assert_close(gradient, finite.grad)
            assert (gradient[BROKEN_ROWS] == 0).all()
            (second,) = torch.autograd.grad((gradient * gradient).sum(), x)
            assert (second[BROKEN_ROWS] == 0).all()
            assert second.isfinite().all()
            found = ll.cross_entropy_grad(x.detach(), targets, class_weight=w, **options)
            torch.testing.assert_close(found[1], finite.grad)
    with_z_loss = ll.cross_entropy(logits(NAN), targets, class_weight=w, z_loss=0.1, reduction="none")
    assert with_z_loss.isnan().tolist() == [False, True, False, True]
    assert ll.row_stats(logits(NAN), targets, class_weight=w).nll[BROKEN_ROWS].tolist() == [0, 0]


@pytest.mark.parametrize("kind", EMPTY)
def test_nor_does_it_to_targets_and_weights_that_learn(kind):
    targets, w = EMPTY[kind]
    targets = list(targets) if isinstance(targets, tuple) else [targets]
    targets[-1] = targets[-1].clone().requires_grad_(targets[-1].is_floating_point())
    given = tuple(targets) if len(targets) > 1 else targets[0]
    w = None if w is None else w.clone().requires_grad_()
    x = logits(NAN)
    ll.cross_entropy(x, given, class_weight=w, softcap=5.0).backward()
    for t in (x, targets[-1], w):
        if t is not None and t.requires_grad:
            assert t.grad.isfinite().all()
    assert (x.grad[BROKEN_ROWS] == 0).all()


@pytest.mark.parametrize("kind", EMPTY)
def test_nor_to_the_linear_head(each, kind):
    targets, w = EMPTY[kind]
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(value, **options):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        x[1], x[3, 2] = value, value
        inputs = x.requires_grad_(), weight.clone().requires_grad_()
        loss = ll.linear_cross_entropy(*inputs, targets, class_weight=w, **options)
        return (loss, *torch.autograd.grad(loss.sum(), inputs))

    for options in ({}, {"reduction": "none"}, {"max_memory": 1 << 20}):
        expected = run(0.5, **options)
        for value in (NAN, INF):
            for a, b in zip(run(value, **options), expected, strict=True):
                torch.testing.assert_close(a, b)


# --- rows of integers ---------------------------------------------------------------------------------------

HOT = torch.tensor([[0, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("function", [ll.cross_entropy, ll.nll_loss, ll.log_loss])
def test_rows_that_are_not_one_hot(way, function):
    x = torch.softmax(logits().detach(), 1).requires_grad_()
    expected = function(x, HOT.argmax(1), reduction="none")
    for y in (HOT, HOT.to(torch.uint8), HOT.bool()):
        if way == "core":
            with pytest.raises(
                ll.TargetError, match=r"targets\[1\] is 1 for 2 classes; expected a one-hot row"
            ):
                function(x, y)
        else:
            loss = function(x, y, reduction="none")
            assert loss.isnan().tolist() == [False, True, False, True]
            torch.testing.assert_close(loss[::2], expected[::2])
            (gradient,) = torch.autograd.grad(loss.sum(), x)
            assert gradient.isnan().any(1).tolist() == [False, True, False, True]
        s = torch.tensor([1.0, 0.0, 1.0, 0.0])  # leaves a row out, whatever it holds
        loss = function(x, y, sample_weight=s, reduction="none")
        torch.testing.assert_close(loss, (expected * s).to(loss.dtype))


def test_rows_that_are_not_one_hot_where_they_cannot_be_seen():
    x = logits().detach()
    loss = torch.vmap(lambda z, y: ll.cross_entropy(z, y))(x, HOT)
    assert loss.isnan().tolist() == [False, True, False, True]
    stats = torch.vmap(lambda z, y: ll.row_stats(z, y).gap)(x, HOT)
    assert stats.isnan().tolist() == [False, True, False, True]
    options = None, None, None, None, "cross_entropy", -1, -100, 0.0, 1.0, None, 0.0, "mean", None
    with pytest.raises(ll.TargetError, match="one-hot row"):  # what a compiled graph runs
        torch.ops.lastlayer.loss(x, HOT, *options)
    with pytest.raises(ll.TargetError, match="one-hot row"):
        ll.linear_cross_entropy(x, torch.eye(3).double(), HOT)


def test_drop_ins_of_one_row():
    """Binary labels beside as many scores: PyTorch refuses them too."""
    scores, labels = torch.randn(6), torch.tensor([0, 1, 1, 0, 1, 0])
    for error in (ll.TargetError, RuntimeError):
        with pytest.raises(error, match="two classes need two columns of input"):
            drop_ins.cross_entropy(scores, labels)
    x = scores.requires_grad_()
    both = torch.stack((torch.zeros(6), x), 1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(x, labels.float())
    torch.testing.assert_close(ll.cross_entropy(both, labels), expected)
    q = torch.softmax(torch.randn(6), 0)  # floats are probabilities of one row, as PyTorch takes them
    torch.testing.assert_close(drop_ins.cross_entropy(x, q), torch.nn.functional.cross_entropy(x, q))


def test_swapped_arguments():
    y, p = torch.tensor([[0, 0, 1], [1, 0, 0]]), torch.softmax(torch.randn(2, 3), 1)
    for function, name in ((ll.cross_entropy, "logits"), (ll.log_loss, "probs"), (ll.row_stats, "logits")):
        with pytest.raises(ll.TargetError, match=f"swapped. else pass {name} as floats"):
            function(y, p)
        function(y.double(), p)
        function(2 * y, p)


# --- impossible classes -------------------------------------------------------------------------------------

Q = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]], dtype=torch.float64)
Z = torch.tensor([[-INF, 1.0, 2.0], [1.5, -INF, 1.0]], dtype=torch.float64)


def expected_in_q():
    """lse - z, and 0 where q is 0 and the class is impossible."""
    cost = torch.logsumexp(Z, 1, keepdim=True) - Z
    return torch.where(cost.isinf(), 0.0, cost)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "log_loss"])
def test_an_impossible_class_without_a_target_has_no_gradient_in_it(way, name):
    scores = {"cross_entropy": Z + 3, "nll_loss": torch.log_softmax(Z, 1), "log_loss": torch.softmax(Z, 1)}[
        name
    ]
    function, q = getattr(ll, name), Q.clone().requires_grad_()
    loss = function(scores, q, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, q)
    torch.testing.assert_close(gradient, expected_in_q())
    per_row = torch.func.vmap(torch.func.grad(lambda q, z: function(z, q)))(q.detach(), scores)
    torch.testing.assert_close(per_row, expected_in_q())
    z = scores.clone().requires_grad_()
    ll.cross_entropy(z, q).backward()  # to the scores' side nothing changes
    assert z.grad.isfinite().all()


def test_nor_in_the_linear_head_and_top_k_targets(each):
    x, bias = torch.eye(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    weight = torch.where(Z.isinf(), -INF, Z).T.contiguous()
    q = Q.clone().requires_grad_()
    masked = torch.where(weight.isinf(), 0.0, weight)
    bias = torch.tensor([-INF, 0.0, 0.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(
        ll.linear_cross_entropy(x[:1], masked, q[:1], bias=bias, reduction="sum"), q
    )
    torch.testing.assert_close(gradient[0], expected_in_q()[0])
    indices = torch.arange(3).expand(2, 3)
    p = Q.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ll.cross_entropy(Z, (indices, p), reduction="sum"), p)
    torch.testing.assert_close(gradient, expected_in_q())
    (gradient,) = torch.autograd.grad(
        ll.linear_cross_entropy(x[:1], masked, (indices[:1], p[:1]), bias=bias, reduction="sum"), p
    )
    torch.testing.assert_close(gradient[0], expected_in_q()[0])


def test_a_class_weight_of_0_is_no_target_either(way):
    w = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([[-INF, 1.0, 2.0]], dtype=torch.float64)
    for q in (torch.tensor([[0.5, 0.25, 0.25]]).double(), torch.tensor([2])):
        (gradient,) = torch.autograd.grad(
            ll.cross_entropy(z, q, class_weight=w, label_smoothing=0.3, denominator=1), w
        )
        assert gradient[0] == 0
        assert gradient.isfinite().all()


def test_a_target_on_an_impossible_class_keeps_its_formula(way):
    z, q = (
        torch.tensor([[-INF, 1.0, 2.0]], dtype=torch.float64).requires_grad_(),
        torch.tensor([[0.5, 0.25, 0.25]]),
    )
    q = q.double().requires_grad_()
    loss = ll.cross_entropy(z, q, reduction="sum")
    dz, dq = torch.autograd.grad(loss, (z, q))
    assert loss.item() == INF
    assert dq[0, 0] == INF
    np.testing.assert_allclose(dz.numpy(), torch.softmax(z, 1).detach().numpy() - q.detach().numpy())

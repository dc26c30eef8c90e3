"""Top-k targets on tensors: what PyTorch's functions say of the dense targets that they stand for."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import oracle
import pytest
from assertions import assert_ulp, raises
from top_k_targets import KINDS, dense, listed

import lastlayer as ll

torch = pytest.importorskip("torch")
from linear_tensors import arguments  # noqa: E402
from random_arrays import tensor  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

F = torch.nn.functional

# PyTorch's own forward mode compiles some of its formulas with torch.jit.script, which it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

N, V = 6, 19
W = torch.linspace(0.5, 2, V, dtype=torch.float64)
S = torch.tensor([1, 0, 2, 0.5, 1, 1], dtype=torch.float64)
SAME = {
    "plain": ({}, {}),
    "smoothing": ({"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "weights": ({"class_weight": W, "label_smoothing": 0.2}, {"weight": W, "label_smoothing": 0.2}),
    "sum": ({"reduction": "sum"}, {"reduction": "sum"}),
    "none": ({"reduction": "none"}, {"reduction": "none"}),
}
OPTIONS = {
    "none": {"reduction": "none"},
    "canonical": {"temperature": 0.7, "softcap": 3.0, "z_loss": 0.1, "denominator": 4.0},
    "weights": {"class_weight": W, "sample_weight": S, "label_smoothing": 0.1},
}


def tensors(kind, n=N, v=V):
    return tuple(torch.as_tensor(part) for part in listed(kind, (n,), v))


def options_of(name, n, v):
    short = {"class_weight": W[:v], "sample_weight": S[:n]}
    return {key: short.get(key, value) for key, value in OPTIONS[name].items()}


def rows(kind, n=N, v=V):
    return torch.from_numpy(dense(listed(kind, (n,), v), v))


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


# --- logits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradients_are_those_of_pytorch(way, kind, name):
    x, (ours, theirs) = tensor(N, V).requires_grad_(), SAME[name]
    loss, expected = ll.cross_entropy(x, tensors(kind), **ours), F.cross_entropy(x, rows(kind), **theirs)
    same(loss, expected)
    height = tensor(*loss.shape, seed=9)
    wanted = torch.autograd.grad(expected, x, height, retain_graph=True)
    same(torch.autograd.grad(loss, x, height), wanted)
    value, gradient = ll.cross_entropy_grad(x.detach(), tensors(kind), **ours)
    same(
        (value, gradient), (expected.detach(), torch.autograd.grad(expected, x, torch.ones_like(expected))[0])
    )
    if name == "none":
        same(ll.row_stats(x, tensors(kind)).nll, expected)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["rest", "duplicates", "padded"])
def test_derivatives(way, kind, name):
    def function(x):
        return ll.cross_entropy(x, tensors(kind, 3, 5), **options_of(name, 3, 5))

    x = (tensor(3, 5) * 2).requires_grad_()
    assert gradcheck(function, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, x)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_derivatives_in_probabilities_and_weights(way, reduction):
    indices, p, rest = tensors("rest", 3, 5)

    def function(x, p, rest, w, s):
        targets = indices, p, rest
        return ll.cross_entropy(x, targets, class_weight=w, sample_weight=s, reduction=reduction)

    inputs = [t.clone().requires_grad_() for t in (tensor(3, 5), p, rest + 0.1, W[:5], S[:3] + 0.5)]
    assert gradcheck(function, inputs, check_forward_ad=True)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_class_axis(way, axis):
    """The listed classes are the last axis of the targets, whichever is that of the logits."""
    x = tensor(3, 4, 5).requires_grad_()
    shape, v = [n for i, n in enumerate(x.shape) if i != axis], x.shape[axis]
    targets = listed("rest", shape, v)
    loss = ll.cross_entropy(x, tuple(map(torch.as_tensor, targets)), axis=axis)
    expected = F.cross_entropy(x.movedim(axis, 1), torch.from_numpy(dense(targets, v, axis)).movedim(axis, 1))
    same(loss, expected)
    same(torch.autograd.grad(loss, x), torch.autograd.grad(expected, x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(way, dtype):
    """Losses in float32, gradients in the dtype of the logits, both of computations in float32."""
    x = (tensor(N, V) * 3).to(dtype).requires_grad_()
    targets = listed("rest", (N,), V)
    given = tuple(torch.as_tensor(part) for part in targets)
    loss = ll.cross_entropy(x, given, reduction="sum")
    loss.backward()
    assert loss.dtype is torch.float32
    assert x.grad.dtype is dtype
    true = oracle.truth(x.detach().double().numpy(), dense(targets, V), reduction="sum", exact=False)
    assert_ulp(loss.detach().numpy(), true.loss, 3)
    name = ml_dtypes.bfloat16 if dtype is torch.bfloat16 else str(dtype).removeprefix("torch.")
    size = true.gradient_size.astype(float)
    bound = {"core": 3, "composed": 8}[way] if dtype is torch.float32 else 1
    assert_ulp(x.grad.double().numpy(), true.gradient, bound, name, scale=size)
    short = given[0].short(), given[1].to(dtype), given[2].to(dtype)
    torch.testing.assert_close(ll.cross_entropy(x, short, reduction="sum"), loss, rtol=0.01, atol=0.01)


def test_torch_func(way):
    x, (indices, p, rest) = tensor(N, V), tensors("rest")

    def ours(x, p):
        return ll.cross_entropy(x, (indices, p, rest))

    def peer(x, p):
        q = torch.zeros_like(x).scatter_add(1, indices, p) + rest[:, None] / V
        return F.cross_entropy(x, q)

    same(torch.func.grad(ours, (0, 1))(x, p), torch.func.grad(peer, (0, 1))(x, p))
    each = torch.vmap(lambda x, i, p, r: ll.cross_entropy(x, (i, p, r)))(x, indices, p, rest)
    same(each, ll.cross_entropy(x, (indices, p, rest), reduction="none"))


def test_lists_arrays_and_no_rest(way):
    x, (indices, p) = tensor(N, V), tensors("listed")
    expected = ll.cross_entropy(x, (indices, p))
    for given in ((indices.tolist(), p.tolist()), (indices.numpy(), p.numpy(), None), (indices, p, 0)):
        same(ll.cross_entropy(x, given), expected)
    same(ll.cross_entropy(x, (indices, p, torch.full((), -1e-7))), expected)
    same(ll.cross_entropy(x[:2], (3, 5)), F.cross_entropy(x[:2], torch.tensor([3, 5])))


def test_a_row_without_weight_may_hold_anything(way):
    x, s = tensor(N, V), S.clone()
    x[1] = float("nan")
    x.requires_grad_()
    loss = ll.cross_entropy(x, tensors("rest"), sample_weight=s)
    loss.backward()
    kept = [0, 2, 3, 4, 5]
    same(loss, (F.cross_entropy(x[kept], rows("rest")[kept], reduction="none") * s[kept]).sum() / s.sum())
    assert x.grad.isfinite().all()
    assert not x.grad[1].any()


def test_wrong_calls(way):
    x, (indices, p) = tensor(N, V), tensors("listed")
    with raises(
        ll.DtypeError,
        "cross_entropy: targets[0] is of dtype torch.float64; expected integers as class indices; "
        "write targets[0].long()",
    ):
        ll.cross_entropy(x, (p, indices))
    with raises(
        ll.ShapeError,
        "cross_entropy: targets[1] is of shape (6, 3); "
        "expected (6, 4), a probability for each index in targets[0]",
    ):
        ll.cross_entropy(x, (indices, p[:, 1:]))
    with raises(
        ll.DtypeError,
        "nll_loss: targets is a tuple; expected class indices or probabilities of every class; "
        "those of a few are for cross_entropy",
    ):
        ll.nll_loss(x, (indices, p))
    wrong = indices.clone()
    wrong[2, 1] = V
    if way == "core":
        with raises(
            ll.TargetError,
            "cross_entropy: targets[0][2, 1] is 19; expected a class in [0, 19) or ignore_index=-100",
        ):
            ll.cross_entropy(x, (wrong, p))
    else:  # nobody looks at numbers on a device
        losses = ll.cross_entropy(x, (wrong, p), reduction="none")
        assert losses.isnan().tolist() == [False, False, True, False, False, False]


# --- the linear head ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("kind", KINDS)
def test_linear_head(each, kind, name):
    args, (ours, theirs) = arguments(), SAME[name]
    loss = ll.linear_cross_entropy(args[0], args[1], tensors(kind), bias=args[2], **ours)
    expected = F.cross_entropy(F.linear(*args), rows(kind), **theirs)
    same(loss, expected)
    height = tensor(*loss.shape, seed=9)
    wanted = torch.autograd.grad(expected, args, height, retain_graph=True)
    for again in (True, False):
        same(torch.autograd.grad(loss, args, height, retain_graph=again), wanted)
    plain = [t.detach() for t in args]
    value, found = ll.linear_cross_entropy_grad(plain[0], plain[1], tensors(kind), bias=plain[2], **ours)
    same(value, expected.detach())
    same(found, torch.autograd.grad(expected, args, torch.ones_like(expected)))
    if name == "none":
        same(ll.linear_row_stats(plain[0], plain[1], tensors(kind), bias=plain[2]).nll, expected.detach())


@pytest.mark.parametrize("name", OPTIONS)
def test_derivatives_of_the_linear_head(each, name):
    indices, p, rest = tensors("rest", 5, 9)  # two tiles of either, where they are small
    options, args = options_of(name, 5, 9), arguments(5, 2, 9)

    def function(*args):
        return ll.linear_cross_entropy(*args[:2], (indices, p, rest), bias=args[2], **options)

    assert gradcheck(function, args, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, args, fast_mode=True)
    x, w, b = (t.detach() for t in args)

    def of_targets(p, rest):
        return ll.linear_cross_entropy(x, w, (indices, p, rest), bias=b, **options)

    assert gradcheck(of_targets, (p.clone().requires_grad_(), (rest + 0.1).requires_grad_()))


@pytest.mark.parametrize("kind", ["rest", "duplicates", "padded"])
def test_row_stats_of_the_linear_head(each, kind):
    """Each number is differentiable, and all of them at once."""
    args, options = arguments(), {"class_weight": W, "sample_weight": S, "softcap": 4.0, "temperature": 0.8}
    found = ll.linear_row_stats(args[0], args[1], tensors(kind), bias=args[2], **options)
    expected = ll.row_stats(F.linear(*args), rows(kind), **options)
    heights = tensor(4, N, seed=9)
    names = "nll", "lse", "entropy", "confidence"
    for which in (*((name,) for name in names), names[:3]):
        got, wanted = (
            sum((h * getattr(stats, name)).sum() for h, name in zip(heights, which, strict=False))
            for stats in (found, expected)
        )
        same(got, wanted)
        pair = [torch.autograd.grad(value, args, retain_graph=True) for value in (got, wanted)]
        same(*pair)
    loss, stats = ll.linear_cross_entropy(
        *args[:2], tensors(kind), bias=args[2], return_stats=True, **options
    )
    same(stats.nll, expected.nll.detach())
    same(loss, expected.nll.sum() / S.sum())


def test_shifted_targets(each):
    _, w, b = arguments()
    x = tensor(2, 5, 4).requires_grad_()
    targets = tuple(torch.as_tensor(t) for t in listed("rest", (2, 5), V))
    for reduction in ("mean", "none"):
        loss = ll.linear_cross_entropy(x, w, targets, bias=b, shift=1, reduction=reduction)
        early = tuple(t[:, 1:] for t in targets)
        expected = ll.cross_entropy(F.linear(x[:, :-1], w, b), early, reduction=reduction)
        same(loss if reduction == "mean" else loss[:, :-1], expected)
        height = tensor(*loss.shape, seed=3)
        of = height if reduction == "mean" else height[:, :-1]
        same(torch.autograd.grad(loss, (x, w, b), height), torch.autograd.grad(expected, (x, w, b), of))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [3000, 1000, 128])
def test_errors_are_no_larger_than_those_of_logits(cut, dtype, classes):
    """Against float64, from the same rounded arguments, where PyTorch's composition is the measure."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    cut(rows=96, classes=classes)
    n, d, v = 96, 48, 3000
    x, w = tensor(n, d, dtype=dtype), (tensor(v, d, seed=1) * 0.2).to(dtype)
    labels, p = ll.top_k(tensor(n, v, seed=3) * 8, 4)
    targets = labels, p, 1 - p.sum(-1)
    q = torch.from_numpy(dense([t.numpy() for t in targets], v))

    def gradients(loss, dtype=dtype):
        args = [t.to(dtype).detach().requires_grad_() for t in (x, w)]
        value = loss(*args)
        value.backward()
        return value.detach().double(), *(t.grad.double() for t in args)

    truth = gradients(lambda x, w: F.cross_entropy(x @ w.T, q), torch.float64)
    eager = gradients(lambda x, w: F.cross_entropy((x @ w.T).float(), q.float()))
    ours = gradients(lambda x, w: ll.linear_cross_entropy(x, w, targets))
    for name, t, a, b in zip(("loss", "dx", "dweight"), truth, ours, eager, strict=True):
        error, theirs = (a - t).norm() / t.norm(), (b - t).norm() / t.norm()
        floor = 2.0**-24 if name == "loss" else 0.0  # both may be right to the last digit
        assert error <= 1.02 * theirs + floor, f"{name}: {error:.3g}, PyTorch's {theirs:.3g}"


def test_a_teacher(each):
    """The best classes of a teacher are the targets of a student: what distillation is."""
    teacher, student = tensor(N, V, seed=7), tensor(N, V, seed=8)
    labels, p = ll.top_k(teacher, V)
    expected = F.cross_entropy(student, torch.softmax(teacher, 1))
    same(ll.cross_entropy(student, (labels, p)), expected)
    labels, p = ll.top_k(teacher, 3)
    found = ll.cross_entropy(student, (labels, p, 1 - p.sum(-1)))
    assert np.isfinite(found.item())

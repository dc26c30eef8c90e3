"""The linear head on tensors: values, gradients of every order, and what is around a call."""

from __future__ import annotations

import gc
from contextlib import nullcontext

import numpy as np
import pytest
from assertions import raises
from backends import in_loop

import lastlayer as ll
from lastlayer.linear import loop

torch = pytest.importorskip("torch")
F = torch.nn.functional
from linear_tensors import D, N, V, Y, arguments, peer  # noqa: E402
from random_arrays import tensor  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

NAN = float("nan")


# --- values and derivatives ---------------------------------------------------------------------------------

SOFT = torch.softmax(tensor(N, V, seed=5), 1)
WEIGHT = torch.linspace(0.5, 2, V, dtype=torch.float64)
SAME = {
    "plain": (Y, {}, {}),
    "smoothing": (Y, {"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "weights": (Y, {"class_weight": WEIGHT}, {"weight": WEIGHT}),
    "sum": (Y, {"reduction": "sum"}, {"reduction": "sum"}),
    "none": (Y, {"reduction": "none"}, {"reduction": "none"}),
    "soft": (SOFT, {"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "ignore": (Y.clamp(min=0), {"ignore_index": 7}, {"ignore_index": 7}),
}


@pytest.mark.parametrize("name", SAME)
def test_value_and_gradients_are_those_of_pytorch(each, name):
    y, ours, theirs = SAME[name]
    args = arguments()
    loss, expected = (
        ll.linear_cross_entropy(args[0], args[1], y, bias=args[2], **ours),
        peer(*args, y, **theirs),
    )
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-14)
    height = tensor(*loss.shape, seed=9)
    got = torch.autograd.grad(loss, args, height)
    torch.testing.assert_close(got, torch.autograd.grad(expected, args, height), rtol=1e-12, atol=1e-14)
    detached = [t.detach() for t in args]
    alone, found = ll.linear_cross_entropy_grad(*detached[:2], y, bias=detached[2], **ours)
    ones = torch.ones_like(expected)
    again = peer(*args, y, **theirs)
    torch.testing.assert_close(alone, expected.detach(), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(found, torch.autograd.grad(again, args, ones), rtol=1e-12, atol=1e-14)


OPTIONS = {
    "mean": {},
    "sum": {"reduction": "sum", "label_smoothing": 0.1},
    "none": {"reduction": "none"},
    "canonical": {"temperature": 0.7, "softcap": 3.0, "z_loss": 0.1, "denominator": 4.0},
    "weights": {"class_weight": WEIGHT, "sample_weight": torch.tensor([1, 0, 2, 0.5, 1, 1])},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_derivatives(each, name):
    def function(x, w, b):
        return ll.linear_cross_entropy(x, w, Y, bias=b, **OPTIONS[name])

    assert gradcheck(function, arguments(), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, arguments())


def test_derivatives_in_weights_and_targets(each):
    x, w, b = arguments()

    def function(q, class_weight, s):
        return ll.linear_cross_entropy(x, w, q, bias=b, class_weight=class_weight, sample_weight=s)

    inputs = [t.clone().requires_grad_() for t in (SOFT, WEIGHT, torch.rand(N, dtype=torch.float64) + 0.5)]
    assert gradcheck(function, inputs)


@pytest.mark.parametrize("on", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_only_what_is_asked_for(each, on):
    """A frozen head, a frozen body."""
    args = [t.detach().requires_grad_(bool(flag)) for t, flag in zip(arguments(), on, strict=True)]
    ll.linear_cross_entropy(*args[:2], Y, bias=args[2]).backward()
    full = arguments()
    peer(*full).backward()
    for t, other, flag in zip(args, full, on, strict=True):
        assert (t.grad is not None) == bool(flag)
        if flag:
            torch.testing.assert_close(t.grad, other.grad, rtol=1e-12, atol=1e-14)


def test_one_tensor_in_two_places(each):
    w = tensor(V, D).requires_grad_()
    y = torch.arange(V)
    for first in (True, False):
        expected = torch.autograd.grad(F.cross_entropy(w @ w.T, y), w, create_graph=True)[0]
        got = torch.autograd.grad(ll.linear_cross_entropy(w, w, y), w, create_graph=not first)[0]
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_torch_func(each):
    x, w, b = (t.detach() for t in arguments())

    def ours(x, w, b):
        return ll.linear_cross_entropy(x, w, Y, bias=b)

    got = torch.func.grad(ours, argnums=(0, 1, 2))(x, w, b)
    torch.testing.assert_close(got, torch.func.grad(peer, argnums=(0, 1, 2))(x, w, b), rtol=1e-12, atol=1e-14)


# --- backward passes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_second_backward_gives_the_same(each, scale):
    """Whatever the owner of the first gradients did to them."""
    args = arguments()
    loss = ll.linear_cross_entropy(args[0], args[1], Y, bias=args[2]) * scale
    first = torch.autograd.grad(loss, args, retain_graph=True)
    kept = [g.clone() for g in first]
    for g in first:
        g.zero_()
    second = torch.autograd.grad(loss, args, retain_graph=True)
    third = torch.autograd.grad(loss, args)
    for a, b, c in zip(kept, second, third, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_accumulation_over_parts_of_a_batch(each):
    whole, parts = arguments(), arguments()
    ll.linear_cross_entropy(*whole[:2], Y, bias=whole[2]).backward()
    for rows in (slice(0, 2), slice(2, 6)):
        ll.linear_cross_entropy(parts[0][rows], parts[1], Y[rows], bias=parts[2], denominator=5).backward()
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


def test_weights_changed_before_a_second_backward_are_noticed():
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    x, w, _ = arguments()
    loss = ll.linear_cross_entropy(x, w, Y)
    loss.backward(retain_graph=True)
    with torch.no_grad():
        w.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_nothing_of_the_logits_is_kept(cut):
    """What lives from forward to backward: the arguments, and gradients of their sizes."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    cut(32, 100)
    x, w, b = arguments(32, 4, 500)

    def tensors():
        return [t for t in gc.get_objects() if type(t) is torch.Tensor]

    gc.collect()
    before = tensors()  # those of other tests too, some of them without a storage
    known = {id(t) for t in before}
    loss = ll.linear_cross_entropy(x, w, torch.zeros(32, dtype=torch.long), bias=b)
    kept = [t for t in tensors() if id(t) not in known]
    assert kept
    assert max(t.untyped_storage().nbytes() for t in kept) < 32 * 500 * 8
    sizes = [g.numel() for g in loss.grad_fn.grads]
    assert sizes == [x.numel(), w.numel(), b.numel()]
    loss.backward()
    assert loss.grad_fn.grads is None


def test_no_gradient_without_need(each, monkeypatch):
    def refuse(*_):
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(loop.Loop, "gradients", refuse)
    with torch.no_grad():
        assert not ll.linear_cross_entropy(*arguments()[:2], Y).requires_grad
    ll.linear_cross_entropy(*(t.detach() for t in arguments()[:2]), Y)


# --- dtypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [3000, 1000, 128])
@pytest.mark.parametrize("kind", ["index", "confident", "soft"])
def test_errors_are_no_larger_than_those_of_logits(cut, dtype, classes, kind):
    """Against float64, from the same rounded arguments, where PyTorch's composition is the measure."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    cut(rows=96, classes=classes)
    n, d, v = 96, 48, 3000
    x, w = (
        tensor(n, d, dtype=dtype),
        (tensor(v, d, seed=1) * (1.0 if kind == "confident" else 0.2)).to(dtype),
    )
    y = torch.randint(0, v, (n,), generator=torch.Generator().manual_seed(2))
    if kind == "soft":
        y = torch.softmax(tensor(n, v, seed=3) * 3, 1)

    def gradients(loss, dtype=dtype):
        args = [t.to(dtype).detach().requires_grad_() for t in (x, w)]
        value = loss(*args, y.to(dtype) if kind == "soft" else y)
        value.backward()
        return value.detach().double(), *(t.grad.double() for t in args)

    def logits(x, w, y):
        return F.cross_entropy(x @ w.T, y)

    y = y.to(dtype) if kind == "soft" else y
    truth, eager, ours = (
        gradients(logits, torch.float64),
        gradients(logits),
        gradients(ll.linear_cross_entropy),
    )
    for name, t, a, b in zip(("loss", "dx", "dweight"), truth, ours, eager, strict=True):
        error, theirs = (a - t).norm() / t.norm(), (b - t).norm() / t.norm()
        floor = 2.0**-24 if name == "loss" else 0.0  # both may be right to the last digit
        assert error <= 1.02 * theirs + floor, f"{name}: {error:.3g}, PyTorch's {theirs:.3g}"


@pytest.mark.parametrize("chunks", [1, 8, "small"])
def test_gradients_keep_their_digits_over_many_tiles(cut, chunks):
    """What makes most of them is added last, so that hardly more than one rounding of float32 is left."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    n, d, v = (256, 24, 1000) if chunks == "small" else (1024, 24, 4000)
    x = tensor(n, d, dtype=torch.float32).requires_grad_()
    w = (tensor(v, d, seed=1, dtype=torch.float32) / 8).requires_grad_()
    y = torch.arange(n) % 300
    exact = [t.detach().double().requires_grad_() for t in (x, w)]
    truth = torch.autograd.grad(F.cross_entropy(exact[0] @ exact[1].T, y), exact)
    if chunks != "small":
        cut(n // chunks, 40)
    for got, right in zip(torch.autograd.grad(ll.linear_cross_entropy(x, w, y), (x, w)), truth, strict=True):
        assert (got.double() - right).norm() <= 8e-8 * right.norm()


def test_results_are_of_the_arguments_dtypes(each):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        args = arguments(dtype=dtype)
        loss = ll.linear_cross_entropy(args[0], args[1], Y, bias=args[2])
        assert loss.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
        loss.backward()
        assert all(t.grad.dtype is dtype for t in args)


def test_autocast(each):
    x, w, b = arguments(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ll.linear_cross_entropy(x, w, Y, bias=b)
        expected = ll.cross_entropy(F.linear(x, w, b), Y)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    assert w.grad.dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_kind_of_targets_in_every_dtype(each, dtype, reduction):
    """Backwards from a sum, whose gradient is one number in the place of all."""
    index = torch.tensor([0, 18, 3, 7, 7, 16])
    dense = torch.softmax(tensor(N, V, seed=5), 1)
    listed = torch.nn.functional.one_hot(index, V).double() * 0.6 + 0.4 / V
    x, w, b = arguments(dtype=dtype)
    logits = F.linear(*(t.float() for t in (x, w, b))) if dtype is torch.float16 else F.linear(x, w, b)
    if dtype is torch.bfloat16:
        logits = logits.float()
    kinds = (
        (index, index),
        (dense.to(dtype), dense.to(dtype).to(logits.dtype)),
        ((index[:, None], torch.full((N, 1), 0.6), torch.full((N,), 0.4)), listed.to(logits.dtype)),
    )
    rtol = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-6}[dtype]
    for y, plain in kinds:
        expected = F.cross_entropy(logits, plain, reduction=reduction)
        right = torch.autograd.grad(expected.sum(), (x, w, b), retain_graph=True)
        for stats in (False, True):
            found = ll.linear_cross_entropy(x, w, y, bias=b, reduction=reduction, return_stats=stats)
            loss = found[0] if stats else found
            rounded = rtol if each == "logits" else 1e-6  # the loop's float16 logits are never rounded
            torch.testing.assert_close(loss, expected, rtol=rounded, atol=rounded)
            got = torch.autograd.grad(loss.sum(), (x, w, b))
            torch.testing.assert_close(got, right, rtol=rtol, atol=rtol)


# --- odd cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [[0, 1, 2, -100], [], "soft", "top-k"], ids=str)
def test_no_features(each, y):
    """Then the logits are the biases: those of a model that knows the classes' shares and nothing else."""
    n = 4 if y else 0
    x, w = torch.zeros(n, 0, requires_grad=True), torch.zeros(3, 0, requires_grad=True)
    y = {"soft": torch.full((4, 3), 1 / 3), "top-k": ([[0], [1], [2], [0]], torch.ones(4, 1))}.get(str(y), y)
    expected = torch.full((n,), np.log(3.0))
    for reduction in ("mean", "sum", "none"):
        loss, stats = ll.linear_cross_entropy(x, w, y, reduction=reduction, return_stats=True)
        if reduction == "mean":
            torch.testing.assert_close(loss, torch.tensor(np.log(3.0) if n else 0.0, dtype=torch.float32))
        for retain in (True, False):
            dx, dw = torch.autograd.grad(loss.sum(), (x, w), retain_graph=retain)
            assert (dx.shape, dw.shape) == (x.shape, w.shape)
        torch.testing.assert_close(stats.lse, expected.float())
    torch.testing.assert_close(ll.linear_row_stats(x, w).lse, expected.float())
    assert ll.linear_top_k(x, w, 2)[0].tolist() == [[0, 1]] * n
    _, (dx, dw, db) = ll.linear_cross_entropy_grad(x.detach(), w.detach(), y, bias=torch.zeros(3))
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, (3,))


def test_ignored_rows_may_hold_anything(each):
    x, w, b = (t.detach() for t in arguments())
    x[2] = NAN
    args = [t.requires_grad_() for t in (x, w, b)]
    ll.linear_cross_entropy(*args[:2], Y, bias=args[2]).backward()
    clean = arguments()
    peer(*clean).backward()
    for a, c in zip(args, clean, strict=True):
        torch.testing.assert_close(a.grad, c.grad, rtol=1e-12, atol=1e-14)
    found = ll.linear_cross_entropy_grad(x.detach(), w.detach(), Y)[1]
    assert all(g is None or g.isfinite().all() for g in found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_inactive_rows_and_weights_that_are_not_finite(dtype):
    """Small problems and the loop agree: such a row gets 0 whatever it and the weights hold."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    x, w, b = (t.detach().to(dtype) for t in arguments(v=80))
    x[2], x[4], w[11] = NAN, float("inf"), NAN
    y, s = torch.tensor([0, 18, -100, 70, 7, 16]), torch.tensor([1.0, 2, 1, 1, 0, 1])
    found = []
    for known in ({}, {"sample_weight": s}):
        for way in (nullcontext(), in_loop()):
            args = [t.clone().requires_grad_() for t in (x, w, b)]
            with way:
                value = ll.linear_cross_entropy(*args[:2], y, bias=args[2], reduction="sum", **known)
                found.append([value.detach(), *torch.autograd.grad(value, args)])
            assert not found[-1][1][2].any()
        torch.testing.assert_close(found[-1], found[-2], equal_nan=True, rtol=1e-2, atol=1e-2)
        w[11], x[4 if known else 5] = 0.0, 0.0


def test_nothing_to_learn(each):
    args = arguments()
    loss = ll.linear_cross_entropy(*args[:2], torch.full((N,), -100), bias=args[2])
    loss.backward()
    assert loss.item() == 0.0
    assert all((t.grad == 0).all() for t in args)


def test_layouts_and_leading_axes(each):
    x, w, b = (t.detach() for t in arguments(12))
    y = torch.arange(12)
    expected = peer(x, w, b, y)
    strided = torch.empty(V, 2 * D, dtype=torch.float64)[:, ::2].copy_(w)
    for a, c in ((x.T.contiguous().T, w), (x, w.T.contiguous().T), (x, strided)):
        args = a.requires_grad_(), c.detach().requires_grad_()
        loss = ll.linear_cross_entropy(args[0].reshape(3, 4, D), args[1], y.reshape(3, 4), bias=b)
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-14)
        loss.backward()
    assert ll.linear_cross_entropy(x[0].detach(), w, 3).shape == ()


def test_targets_and_weights_of_other_kinds(each):
    x, w, _ = arguments()
    expected = ll.linear_cross_entropy(x, w, Y)
    for y in (Y.tolist(), Y.numpy(), Y.to(torch.int16)):
        torch.testing.assert_close(ll.linear_cross_entropy(x, w, y), expected)
    torch.testing.assert_close(
        ll.linear_cross_entropy(x, w, Y, sample_weight=[1.0] * N, class_weight=np.ones(V)), expected
    )
    q = SOFT.to(torch.bfloat16)
    torch.testing.assert_close(
        ll.linear_cross_entropy(x, w, q), ll.cross_entropy(x @ w.T, q), rtol=1e-12, atol=0
    )


# --- statistics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [None, Y, SOFT], ids=["none", "index", "soft"])
def test_row_stats(each, y):
    x, w, b = arguments()
    with torch.no_grad():
        fast = ll.linear_row_stats(x, w, y, bias=b, softcap=4.0)
    slow = ll.linear_row_stats(x, w, y, bias=b, softcap=4.0)
    truth = ll.row_stats(F.linear(x, w, b).detach().numpy(), None if y is None else y.numpy(), softcap=4.0)
    for name in ("lse", "entropy", "confidence", "sum_p2", "argmax") + (() if y is None else ("nll",)):
        for stats in (fast, slow):
            np.testing.assert_allclose(
                getattr(stats, name).detach().numpy(), getattr(truth, name), rtol=1e-12
            )
    for stats in (fast, slow) if y is Y else ():
        assert stats.rank.tolist() == truth.rank.tolist()
    assert not fast.lse.requires_grad
    slow.entropy.sum().backward()
    assert w.grad is not None


# --- compilers and errors -----------------------------------------------------------------------------------


def test_a_compiled_program_gives_the_same():
    args = arguments()
    compiled = torch.compile(
        lambda x, w, b: ll.linear_cross_entropy(x, w, Y, bias=b, label_smoothing=0.1),
        backend="aot_eager",
        fullgraph=True,
    )
    loss = compiled(*args)
    expected = peer(*args, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-14)
    got = torch.autograd.grad(loss, args)
    torch.testing.assert_close(got, torch.autograd.grad(expected, args), rtol=1e-12, atol=1e-14)


def test_a_wrong_call_says_what_is_wrong(each):
    x, w, _ = arguments()
    with raises(
        ll.DtypeError,
        "linear_cross_entropy: weight is of dtype torch.float32; expected torch.float64, as x is",
    ):
        ll.linear_cross_entropy(x, w.float(), Y)
    with raises(
        ll.ShapeError,
        "linear_cross_entropy: weight is of shape (4, 19); expected (V, 4), a row for each class, "
        "for x of shape (6, 4); use weight.T",
    ):
        ll.linear_cross_entropy(x, w.T, Y)
    if each != "logits":  # nobody looks at numbers on a device
        with raises(
            ll.TargetError,
            "linear_cross_entropy: targets[1] is 19; expected a class in [0, 19) or ignore_index=-100",
        ):
            ll.linear_cross_entropy(x, w, [0, 19, 1, 1, 1, 1])


@pytest.mark.parametrize("chunks", [1, 4, 32])
def test_errors_do_not_grow_with_the_number_of_chunks(cut, chunks):
    """Each chunk's product is rounded to 16 bits; the entries that make most of it are not among it."""
    n, d, v = 1024, 32, 96
    x, w, b = arguments(n, d, v, torch.bfloat16)
    y = torch.arange(n) % v
    exact = [t.detach().double().requires_grad_() for t in (x, w, b)]
    peer(*exact, y).backward()
    theirs = torch.autograd.grad(peer(x, w, b, y), (x, w, b))
    cut(n // chunks, 40)
    ours = torch.autograd.grad(ll.linear_cross_entropy(x, w, y, bias=b), (x, w, b))
    for truth, a, c in zip(exact[:2], theirs, ours, strict=False):
        error, own = ((g.double() - truth.grad).norm() for g in (c, a))
        assert error <= 1.02 * own

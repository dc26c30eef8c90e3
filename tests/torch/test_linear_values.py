"""Losses and statistics of each row of a linear head: differentiable, without the logits."""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")
F = torch.nn.functional
from linear_tensors import D, N, V, Y, arguments  # noqa: E402
from random_arrays import tensor  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

NAN = float("nan")
SOFT = torch.softmax(tensor(N, V, seed=5), 1)
WEIGHT = torch.linspace(0.5, 2, V, dtype=torch.float64)
ROWS = torch.tensor([1, 0, 2, 0.5, 1, 1], dtype=torch.float64)
READ = ("nll", "lse", "entropy", "confidence", "sum_p2")
OPTIONS = {
    "plain": (Y, {}),
    "smoothing": (Y, {"label_smoothing": 0.1, "class_weight": WEIGHT}),
    "soft": (SOFT, {"label_smoothing": 0.1}),
    "canonical": (Y, {"temperature": 0.7, "softcap": 3.0}),
    "weights": (Y, {"sample_weight": ROWS}),
    "no targets": (None, {"softcap": 5.0}),
}


@pytest.fixture
def alone(monkeypatch):
    """Whoever makes the logits as a whole fails."""
    from lastlayer.backends.torch.head_call import Call

    pytest.importorskip("lastlayer._core", reason="the native core is not built")

    def refuse(_):
        raise AssertionError("the logits were made")

    monkeypatch.setattr(Call, "logits", refuse)


# --- gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", READ)
def test_each_statistic_is_differentiated(each, option, name):
    y, options = OPTIONS[option]
    if y is None and name == "nll":
        return
    ours, theirs = arguments(), arguments()
    got = getattr(ll.linear_row_stats(*ours[:2], y, bias=ours[2], **options), name)
    expected = getattr(ll.row_stats(F.linear(*theirs), y, **options), name)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    height = tensor(N, seed=9)
    got = torch.autograd.grad(got, ours, height)
    torch.testing.assert_close(got, torch.autograd.grad(expected, theirs, height), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("option", OPTIONS)
def test_several_statistics_at_once(each, option):
    """What reinforcement learning trains with: advantages of both signs, and a bonus for entropy."""
    y, options = OPTIONS[option]
    advantage = tensor(N, seed=7)

    def objective(stats):
        loss = -0.1 * stats.entropy.mean() + 0.01 * (stats.lse**2).sum()
        return loss if y is None else loss + (advantage * stats.nll).sum()

    ours, theirs = arguments(), arguments()
    loss = objective(ll.linear_row_stats(*ours[:2], y, bias=ours[2], **options))
    expected = objective(ll.row_stats(F.linear(*theirs), y, **options))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    got = torch.autograd.grad(loss, ours, retain_graph=True)
    torch.testing.assert_close(got, torch.autograd.grad(expected, theirs), rtol=1e-11, atol=1e-14)
    again = torch.autograd.grad(loss, ours)
    assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))


def test_by_finite_differences(each):
    y = torch.tensor([8, -100])

    def function(x, w, b):
        stats = ll.linear_row_stats(x, w, y, bias=b, softcap=4.0)
        losses = ll.linear_cross_entropy(x, w, y, bias=b, reduction="none", z_loss=0.1)
        return stats.nll, stats.lse, stats.entropy, stats.confidence, losses

    assert gradcheck(function, arguments(2, 2, 9), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, arguments(2, 2, 9))


LOSSES = {
    "plain": {},
    "all": {
        "label_smoothing": 0.2,
        "class_weight": WEIGHT,
        "sample_weight": ROWS,
        "temperature": 1.3,
        "softcap": 4.0,
        "z_loss": 0.1,
    },
}


@pytest.mark.parametrize("option", LOSSES)
@pytest.mark.parametrize("y", [Y, SOFT], ids=["index", "soft"])
@pytest.mark.parametrize("on", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_losses_of_rows_without_logits(alone, cut, y, option, on):
    """A frozen body, a frozen head; heights of both signs, and zeros."""
    cut(rows=4, classes=8)
    height = tensor(N, seed=9)
    height[1] = 0.0
    theirs = arguments()
    expected = ll.cross_entropy(F.linear(*theirs), y, reduction="none", **LOSSES[option])
    wanted = torch.autograd.grad(expected, theirs, height)
    ours = [t.detach().requires_grad_(bool(flag)) for t, flag in zip(arguments(), on, strict=True)]
    losses = ll.linear_cross_entropy(*ours[:2], y, bias=ours[2], reduction="none", **LOSSES[option])
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-14)
    losses.backward(height)
    for t, g, flag in zip(ours, wanted, on, strict=True):
        assert (t.grad is not None) == bool(flag)
        if flag:
            torch.testing.assert_close(t.grad, g, rtol=1e-11, atol=1e-13)


def test_statistics_without_logits(alone):
    x, w, b = arguments()
    stats = ll.linear_row_stats(x, w, Y, bias=b)
    (stats.nll * 2 - stats.entropy + stats.lse + stats.confidence).sum().backward()
    assert all(t.grad.isfinite().all() for t in (x, w, b))


def test_one_tensor_in_two_places(each):
    w = tensor(V, D).requires_grad_()
    y = torch.arange(V)

    def objective(stats):
        return (stats.nll * torch.arange(V) - stats.entropy).sum()

    expected = torch.autograd.grad(objective(ll.row_stats(w @ w.T, y)), w)[0]
    got = torch.autograd.grad(objective(ll.linear_row_stats(w, w, y)), w)[0]
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def test_shapes_and_shift(each):
    x, w, _ = arguments(12)
    stats = ll.linear_row_stats(x.reshape(3, 4, D), w, torch.arange(12).reshape(3, 4), shift=1)
    assert stats.nll.shape == stats.entropy.shape == (3, 4)
    whole = ll.row_stats((x @ w.T).reshape(3, 4, V)[:, :-1], torch.arange(12).reshape(3, 4)[:, 1:])
    got = torch.autograd.grad((stats.nll**2).sum(), x)[0]
    torch.testing.assert_close(got, torch.autograd.grad((whole.nll**2).sum(), x)[0], rtol=1e-11, atol=1e-13)
    one = ll.linear_row_stats(x[0], w, 3)
    assert one.nll.shape == ()
    one.nll.backward()


# --- with the loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("y", [Y, SOFT], ids=["index", "soft"])
def test_statistics_with_the_loss(each, y, reduction):
    ours, theirs = arguments(), arguments()
    loss, stats = ll.linear_cross_entropy(
        *ours[:2], y, bias=ours[2], reduction=reduction, z_loss=0.1, return_stats=True
    )
    expected = ll.cross_entropy(F.linear(*theirs), y, reduction=reduction, z_loss=0.1)
    truth = ll.row_stats(F.linear(*theirs).detach(), y)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    for name in (*READ, "argmax", *(("rank", "correct") if y is Y else ())):
        torch.testing.assert_close(getattr(stats, name), getattr(truth, name), rtol=1e-12, atol=1e-14)
        assert not getattr(stats, name).requires_grad
    height = tensor(*loss.shape, seed=9)
    got = torch.autograd.grad(loss, ours, height)
    torch.testing.assert_close(got, torch.autograd.grad(expected, theirs, height), rtol=1e-11, atol=1e-14)
    with torch.no_grad():
        loss, stats = ll.linear_cross_entropy(*ours[:2], y, bias=ours[2], return_stats=True)
        _, gradients, others = ll.linear_cross_entropy_grad(*ours[:2], y, bias=ours[2], return_stats=True)
    torch.testing.assert_close(stats.nll, truth.nll, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(others.nll, truth.nll, rtol=1e-12, atol=1e-14)
    assert gradients[0].shape == ours[0].shape


# --- odd cases ----------------------------------------------------------------------------------------------


def test_rows_that_nobody_asks_about_may_hold_anything(each):
    """Ignored ones, and those whose losses are multiplied with 0: 0 times NaN is not their gradient."""
    x, w, _ = (t.detach() for t in arguments())
    x[2] = NAN
    args = [t.clone().requires_grad_() for t in (x, w)]
    ll.linear_cross_entropy(*args, Y, reduction="none").sum().backward()
    clean = [t.clone().requires_grad_() for t in (x[Y >= 0], w)]
    ll.linear_cross_entropy(*clean, Y[Y >= 0], reduction="none").sum().backward()
    torch.testing.assert_close(args[0].grad[Y >= 0], clean[0].grad, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(args[1].grad, clean[1].grad, rtol=1e-12, atol=1e-14)
    assert (args[0].grad[2] == 0).all()


def test_an_ignored_row_has_statistics_that_are_differentiated(each):
    """Its loss is nobody's, its entropy somebody's."""
    ours, theirs = arguments(), arguments()
    stats = ll.linear_row_stats(*ours[:2], Y, bias=ours[2])
    truth = ll.row_stats(F.linear(*theirs), Y)
    got = torch.autograd.grad((stats.nll + stats.entropy)[2], ours)
    wanted = torch.autograd.grad((truth.nll + truth.entropy)[2], theirs)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-14)
    assert (got[0][2] != 0).all()


@pytest.mark.parametrize("few", [False, True])
def test_rows_of_height_0_are_not_computed(alone, loop, monkeypatch, few):
    from lastlayer.backends.torch.array_ops import TorchOps

    loop()
    multiplied = []
    logits = TorchOps.logits

    def counting(self, x, *rest):
        multiplied.append(x.shape[0])
        logits(self, x, *rest)

    monkeypatch.setattr(TorchOps, "logits", counting)
    x, w, b = arguments(64)
    losses = ll.linear_cross_entropy(x, w, torch.arange(64) % V, bias=b, reduction="none")
    multiplied.clear()
    height = torch.zeros(64, dtype=torch.float64)
    height[: 60 if few else 9] = 1.0
    losses.backward(height)
    assert multiplied == [64 if few else 9]
    assert not x.grad[60:].any()
    x.grad = None
    losses = ll.linear_cross_entropy(x, w, torch.arange(64) % V, bias=b, reduction="none")
    multiplied.clear()
    (losses * 0).sum().backward()
    assert multiplied == []
    assert not x.grad.any()


def test_impossible_classes(each):
    x, w, b = (t.detach() for t in arguments())
    b[3:9] = float("-inf")
    ours, theirs = ([t.clone().requires_grad_() for t in (x, w, b)] for _ in range(2))
    y = torch.full((N,), 12)
    for name in ("nll", "lse", "entropy", "confidence"):
        got = torch.autograd.grad(getattr(ll.linear_row_stats(*ours[:2], y, bias=ours[2]), name).sum(), ours)
        value = getattr(ll.row_stats(F.linear(*theirs), y), name).sum()
        torch.testing.assert_close(got, torch.autograd.grad(value, theirs), rtol=1e-11, atol=1e-14)


# --- dtypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [3000, 128])
def test_errors_are_no_larger_than_those_of_logits(cut, dtype, classes):
    """Against float64, from the same rounded arguments, where PyTorch's composition is the measure."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    cut(rows=96, classes=classes)
    n, d, v = 96, 48, 3000
    x, w = tensor(n, d, dtype=dtype), (tensor(v, d, seed=1) * 0.2).to(dtype)
    y = torch.randint(0, v, (n,), generator=torch.Generator().manual_seed(2))
    advantage = tensor(n, seed=4)

    def gradients(dtype, compute):
        args = [t.to(dtype).detach().requires_grad_() for t in (x, w)]
        nll, entropy = compute(*args)
        (advantage.to(nll.dtype) * nll - 0.1 * entropy).sum().backward()
        return [t.grad.double() for t in args]

    def eager(x, w):
        logp = torch.log_softmax(x @ w.T, -1)
        nll = -logp.gather(-1, y[:, None]).squeeze(-1)
        return nll, -(logp.exp() * logp).sum(-1)

    def ours(x, w):
        stats = ll.linear_row_stats(x, w, y)
        return stats.nll, stats.entropy

    truth, theirs, own = gradients(torch.float64, eager), gradients(dtype, eager), gradients(dtype, ours)
    for name, t, a, b in zip(("dx", "dweight"), truth, own, theirs, strict=True):
        error, measure = (a - t).norm() / t.norm(), (b - t).norm() / t.norm()
        assert error <= 1.02 * measure, f"{name}: {error:.3g}, PyTorch's {measure:.3g}"


def test_results_are_of_the_arguments_dtypes(each):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        args = arguments(dtype=dtype)
        stats = ll.linear_row_stats(*args[:2], Y, bias=args[2])
        kind = torch.float64 if dtype is torch.float64 else torch.float32
        assert all(getattr(stats, name).dtype is kind for name in READ)
        (stats.nll + stats.entropy + stats.confidence).sum().backward()
        assert all(t.grad.dtype is dtype for t in args)


def test_nothing_of_the_logits_is_kept():
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    x, w, b = arguments(32, 4, 500)
    y = torch.zeros(32, dtype=torch.long)
    stats = ll.linear_row_stats(x, w, y, bias=b)
    state = stats.nll.grad_fn.state
    arrays = [
        getattr(state, name) for name in ("peak", "rest", "argmax", "gap", "mass", "spread", "square", "rank")
    ]
    assert all(isinstance(a, np.ndarray) and a.shape == (32,) for a in arrays)
    saved = stats.nll.grad_fn.saved_tensors
    assert [t.data_ptr() for t in saved if t is not None] == [t.data_ptr() for t in (x, w, b, y)]


def test_statistics_in_a_compiled_program():
    """There they are composed; the loss beside them is an operation."""

    def function(x, w, b):
        loss, stats = ll.linear_cross_entropy(x, w, Y, bias=b, return_stats=True)
        others = ll.linear_row_stats(x, w, Y, bias=b)
        return loss + others.entropy.sum(), stats.nll, stats.rank

    args, others = arguments(), arguments()
    found = torch.compile(function, backend="aot_eager", fullgraph=True)(*args)
    expected = function(*others)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    got = torch.autograd.grad(found[0], args)
    torch.testing.assert_close(got, torch.autograd.grad(expected[0], others), rtol=1e-11, atol=1e-14)
    assert not found[1].requires_grad


# --- surroundings -------------------------------------------------------------------------------------------


def objective(x, w, compute=ll.linear_row_stats):
    stats = compute(x, w, Y)
    return (torch.linspace(-1, 1, N, dtype=torch.float64) * stats.nll).sum() - stats.entropy.sum()


def peer(x, w):
    return objective(x, w, lambda x, w, y: ll.row_stats(x @ w.T, y))


def test_transforms(each):
    x, w = (t.detach() for t in arguments()[:2])
    for transform in (torch.func.grad, torch.func.hessian):
        got, wanted = (transform(f, argnums=1)(x, w) for f in (objective, peer))
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    got, wanted = (torch.func.jvp(f, (x, w), (x, w)) for f in (objective, peer))
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-13)
    batched = torch.func.vmap(lambda x: ll.linear_row_stats(x, w).entropy)(x.reshape(2, 3, D))
    torch.testing.assert_close(batched, ll.row_stats((x @ w.T).reshape(2, 3, V)).entropy, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(each, reentrant):
    (x, w, _), (a, b, _) = arguments(), arguments()
    torch.utils.checkpoint.checkpoint(objective, x, w, use_reentrant=reentrant).backward()
    peer(a, b).backward()
    torch.testing.assert_close((x.grad, w.grad), (a.grad, b.grad), rtol=1e-11, atol=1e-13)


def test_weights_changed_before_the_backward_pass_are_noticed(each):
    x, w, _ = arguments()
    loss = objective(x, w)
    with torch.no_grad():
        w.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast(each):
    x, w, _ = arguments(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        stats = ll.linear_row_stats(x, w, Y)
        expected = ll.row_stats(F.linear(x, w), Y)
    torch.testing.assert_close(stats.nll, expected.nll, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(stats.entropy, expected.entropy, rtol=1e-6, atol=1e-6)
    (stats.nll + stats.entropy).sum().backward()
    assert w.grad.dtype is torch.float32

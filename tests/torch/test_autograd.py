"""Derivatives of every order, in every mode, of every option; what a backward pass keeps and may meet."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import lastlayer.torch as drop_ins  # noqa: E402

# PyTorch's own forward mode compiles some of its formulas with torch.jit.script, which it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

INF, NAN = float("inf"), float("nan")


seeded = partial(tensor, scale=2.0)


def variable(*shape, **options):
    return seeded(*shape, **options).requires_grad_()


def check(function, *inputs, second=True):
    """First and second derivatives against differences, backward, forward, and many at once."""
    assert gradcheck(
        function, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    if second:
        assert gradgradcheck(function, inputs, check_fwd_over_rev=True, check_batched_grad=True)


# --- first and second derivatives ---------------------------------------------------------------------------

W, S = torch.tensor([1.0, 0.5, 2.0, 3.0]).double(), torch.tensor([1.0, 0.25, 2.0]).double()
INDEX, IGNORED = torch.tensor([0, 3, 1]), torch.tensor([0, -100, 1])
DENSE = torch.softmax(seeded(3, 4, seed=5), 1)
ONE_HOT = torch.nn.functional.one_hot(INDEX, 4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("targets", [INDEX, IGNORED, DENSE, ONE_HOT], ids=["index", "ignored", "soft", "hot"])
def test_cross_entropy(way, targets, reduction):
    x = variable(3, 4)
    choices = itertools.product((None, W), (None, S), (0.0, 0.1), (1.0, 1.7), (None, 3.0), (0.0, 0.1))
    for number, (weight, rows, smoothing, temperature, softcap, z_loss) in enumerate(choices):
        options = {
            "class_weight": weight,
            "sample_weight": rows,
            "label_smoothing": smoothing,
            "temperature": temperature,
            "softcap": softcap,
            "z_loss": z_loss,
            "reduction": reduction,
        }

        def loss(x, options=options):
            return ll.cross_entropy(x, targets, **options)

        if number in (0, 63):  # no option and all of them
            check(loss, x)
        else:
            assert gradcheck(loss, (x,), fast_mode=True, check_forward_ad=number % 4 == 1)
            assert number % 4 or gradgradcheck(loss, (x,), fast_mode=True)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_in_weights_and_dense_targets(way, reduction):
    x, q = variable(3, 4), DENSE.clone().requires_grad_()
    w, s = W.clone().requires_grad_(), S.clone().requires_grad_()
    for options in ({}, {"label_smoothing": 0.2, "z_loss": 0.1, "softcap": 4.0, "temperature": 0.8}):

        def of_indices(x, w, s, options=options):
            return ll.cross_entropy(
                x, IGNORED, class_weight=w, sample_weight=s, reduction=reduction, **options
            )

        def of_rows(x, q, w, s, options=options):
            return ll.cross_entropy(x, q, class_weight=w, sample_weight=s, reduction=reduction, **options)

        check(of_indices, x, w, s)
        check(of_rows, x, q, w, s)
    check(lambda p, q: ll.log_loss(p, q, reduction=reduction), torch.softmax(x, 1), q)
    check(lambda p, w: ll.nll_loss(p, INDEX, class_weight=w, label_smoothing=0.1, reduction=reduction), x, w)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), None], ids=str)
def test_softmax_and_its_kin(way, axis):
    x, where = variable(2, 3, 2), seeded(2, 3, 1, seed=3) > -1
    where[0] = False
    for options in ({}, {"where": where}):
        check(lambda x, options=options: ll.logsumexp(x, axis, **options).clamp(min=-99), x)
        check(lambda x, options=options: ll.softmax(x, axis, temperature=1.3, **options), x)
        check(lambda x, options=options: ll.log_softmax(x, axis, **options).clamp(min=-99), x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("targets", [INDEX, IGNORED, DENSE], ids=["index", "ignored", "soft"])
def test_losses_of_probabilities(way, targets, reduction):
    x = variable(3, 4)
    for options in ({}, {"class_weight": W, "sample_weight": S, "label_smoothing": 0.1}):
        options = options | {"reduction": reduction}
        check(lambda x, options=options: ll.nll_loss(x, targets, **options), x)
        p = torch.softmax(x.detach(), 1).requires_grad_()
        check(lambda p, options=options: ll.log_loss(p, targets, **options), p)


@pytest.mark.parametrize("name", ["lse", "nll", "entropy", "confidence", "sum_p2"])
def test_row_stats(way, name):
    x = variable(3, 4)
    for options in ({}, {"temperature": 0.7, "softcap": 5.0}, {"label_smoothing": 0.1, "class_weight": W}):
        for targets in (INDEX, DENSE):
            check(lambda x, t=targets, o=options: getattr(ll.row_stats(x, t, **o), name), x)


def test_cross_entropy_grad_is_differentiable(way):
    x = variable(3, 4)
    check(lambda x: ll.cross_entropy_grad(x, INDEX), x)


def test_third_derivatives(way):
    x = variable(2, 3)

    def third(f):
        (g,) = torch.autograd.grad(f(x), x, create_graph=True)
        (h,) = torch.autograd.grad((g * seeded(2, 3, seed=1)).sum(), x, create_graph=True)
        return torch.autograd.grad((h * seeded(2, 3, seed=2)).sum(), x)[0]

    y = torch.tensor([1, 2])
    found = third(lambda x: ll.cross_entropy(x, y))
    torch.testing.assert_close(found, third(lambda x: torch.nn.functional.cross_entropy(x, y)))
    weights = seeded(2, 3, seed=4)
    found = third(lambda x: (ll.softmax(x) * weights).sum())
    torch.testing.assert_close(found, third(lambda x: (torch.softmax(x, 1) * weights).sum()))


# --- torch.func ---------------------------------------------------------------------------------------------


def smoothed(x, y, w, e=0.1):
    """The formula of label smoothing with class weights; PyTorch's own function cannot be transformed."""
    log_p = torch.log_softmax(x, -1)
    at = w * (y[..., None] == torch.arange(4))
    t = (1 - e) * at + e / 4 * w
    return -(t * log_p).sum() / at.sum()


PAIRS = {
    "cross_entropy": (
        lambda x, y: ll.cross_entropy(x, y),
        lambda x, y: torch.nn.functional.cross_entropy(x, y),
    ),
    "smoothed": (
        lambda x, y: ll.cross_entropy(x, y, label_smoothing=0.1, class_weight=W),
        lambda x, y: smoothed(x, y, W),
    ),
    "softmax": (lambda x, _: ll.softmax(x).cos().sum(), lambda x, _: torch.softmax(x, -1).cos().sum()),
    "log_softmax": (
        lambda x, _: ll.log_softmax(x).cos().sum(),
        lambda x, _: torch.log_softmax(x, -1).cos().sum(),
    ),
    "logsumexp": (lambda x, _: ll.logsumexp(x).cos().sum(), lambda x, _: torch.logsumexp(x, -1).cos().sum()),
    "nll_loss": (
        lambda x, y: ll.nll_loss(x, y).cos(),
        lambda x, y: torch.nn.functional.nll_loss(x, y).cos(),
    ),
    "nll of rows": (
        lambda x, y: ll.row_stats(x, y).nll.cos().sum(),
        lambda x, y: torch.nn.functional.cross_entropy(x, y, reduction="none").cos().sum(),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_function_transforms(way, name):
    mine, theirs = PAIRS[name]
    f = torch.func
    x, y, v = seeded(3, 4), INDEX, seeded(3, 4, seed=1)
    xs, ys = seeded(5, 3, 4, seed=2), torch.randint(0, 4, (5, 3), generator=torch.Generator().manual_seed(0))

    def results(function):
        yield f.grad(function)(x, y)
        yield f.vmap(function)(xs, ys)
        yield f.vmap(function, in_dims=(1, None))(xs.transpose(0, 1), y)
        yield f.vmap(f.grad(function))(xs, ys)
        yield f.grad(lambda xs: f.vmap(function)(xs, ys).sum())(xs)
        yield f.jvp(lambda x: function(x, y), (x,), (v,))[1]
        yield f.vjp(lambda x: function(x, y), x)[1](torch.tensor(2.0).double())[0]
        yield f.jacrev(function)(x, y)
        yield f.jacfwd(function)(x, y)
        yield f.hessian(function)(x, y)
        yield f.jacrev(f.jacrev(function))(x, y)
        yield f.jvp(f.grad(lambda x: function(x, y)), (x,), (v,))[1]

    for number, (found, expected) in enumerate(zip(results(mine), results(theirs), strict=True)):
        torch.testing.assert_close(found, expected, msg=lambda text, n=number: f"transform {n}: {text}")


def test_transforms_of_weights():
    found = torch.func.grad(lambda w: ll.cross_entropy(seeded(3, 4), INDEX, class_weight=w))(W)
    expected = torch.func.grad(lambda w: smoothed(seeded(3, 4), INDEX, w, 0.0))(W)
    torch.testing.assert_close(found, expected)


# --- the odd cases ------------------------------------------------------------------------------------------


def gradient_of(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def test_gradients_where_classes_are_impossible(way):
    x = torch.tensor([[0.0, -INF, 1.0], [2.0, 0.0, -INF]], dtype=torch.float64)
    finite = torch.where(x == -INF, -1e300, x)
    y = torch.tensor([0, 1])
    for function in (
        lambda x: ll.cross_entropy(x, y),
        lambda x: ll.cross_entropy(x, y, softcap=20.0, z_loss=0.1, class_weight=[1.0, 2.0, 1.0]),
        lambda x: ll.softmax(x)[:, :2].cos(),
        lambda x: ll.log_softmax(x)[:, :1].cos(),
        lambda x: ll.logsumexp(x).cos(),
        lambda x: ll.row_stats(x, y).entropy,
        lambda x: ll.row_stats(x, y).confidence,
    ):
        found, expected = gradient_of(function, x), gradient_of(function, finite)
        torch.testing.assert_close(found, expected)
    soft = torch.tensor([[0.5, 0.0, 0.5], [0.25, 0.75, 0.0]], dtype=torch.float64)
    q = soft.clone().requires_grad_()
    loss = ll.cross_entropy(x.requires_grad_(), q)  # through PyTorch's own operations: q is a variable
    gradients = torch.autograd.grad(loss, (x, q))
    torch.testing.assert_close(gradients[0], (torch.softmax(x, 1) - soft).detach() / 2)
    assert not gradients[1].isnan().any()


def test_an_impossible_target(way):
    x = torch.tensor([[0.0, -INF, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = ll.cross_entropy(x, torch.tensor([1]))
    assert loss.item() == INF
    assert torch.autograd.grad(loss, x)[0].tolist() == [[0.5, -1.0, 0.5]]


def test_ignored_rows_are_not_looked_at(way):
    x = torch.tensor([[NAN, INF], [0.0, 0.0], [-INF, -INF]], dtype=torch.float64)
    y = torch.tensor([-100, 1, -100])
    half = torch.tensor([[0.0, 0.0], [0.5, -0.5], [0.0, 0.0]], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        for options in ({}, {"z_loss": 0.0, "softcap": None, "label_smoothing": 0.0}):
            found = gradient_of(lambda x, r=reduction, o=options: ll.cross_entropy(x, y, reduction=r, **o), x)
            assert torch.equal(found, half)
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    indices = torch.tensor([0, 1, 1])
    assert torch.equal(gradient_of(lambda x: ll.cross_entropy(x, indices, sample_weight=weights), x), half)
    s = weights.clone().requires_grad_()
    x = x.requires_grad_()
    found = torch.autograd.grad(ll.cross_entropy(x, indices, sample_weight=s, reduction="sum"), (x, s))
    assert torch.equal(found[0], half)
    assert found[1][1].item() == pytest.approx(np.log(2))


def test_the_mean_over_nothing(way):
    x = torch.tensor([[NAN, 0.0], [1.0, INF]], dtype=torch.float64)
    for y, options in (
        (torch.tensor([-100, -100]), {}),
        (torch.tensor([0, 1]), {"sample_weight": torch.zeros(2)}),
        (torch.tensor([0, 1]), {"class_weight": torch.zeros(2)}),
        (torch.tensor([0, 1]), {"denominator": 0.0}),
        (torch.tensor([[0.5, 0.5], [1.0, 0.0]]).double(), {"sample_weight": torch.zeros(2)}),
    ):
        z = x.clone().requires_grad_()
        loss = ll.cross_entropy(z, y, **options)
        assert loss.item() == 0.0
        assert torch.equal(torch.autograd.grad(loss, z)[0], torch.zeros_like(x))
    empty = torch.empty(0, 3, requires_grad=True)
    loss = ll.cross_entropy(empty, torch.empty(0, dtype=torch.int64))
    assert loss.item() == 0.0
    assert torch.autograd.grad(loss, empty)[0].shape == (0, 3)


def test_losses_of_impossible_probabilities(way):
    y = torch.tensor([0, 1])
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    dense = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    for targets in (y, dense):
        assert not gradient_of(lambda p, t=targets: ll.log_loss(p, t), p).isnan().any()
        assert not gradient_of(lambda p, t=targets: ll.nll_loss(p, t), p.log()).isnan().any()


# --- what a backward pass keeps -----------------------------------------------------------------------------


def kept(function, x):
    """What a function saves for its backward pass."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        result = function(x)
    return result, saved


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: ll.cross_entropy(x, y),
        lambda x, y: ll.cross_entropy(x, y, label_smoothing=0.1, reduction="none"),
        lambda x, _: ll.logsumexp(x),
        lambda x, y: ll.nll_loss(x, y),
        lambda x, y: ll.row_stats(x, y).entropy,
    ],
)
def test_the_logits_are_kept_and_no_copy_of_them(function):
    x, y = variable(16, 100, dtype=torch.float32), torch.arange(16)
    _, saved = kept(lambda x: function(x, y), x)
    assert any(t.data_ptr() == x.data_ptr() for t in saved)
    for t in saved:
        assert t.data_ptr() == x.data_ptr() or t.numel() <= 16


def test_softmax_keeps_its_result_alone():
    x = variable(16, 100, dtype=torch.float32)
    for function in (ll.softmax, ll.log_softmax):
        result, saved = kept(function, x)
        assert {t.data_ptr() for t in saved} == {result.data_ptr()}


def test_memory_beyond_the_logits():
    x, y = variable(256, 4096, dtype=torch.float32), torch.arange(256)
    for options in ({}, {"label_smoothing": 0.1}, {"reduction": "sum"}):
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            torch.autograd.grad(ll.cross_entropy(x, y, **options), x)
        taken = sum(max(event.self_cpu_memory_usage, 0) for event in profile.events())
        assert x.nbytes <= taken <= 1.01 * x.nbytes


def test_backward_may_run_twice(way):
    x, y = variable(5, 7, dtype=torch.float32), torch.arange(5)
    for function in (
        lambda x: ll.cross_entropy(x, y),
        lambda x: ll.cross_entropy(x, y, reduction="none").sum(),
        lambda x: ll.softmax(x).square().sum(),
        lambda x: ll.logsumexp(x).sum(),
    ):
        result = function(x)
        first, second = (torch.autograd.grad(result, x, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)


def test_a_change_of_the_logits_is_noticed():
    x = variable(3, 4)
    for function in (lambda z: ll.cross_entropy(z, INDEX), lambda z: ll.logsumexp(z).sum()):
        z = x * 1
        result = function(z)
        z.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.backward()


def test_logits_without_a_gradient_of_their_own():
    """A head that is trained below others that are not, and the other way round."""
    w = torch.ones(4, dtype=torch.float64, requires_grad=True)
    loss = ll.cross_entropy(seeded(3, 4), INDEX, class_weight=w)
    assert torch.autograd.grad(loss, w)[0].shape == (4,)
    assert not ll.cross_entropy(seeded(3, 4), INDEX).requires_grad


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ll.cross_entropy(x * 2, INDEX),
        lambda x: ll.cross_entropy(x * 2, INDEX, label_smoothing=0.1),
        lambda x: ll.cross_entropy(x * 2, DENSE),
        lambda x: ll.row_stats(x * 2).entropy.sum(),
        lambda x: ll.row_stats(x * 2, INDEX).nll.sum(),
        lambda x: ll.softmax(x * 2).square().sum(),
        lambda x: ll.logsumexp(x * 2).sum(),
    ],
)
def test_checkpointing_recomputes(function):
    from torch.utils.checkpoint import checkpoint

    x = variable(3, 4)
    loss = checkpoint(function, x, use_reentrant=False)
    expected = gradient_of(function, x.detach())
    assert torch.equal(torch.autograd.grad(loss, x)[0], expected)


def test_deterministic_algorithms(way):
    x, y = variable(6, 5, dtype=torch.float32), torch.tensor([0, 1, 2, 3, 4, 4])
    torch.use_deterministic_algorithms(True)
    try:
        gradients = [gradient_of(lambda x: ll.cross_entropy(x, y, label_smoothing=0.1), x) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(g, gradients[0]) for g in gradients)


def test_autocast_is_as_for_the_losses_of_pytorch():
    f = torch.nn.functional
    y = torch.tensor([0, 1])
    for dtype in (torch.bfloat16, torch.float16):
        x = seeded(2, 3, dtype=dtype).requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            for mine, theirs in (
                (ll.cross_entropy(x, y), f.cross_entropy(x, y)),
                (ll.nll_loss(x, y), f.nll_loss(x, y)),
                (ll.softmax(x), f.softmax(x, 1)),
                (ll.log_softmax(x), f.log_softmax(x, 1)),
            ):
                assert mine.dtype == theirs.dtype
                torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.01)
        (gradient,) = torch.autograd.grad(ll.cross_entropy(x, y), x)
        assert gradient.dtype == dtype


@pytest.mark.parametrize("targets", [INDEX, DENSE, torch.full((3,), -100)], ids=["index", "dense", "ignored"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_gradient_that_is_constant_is_part_of_the_graph(way, targets, reduction):
    """As PyTorch's: its derivative is 0, and so is the next."""
    for function, weight in ((ll.nll_loss, None), (ll.nll_loss, torch.rand(4)), (drop_ins.nll_loss, None)):
        x = torch.randn(3, 4).requires_grad_()
        options = {} if weight is None else {"class_weight": weight}
        (derivative,) = torch.autograd.grad(
            function(x, targets, reduction=reduction, **options).sum(), x, create_graph=True
        )
        for _ in range(2):
            assert derivative.requires_grad
            (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
            assert torch.equal(derivative, torch.zeros(3, 4))

"""The linear head where models are trained: checkpoints, hooks, tied and frozen weights, parts of batches.

The measure is PyTorch's own cross-entropy of the logits, in float64; work is counted in passes of the loop.
"""

from __future__ import annotations

import pytest
from random_arrays import tensor

import lastlayer as ll
from lastlayer.linear import loop as linear

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")

from torch.utils.checkpoint import checkpoint  # noqa: E402

import lastlayer.torch as ours  # noqa: E402

F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
N, D, V = 12, 4, 19
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def arguments(dtype=torch.float64):
    made = tensor(N, D, dtype=dtype), tensor(V, D, seed=1, dtype=dtype), tensor(V, seed=2, dtype=dtype)
    return [t.requires_grad_() for t in made]


Y = torch.randint(0, V, (N,), generator=torch.Generator().manual_seed(3))
Y[4] = -100


def loss(x, w, b, **options):
    return ll.linear_cross_entropy(x, w, Y, bias=b, **options)


def peer(x, w, b, **options):
    return F.cross_entropy(F.linear(x, w, b), Y, **options)


def assert_same_gradients(first, second, args):
    got, expected = torch.autograd.grad(first, args), torch.autograd.grad(second, args)
    torch.testing.assert_close(got, expected, **CLOSE)


@pytest.fixture
def passes(loop, monkeypatch):
    """Which passes over the logits were made: "forward", and of which gradients."""
    loop()
    made = []
    statistics, gradients = linear.Loop.statistics, linear.Loop.gradients

    def forward(self, *args):
        made.append("forward")
        return statistics(self, *args)

    def backward(self, stats, wanted, *args):
        made.append(tuple(bool(on) for on in wanted))
        return gradients(self, stats, wanted, *args)

    monkeypatch.setattr(linear.Loop, "statistics", forward)
    monkeypatch.setattr(linear.Loop, "gradients", backward)
    return made


ALL = (True, True, True)

# --- what is kept between the passes ------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(passes, reentrant):
    """The first pass computes no gradient, and keeps none."""
    args = arguments()

    def block(x, w, b):
        return loss(torch.tanh(x), w, b)

    value = checkpoint(block, *args, use_reentrant=reentrant)
    assert passes == ["forward"]
    value.backward()
    assert passes.count(ALL) == 1
    clean = arguments()
    expected = peer(torch.tanh(clean[0]), *clean[1:])
    torch.testing.assert_close(value, expected, **CLOSE)
    expected.backward()
    torch.testing.assert_close([t.grad for t in args], [t.grad for t in clean], **CLOSE)


def test_a_checkpoint_around_one_of_several_losses():
    args = arguments()
    total = checkpoint(loss, *args, use_reentrant=False) + 2 * loss(*args)
    assert_same_gradients(total, 3 * peer(*args), args)


def test_what_is_saved_may_be_packed(passes):
    """Offloading sees the arguments, which are in memory anyway, and nothing else."""
    args, packed = arguments(), []

    def pack(t):
        packed.append(tuple(t.shape))
        return t.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value = loss(*args)
    assert passes == ["forward"]
    assert packed == [(N, D), (V, D), (V,), (N,)]
    assert_same_gradients(value, peer(*args), args)


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_written_to_before_the_backward_pass_is_noticed(index):
    """As PyTorch notices it, though the gradients of before are there."""
    args = arguments()
    for function in (loss, peer):
        value = function(*args)
        with torch.no_grad():
            args[index].mul_(2.0)  # an optimiser's step, come too early
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


def test_a_second_backward_has_the_same_bits(passes):
    args = arguments()
    value = loss(*args)
    first = torch.autograd.grad(value, args, retain_graph=True)
    second = torch.autograd.grad(value, args, retain_graph=True)
    some = torch.autograd.grad(value, args[1], retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(some[0], first[1])
    assert passes[:2] == ["forward", ALL]


# --- derivatives --------------------------------------------------------------------------------------------


def test_double_backward_through_a_norm_of_the_gradient():
    for scale in (1.0, 3.0):
        found = []
        for function in (loss, peer):
            args = arguments()
            first = torch.autograd.grad(function(*args) * scale, args, create_graph=True)
            sum(g.square().sum() for g in first).backward()
            found.append([t.grad for t in args])
        torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize("name", ["grad", "jvp", "vjp", "hessian", "jacfwd", "jacrev", "vmap"])
def test_transforms(name):
    x, w, b = (t.detach() for t in arguments())

    def transformed(function):
        def of_x(x):
            return function(x, w, b)

        if name == "jvp":
            return torch.func.jvp(of_x, (x,), (tensor(N, D, seed=5),))
        if name == "vjp":
            return torch.func.vjp(of_x, x)[1](torch.tensor(2.0, dtype=torch.float64))[0]
        if name == "vmap":
            return torch.func.vmap(torch.func.grad(of_x))(torch.stack([x, x + 1]))
        return getattr(torch.func, name)(of_x)(x)

    torch.testing.assert_close(transformed(loss), transformed(peer), **CLOSE)


def test_many_gradients_at_once():
    args = arguments()
    heights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = [torch.autograd.grad(f(*args), args, heights, is_grads_batched=True) for f in (loss, peer)]
    torch.testing.assert_close(*found, **CLOSE)


# --- weights ------------------------------------------------------------------------------------------------


def test_tied_weights():
    """The embedding's weight is the head's: its gradient is the sum of both."""
    found = []
    for head in (lambda x, w: ll.linear_cross_entropy(x, w, Y), lambda x, w: F.cross_entropy(x @ w.T, Y)):
        embedding = torch.nn.Embedding(V, D, dtype=torch.float64)
        with torch.no_grad():
            embedding.weight.copy_(tensor(V, D))
        for _ in range(2):  # and what is there is added to
            value = head(torch.tanh(embedding(Y.clamp(min=0))), embedding.weight)
            value.backward()
        found.append((value.detach(), embedding.weight.grad))
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize("on", [(1, 0, 0), (0, 1, 1), (0, 1, 0), (0, 0, 1), (0, 0, 0)])
def test_no_work_for_what_is_frozen(passes, on):
    args = [t.detach().requires_grad_(bool(flag)) for t, flag in zip(arguments(), on, strict=True)]
    value = loss(*args)
    assert passes == ["forward"]
    if any(on):
        assert_same_gradients(value, peer(*args), [t for t in args if t.requires_grad])
        assert passes == ["forward", tuple(map(bool, on))]


def test_gradients_wait_where_all_tiles_are_kept(passes):
    """The loss alone costs no backward pass; the logits are kept, where the weight's gradient will be."""
    args = arguments()
    listed = torch.arange(2 * N).reshape(N, 2) % V, torch.full((N, 2), 0.3, dtype=torch.float64)
    dense = torch.zeros(N, V, dtype=torch.float64).scatter_add_(1, *listed)
    most = torch.where(torch.arange(N) % 3 == 0, Y, -100)
    for y, other in ((Y, Y), (most, most), (listed, dense)):
        passes.clear()
        value = 3 * ll.linear_cross_entropy(*args[:2], y, bias=args[2])
        pending = value.grad_fn.next_functions[0][0].pending
        assert passes == ["forward"]
        assert pending.loop.rows.x is None
        assert sum(b.numel() for b in pending.loop.buffers) <= max(N * V, V)
        expected = 3 * F.cross_entropy(F.linear(*args), other)
        (dw,) = torch.autograd.grad(value, args[1], retain_graph=True)
        assert passes[1:] == [ALL]
        del pending
        torch.testing.assert_close(dw, *torch.autograd.grad(expected, args[1], retain_graph=True), **CLOSE)
        found = torch.autograd.grad(value, args, retain_graph=True)
        torch.testing.assert_close(found, torch.autograd.grad(expected, args), **CLOSE)
        assert not any(g.any() for g in torch.autograd.grad(value * 0, args))


def test_gradients_are_computed_with_the_loss_where_tiles_are_not_kept(passes, cut):
    cut(4, 8)
    value = loss(*(args := arguments()))
    assert passes == ["forward", ALL]
    assert_same_gradients(3 * value, 3 * peer(*args), args)
    assert passes == ["forward", ALL]


def test_turned_and_strided_weights():
    """Gradients reach the tensors that the views are of."""
    base, wide, features = tensor(D, V), tensor(V, 2 * D), tensor(1, D)
    for build in (
        lambda: (base.T, tensor(N, D, seed=4)),
        lambda: (wide[:, ::2], tensor(2, N, D, seed=4)[1]),
        lambda: (wide[:, D:], tensor(D, N, seed=4).T),
        lambda: (base.T, features.expand(N, D)),
        lambda: (base.T.flip(0), tensor(N, 2, D, seed=4)[:, 0]),
    ):
        found = []
        for function in (loss, peer):
            for t in (base, wide, features):
                t.requires_grad_().grad = None
            w, x = build()
            function(x, w, None).backward()
            found.append([t.grad for t in (base, wide, features) if t.grad is not None])
        torch.testing.assert_close(*found, **CLOSE)


def test_hooks_see_the_gradients():
    """As what averages gradients over processes does."""
    found = []
    for function in (loss, peer):
        args, seen = arguments(), []
        middle = torch.tanh(args[0])
        middle.register_hook(lambda g, seen=seen: seen.append(g.clone()))
        args[1].register_hook(lambda g: g * 2)
        args[1].register_post_accumulate_grad_hook(lambda t, seen=seen: seen.append(t.grad.clone()))
        function(middle, *args[1:]).backward()
        found.append([*seen, *(t.grad for t in args)])
    assert len(found[0]) == 5
    torch.testing.assert_close(*found, **CLOSE)


def test_gradients_belong_to_their_owner_alone():
    """What a step does to them changes neither the arguments nor one another."""
    args = arguments()
    before = [t.detach().clone() for t in args]
    loss(*args).backward()
    kept = [t.grad.clone() for t in args]
    for t in args:
        t.grad.fill_(7.0)
    assert all(torch.equal(t.detach(), c) for t, c in zip(args, before, strict=True))
    for t in args:
        t.grad = None
    loss(*args).backward()
    assert all(torch.equal(t.grad, k) for t, k in zip(args, kept, strict=True))


# --- batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "class"])
def test_parts_of_a_batch_add_up_to_it(weights):
    """With what the whole batch is divided by as ``denominator``."""
    options = {} if weights is None else {"class_weight": torch.linspace(0.5, 2, V, dtype=torch.float64)}
    counted = Y[Y >= 0]
    total = len(counted) if weights is None else options["class_weight"][counted].sum()
    whole, parts = arguments(), arguments()
    value = loss(*whole, **options)
    value.backward()
    summed = 0.0
    for rows in (slice(0, 5), slice(5, 6), slice(6, N)):
        x, w, b = parts
        part = ll.linear_cross_entropy(x[rows], w, Y[rows], bias=b, denominator=total, **options)
        part.backward()
        summed += part.item()
    assert summed == pytest.approx(value.item(), rel=1e-14)
    torch.testing.assert_close([t.grad for t in whole], [t.grad for t in parts], **CLOSE)


@pytest.mark.parametrize("way", ["tensors", "autocast", "program"])
def test_scaled_losses_keep_gradients_of_half_precision_from_vanishing(way):
    """Gradients below the smallest float16 are there in those of the loss times 65536."""
    args = arguments(torch.float32 if way == "autocast" else torch.float16)

    def program(x, w, b):
        return ll.linear_cross_entropy(x, w, Y, bias=b, denominator=1e7) * 65536.0

    with torch.autocast("cpu", torch.float16, enabled=way == "autocast"):
        value = (torch.compile(program, backend="aot_eager") if way == "program" else program)(*args)
    found = [torch.autograd.grad(value, args, retain_graph=True) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    doubles = [t.detach().half().double().requires_grad_() for t in args]
    truth = torch.autograd.grad(peer(*doubles, reduction="sum") * 65536.0 / 1e7, doubles)
    for got, expected, t in zip(found[0], truth, args, strict=True):
        assert got.dtype is t.dtype
        assert (got.double() - expected).norm() <= 1e-3 * expected.norm()
        assert (expected.abs() / 65536.0).max() < 2.0**-20


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_empty_batch(reduction):
    _, w, b = arguments()
    x = tensor(0, D).requires_grad_()
    value = ll.linear_cross_entropy(x, w, Y[:0], bias=b, reduction=reduction)
    value.sum().backward()
    assert value.shape == ((0,) if reduction == "none" else ())
    assert value.sum().item() == 0.0
    assert x.grad.shape == (0, D)
    assert (w.grad == 0).all()
    assert (b.grad == 0).all()


# --- modes --------------------------------------------------------------------------------------------------


def test_autocast_is_that_of_a_linear_layer_and_its_loss():
    args = arguments(torch.float32)
    found = []
    for function in (ours.linear_cross_entropy, F.linear_cross_entropy):
        with torch.autocast("cpu", torch.bfloat16):
            value = function(args[0], args[1], Y, linear_bias=args[2])
        found.append((value, *torch.autograd.grad(value, args)))
    assert [t.dtype for t in found[0]] == [t.dtype for t in found[1]] == [torch.float32] * 4
    torch.testing.assert_close(found[0], found[1], rtol=2e-2, atol=2e-3)
    doubles = [t.detach().double().requires_grad_() for t in args]
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(*doubles).dtype is torch.float64


def test_inference(passes):
    args = arguments()
    expected = peer(*args).detach()
    with torch.inference_mode():
        value = loss(*args)
        made_there = loss(*(t * 1 for t in args))
    assert passes == ["forward"] * 2
    assert value.is_inference()
    torch.testing.assert_close(value.clone(), expected, **CLOSE)
    torch.testing.assert_close(made_there.clone(), expected, **CLOSE)


def test_a_model_learns():
    """Dropout, a norm, a tied head, clipping and a scheduler: the usual loop, with the usual loss's curve."""

    class Model(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, 8, dtype=torch.float64)
            self.norm = torch.nn.LayerNorm(8, dtype=torch.float64)
            self.head = head

        def forward(self, tokens):
            x = self.norm(F.dropout(self.embedding(tokens[:-1]), 0.1, self.training))
            return self.head(x, self.embedding.weight, tokens[1:])

    curves = []
    for head in (ours.linear_cross_entropy, lambda x, w, y: F.cross_entropy(x @ w.T, y)):
        torch.manual_seed(0)
        model = Model(head)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, foreach=False)
        curves.append([])
        tokens = torch.arange(40) * 7 % V
        for _ in range(12):
            optimizer.zero_grad()
            value = model(tokens)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            curves[-1].append(value.item())
    assert curves[0] == pytest.approx(curves[1], rel=1e-9)
    assert curves[0][-1] < curves[0][0] / 2

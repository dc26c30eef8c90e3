"""Programs with deferred logits give what they give with those of `torch.nn.functional.linear`.

Each runs on both; what it returns is compared. `unmade`: whether all of it has to do without anything of the
logits' size, or cannot.
"""

from __future__ import annotations

import threading
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
from torch.autograd import Function  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from lastlayer.torch.deferred import Logits, deferred  # noqa: E402

F = torch.nn.functional
V, D = 23, 5
Y = torch.tensor([[3, -100, 22, 0], [7, 7, 16, 1]])
DOUBLE, HALF, SINGLE, NARROW = torch.float64, torch.bfloat16, torch.float32, torch.float16
ROUNDING = {DOUBLE: 1e-12, SINGLE: 1e-5, HALF: 2e-2, NARROW: 2e-2}
PROGRAMS = {}


def program(unmade=None, dtypes=(DOUBLE,), rounding=None):
    """Add a program to the list."""

    def put(function):
        PROGRAMS[function.__name__] = function, unmade, dtypes, rounding
        return function

    return put


def parts(dtype=DOUBLE):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, D), (V, D), (V,)
    numbers = (torch.randn(s, generator=generator, dtype=DOUBLE).to(dtype) for s in shapes)
    return [t.requires_grad_() for t in numbers]


def head(x, weight, bias=None):
    """The layer with ``defer="always"``, as a function."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return F.linear(x, weight, bias)
    if torch.autograd.forward_ad._current_level >= 0:
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = (
            t if t is None else t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight, bias)
        )
    return deferred(x, weight, bias)


def flat(z, **options):
    return F.cross_entropy(z.view(-1, z.shape[-1]), Y.view(-1), **options)


def causal(z):
    """The loss of transformers' causal models."""
    z = z.float() if z.dtype is not DOUBLE else z
    return F.cross_entropy(z[..., :-1, :].contiguous().view(-1, V), Y[..., 1:].reshape(-1))


def grads(loss, leaves):
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# --- losses whose gradients pass through the graph without being materialized -------------------------------

LOSSES = {
    "flat": flat,
    "causal": causal,
    "shifted labels": lambda z: F.cross_entropy(z[:, :-1].reshape(-1, V), Y[:, 1:].flatten()),
    "mask": lambda z: F.cross_entropy(z[Y > 5], Y[Y > 5]),
    "rows": lambda z: F.cross_entropy(z[:, [2, 0]][0], Y[0, [2, 0]]),
    "a row twice": lambda z: F.cross_entropy(z[:, [2, 2]][0], Y[0, [2, 0]]),
    "last": lambda z: F.cross_entropy(z[:, -1], Y[:, -1], reduction="sum"),
    "scaled": lambda z: F.cross_entropy((0.3 * z / 2).flatten(0, 1), Y.flatten()),
    "capped": lambda z: flat(1.5 * torch.tanh(z / 3.0) * 3.0),
    "each row": lambda z: (flat(z, reduction="none") * torch.arange(8)).sum(),
    "two losses": lambda z: causal(z) + 2 * flat(z),
    "two losses of a view": lambda z: (
        lambda v: F.cross_entropy(v, Y.view(-1)) + F.cross_entropy(v, Y.view(-1), label_smoothing=0.1)
    )(z.view(-1, V)),
    "three losses": lambda z: flat(z) + causal(z) / 3 + F.cross_entropy(z[:, 0], Y[:, 0]),
}
for name, function in LOSSES.items():
    PROGRAMS[name] = (lambda h, p, f=function: grads(f(h(*p)), p)), True, (DOUBLE, HALF), None


@program(unmade=True)
def twice_through_one_graph(head, p):
    loss = causal(head(*p))
    return [*torch.autograd.grad(loss, p, retain_graph=True), *torch.autograd.grad(3 * loss, p)]


@program(unmade=True)
def some_inputs(head, p):
    loss = flat(head(*p))
    return [*torch.autograd.grad(loss, p[1:2], retain_graph=True), *torch.autograd.grad(loss, p[:1])]


@program(unmade=True)
def frozen_weight(head, p):
    return grads(flat(head(p[0], p[1].detach(), None)), p[:1])


@program(unmade=True)
def unused_and_materialized(head, p):
    other = torch.ones(3, dtype=DOUBLE, requires_grad=True)
    loss = flat(head(*p))
    a = torch.autograd.grad(loss, [p[0], other], allow_unused=True, retain_graph=True)
    assert a[1] is None
    return [a[0], *torch.autograd.grad(loss, [p[0], other], materialize_grads=True)]


@program(unmade=True)
def accumulated_over_batches(head, p):
    for _ in range(3):
        causal(head(*p)).backward()
    return [t.grad for t in p]


@program(unmade=True)
def hooks_of_parameters(head, p):
    """As DistributedDataParallel has them."""
    seen = []
    nodes = [t.view_as(t).grad_fn.next_functions[0][0] for t in p]
    for node in nodes:
        node.register_hook(lambda *_: seen.append("bucket"))
    for t in p:
        t.register_hook(lambda g: g / 2)
        t.register_post_accumulate_grad_hook(lambda t: seen.append(type(t.grad)))
    causal(head(*p)).backward()
    assert seen.count("bucket") == 3
    assert seen.count(torch.Tensor) == 3
    return [t.grad for t in p]


@program(unmade=True, dtypes=(SINGLE,), rounding=2e-2)
def autocast(head, p):
    with torch.autocast("cpu", dtype=HALF):
        z = head(*p)
        loss = causal(z)
    assert z.dtype is HALF
    assert loss.dtype is SINGLE
    return grads(loss, p)


@program(unmade=True, dtypes=(SINGLE, NARROW))
def grad_scaler(head, p):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaler.scale(causal(head(*p))).backward()
    return [t.grad.float() / 2**12 for t in p]


@program(unmade=True)
def in_another_thread(head, p):
    thread = threading.Thread(target=causal(head(*p)).backward)
    thread.start()
    thread.join()
    return [t.grad for t in p]


@program(unmade=True)
def checkpoint_of_head_and_loss(head, p):
    return grads(checkpoint(lambda *q: causal(head(*q)), *p, use_reentrant=False), p)


@program(unmade=True)
def checkpoint_of_head(head, p):
    return grads(causal(checkpoint(head, *p, use_reentrant=False)), p)


@program()
def checkpoint_reentrant(head, p):
    causal(checkpoint(head, *p, use_reentrant=True)).backward()
    return [t.grad for t in p]


@program(unmade=True)
def saved_on_the_cpu(head, p):
    with torch.autograd.graph.save_on_cpu():
        loss = causal(head(*p))
    return grads(loss, p)


@program()
def saved_as_copies(head, p):
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda t: t):
        loss = causal(head(*p))
        again = flat(head(*p))
    g = torch.autograd.grad(again, p, create_graph=True)
    return [*grads(loss, p), *torch.autograd.grad(sum((t**2).sum() for t in g), p)]


@program(unmade=True)
def written_into_after_the_loss_is_gone(head, p):
    """A step of an optimizer after the backward pass, and another."""
    for _ in range(2):
        causal(head(*p)).backward()
        with torch.no_grad():
            for t in p:
                t -= 0.1 * t.grad
                t.grad = None
    return p


# --- whatever looks at the gradient of logits sees it, and what it does counts ------------------------------


@program()
def gradient_in_logits(head, p):
    z = head(*p)
    loss = flat(z) + z.pow(2).mean()
    g = torch.autograd.grad(loss, z, retain_graph=True)[0]
    assert type(g) is torch.Tensor
    return [g, *torch.autograd.grad(flat(z), z), *torch.autograd.grad(loss, [z, *p])]


@program()
def gradient_in_logits_unused_or_zero(head, p):
    z = head(*p)
    loss = flat(z)
    a = torch.autograd.grad(loss, z, retain_graph=True, allow_unused=True)
    return [*a, *torch.autograd.grad(loss, [z, p[0]], materialize_grads=True)]


@program()
def gradient_in_a_view(head, p):
    z = head(*p)
    v = z[:, :-1]
    w = v.reshape(-1, V)
    return list(torch.autograd.grad(F.cross_entropy(w, Y[:, 1:].flatten()), [w, v, z, *p]))


@program()
def gradient_edges(head, p):
    z = head(*p)
    edge = torch.autograd.graph.get_gradient_edge(z)
    loss = flat(z)
    (g,) = torch.autograd.grad(loss, [edge], retain_graph=True)
    return [g + 0, *grads(loss, p)]


@program()
def backward_of_chosen_inputs(head, p):
    z = head(*p)
    flat(z).backward(inputs=[z, p[1]])
    return [z.grad, p[1].grad]


@program()
def auxiliary_loss_first(head, p):
    z = head(*p)
    return grads(z.pow(2).mean() + causal(z), p)


@program()
def auxiliary_loss_after(head, p):
    z = head(*p)
    return grads(causal(z) + z.logsumexp(-1).pow(2).mean(), p)


@program()
def auxiliary_loss_between_two(head, p):
    z = head(*p)
    return grads(causal(z) + z.logsumexp(-1).pow(2).mean() + flat(z), p)


@program(unmade=False)
def hook_that_changes(head, p):
    z = head(*p)
    z.register_hook(lambda g: 2 * g)
    return grads(causal(z), p)


@program(unmade=False)
def hook_that_stops(head, p):
    z = head(*p)
    z.register_hook(lambda g: g * 0)
    return grads(flat(z), p)


@program(unmade=False)
def hook_that_writes(head, p):
    z, seen = head(*p), []
    z.register_hook(lambda g: (g.mul_(3), seen.append(g.clone()), None)[-1])
    return grads(causal(z), p)


@program(unmade=False)
def hook_that_writes_through_numpy(head, p):
    z = head(*p)
    z.register_hook(lambda g: (g.numpy().__imul__(3), None)[1])
    return grads(causal(z), p)


@program(unmade=False)
def hooks_of_nodes(head, p):
    z = head(*p)
    z.grad_fn.register_prehook(lambda gs: tuple(2 * g for g in gs))
    v = z.view(-1, V)
    v.grad_fn.register_hook(lambda given, _: tuple(g + 1 for g in given))
    return grads(F.cross_entropy(v, Y.view(-1)), p)


@program(unmade=False)
def node_hook_that_writes(head, p):
    z = head(*p)
    z.grad_fn.register_prehook(lambda gs: (gs[0].mul_(5), None)[1])
    return grads(flat(z), p)


@program()
def multi_grad_hook(head, p):
    z, seen = head(*p), []
    torch.autograd.graph.register_multi_grad_hook([z, p[0]], lambda gs: seen.extend(g.clone() for g in gs))
    causal(z).backward()
    return [*(t.grad for t in p), *seen]


@program()
def module_backward_hook(head, p):
    class Head(torch.nn.Module):
        def forward(self, x):
            return head(x, *p[1:])

    m, seen = Head(), []
    m.register_full_backward_hook(
        lambda _, given, taken: (seen.append(taken[0] * 1), tuple(2 * g for g in given))[1]
    )
    m.register_full_backward_pre_hook(lambda _, taken: tuple(3 * g for g in taken))
    return [*grads(causal(m(p[0])), p), *seen]


@program(unmade=False)
def retain_grad(head, p):
    z = head(*p)
    z.retain_grad()
    causal(z).backward()
    assert type(z.grad) is torch.Tensor
    with torch.no_grad():
        p[1].zero_()  # a step of the optimizer
    return [z.grad, *(t.grad for t in p)]


@program(unmade=False)
def retain_grad_after_the_loss(head, p):
    z = head(*p)
    loss = flat(z)
    z.retain_grad()
    loss.backward()
    return [z.grad, *(t.grad for t in p)]


@program()
def leaf_logits(head, p):
    z = head(*p).detach().requires_grad_()
    causal(z).backward()
    assert type(z.grad) is torch.Tensor
    return [z.grad]


@program(unmade=False)
def anomaly_mode(head, p):
    with warnings.catch_warnings(), torch.autograd.detect_anomaly():
        return grads(causal(head(*p)), p)


@program(unmade=False)
def create_graph(head, p):
    g = torch.autograd.grad(causal(head(*p)), p, create_graph=True)
    return [*g, *torch.autograd.grad(sum((t**2).sum() for t in g), p)]


@program()
def gradient_penalty_in_logits(head, p):
    z = head(*p)
    loss = flat(z)
    (g,) = torch.autograd.grad(loss, z, create_graph=True)
    return grads(loss + (g**2).sum(), p)


@program()
def many_gradients_at_once(head, p):
    rows = flat(head(*p), reduction="none")
    return list(torch.autograd.grad(rows, p, torch.eye(8, dtype=DOUBLE), is_grads_batched=True))


class Tripled(Function):
    @staticmethod
    def forward(_, z):
        return z.view_as(z)

    @staticmethod
    def backward(_, g):
        return 3 * g


class Untouched(Function):
    @staticmethod
    def forward(_, z):
        return z

    @staticmethod
    def backward(_, g):
        return g


class Moved(Function):
    """Gives the gradient of one tensor to another of the same shape."""

    @staticmethod
    def forward(_, z, other):  # noqa: ARG004
        return z.view_as(z)

    @staticmethod
    def backward(_, g):
        return None, g


class Doubled(Function):
    """Gives the gradient of one tensor to two."""

    @staticmethod
    def forward(_, z, other):  # noqa: ARG004
        return z.view_as(z)

    @staticmethod
    def backward(_, g):
        return g, g


@program()
def a_gradient_of_its_own(head, p):
    return grads(causal(Tripled.apply(head(*p))), p)


@program(unmade=True)
def a_gradient_passed_on(head, p):
    return grads(causal(Untouched.apply(head(*p))), p)


@program()
def a_gradient_for_another_head(head, p):
    z, other = head(*p), head(2 * p[0], *p[1:])
    return grads(causal(Moved.apply(z, other)), p)


@program()
def a_gradient_given_twice(head, p):
    z = head(*p)
    return grads(causal(Doubled.apply(z, z[...])), p)


@program()
def a_gradient_for_a_plain_leaf(head, p):
    leaf = torch.zeros(2, 4, V, dtype=DOUBLE, requires_grad=True)
    flat(Moved.apply(head(*p), leaf)).backward()
    return [leaf.grad + 0]


# --- writing ------------------------------------------------------------------------------------------------


@program()
def written_into(head, p):
    z = head(*p)
    rows = z.view(-1, V)
    z[..., :2] = -30.0
    z[0, 0] *= 2
    return grads(F.cross_entropy(rows, Y.view(-1).clamp(min=2)), p)


@program()
def written_into_after_the_loss(head, p):
    z = head(*p)
    loss = flat(z)
    with torch.no_grad():
        z.mul_(2)
    z.detach().numpy()[:] = 7
    return [*grads(loss, p), z]


@program()
def written_into_after_the_loss_and_looked_at(head, p):
    z = head(*p)
    z.grad_fn.register_prehook(lambda gs: tuple(2 * g for g in gs))
    loss = flat(z)
    z.detach().numpy()[:] = 7
    return grads(loss, p)


@program()
def written_behind_its_back(head, p):
    z = head(*p)
    z.data[..., 3] = 1.0
    z.detach()[0, 0] = 2.0
    z.detach().numpy()[..., 4] = 0.5
    return grads(flat(z), p)


@program()
def copies_stay_what_they_were(head, p):
    z = head(*p)
    b, c, d, e = z / 2, z.tanh(), z[:, [0, 1]], (z * 0.5)[:, 0]
    b2 = b.view(-1, V)
    z.detach().numpy()[:] = 7
    b.detach().numpy()[0] = 3
    z2 = head(*p)
    f, loss = z2.contiguous(memory_format=torch.contiguous_format) * 2, flat(z2)
    z2.data.add_(1)
    return [b, b2, c, d, e, f, loss, *torch.autograd.grad(b2.sum() + loss, p)]


@program()
def views_see_what_is_written(head, p):
    z = head(*p)
    a, b = z[:, 0], z.view(-1, V)
    a.data.zero_()
    c = b[0]
    with torch.no_grad():
        torch.add(c, 1, out=b[3])
    torch._foreach_add_([z.detach(), p[2].detach().clone()], 2.0)
    return [a.detach(), b.detach(), c.detach(), z.detach()]


@program()
def results_written_into_logits(head, p):
    z = head(*p).detach()
    found = torch.max(
        p[0].detach() @ p[1].detach().T, -1, out=(z[..., 0].detach().clone(), torch.zeros(2, 4).long())
    )
    same = z.clamp_(max=1)
    assert same is z
    return [found[0], found[1], z]


# --- surroundings -------------------------------------------------------------------------------------------


@program(unmade=True)
def compiled_around(head, p):
    body = torch.compile(lambda x: x.tanh() * 2, backend="aot_eager")
    return grads(causal(head(body(p[0]), *p[1:])), p)


@program()
def compiled_whole(head, p):
    return grads(torch.compile(lambda *q: flat(head(*q)), backend="aot_eager")(*p), p)


@program()
def strides_and_views(head, p):
    z = head(*p)
    s = z[:, :-1]
    assert not s.is_contiguous()
    assert s.contiguous().is_contiguous()
    t = z[:, :-1].contiguous().view(-1, V).argmax(-1)
    t.add_(0)
    return [
        t,
        s.contiguous().view(-1, V).argmax(-1),
        s.detach(),
        z[Y > 5].detach(),
        z.detach().sum(0),
        z.float().detach(),
    ]


@program(dtypes=(SINGLE,))
def autocast_after_the_head(head, p):
    z = head(*p).view(-1, V)
    with torch.autocast("cpu", dtype=HALF):
        a, b = z @ z.T, F.linear(z, p[1].T)
    assert a.dtype is b.dtype is HALF
    return [a.detach(), b.detach(), *grads((a.float() ** 2).mean() + b.float().mean(), p)]


@program()
def transforms_of_functions(head, p):
    z = head(*p)
    a = torch.func.vmap(lambda r: r.softmax(-1).square().sum())(z.detach())
    b = torch.func.grad(lambda s: flat(s * z.detach()))(torch.ones((), dtype=DOUBLE))
    c = torch.func.grad(lambda x: flat(head(x, *p[1:])))(p[0])
    d = torch.func.jvp(lambda x: flat(head(x, *p[1:])), (p[0],), (torch.ones_like(p[0]),))[1]
    return [a, b, c.detach(), d.detach()]


@program()
def jacobian_and_hessian(head, p):
    q = [t.detach() for t in p]
    a = torch.autograd.functional.jacobian(lambda b: head(q[0], q[1], b).sum((0, 1)), q[2])
    return [a, torch.autograd.functional.hessian(lambda b: flat(head(q[0], q[1], b)), q[2])]


@program()
def with_and_without_a_graph(head, p):
    with torch.no_grad():
        z = head(*p)
        a, b = flat(z), causal(head(*p))
    with torch.inference_mode():
        c = flat(z.clone()).clone()
    return [a, b, c + 0, z.argmax(-1)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # the compiler says that it leaves these tensors alone
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_as_with_plain_logits(made, name):
    function, unmade, dtypes, rounding = PROGRAMS[name]
    for dtype in dtypes:
        expected = function(F.linear, parts(dtype))
        made.clear()
        found = function(head, parts(dtype))
        seen = list(made)
        assert len(found) == len(expected)
        for a, b in zip(expected, found, strict=True):
            assert type(b) in (torch.Tensor, Logits)
            assert a.dtype is b.dtype
            scale = a.detach().double().abs().max() + 1e-30
            assert (a.double() - b.double()).abs().max() <= scale * (rounding or ROUNDING[dtype])
        if unmade is not None:
            assert (not seen) is unmade, seen

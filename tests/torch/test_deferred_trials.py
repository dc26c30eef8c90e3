"""Random programs with deferred logits give what they give with plain ones, or say clearly why not.

The plain head copies its tensors: so it is not moved by a later write that autograd does not see, and its
gradients are those of the moment it was called in, as those of deferred logits are meant to be. An error is
allowed after a write to a head's tensors or to logits, and nowhere else.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
F = torch.nn.functional
from lastlayer.torch.deferred import deferred  # noqa: E402

V, D = 7, 3
Y = torch.tensor([[3, -100, 6], [0, 2, 1]])
ERRORS = "written to since", "modified by an inplace operation", "changes them in place"


def plain(x, weight, bias):
    return F.linear(
        x.clone(), weight.clone(), bias.clone()
    ).clone()  # which is no view, as deferred logits are none


class World:
    """What one program has made so far, with one of the two heads."""

    def __init__(self, head):
        generator = torch.Generator().manual_seed(0)
        shapes = (2, 3, D), (V, D), (V,)
        self.leaves = [
            torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
        ]
        self.head = head
        self.tensors = [head(*self.leaves)]  # logits, and what was made of them
        self.targets = [Y]  # of their rows, where these have some
        self.losses = []
        self.seen = []  # numbers that the program has looked at

    def pick(self, a):
        return self.tensors[a % len(self.tensors)]

    def add(self, t, y):
        self.tensors.append(t)
        self.targets.append(y)

    def total(self, a):
        return sum(self.losses[a % 2 :], torch.zeros((), dtype=torch.float64)) + 0 * self.leaves[2].sum()


def derived(function, rows=None):
    """An operation that makes another tensor of one; ``rows``: what it does to the targets."""

    def step(w, a, b):
        t, y = w.pick(a), w.targets[a % len(w.tensors)]
        w.add(function(t, b), None if y is None or rows is None else rows(y, b))

    return step


def same(y, _):
    return y


def at(function):
    """An operation on one of the tensors."""
    return lambda w, a, b: function(w.pick(a), b)


def loss(kind):
    def step(w, a, b):
        z, y = w.pick(a), w.targets[a % len(w.tensors)]
        if y is None or z.ndim == 0 or z.shape[-1] != V:
            return
        if kind == "another":
            w.losses.append(z.pow(2).sum() if b % 2 else z.logsumexp(-1).sum())
            return
        if kind == "torch":
            reduction = ("mean", "sum", "none")[b % 3]
            found = F.cross_entropy(
                z.reshape(-1, V), y.reshape(-1), reduction=reduction, label_smoothing=(b % 2) / 10
            )
            w.losses.append((found * torch.arange(1, 1 + found.numel())).sum() if b % 3 == 2 else found)
            return
        if w.head is plain:
            z = z.clone()  # which their backward pass reads again
        if kind == "ours":
            options = {"z_loss": 0.1, "denominator": 3.0, "softcap": 5.0 if b % 2 else None}
            w.losses.append(ll.cross_entropy(z, y, **options))
        elif kind == "statistics":
            stats = ll.row_stats(z, y)
            w.losses.append(
                stats.nll.sum() + 2 * getattr(stats, ("lse", "entropy", "confidence")[b % 3]).sum()
            )

    return step


def hook(kind):
    def step(w, a, b):
        t = w.pick(a)
        if not t.requires_grad:
            return
        node = (
            t.grad_fn
        )  # PyTorch crashes at a hook of a view that was written to, if nobody has asked for it
        if kind == "node":
            node.register_prehook(lambda gs: tuple(g if g is None else (1 + b) * g for g in gs))
        elif kind == "scales":
            t.register_hook(lambda g: g * (b - 1))
        elif kind == "writes":
            t.register_hook(lambda g: (g.mul_(2), None)[1])
        elif kind == "looks":
            t.register_hook(lambda g: w.seen.append(g.clone()))
        else:
            t.retain_grad()

    return step


def gradients(kind):
    def step(w, a, b):
        total = w.total(b)
        inputs = [w.leaves[b % 3]] if kind == "leaf" else [w.pick(a), *w.leaves]
        inputs = [t for t in inputs if t.requires_grad]
        if kind == "twice":
            found = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
            penalty = sum(g.square().sum() for g in found if g is not None)
            w.seen += (
                []
                if not penalty.requires_grad
                else torch.autograd.grad(penalty, w.leaves, retain_graph=True, materialize_grads=True)
            )
        elif kind == "backward":
            total.backward(retain_graph=True)
        else:
            w.seen += torch.autograd.grad(
                total, inputs, retain_graph=True, allow_unused=b % 2 == 0, materialize_grads=True
            )

    return step


def step_of_an_optimizer(w, a, _):
    w.total(a).backward(retain_graph=False)
    torch.optim.SGD(w.leaves, 0.1).step()
    w.losses.clear()


def look(function):
    def step(w, a, b):
        w.seen.append(function(w.pick(a), b))

    return step


def head_again(w, _, b):
    with torch.set_grad_enabled(b % 4 > 0):
        w.add(w.head(*w.leaves), Y)


def into_leaf(function):
    return lambda w, a, b: function(w.leaves[a % 3], b)


@torch.no_grad()
def counted(p, b):
    p.add_(b)


def set_data(p, b):
    p.data = p.data * (1 + b)


def rows_of_mask(y, _):
    return y[MASK] if y.shape == MASK.shape else None


def masked(t, _):
    return t[MASK] if t.shape[:2] == MASK.shape else t[:1]


MASK = torch.tensor([[True, False, True], [True, True, False]])
STEPS = {
    "view": derived(lambda t, _: t.view(-1, t.shape[-1]), lambda y, _: y.reshape(-1)),
    "slice": derived(lambda t, b: t[b % 2 :], lambda y, b: y[b % 2 :]),
    "shift": derived(lambda t, _: t[..., :-1, :], lambda y, _: y[..., 1:]),
    "select": derived(lambda t, b: t[b % len(t)], lambda y, b: y[b % len(y)] if len(y) else None),
    "rows": derived(lambda t, b: t[[0, b % len(t), 0]], lambda y, b: y[[0, b % len(y), 0]]),
    "mask": derived(masked, rows_of_mask),
    "contiguous": derived(lambda t, _: t.contiguous(), same),
    "flatten": derived(lambda t, _: t.flatten(0, -2), lambda y, _: y.flatten()),
    "half": derived(lambda t, _: 0.5 * t, same),
    "over": derived(lambda t, b: t / (1.0 + b), same),
    "tanh": derived(lambda t, _: t.tanh(), same),
    "plus": derived(lambda t, b: t + b, same),
    "clone": derived(lambda t, _: t.clone(), same),
    "detach": derived(lambda t, _: t.detach(), same),
    "transpose": derived(lambda t, _: t.transpose(0, -1)),
    "leaf": derived(lambda t, _: t.detach().requires_grad_(), same),
    "head": head_again,
    "loss": loss("torch"),
    "loss again": loss("torch"),
    "our loss": loss("ours"),
    "statistics": loss("statistics"),
    "another loss": loss("another"),
    "hook scales": hook("scales"),
    "hook writes": hook("writes"),
    "hook looks": hook("looks"),
    "hook of a node": hook("node"),
    "retain_grad": hook("retain"),
    "gradient": gradients("all"),
    "gradient in a leaf": gradients("leaf"),
    "gradient twice": gradients("twice"),
    "backward": gradients("backward"),
    "optimizer": step_of_an_optimizer,
    "argmax": look(lambda t, _: t.argmax(-1)),
    "sum": look(lambda t, _: t.sum().detach()),
    "numpy": look(lambda t, _: torch.from_numpy(t.detach().numpy().copy())),
    "grad": look(lambda t, _: t.grad.clone() if t.is_leaf and t.grad is not None else t.sum()),
    "mul_": at(lambda t, b: t.mul_(1 + b)),
    "fill a class": at(lambda t, b: t[..., b % t.shape[-1]].fill_(-1.0)),
    "no_grad add_": at(lambda t, b: torch.no_grad()(t.add_)(b)),
    "data": at(lambda t, b: t.data.sub_(b)),
    "detached": at(lambda t, b: t.detach().mul_(b)),
    "into numpy": at(lambda t, b: t.detach().numpy().__setitem__(0, b)),
    "t_": at(lambda t, _: t.detach().swapaxes_(0, -1)),
    "leaf add_": into_leaf(counted),
    "leaf data": into_leaf(lambda p, b: p.data.mul_(1 + b / 8)),
    "leaf numpy": into_leaf(lambda p, b: p.detach().numpy().__iadd__(b)),
    "leaf set": into_leaf(set_data),
}  # fmt: skip
WRITES = {name for name in STEPS if name.startswith("leaf ")} | {"optimizer"}
INTO_LOGITS = {"mul_", "fill a class", "no_grad add_", "data", "detached", "into numpy", "t_"}


def attempt(step, world, a, b):
    try:
        step(world, a, b)
    except Exception as error:  # the program's own mistakes too: they are to be the same
        return error
    return None


def compare(expected, found):
    assert len(expected) == len(found)
    for e, f in zip(expected, found, strict=True):
        torch.testing.assert_close(f.detach() + 0, e.detach(), rtol=1e-8, atol=1e-10)


def run(program):
    """Raise if one world differs from the other without a clear error."""
    worlds = World(plain), World(deferred)
    written = False
    for name, a, b in program:
        written |= name in WRITES or name in INTO_LOGITS
        errors = [attempt(STEPS[name], world, a, b) for world in worlds]
        if errors[1] is not None and errors[0] is None:
            clear = any(text in str(errors[1]) for text in ERRORS)
            assert clear and written, (name, errors[1])  # noqa: PT018
        if errors != [None, None]:
            return
        compare(*(world.seen for world in worlds))
    for e, f in zip(worlds[0].tensors, worlds[1].tensors, strict=True):
        try:
            numbers = f.detach() + 0
        except ll.BackendError:
            assert written
        else:
            torch.testing.assert_close(numbers, e.detach(), rtol=1e-8, atol=1e-10)
    grads = [[t.grad for t in world.leaves if t.grad is not None] for world in worlds]
    compare(*grads)


PROGRAMS = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 6), st.integers(0, 5)), min_size=2, max_size=14
)
ANY = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch: gradients of tensors that are no leaves


@settings(max_examples=200, derandomize=True, **ANY)
@given(PROGRAMS)
def test_some_programs(program):
    run(program)


@pytest.mark.soak
@pytest.mark.parametrize("_part", range(4))
def test_many_programs(_part):
    settings(max_examples=5_000, **ANY)(given(PROGRAMS)(run))()

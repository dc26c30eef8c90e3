"""The linear head in programs of torch.compile and torch.export: one operation, and no logits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")

from torch._dynamo.backends.common import aot_autograd  # noqa: E402
from torch._functorch.aot_autograd import make_boxed_func  # noqa: E402
from torch.library import opcheck  # noqa: E402

import lastlayer.torch as ours  # noqa: E402

F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.*deprecated:DeprecationWarning")
N, D, V = 24, 3, 400  # more logits than any argument has numbers
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def arguments(n=N, d=D, v=V):
    made = tensor(n, d), tensor(v, d, seed=1), tensor(v, seed=2)
    return [t.requires_grad_() for t in made]


def indices(n=N, v=V):
    y = torch.randint(0, v, (n,), generator=torch.Generator().manual_seed(3))
    y[1] = -100
    return y


Y = indices()
TWO = torch.randint(0, V // 2, (N, 2), generator=torch.Generator().manual_seed(4))


class Graphs:
    """A backend of torch.compile that runs what it is given, and notes every tensor in it."""

    def __init__(self):
        self.sizes, self.operations, self.count = [], [], 0
        self.backend = aot_autograd(fw_compiler=self.look, bw_compiler=self.look)

    def look(self, module, _):
        for node in module.graph.nodes:
            values = node.meta.get("val")
            for t in values if isinstance(values, (tuple, list)) else [values]:
                if isinstance(t, torch.Tensor):
                    self.sizes.append(t.numel())
            if "linear_loss" in str(node.target):
                self.operations.append(node.args)
        self.count += 1
        return make_boxed_func(module.forward)


def compiled(function, backend="aot_eager", **options):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend, **options)


def gradients(loss, args):
    return torch.autograd.grad(loss, [t for t in args if t.requires_grad])


# --- programs -----------------------------------------------------------------------------------------------

WEIGHT = torch.linspace(0.5, 2, V, dtype=torch.float64)
PROGRAMS = {
    "mean": lambda x, w, b: ll.linear_cross_entropy(x, w, Y, bias=b),
    "no bias": lambda x, w, _: ll.linear_cross_entropy(torch.tanh(x), w, Y, reduction="sum") * 3,
    "options": lambda x, w, b: ll.linear_cross_entropy(
        x,
        w,
        Y,
        bias=b,
        class_weight=WEIGHT,
        sample_weight=WEIGHT[:N],
        label_smoothing=0.1,
        temperature=2,
        softcap=3.0,
        z_loss=0.01,
        denominator=7,
    ),
    "a tensor's denominator": lambda x, w, b: ll.linear_cross_entropy(
        x, w, Y, bias=b, denominator=(Y >= 0).sum()
    ),
    "shift": lambda x, w, b: ll.linear_cross_entropy(
        x.unflatten(0, (2, -1)), w, Y.reshape(2, -1), bias=b, shift=1, max_memory=1_000_000
    ),
    "losses of rows": lambda x, w, b: (
        ll.linear_cross_entropy(
            x.unflatten(0, (2, -1)),
            w,
            Y.reshape(2, -1),
            bias=b,
            sample_weight=WEIGHT[: N // 2],
            z_loss=0.01,
            shift=2,
            reduction="none",
        )
        .sin()
        .sum()
    ),
    "drop-in": lambda x, w, b: ours.linear_cross_entropy(
        x, w, Y, linear_bias=b, options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=4)
    ),
    "two heads": lambda x, w, b: ours.linear_cross_entropy(
        x, w.reshape(-1, 2, D), TWO, linear_bias=b.reshape(-1, 2), weight=WEIGHT[::2]
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_tensor_of_a_program_is_as_large_as_the_logits(name):
    program, graphs = PROGRAMS[name], Graphs()
    args = arguments()
    loss = compiled(program, graphs.backend)(*args)
    loss_alone = program(*args)
    torch.testing.assert_close(loss, loss_alone, **CLOSE)
    used = args if name != "no bias" else args[:2]
    torch.testing.assert_close(gradients(loss, used), gradients(loss_alone, used), **CLOSE)
    assert len(graphs.operations) == (2 if name in ("two heads", "losses of rows") else 1)
    assert max(graphs.sizes) <= V * D < N * V / 2


@pytest.mark.parametrize("on", [(1, 0, 0), (0, 1, 1), (0, 0, 0)])
def test_a_program_computes_no_gradient_that_nobody_wants(on):
    args = [t.detach().requires_grad_(bool(flag)) for t, flag in zip(arguments(), on, strict=True)]
    graphs = Graphs()
    loss = compiled(PROGRAMS["mean"], graphs.backend)(*args)
    assert [list(map(int, operation[-1])) for operation in graphs.operations] == [list(on)]
    if any(on):
        torch.testing.assert_close(gradients(loss, args), gradients(PROGRAMS["mean"](*args), args), **CLOSE)


def test_one_program_for_any_number_of_rows():
    graphs = Graphs()
    program = compiled(
        lambda x, w, y: ll.linear_cross_entropy(x, w, y, reduction="sum"), graphs.backend, dynamic=True
    )
    for n in (5, 11, 24):
        x, w, _ = arguments(n)
        loss, expected = program(x, w, indices(n)), F.cross_entropy(x @ w.T, indices(n), reduction="sum")
        torch.testing.assert_close(loss, expected, **CLOSE)
        torch.testing.assert_close(gradients(loss, (x, w)), gradients(expected, (x, w)), **CLOSE)
    assert graphs.count == 2  # forward and backward


def test_half_precision_and_autocast():
    x, w, b = (t.detach().float().requires_grad_() for t in arguments())

    def program(x, w, b):
        return ours.linear_cross_entropy(x, w, Y, linear_bias=b)

    graphs = Graphs()
    with torch.autocast("cpu", torch.bfloat16):
        loss, alone = compiled(program, graphs.backend)(x, w, b), program(x, w, b)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, alone, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(loss, (x, w, b)), gradients(alone, (x, w, b)))
    assert max(graphs.sizes) <= V * D
    halves = [t.detach().bfloat16().requires_grad_() for t in (x, w, b)]
    loss = compiled(program, graphs.backend)(*halves)
    assert loss.dtype is torch.bfloat16
    assert all(g.dtype is torch.bfloat16 for g in gradients(loss, halves))


def test_a_model_trains_as_it_does_without_a_compiler():
    """Compiled to machine code as usual, head and embedding one tensor."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(50, 8)
            self.head = ours.LinearCrossEntropyLoss(8, 50, label_smoothing=0.1)
            self.head.linear.weight = self.embedding.weight

        def forward(self, tokens):
            return self.head(self.embedding(tokens[:-1]), tokens[1:])

    losses = []
    for compiles in (False, True):
        torch.manual_seed(0)
        model = Model()
        step = compiled(model, "inductor") if compiles else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        losses.append([])
        for i in range(3):
            optimizer.zero_grad()
            loss = step(torch.randint(0, 50, (12,), generator=torch.Generator().manual_seed(i)))
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][0] != losses[0][1]


def test_transforms_inside_of_a_program():
    x, w, b = (t.detach() for t in arguments())

    def program(x):
        return torch.func.grad(lambda x: ll.linear_cross_entropy(x, w, Y, bias=b))(x)

    torch.testing.assert_close(compiled(program)(x), program(x), **CLOSE)


def test_weights_of_rows_that_learn():
    """Composed of the logits, still."""
    x, w, b = arguments()
    s = WEIGHT[:N].clone().requires_grad_()

    def program(x, w, b, s):
        return ll.linear_cross_entropy(x, w, Y, bias=b, sample_weight=s, reduction="none").square().sum()

    loss, alone = compiled(program)(x, w, b, s), program(x, w, b, s)
    torch.testing.assert_close(gradients(loss, (x, w, b, s)), gradients(alone, (x, w, b, s)), **CLOSE)


def test_what_is_wrong_with_a_call_is_said_when_the_program_runs():
    x, w, _ = (t.detach() for t in arguments())
    program = compiled(lambda x, w, y: ll.linear_cross_entropy(x, w, y))
    with pytest.raises(ll.TargetError, match=r"targets\[0\] is 400; expected a class in \[0, 400\)"):
        program(x, w, torch.full((N,), V))
    with pytest.raises(ll.ShapeError, match=r"weight is of shape \(3, 400\); expected \(V, 3\)"):
        program(x, w.T.contiguous(), Y)


# --- exported programs --------------------------------------------------------------------------------------


def test_an_exported_module_computes_gradients_only_when_asked(loop, monkeypatch):
    from lastlayer.linear import run

    loop()
    wanted = []
    usual = run.loss_and_gradients

    def watched(head, problem, on, *rest, **options):
        wanted.append([bool(flag) for flag in on])
        return usual(head, problem, on, *rest, **options)

    monkeypatch.setattr(run, "loss_and_gradients", watched)
    module = ours.LinearCrossEntropyLoss(D, V, bias=True, dtype=torch.float64)
    x = arguments()[0]
    exported = torch.export.export(module, (x, Y)).module()
    loss, alone = exported(x, Y), module(x, Y)
    assert torch.equal(loss, alone)
    parameters = list(module.parameters())
    assert wanted == [[False, False, False], [True, True, True]]
    torch.testing.assert_close(
        torch.autograd.grad(loss, [x, *exported.parameters()]), gradients(alone, [x, *parameters]), **CLOSE
    )
    assert wanted[2:] == [[True, True, True]]


# --- the operation ------------------------------------------------------------------------------------------


def operation(x, w, b, *options):
    return torch.ops.lastlayer.linear_loss.default(x, w, b, *options)


def options_of(y, *, reduction="mean", softcap=None, memory=None, wanted=(True, True, True), s=None):
    """What the operation takes after x, weight and bias; top-k targets as a tuple."""
    y, p, rest = y if isinstance(y, tuple) else (y, None, None)
    name = "linear_cross_entropy"
    said = name, -1, -100, 0.1, 1.0, softcap, 0.0, reduction, None, 0, memory, list(wanted)
    return y, None, s, p, rest, *said


def test_the_operation_passes_pytorchs_checks():
    x, w, b = arguments(6, 4, 19)
    y = indices(6, 19)
    operation_of = torch.ops.lastlayer.linear_loss.default
    opcheck(operation_of, (x, w, b, *options_of(y)))
    some = options_of(y, reduction="sum", softcap=3.0, memory=1e6, wanted=(False, True, False))
    opcheck(operation_of, (x.detach(), w, None, *some))
    soft = torch.softmax(tensor(6, 19), 1)
    opcheck(operation_of, (x, w.detach(), None, *options_of(soft, wanted=(True, False, False))))
    rows = options_of(y, reduction="none", wanted=(False,) * 3, s=WEIGHT[:6])
    opcheck(operation_of, (x, w, b, *rows))
    grad = tensor(6, seed=8)
    opcheck(
        torch.ops.lastlayer.linear_loss_backward.default,
        (grad, x.detach(), w.detach(), None, *rows[:-1], [True, True, False]),
    )
    few = torch.arange(12).reshape(6, 2), torch.rand(6, 2), torch.rand(6)
    opcheck(operation_of, (x, w, b, *options_of(few)))


@pytest.mark.parametrize(("reduction", "foreseen"), [("mean", True), ("mean", False), ("none", False)])
def test_derivatives_of_the_operation(reduction, foreseen):
    args = arguments(6, 4, 19)
    options = options_of(indices(6, 19), reduction=reduction, wanted=(foreseen,) * 3)

    def function(*args):
        return operation(*args, *options)[0]

    assert torch.autograd.gradcheck(function, args, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, args)


def test_programs_that_look_on_without_a_compiler():
    """A mode sees one operation; where tensors hold no numbers, it knows the shapes."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Seen(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names, self.largest = [], 0

        def __torch_dispatch__(self, function, _, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            self.names.append(function.name())
            made = [t for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor)]
            self.largest = max([self.largest, *(t.untyped_storage().nbytes() for t in made)])
            return out

    args = arguments()
    with Seen() as seen:
        loss = PROGRAMS["mean"](*args)
        got = gradients(loss, args)
    assert seen.names.count("lastlayer::linear_loss") == 1
    assert seen.largest == V * D * 8
    torch.testing.assert_close(got, gradients(PROGRAMS["mean"](*args), args), **CLOSE)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in args]
        loss = ll.linear_cross_entropy(fakes[0], fakes[1], mode.from_tensor(Y), bias=fakes[2])
        got = gradients(loss, fakes)
    assert [g.shape for g in got] == [t.shape for t in args]


def test_the_operation_needs_no_drop_in():
    """A compiler finds it where only the functions of the linear head are imported."""
    code = "import sys, torch, lastlayer.backends.torch.head; torch.ops.lastlayer.linear_loss.default; "
    code += "assert 'lastlayer.torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)

"""Under torch.compile and torch.export each call is one registered operation, with any shape."""

from __future__ import annotations

from functools import partial

import pytest
from assertions import raises
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402

import lastlayer.backends.torch.ops  # noqa: E402

# What PyTorch's own compiler deprecates of itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]

OPS = torch.ops.lastlayer


seeded = partial(tensor, dtype=torch.float32)


def labels(rows, classes):
    return torch.arange(rows) % classes


FUNCTIONS = {
    "cross_entropy": lambda x, y: ll.cross_entropy(x, y),
    "every option": lambda x, y: ll.cross_entropy(
        x,
        y,
        class_weight=torch.arange(1, x.shape[1] + 1),
        sample_weight=torch.ones(x.shape[0]),
        label_smoothing=0.1,
        temperature=2.0,
        softcap=5.0,
        z_loss=0.01,
        reduction="none",
    ),
    "dense": lambda x, y: ll.cross_entropy(x, torch.softmax(x.detach(), 1)),  # noqa: ARG005
    "top-k": lambda x, y: ll.cross_entropy(x, (y[:, None], torch.full((x.shape[0], 1), 0.75), 0.25)),
    "learned top-k": lambda x, y: ll.cross_entropy(x, (y[:, None], x[:, :1].exp(), x[:, 0].exp())),
    "linear top-k": lambda x, y: ll.linear_cross_entropy(x, x.detach(), (y[:, None], torch.ones(len(x), 1))),
    "cross_entropy_grad": lambda x, y: ll.cross_entropy_grad(x.detach(), y)[1],
    "nll_loss": lambda x, y: ll.nll_loss(x, y),
    "log_loss": lambda x, y: ll.log_loss(torch.softmax(x, 1), y),
    "softmax": lambda x, _: ll.softmax(x),
    "masked": lambda x, _: ll.softmax(x, 0, where=x > -1),
    "log_softmax": lambda x, _: ll.log_softmax(x, 0),
    "all axes": lambda x, _: ll.log_softmax(x, None),
    "logsumexp": lambda x, _: ll.logsumexp(x, keepdims=True),
    "row_stats": lambda x, y: ll.row_stats(x, y).nll + ll.row_stats(x, y).entropy,
    "predict": lambda x, _: ll.predict(x)[1],
    "top_k": lambda x, _: ll.top_k(x, 2)[1],
    "learned weights": lambda x, y: ll.cross_entropy(x, y, class_weight=x.exp().mean(0)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_whole_graph_compiles_once_for_every_shape(name):
    torch._dynamo.reset()
    function = FUNCTIONS[name]
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    compilations = 0
    for rows, classes in ((4, 5), (7, 3), (16, 33)):
        x = seeded(rows, classes, seed=rows).requires_grad_()
        y = labels(rows, classes)
        found, expected = compiled(x, y), function(x, y)
        torch.testing.assert_close(found, expected)
        assert found.requires_grad == expected.requires_grad
        if found.requires_grad:
            weights = expected.detach().cos()
            pair = [torch.autograd.grad(result, x, weights)[0] for result in (found, expected)]
            torch.testing.assert_close(*pair)
        compilations = compilations or counter.frame_count  # PyTorch may need two attempts at one
    assert counter.frame_count == compilations


def test_inductor_runs_it():
    torch._dynamo.reset()
    x, y = seeded(8, 5).requires_grad_(), labels(8, 5)

    def step(x):
        return ll.cross_entropy(torch.tanh(x) * 3, y) + ll.softmax(x).square().sum()

    found = torch.autograd.grad(torch.compile(step, fullgraph=True)(x), x)[0]
    torch.testing.assert_close(found, torch.autograd.grad(step(x), x)[0])


def test_what_is_wrong_is_said_when_it_runs():
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x, y: ll.cross_entropy(x, y), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    compiled(seeded(3, 4), labels(3, 4))
    with raises(
        ll.TargetError, "cross_entropy: targets[1] is 9; expected a class in [0, 4) or ignore_index=-100"
    ):
        compiled(seeded(3, 4), torch.tensor([0, 9, 1]))


def test_export_and_load(tmp_path):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 5)

        def forward(self, x, y):
            z = self.head(x)
            return ll.cross_entropy(z, y), ll.softmax(z), ll.row_stats(z, y).entropy

    model, rows = Model(), torch.export.Dim("rows")
    program = torch.export.export(model, (seeded(4, 3), labels(4, 5)), dynamic_shapes=({0: rows}, {0: rows}))
    called = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert {OPS.loss.default, OPS.softmax.default} <= called
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    x, y = seeded(9, 3, seed=2), labels(9, 5)
    for found, expected in zip(loaded(x, y), model(x, y), strict=True):
        torch.testing.assert_close(found, expected)


OPTIONS = ("cross_entropy", 1, -100, 0.1, 1.5, 3.0, 0.01)


def samples(dtype, tracked):
    x, y = seeded(4, 5, dtype=dtype).requires_grad_(tracked), torch.tensor([0, 3, 1, -100])
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    g = seeded(4, seed=1, dtype=wide).requires_grad_(tracked)
    h = seeded(4, 5, seed=4, dtype=dtype).requires_grad_(tracked)
    w, s, q = torch.rand(5), torch.rand(4), torch.softmax(seeded(4, 5, seed=2), 1)
    nll, log = (("nll_loss", 1, -100, 0.0, 1.0, None, 0.0), ("log_loss", 1, -100, 0.1, 1.0, None, 0.0))
    p = torch.softmax(seeded(4, 5), 1).to(dtype).requires_grad_(tracked)
    few = torch.tensor([[0, 2], [4, 1], [3, 3], [-100, 0]])
    listed = torch.rand(4, 2), torch.rand(4)
    yield OPS.loss, (x, y, None, None, None, None, *OPTIONS, "none", None)
    yield OPS.loss, (x, y, w, s, None, None, *OPTIONS, "mean", None)
    yield OPS.loss, (x, q, w, s, None, None, *OPTIONS, "mean", 4.0)
    yield OPS.loss, (x, few, w, s, *listed, *OPTIONS, "mean", None)
    yield OPS.loss, (x, y, w, None, None, None, *nll, "sum", None)
    yield OPS.loss, (p, y, None, s, None, None, *log, "mean", None)
    yield OPS.loss_backward, (g, x, y, None, None, None, None, *OPTIONS, "none", None)
    yield OPS.loss_backward, (g, x, few, None, None, listed[0], None, *OPTIONS, "none", None)
    yield OPS.loss_backward, (g.detach()[0], x, y, w, s, None, None, *OPTIONS, "mean", None)
    yield OPS.loss_backward, (g, x, y, None, None, None, None, *nll, "none", None)
    yield OPS.softmax, (x, None, 1, 1.0, False)
    yield OPS.softmax, (x, x.detach() > -1, 0, 2.0, True)
    yield OPS.softmax_backward, (h, x, None, 1, 1.0, False)
    yield OPS.softmax_backward, (h, x, None, 0, 2.0, True)
    yield OPS.logsumexp, (x, None, 0)
    yield OPS.logsumexp, (x, x.detach() > -1, 1)
    yield OPS.logsumexp_backward, (g, x, None, 1)


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_each_operation_is_registered_rightly(dtype, tracked):
    for operation, arguments in samples(dtype, tracked):
        torch.library.opcheck(operation, arguments)


def test_modes_see_operations():
    """What watches PyTorch's dispatcher (a profiler of operations, a tracer) sees the call as one."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.append(str(function))
            return function(*args, **(kwargs or {}))

    x, y = seeded(3, 4).requires_grad_(), labels(3, 4)
    with Names() as seen:
        torch.autograd.grad(ll.cross_entropy(x, y), x)
    assert {"lastlayer.loss.default", "lastlayer.loss_backward.default"} <= set(seen.names)


def test_fake_tensors():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(6, 5, dtype=torch.bfloat16, requires_grad=True)
        loss = ll.cross_entropy(x, torch.empty(6, dtype=torch.int64), reduction="none")
        assert (loss.shape, loss.dtype) == ((6,), torch.float32)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        assert (gradient.shape, gradient.dtype) == (x.shape, torch.bfloat16)
        assert ll.softmax(x, 0).dtype == torch.bfloat16


def test_transforms_inside_of_a_compiled_graph():
    """Of a registered operation a transform has no rule there: the functions are composed."""
    x, y = seeded(4, 5), labels(4, 5)

    def value(x):
        return (
            ll.softmax(x).square().sum()
            + ll.log_softmax(x, temperature=2.0)[:, 0].sum()
            + ll.logsumexp(x).sum()
            + ll.cross_entropy_grad(x, y)[1].square().sum()
            + ll.row_stats(x, y).entropy.sum()
        )

    def several(x):
        rows = torch.vmap(lambda row: ll.softmax(row) * ll.logsumexp(row))(x)
        tangent = torch.func.jvp(ll.softmax, (x,), (torch.ones_like(x),))[1]
        return torch.func.grad(value)(x), rows, tangent

    torch._dynamo.reset()
    found = torch.compile(several, backend="eager", fullgraph=True)(x)
    for a, b in zip(found, several(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_results_have_the_strides_that_graphs_expect(way):
    """As `torch.empty_like`: the inductor checks that."""
    from lastlayer.options import Options

    y = torch.zeros(2, 4, 3, dtype=torch.int64)
    arguments = y, None, None, None, None, *Options("cross_entropy", axis=1)[:-1]
    whole = seeded(2, 10, 4, 3)
    last = whole[:, :5].to(memory_format=torch.channels_last)
    for x in (whole[:, :5].contiguous(), whole[:, ::2], last, last.mT.contiguous().mT):
        grad = torch.ones(x.shape).transpose(1, 3).contiguous().transpose(1, 3)
        found = [
            OPS.softmax(x, None, 1, 1.0, False),
            OPS.softmax_backward(grad, x, None, 1, 1.0, False),
            OPS.logsumexp_backward(torch.ones(2, 4, 3), x, None, 1),
            OPS.loss_backward(torch.ones(()), x, *arguments),
            OPS.loss_and_gradient(x, *arguments)[1],
        ]
        assert {y.stride() for y in found} == {torch.empty_like(x).stride()}

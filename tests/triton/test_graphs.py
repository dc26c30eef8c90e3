"""The kernels in compiled graphs, under fake tensors and dispatch modes: as operations of PyTorch."""

from __future__ import annotations

import pytest
from random_arrays import tensor

import lastlayer as ll
from lastlayer import selection

torch = pytest.importorskip("torch")
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]

Y = torch.tensor([3, 0, -100, 4, 1, 2])
CALLS = {
    "mean": lambda x: ll.cross_entropy(x, Y),
    "options": lambda x: ll.cross_entropy(x, Y, label_smoothing=0.1, softcap=5.0, reduction="sum"),
    "rows": lambda x: ll.cross_entropy(x, Y, reduction="none"),
    "axis 0": lambda x: ll.cross_entropy(x.T, Y, axis=0),
    "softmax": lambda x: ll.softmax(x),
    "log_softmax": lambda x: ll.log_softmax(x, 0),
    "logsumexp": lambda x: ll.logsumexp(x),
    "predict": lambda x: ll.predict(x)[1] * x[:, 0],
}
each = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def logits(dtype=torch.float32):
    return tensor(6, 5, dtype=dtype).requires_grad_()


class Operations(TorchDispatchMode):
    """Records the operations of this package."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.namespace == "lastlayer":
            self.names.append(function.name().removeprefix("lastlayer::"))
        return function(*arguments, **(options or {}))


@each
def test_compiled(call):
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    x, same = logits(), logits()
    found, expected = compiled(x), call(same)
    torch.testing.assert_close(found, expected)
    weights = expected.detach().cos()
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, same.grad)


@pytest.mark.parametrize("name", ["mean", "rows", "log_softmax"])
def test_by_the_inductor(name):
    torch._dynamo.reset()
    call = CALLS[name]
    compiled = torch.compile(lambda x: call(x * 1.5).sin(), fullgraph=True)
    x, same = logits(), logits()
    compiled(x).sum().backward()
    call(same * 1.5).sin().sum().backward()
    torch.testing.assert_close(x.grad, same.grad)


@pytest.mark.parametrize(
    ("dtype", "reduction", "kernels"),
    [
        (torch.float32, "mean", ["cross_entropy_and_gradient"]),
        (torch.bfloat16, "sum", ["cross_entropy_and_gradient"]),
        (torch.float16, "mean", ["cross_entropy", "gradient"]),
        (torch.float32, "none", ["cross_entropy", "gradient"]),
    ],
    ids=str,
)
def test_kernels_of_a_compiled_graph(called, dtype, reduction, kernels):
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: ll.cross_entropy(x, Y, reduction=reduction), fullgraph=True, backend="aot_eager"
    )
    x, exact = logits(dtype), logits(dtype).detach().double().requires_grad_()
    (compiled(x) / 3).sum().backward()
    assert called == kernels
    with selection.use("composed"):
        (ll.cross_entropy(exact, Y, reduction=reduction) / 3).sum().backward()
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=2 * step, atol=2 * step)
    with torch.no_grad():
        called.clear()
        compiled(x)
        assert called == ["cross_entropy"]


@each
def test_under_a_dispatch_mode(call):
    x, same = logits(), logits()
    with Operations() as mode:
        found = call(x)
        found.sum().backward()
    expected = call(same)
    expected.sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(x.grad, same.grad)
    if call is not CALLS["predict"]:
        assert len(mode.names) == 2


@each
def test_fake_tensors(call):
    x = logits()
    expected = call(x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x.detach()).requires_grad_()
        found = call(fake)
        assert (found.shape, found.dtype, found.stride()) == (
            expected.shape,
            expected.dtype,
            expected.stride(),
        )
        found.sum().backward()
        assert fake.grad.shape == x.shape


def test_fake_tensors_of_a_device_that_is_absent():
    with selection.use(None), FakeTensorMode():
        x = torch.empty(6, 5, device="cuda")  # without a gradient: autograd would ask for the device
        y = torch.empty(6, device="cuda", dtype=torch.int64)
        for found in (ll.cross_entropy(x, y), ll.softmax(x), ll.predict(x)[1], ll.row_stats(x).lse):
            assert found.device.type == "cuda"


def test_double_backward_of_the_operation_with_the_gradient():
    from lastlayer.backends.torch import ops
    from lastlayer.options import Options

    x, u = logits(), tensor(6, 5, seed=5, dtype=torch.float32)
    arguments = Y, None, None, None, None, *Options("cross_entropy")[:-1]
    loss, dx = ops.loss_and_gradient(x, *arguments)
    assert not dx.requires_grad
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad((g * u).sum(), x)
    same = logits()
    (h,) = torch.autograd.grad(ll.cross_entropy(same, Y), same, create_graph=True)
    (expected,) = torch.autograd.grad((h * u).sum(), same)
    torch.testing.assert_close(dx, g.detach())
    torch.testing.assert_close(second, expected)
    torch.library.opcheck(ops.loss_and_gradient, (x.detach(), *arguments))

"""Derivatives on a GPU: of the usual kind, of second order, batched, compiled; autocast; saved tensors."""

import pytest
import torch
from gpu_data import DEVICE, DTYPES, Data, assert_close, both, grads, leaf

import lastlayer as ll
import lastlayer.torch as lt
from lastlayer import selection


@pytest.fixture(scope="module", params=DTYPES)
def pair(request):
    dtype = DTYPES[request.param]
    return Data(dtype), Data(dtype, wide=True), dtype


def on_both(function, pair, factor=1.0):
    data, wide, dtype = pair
    assert_close(function(data), lambda: function(wide), dtype, factor=factor)


def test_double_backward(pair):
    def second(d):
        z = leaf(d.z)
        (g,) = torch.autograd.grad(ll.cross_entropy(z, d.y, reduction="sum"), z, create_graph=True)
        return torch.autograd.grad((g * d.z).sum(), z)

    on_both(second, pair, factor=4)


def test_double_backward_of_softmax():
    def second(d):
        z = leaf(d.z)
        (g,) = torch.autograd.grad((ll.softmax(z) * d.z).sum(), z, create_graph=True)
        return torch.autograd.grad((g * d.z).sum(), z)

    data, wide = Data(torch.float32), Data(torch.float32, wide=True)
    assert_close(second(data), lambda: second(wide), torch.float32, factor=20)  # a difference of large terms


def test_func_grad(pair):
    on_both(lambda d: torch.func.grad(lambda z: ll.cross_entropy(z, d.y))(d.z), pair)


def test_vmap(pair):
    def batched(d):
        return torch.func.vmap(ll.cross_entropy)(d.z.view(4, 16, -1), d.y.view(4, 16))

    on_both(batched, pair)


def test_gradients_of_each_row(pair):
    on_both(lambda d: torch.func.vmap(torch.func.grad(ll.cross_entropy))(d.z, d.y), pair)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch warns of its own code
def test_jvp(pair):
    on_both(lambda d: torch.func.jvp(lambda z: ll.cross_entropy(z, d.y), (d.z,), (d.z,)), pair)


def compiled(function, *inputs):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True)(*inputs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled(dtype):
    data, wide = Data(DTYPES[dtype]), Data(DTYPES[dtype], wide=True)

    def loss(z, y):
        return ll.cross_entropy(z * 2, y, label_smoothing=0.1)

    z = leaf(data.z)
    value = compiled(loss, z, data.ignored)
    found = value.detach(), *torch.autograd.grad(value, z)
    assert_close(found, lambda: both(lambda z: loss(z, wide.ignored), wide.z), DTYPES[dtype], factor=2)
    found = compiled(lambda z: ll.softmax(z, 0) + 1, data.z)
    assert_close(found, lambda: ll.softmax(wide.z, 0) + 1, DTYPES[dtype])
    found = compiled(lt.cross_entropy, data.image, data.labels)
    assert_close(found, lambda: lt.cross_entropy(wide.image, wide.labels), DTYPES[dtype], factor=2)


@pytest.mark.filterwarnings("ignore")
def test_compiled_for_every_size():
    torch._dynamo.reset()
    function = torch.compile(lambda z, y: ll.cross_entropy(z, y), fullgraph=True, dynamic=True)
    for n, v in ((4, 10), (7, 33), (64, 1000)):
        z, y = torch.randn(n, v, device=DEVICE), torch.randint(0, v, (n,), device=DEVICE)
        z.requires_grad_()
        loss = function(z, y)
        found = loss.detach(), *torch.autograd.grad(loss, z)
        labels, scores = y.cpu(), z.detach().cpu().double()
        call = lambda z, y=labels: ll.cross_entropy(z, y)  # noqa: E731
        assert_close(found, lambda f=call, x=scores: both(f, x), torch.float32)


def test_autocast():
    data, wide = Data(torch.bfloat16), Data(torch.bfloat16, wide=True)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        loss = ll.cross_entropy(data.z, data.y)
        linear = ll.linear_cross_entropy(data.x.float(), data.weight.float(), data.y)
        softmax = ll.softmax(data.z)
    assert loss.dtype == torch.float32
    assert softmax.dtype == (torch.float32 if DEVICE.type == "cuda" else torch.bfloat16)
    assert_close(loss, lambda: ll.cross_entropy(wide.z, wide.y), torch.bfloat16)
    assert_close(linear, lambda: ll.linear_cross_entropy(wide.x, wide.weight, wide.y), torch.bfloat16)


def test_a_second_backward_gives_the_same_bits():
    data = Data(torch.float32)
    z = leaf(data.z)
    loss = ll.cross_entropy(z, data.y)
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    kept = first.clone()
    (scaled,) = torch.autograd.grad(3 * loss, z, retain_graph=True)
    (again,) = torch.autograd.grad(loss, z)
    assert torch.equal(first, kept)
    assert torch.equal(first, again)
    assert_close(scaled, lambda: 3 * kept.cpu().double(), torch.float32)


def test_a_scaled_loss_in_float16_does_not_underflow():
    data = Data(torch.float16)
    wide = Data(torch.float16, wide=True)
    z = data.z / 4
    scale = 65536.0
    found = grads(lambda z: ll.cross_entropy(z, data.y) * scale, z)
    with selection.use(None):
        truth = grads(lambda z: ll.cross_entropy(z, wide.y) * scale, z.cpu().double())
    assert_close(found, lambda: truth, torch.float16)
    small = truth[0].abs() > 1e-3  # far above the least float16, though not before they are scaled
    error = ((found[0].cpu().double() - truth[0]).abs() / truth[0].abs())[small].max()
    assert float(error) < 2e-3


def test_logits_are_not_written_to():
    for function in (ll.cross_entropy, lambda z, y: ll.cross_entropy(z, y, reduction="none").sum()):
        data = Data(torch.float32)
        z = leaf(data.z.clone())
        function(z, data.y).backward()
        assert torch.equal(z.detach(), data.z)


def test_saved_tensors_on_the_cpu():
    data, wide = Data(torch.float32), Data(torch.float32, wide=True)
    z = leaf(data.z)
    with torch.autograd.graph.save_on_cpu():
        loss = ll.cross_entropy(z, data.y)
        loss.backward()
    assert_close(z.grad, lambda: grads(lambda z: ll.cross_entropy(z, wide.y), wide.z), torch.float32)


def test_checkpointing():
    data, wide = Data(torch.float32), Data(torch.float32, wide=True)
    z = leaf(data.z)
    torch.utils.checkpoint.checkpoint(
        lambda z: ll.cross_entropy(z * 2, data.y), z, use_reentrant=False
    ).backward()
    assert_close(z.grad, lambda: grads(lambda z: ll.cross_entropy(z * 2, wide.y), wide.z), torch.float32)


def test_training_learns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator).to(DEVICE)
    y = (x[:, :4]).argmax(1)
    head = lt.LinearHead(8, 4, device=DEVICE)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = lt.cross_entropy(head(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert float(losses[-1]) < float(losses[0]) / 2

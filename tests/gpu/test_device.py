"""What is particular to CUDA: no waiting, streams, graphs, devices, targets that cannot be read."""

import pytest
import torch
from gpu_data import BACKWARD, DEVICE, FORWARD, Data, assert_close, flat, needs_cuda

import lastlayer as ll

CALLS = {f"forward {name}": call for name, call in FORWARD.items()}
CALLS |= {f"backward {name}": call for name, call in BACKWARD.items()}


@pytest.fixture(scope="module")
def data():
    return Data(torch.float32)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_every_time(name, data):
    first = [t.clone() for t in flat(CALLS[name](data))]
    for _ in range(3):
        assert same(CALLS[name](data), first)


@needs_cuda
@pytest.mark.parametrize("name", CALLS)
def test_no_call_waits_for_the_gpu(name, data):
    CALLS[name](data)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        CALLS[name](data)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# A weight's device is moved from the host when a module is made, and a LinearHead is made by the call.
CAPTURED = [name for name in CALLS if "LinearHead" not in name]


@needs_cuda
@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_graph_gives_the_same_bits(name, data):
    call = CALLS[name]
    first = [t.detach().clone() for t in flat(call(data))]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call(data)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [t.detach() for t in flat(call(data))]
    for t in kept:
        t.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert same(kept, first)


@needs_cuda
def test_a_graph_reads_new_numbers(data):
    z, y = data.z.clone().requires_grad_(), data.y.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        ll.cross_entropy(z, y).backward()
    torch.cuda.synchronize()
    z.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = ll.cross_entropy(z, y)
        loss.backward()
    with torch.no_grad():
        z.mul_(0.5)
        y.copy_(y.flip(0))
    graph.replay()
    fresh = z.detach().clone().requires_grad_()
    expected = ll.cross_entropy(fresh, y)
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(z.grad, fresh.grad)


@needs_cuda
def test_two_streams_at_once():
    inputs = [
        (torch.randn(512, 3001, device=DEVICE), torch.randint(0, 3001, (512,), device=DEVICE)) for _ in "ab"
    ]
    alone = [ll.cross_entropy_grad(z, y) for z, y in inputs]
    streams = [torch.cuda.Stream() for _ in inputs]
    for _ in range(10):
        torch.cuda.synchronize()
        together = []
        for stream, (z, y) in zip(streams, inputs, strict=True):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(100_000)
                together.append(ll.cross_entropy_grad(z, y))
        torch.cuda.synchronize()
        assert same(together, alone)


@needs_cuda
def test_another_device_than_the_current_one(data):
    if torch.cuda.device_count() < 2:
        pytest.skip("one device")
    other = Data(torch.float32, torch.device("cuda", 1))
    for name, call in CALLS.items():
        found = flat(call(other))
        assert all(t.device.index == 1 for t in found), name
        assert same([t.to(DEVICE) for t in found], call(data)), name
    assert torch.cuda.current_device() == 0


@needs_cuda
@pytest.mark.parametrize("bad", [37, -1, 1 << 40])
def test_a_target_out_of_range_makes_its_row_nan(bad, data):
    y = data.y.clone()
    y[5] = bad
    rows = torch.zeros_like(y, dtype=torch.bool)
    rows[5] = True
    losses = ll.cross_entropy(data.z, y, reduction="none")
    assert torch.equal(losses.isnan(), rows)
    assert ll.cross_entropy(data.z, y).isnan()
    value, gradient = ll.cross_entropy_grad(data.z, y, reduction="sum")
    assert value.isnan()
    assert torch.equal(gradient.isnan().all(1), rows)
    assert torch.equal(gradient.isnan().any(1), rows)
    z = data.z.clone().requires_grad_()
    ll.cross_entropy(z, y).backward()
    assert torch.equal(z.grad.isnan().all(1), rows)


@needs_cuda
def test_validation_finds_the_row(data):
    y = data.y.clone()
    y[5] = 37
    with pytest.raises(ll.errors.TargetError, match=r"targets\[5\] is 37; expected a class in \[0, 37\)"):
        ll.cross_entropy(data.z, y, validate=True)
    assert torch.equal(ll.cross_entropy(data.z, data.y, validate=True), ll.cross_entropy(data.z, data.y))


def peak(function):
    """Bytes of a call beyond what is there before."""
    function()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(65536, 64), (4096, 1000), (512, 8192), (64, 65537), (4, 21, 128, 512)])
def test_no_call_needs_memory_of_the_logits_size(shape, dtype):
    z = torch.randn(shape, device=DEVICE).to(dtype)
    y = torch.randint(0, shape[1], (shape[0], *shape[2:]), device=DEVICE)
    leaf = z.clone().requires_grad_()
    numbers, some = z.numel() * z.element_size(), 0.05
    some += 40 * y.numel() / numbers  # a few numbers of each row

    def both(**options):
        ll.cross_entropy(leaf, y, axis=1, **options).sum().backward()
        leaf.grad = None

    assert peak(lambda: ll.cross_entropy(z, y, axis=1)) <= some * numbers
    assert peak(lambda: ll.logsumexp(z, 1)) <= some * numbers
    assert peak(lambda: ll.softmax(z, 1, out=z)) <= some * numbers
    assert peak(lambda: ll.softmax(z, 1)) <= (1 + some) * numbers
    assert peak(lambda: ll.cross_entropy_grad(z, y, axis=1)) <= (1 + some) * numbers
    for options in (
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.1, "softcap": 30.0},
    ):
        assert peak(lambda options=options: both(**options)) <= (1 + some) * numbers, options


@needs_cuda
def test_more_than_two_to_the_31_numbers():
    if torch.cuda.get_device_properties(DEVICE).total_memory < 24 << 30:
        pytest.skip("too little memory")
    n, v = 70001, 32768
    z = torch.empty(n, v, dtype=torch.bfloat16, device=DEVICE).normal_()
    y = torch.randint(0, v, (n,), device=DEVICE)
    losses = ll.cross_entropy(z, y, reduction="none")
    rows = torch.tensor([0, 1, 65535, 65536, n - 1], device=DEVICE)
    some, labels = z[rows].cpu().double(), y[rows].cpu()
    assert_close(losses[rows], lambda: ll.cross_entropy(some, labels, reduction="none"), torch.float32)
    gradient = ll.cross_entropy_grad(z, y, reduction="sum")[1]
    truth = ll.cross_entropy_grad(some, labels, reduction="sum")[1]
    assert_close(gradient[rows], lambda: truth, torch.bfloat16)
    assert gradient.isfinite().all()

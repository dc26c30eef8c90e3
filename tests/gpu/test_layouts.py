"""Tensors of every size and layout: the kernels are chosen by them. Against float64 on the CPU."""

import pytest
import torch
from gpu_data import DEVICE, DTYPES, assert_close, both

import lastlayer as ll

SIZES = [
    (0, 5), (1, 1), (1000, 1), (300, 2), (257, 3), (1000, 10), (5, 63), (257, 64), (70, 65), (9, 129),
    (33, 1000), (1, 1025), (5, 4096), (300, 4099), (2, 16385), (3, 50257), (4, 50304), (2, 131073),
    (1, 262145), (1, 1 << 20),
]  # fmt: skip


def normal(*shape, seed=0):
    """Logits of scale 5 with a few outliers and impossible classes."""
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 5
    flat = z.view(-1)
    flat[1::101] = 60.0
    flat[2::103] = -torch.inf
    return z


def results(z, y, axis):
    """The functions whose kernels depend on the layout."""
    gradient = ll.cross_entropy_grad(z, y, axis=axis, reduction="sum")
    none = ll.cross_entropy(z, y, axis=axis, reduction="none")
    return (
        ll.softmax(z, axis),
        ll.log_softmax(z, axis),
        ll.logsumexp(z, axis),
        none,
        *gradient,
        *both(lambda z: ll.cross_entropy(z, y, axis=axis), z),
    )


def check(z, y, axis, dtype):
    """``z`` is on the device, whatever its layout."""
    wide = z.detach().cpu().double()
    assert_close(results(z, y, axis), lambda: results(wide, y.cpu(), axis), dtype)
    for function in (ll.softmax, ll.log_softmax):
        out = torch.full_like(z, torch.nan)  # in the layout of z
        assert function(z, axis, out=out) is out
        assert_close(out, lambda f=function: f(wide, axis), dtype)


def targets(z, axis):
    count = z.shape[axis]
    wanted = z.detach().cpu().movedim(axis, -1)
    y = torch.randint(0, count, wanted.shape[:-1], generator=torch.Generator().manual_seed(1))
    possible = wanted.gather(-1, y.unsqueeze(-1)).squeeze(-1) > -torch.inf
    return torch.where(possible, y, wanted.argmax(-1)).to(DEVICE)  # the loss of an impossible class is inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_every_size(size, dtype):
    if dtype == "float16" and size[1] > 4099:
        pytest.skip("float16 is chosen for as bfloat16 is")
    z = normal(*size).to(DTYPES[dtype]).to(DEVICE)
    if size[1] == 1:
        z.clamp_(min=-60.0)  # no row without any possible class
    check(z, targets(z, -1), -1, DTYPES[dtype])


LAYOUTS = {
    "class axis first": lambda z: (z(100, 37), 0),
    "class axis first, long": lambda z: (z(3001, 6), 0),
    "transposed": lambda z: (z(37, 100).t(), -1),
    "images": lambda z: (z(2, 21, 9, 33), 1),
    "images, aligned": lambda z: (z(2, 19, 16, 64), 1),
    "images, many classes": lambda z: (z(2, 300, 3, 5), 1),
    "images, channels last": lambda z: (z(2, 21, 9, 33).to(memory_format=torch.channels_last), 1),
    "sequences": lambda z: (z(4, 50, 7), 1),
    "one image": lambda z: (z(5, 6, 7), 0),
    "volumes": lambda z: (z(2, 3, 4, 5, 6), 1),
    "permuted": lambda z: (z(6, 5, 40).permute(1, 0, 2), -1),
    "every other class": lambda z: (z(50, 80)[:, ::2], -1),
    "every other row": lambda z: (z(50, 80)[::2], -1),
    "rows of a wider array": lambda z: (z(50, 80)[:, 3:70], -1),
    "rows of a wider array, aligned": lambda z: (z(50, 128)[:, 16:80], -1),
    "misaligned": lambda z: (z(50 * 67 + 1).flatten()[1:].view(50, 67), -1),
    "misaligned, long": lambda z: (z(3 * 20011 + 3).flatten()[3:].view(3, 20011), -1),
    "rows repeated": lambda z: (z(1, 67).expand(20, 67), -1),
    "one row": lambda z: (z(67), -1),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout(name, dtype):
    z, axis = LAYOUTS[name](lambda *shape: normal(*shape).to(DTYPES[dtype]).to(DEVICE))
    y = targets(z, axis)
    if name == "rows repeated":  # out= has no memory of its own for every result
        assert_close(results(z, y, axis), lambda: results(z.cpu().double(), y.cpu(), axis), DTYPES[dtype])
    else:
        check(z, y, axis, DTYPES[dtype])


@pytest.mark.parametrize("name", ["images", "every other class", "rows of a wider array", "misaligned"])
def test_in_place(name):
    z, axis = LAYOUTS[name](lambda *shape: normal(*shape).to(DEVICE))
    wide = z.cpu().double()
    assert ll.softmax(z, axis, out=z) is z
    assert_close(z, lambda: ll.softmax(wide, axis), torch.float32)


def test_no_classes():
    z = torch.empty(5, 0, device=DEVICE)
    assert ll.softmax(z).shape == (5, 0)
    assert torch.equal(ll.logsumexp(z), torch.full((5,), -torch.inf, device=DEVICE))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_are_not_finite(dtype):
    rows = [
        [0.0, 1.0, 2.0],
        [torch.inf, 0.0, 1.0],
        [torch.nan, 0.0, 1.0],
        [-torch.inf] * 3,
        [-torch.inf, 0.0, 1.0],
    ]
    z = torch.tensor(rows).to(DTYPES[dtype])
    y = torch.tensor([0, 1, 1, 2, 1])
    x, labels, wide = z.to(DEVICE), y.to(DEVICE), z.double()
    for function in (ll.softmax, ll.log_softmax, ll.logsumexp):
        assert_close(function(x), lambda f=function: f(wide), DTYPES[dtype])
    found = ll.cross_entropy(x, labels, reduction="none")
    assert_close(found, lambda: ll.cross_entropy(wide, y, reduction="none"), DTYPES[dtype])
    found = ll.cross_entropy_grad(x, labels, reduction="sum")
    assert_close(found, lambda: ll.cross_entropy_grad(wide, y, reduction="sum"), DTYPES[dtype])


@pytest.mark.parametrize("shift", [-10000.0, 10000.0])
def test_far_from_zero(shift):
    z = (torch.randn(40, 300, generator=torch.Generator().manual_seed(0)) + shift).to(DEVICE)
    y = targets(z, -1)
    assert_close(results(z, y, -1), lambda: results(z.cpu().double(), y.cpu(), -1), torch.float32)

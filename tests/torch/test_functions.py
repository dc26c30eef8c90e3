"""The common functions on tensors: values, dtypes, every layout in memory, and what a wrong call says."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from assertions import assert_ulp, raises
from backends import composed, on
from cases import CASES, ODD_CASES
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [getattr(torch, f"{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)]
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)
BOUND = {"core": 3.5, "composed": 6.0}


seeded = partial(tensor, dtype=torch.float32, scale=4.0)


def labels(*shape, classes, seed=1):
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


def reference(function, *arguments, **options):
    """The specification's result, in float64."""

    def host(a):
        if not isinstance(a, torch.Tensor):
            return a
        return (a.double() if a.is_floating_point() else a).detach().numpy()

    arguments = [host(a) for a in arguments]
    with on("reference"):
        return function(*arguments, **{k: host(v) for k, v in options.items()})


@pytest.mark.parametrize("case", CASES + ODD_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_known_by_heart(way, case, dtype):
    x = torch.tensor([[0.0] * len(case.logits), case.logits], dtype=dtype)
    y = torch.tensor([0, case.target])
    wide, bound = np.dtype(str(dtype)[6:]), BOUND[way]
    stats = ll.row_stats(x, y)
    losses = ll.cross_entropy(x, y, reduction="none")
    if case.lse is not None:
        scale = max(abs(case.lse), max(map(abs, case.logits))) if np.isfinite(case.lse) else None
        for lse in (ll.logsumexp(x), stats.lse):
            assert_ulp(lse[1].numpy(), case.lse, bound, wide, scale=scale)
    if case.softmax is not None:
        assert_ulp(ll.softmax(x)[1].numpy(), np.asarray(case.softmax, float), bound)
    if case.loss is not None:
        for loss in (losses, stats.nll):
            assert_ulp(loss[1].numpy(), case.loss, bound, wide)
    if case.entropy is not None:
        assert_ulp(stats.entropy[1].numpy(), case.entropy, bound, wide)
    if case.rank is not None:
        assert stats.rank[1].item() == case.rank
    if case.argmax is not None:
        assert stats.argmax[1].item() == ll.predict(x)[0][1].item() == case.argmax
        order = ll.top_k(x, len(case.logits))[0][1].tolist()
        assert order[0] == case.argmax
        if case.argmax >= 0:
            assert order == sorted(range(len(order)), key=lambda j: (-case.logits[j], j))


OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "weighted": {"class_weight": torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0, 3.0, 1.0])},
    "rows weighted": {"sample_weight": torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0])},
    "everything": {
        "class_weight": torch.tensor([1.0, 2.0, 0.5, 0.5, 1.0, 3.0, 1.0]),
        "sample_weight": torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0]),
        "label_smoothing": 0.2,
        "temperature": 1.5,
        "softcap": 6.0,
        "z_loss": 0.01,
    },
    "divided": {"denominator": 3.0},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["index", "dense", "one-hot"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@each_dtype
def test_losses_and_their_gradients(way, name, kind, reduction, dtype):
    options = OPTIONS[name] | {"reduction": reduction}
    if reduction != "mean":
        options.pop("denominator", None)
    x = seeded(5, 7, dtype=dtype).requires_grad_()
    y = labels(5, classes=7)
    if kind == "dense":
        y = torch.softmax(seeded(5, 7, seed=2), 1).to(dtype)
    elif kind == "one-hot":
        y = torch.nn.functional.one_hot(y, 7)
    else:
        y[3] = -100
    loss = ll.cross_entropy(x, y, **options)
    truth, slope = reference(ll.cross_entropy_grad, x, y, **options)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    assert loss.dtype is wide
    assert_ulp(loss.detach().numpy(), truth, 8, scale=1.0)
    (found,) = torch.autograd.grad(loss.sum(), x)
    assert found.dtype is dtype
    scale = np.maximum(np.abs(slope), 0.05 * np.abs(slope).max())
    error = np.abs(found.double().numpy() - slope) / scale
    assert error.max() < 8 * torch.finfo(dtype).eps
    value, same = ll.cross_entropy_grad(x.detach(), y, **options)
    assert torch.equal(value, loss.detach()) or reduction != "none"
    torch.testing.assert_close(value, loss.detach())
    assert torch.allclose(same.double(), found.double(), rtol=4 * torch.finfo(dtype).eps, atol=1e-12)


@each_dtype
def test_softmax_and_its_kin(way, dtype):
    x, where = seeded(3, 4, 5, dtype=dtype), seeded(3, 1, 5, seed=3) > -4
    where[0, :, :] = False
    for axis in (-1, 0, 1, (0, 2), None):
        for options in ({}, {"where": where}, {"temperature": 2.0}):
            for function in (ll.softmax, ll.log_softmax):
                found = function(x, axis, **options)
                assert (found.dtype, found.shape) == (x.dtype, x.shape)
                truth = reference(function, x, axis, **options)
                finite = np.isfinite(truth)
                assert np.array_equal(np.isfinite(found.double().numpy()), finite)
                error = np.abs(found.double().numpy()[finite] - truth[finite])
                size = np.maximum(np.abs(truth[finite]), 1e-3)
                assert (error / size).max() < 4 * torch.finfo(dtype).eps
        found = ll.logsumexp(x, axis, where=where, keepdims=True)
        truth = reference(ll.logsumexp, x, axis, where=where, keepdims=True)
        assert found.shape == truth.shape
        wide = torch.float64 if dtype is torch.float64 else torch.float32
        np.testing.assert_allclose(found.numpy(), truth, rtol=4 * torch.finfo(wide).eps, atol=1e-6)


@pytest.mark.parametrize("integer", INTEGERS, ids=str)
def test_class_indices_of_every_dtype(way, integer):
    x, y = seeded(6, 5), labels(6, classes=5)
    expected = ll.cross_entropy(x, y, reduction="none")
    assert torch.equal(ll.cross_entropy(x, y.to(integer), reduction="none"), expected)


def layouts(x):
    """The same numbers, otherwise in memory."""
    wider = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
    wider[..., ::2] = x
    yield "every second", wider[..., ::2]
    yield "transposed", x.transpose(0, -1).contiguous().transpose(0, -1)
    yield "backwards", x.flip(0).clone().flip(0)
    offset = torch.cat([torch.full((1,), torch.nan, dtype=x.dtype), x.flatten()])[1:]
    yield "with an offset", offset.view(x.shape)
    if x.ndim == 4:
        yield "channels last", x.to(memory_format=torch.channels_last)
    yield "a parameter", torch.nn.Parameter(x.clone(), requires_grad=False)
    if x.dtype in (torch.float32, torch.float64):
        yield "negated in memory", torch.complex(torch.zeros_like(x), -x).conj().imag


@each_dtype
@pytest.mark.parametrize("shape", [(4, 7), (2, 5, 3, 4)], ids=str)
def test_every_layout_gives_the_same(dtype, shape):
    x, rows = seeded(*shape, dtype=dtype), (shape[0], *shape[2:])
    y = labels(*rows, classes=shape[1])
    expected = run_all(x, y)
    for name, other in layouts(x):
        assert torch.equal(other, x), name
        before = other.clone()
        for found, wanted in zip(run_all(other, y), expected, strict=True):
            assert torch.equal(found, wanted), name
        assert torch.equal(other, before), name
        spread = torch.stack([y, y], -1)[..., 0]  # targets with gaps between them
        assert torch.equal(run_all(other, spread)[3], expected[3]), name


def run_all(x, y):
    x = x.detach().requires_grad_()
    results = [ll.softmax(x, 1), ll.log_softmax(x, 1), ll.logsumexp(x, 1)]
    loss = ll.cross_entropy(x, y, axis=1)
    results += [loss, *torch.autograd.grad(loss, x)]
    results += [ll.cross_entropy(x, y, axis=1, reduction="none"), *ll.predict(x, axis=1)]
    return [r.detach() for r in results]


def test_an_expanded_tensor_and_its_gradient():
    x = seeded(1, 5).requires_grad_()
    y = torch.tensor([0, 3, 4])
    (found,) = torch.autograd.grad(ll.cross_entropy(x.expand(3, 5), y), x)
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(x.expand(3, 5), y), x)
    torch.testing.assert_close(found, expected)


def test_channels_last_stays_channels_last():
    x = seeded(2, 5, 3, 4).to(memory_format=torch.channels_last).requires_grad_()
    p = ll.softmax(x, 1)
    assert p.is_contiguous(memory_format=torch.channels_last)
    (g,) = torch.autograd.grad(ll.cross_entropy(x, labels(2, 3, 4, classes=5), axis=1), x)
    assert g.is_contiguous(memory_format=torch.channels_last)


def test_out(way):
    x = seeded(3, 4)
    expected = ll.softmax(x)
    for out in (torch.empty(3, 4), torch.empty(4, 3).t(), torch.empty(3, 8)[:, ::2], x):
        assert ll.softmax(x.clone() if out is not x else x, out=out) is out
        assert torch.equal(out, expected)
    base = seeded(16)
    x = base[:12].view(3, 4).clone()
    base[:12] = x.flatten()
    ll.softmax(base[:12].view(3, 4), out=base[4:].view(3, 4))  # they overlap
    assert torch.equal(base[4:].view(3, 4), ll.softmax(x))
    with raises(ll.ShapeError, "softmax: out is of shape (2,); expected the result's, (3, 4)"):
        ll.softmax(x, out=torch.empty(2))
    with raises(
        ll.DtypeError, "softmax: out is of dtype torch.float64; expected the result's, torch.float32"
    ):
        ll.softmax(x, out=torch.empty(3, 4, dtype=torch.float64))
    with raises(
        ll.OptionError,
        "softmax: out is given while gradients are recorded; expected None, or torch.no_grad()",
    ):
        ll.softmax(x.requires_grad_(), out=torch.empty(3, 4))


@pytest.mark.parametrize("function", [ll.softmax, ll.log_softmax])
def test_out_of_a_view_of_its_own(way, function):
    x = seeded(3, 4)
    expected = function(x)
    complex_numbers = torch.zeros(3, 4, dtype=torch.complex64)
    negative = complex_numbers.conj().imag  # written through: the numbers in memory have the other sign
    assert function(x, out=negative) is negative
    assert torch.equal(negative, expected)
    assert torch.equal(complex_numbers.imag, -expected)
    assert torch.equal(function(x, (0, 1), out=negative), function(x, (0, 1)))
    assert torch.equal(function(negative.copy_(x), out=negative), expected)
    if function is ll.softmax:
        possible = torch.ones(48, dtype=torch.bool)
        where = possible[:12].view(3, 4)
        inside = possible.view(torch.float32).view(3, 4)  # of the mask itself
        expected = function(x, where=where.clone())
        assert torch.equal(function(x, where=where, out=inside), expected)


def test_out_in_memory_that_two_storages_share():
    numbers = np.random.default_rng(0).standard_normal(200 * 40 + 1).astype(np.float32)
    x, out = (torch.from_numpy(part.reshape(200, 40)) for part in (numbers[:-1], numbers[1:]))
    expected = ll.softmax(x.clone())
    assert torch.equal(ll.softmax(x, out=out), expected)


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(1, 3).expand(8, 3),
        torch.zeros(8, 1).expand(8, 3),
        torch.zeros(10).unfold(0, 3, 1),
        torch.zeros(100).as_strided((8, 3), (3, 9)),
    ],
)
def test_out_whose_elements_share_memory_is_an_error(way, out):
    message = (
        f"softmax: out is of shape (8, 3) and strides {out.stride()}, so some of its elements share memory; "
        "expected a place for each; write torch.empty(x.shape)"
    )
    for x in (seeded(8, 3), out):
        with raises(ll.OptionError, message):
            ll.softmax(x, out=out)
    apart = torch.zeros(100).as_strided((2, 3), (3, 2))  # interleaved, but each in a place of its own
    assert torch.equal(ll.softmax(x[:2], out=apart), ll.softmax(x[:2]))


def test_out_counts_as_a_write():
    weight = seeded(3).requires_grad_()
    saved = weight.exp()
    with torch.no_grad():
        ll.softmax(seeded(3), out=saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()
    with torch.inference_mode():
        out = torch.empty(3)
        assert torch.equal(ll.softmax(seeded(3), out=out), ll.softmax(seeded(3)))


def test_out_elsewhere_is_an_error():
    with raises(ll.DtypeError, "softmax: out is on device meta; expected cpu, as x is"):
        ll.softmax(seeded(3), out=torch.empty(3, device="meta"))
    with raises(ll.DtypeError, "softmax: out is of layout torch.sparse_coo; expected torch.strided"):
        ll.softmax(seeded(3), out=torch.zeros(3).to_sparse())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_with_the_opposite_sign_are_read_as_they_are(way, dtype):
    def negated(x):
        return torch._neg_view(-x)

    x, y, q = seeded(3, 4).to(dtype), labels(3, classes=4), torch.softmax(seeded(3, 4), 1).to(dtype)
    w, s = torch.rand(4).to(dtype), torch.rand(3).to(dtype)
    for function in (ll.softmax, ll.log_softmax, ll.logsumexp, ll.predict, lambda x: ll.top_k(x, 2)):
        torch.testing.assert_close(function(negated(x)), function(x), rtol=0, atol=0)
    for target, view in ((y, y), (q, negated(q))):
        found = ll.cross_entropy(negated(x), view, class_weight=negated(w), sample_weight=negated(s))
        assert torch.equal(found, ll.cross_entropy(x, target, class_weight=w, sample_weight=s))
    listed = torch.topk(q, 2).indices, q.gather(1, torch.topk(q, 2).indices)
    found = ll.cross_entropy(x, (listed[0], negated(listed[1])))
    assert torch.equal(found, ll.cross_entropy(x, listed))


class Named(torch.Tensor):
    """A subclass as people write them: with nothing of its own."""


def test_what_comes_back_is_a_plain_tensor():
    y = torch.tensor([0, 1])
    for x in (seeded(2, 3).as_subclass(Named), torch.nn.Parameter(seeded(2, 3))):
        for result in (ll.softmax(x), ll.cross_entropy(x, y), ll.logsumexp(x), ll.row_stats(x, y).nll):
            assert type(result) is torch.Tensor
            assert result.requires_grad == x.requires_grad


def test_without_recording():
    x, y = seeded(3, 4).requires_grad_(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        assert not ll.cross_entropy(x, y).requires_grad
        assert not ll.softmax(x).requires_grad
    with torch.inference_mode():
        z = x * 2
        assert ll.softmax(z).is_inference()
        ll.cross_entropy(z, y)
        ll.row_stats(z, y)
    for found in (*ll.predict(x), *ll.top_k(x, 2)):
        assert not found.requires_grad


def test_integers_and_lists():
    assert ll.softmax(torch.tensor([0, 0])).tolist() == [0.5, 0.5]
    x = seeded(2, 3)
    expected = ll.cross_entropy(x, torch.tensor([0, 2]), class_weight=torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(ll.cross_entropy(x, [0, 2], class_weight=[1, 2, 3]), expected)
    frozen = np.array([0, 2])
    frozen.flags.writeable = False
    assert torch.equal(ll.cross_entropy(x, frozen, class_weight=np.array([1.0, 2.0, 3.0])), expected)
    empty = ll.cross_entropy(torch.empty(0, 3), torch.tensor([]))
    assert empty.item() == 0.0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0.0, 1.0])),
            ll.DtypeError,
            "cross_entropy: targets is of dtype torch.float32; expected integers as class indices; "
            "write targets.long()",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([True, False])),
            ll.DtypeError,
            "cross_entropy: targets is of dtype torch.bool; expected integers as class indices; "
            "write targets.long()",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0, 4])),
            ll.TargetError,
            "cross_entropy: targets[1] is 4; expected a class in [0, 4) or ignore_index=-100",
        ),
        (
            lambda x: ll.cross_entropy(x.clone().requires_grad_(), torch.tensor([0, -1])),
            ll.TargetError,
            "cross_entropy: targets[1] is -1; expected a class in [0, 4) or ignore_index=-100; "
            "to leave such rows out pass ignore_index=-1",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0, 1, 2])),
            ll.ShapeError,
            "cross_entropy: targets is of shape (3,); expected (2,) for class indices or (2, 4) for dense "
            "targets",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0, 1]), class_weight=torch.ones(3)),
            ll.ShapeError,
            "cross_entropy: class_weight is of shape (3,); expected (4,), one weight for each class",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0, 1]), class_weight={"a": 1}),
            ll.DtypeError,
            "cross_entropy: class_weight is a dict; expected an array, one weight for each class in order",
        ),
        (
            lambda x: ll.cross_entropy(x, torch.tensor([0, 1], device="meta")),
            ll.DtypeError,
            "cross_entropy: targets is on device meta; expected cpu, as the scores are; "
            "write targets.to('cpu')",
        ),
        (
            lambda x: ll.softmax(x.to(torch.complex64)),
            ll.DtypeError,
            "softmax: x is of dtype torch.complex64; expected real numbers; write .real or .abs()",
        ),
        (
            lambda x: ll.softmax(x, 2),
            ll.ShapeError,
            "softmax: axis is 2; expected -2 <= axis < 2 for x of shape (2, 4)",
        ),
        (
            lambda x: ll.softmax(x, where=x),
            ll.DtypeError,
            "softmax: where is of dtype float32; expected bools, True for possible classes",
        ),
        (
            lambda x: ll.top_k(x, 5),
            ll.OptionError,
            "top_k: k is 5; expected 1 <= k <= 4, the number of classes",
        ),
    ],
)
def test_a_wrong_call_says_what_is_wrong(call, error, text):
    with raises(error, text):
        call(seeded(2, 4))


def test_a_device_is_not_asked_for_its_numbers():
    """Without numbers there is a shape and a dtype, and a wrong shape is still an error."""
    x = torch.empty(2, 4, device="meta", requires_grad=True)
    y = torch.empty(2, dtype=torch.int64, device="meta")
    loss = ll.cross_entropy(x, y, class_weight=torch.empty(4, device="meta"))
    assert (loss.shape, loss.device.type) == ((), "meta")
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.shape == x.shape
    assert ll.row_stats(x, y).nll.shape == (2,)
    with raises(
        ll.ShapeError,
        "cross_entropy: targets is of shape (3,); expected (2,) for class indices or (2, 4) for dense "
        "targets",
    ):
        ll.cross_entropy(x, torch.empty(3, dtype=torch.int64, device="meta"))


def test_a_wrong_index_on_a_device_is_nan():
    x = seeded(3, 4).requires_grad_()
    with composed():
        losses = ll.cross_entropy(x, torch.tensor([0, 4, -100]), reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    assert losses.isnan().tolist() == [False, True, False]
    assert gradient.isnan().all(1).tolist() == [False, True, False]


def test_the_reference_runs_on_tensors_too():
    x, y = seeded(3, 4), torch.tensor([0, 1, 2])
    with on("reference"):
        found = ll.cross_entropy(x, y)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, ll.cross_entropy(x, y))


def test_native_alone_refuses_what_is_not_in_memory():
    with (
        on("native"),
        raises(
            ll.BackendError,
            "a tensor on meta cannot be run by backend 'native'; expected CPU memory",
        ),
    ):
        ll.softmax(torch.empty(2, device="meta"))


def test_threads_are_pytorchs():
    from lastlayer import _core

    before, x = _core.get_num_threads(), seeded(64, 1000)
    y = labels(64, classes=1000)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append((ll.softmax(x), ll.cross_entropy(x, y, label_smoothing=0.1)))
            assert _core.get_num_threads() == before
        for p, loss in results[1:]:
            assert torch.equal(p, results[0][0])
            assert torch.equal(loss, results[0][1])
    finally:
        torch.set_num_threads(threads)


def test_check_reads_tensors():
    x = torch.tensor([[0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
    assert "softmax" in str(ll.check(x))
    assert "softmax" in str(ll.check(x.bfloat16().requires_grad_()))

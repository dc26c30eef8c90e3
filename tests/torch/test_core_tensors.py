"""The core reads and writes torch tensors where they lie: every dtype and layout, and nothing beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from assertions import assert_same_bits, assert_ulp
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
import core_calls  # noqa: E402

SOURCE = str(Path(ll.__file__).parents[1])
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
NAN = float("nan")


class Named(torch.Tensor):
    """A subclass without a behaviour of its own."""


class Answering(torch.Tensor):
    """A subclass that runs Python code, which changes the tensor, whenever torch is asked about it."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.is_neg:
            arguments[0].resize_(50, 50)
            return False
        return super().__torch_function__(function, types, arguments, keywords or {})


class Wrapper(torch.Tensor):
    """A subclass that has no memory of its own."""

    @staticmethod
    def __new__(cls, shape):
        return torch.Tensor._make_wrapper_subclass(cls, shape)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        raise RuntimeError("not to be asked")


numbers = partial(tensor, dtype=torch.float32, scale=3.0)


def softmax(x, out, axis=-1, log=False, where=None, threads=0):
    core_calls.softmax(x, axis % x.ndim, out, log=log, where=where, threads=threads)
    return out


def cross_entropy(
    x, y, *, kind=0, losses=None, grad=None, weights=(None, None), scale=1.0, ignore=None, threads=0
):
    dense = y.ndim == x.ndim
    return core_calls.cross_entropy(
        x,
        1,
        targets=y,
        dense=dense,
        class_weight=weights[0],
        sample_weight=weights[1],
        ignore_index=ignore,
        scale=scale,
        kind=kind,
        losses=losses,
        grad=grad,
        threads=threads,
    )


def row_stats(x, into, y=None, k=0, where=None):
    dense = y is not None and y.ndim == x.ndim
    core_calls.row_stats(x, 1, where=where, targets=y, dense=dense, into=into, k=k)
    return into


def true_log_softmax(x, axis):
    """In extended precision: torch's in float64 is hundreds of units off where a class is nearly certain."""
    x = x.double().numpy().astype(np.longdouble)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def assert_near(actual, truth, bound):
    """``truth`` in float64 or wider; ``bound`` in units of the last place of the dtype of ``actual``.

    Not to measure accuracy, which other tests do: whatever is misread is off by far more.
    """
    truth = np.asarray(truth)
    values = actual.detach().double().numpy()
    if actual.dtype == torch.bfloat16:  # NumPy has no name for it: its last place is 2**16 of float32
        assert_ulp(values.astype(np.float32), truth, bound * 2**16)
    else:
        assert_ulp(values, truth, bound, str(actual.dtype).removeprefix("torch."))


# --- what is read and written -------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda x: x.clone(),
    "transposed": lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    "channels last": lambda x: x[None].contiguous(memory_format=torch.channels_last)[0],
    "every second class": lambda x: torch.stack([x, x + NAN], -1).flatten(2)[..., ::2],
    "inside of a larger one": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 4, 5, 6), value=NAN)[
        5:-6, 3:-4, 1:-2
    ],
    "requires_grad": lambda x: x.clone().requires_grad_(),
    "no leaf": lambda x: x.clone().requires_grad_() * 1,
    "a parameter": lambda x: torch.nn.Parameter(x.clone()),
    "a subclass": lambda x: x.clone().as_subclass(Named),
    "a lazy clone": torch._lazy_clone,
    "its own negative": lambda x: torch._neg_view(-x).resolve_neg(),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scores_of_every_dtype_and_layout(dtype, layout, axis):
    x = numbers(4, 5, 7, dtype=dtype)
    truth = true_log_softmax(x, axis)
    given = LAYOUTS[layout](x)
    assert_near(softmax(given, torch.empty_like(x), axis, log=True), truth, 8)
    assert torch.equal(given, x)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_results_into_a_part_of_a_larger_tensor(dtype):
    x, whole = numbers(4, 7, dtype=dtype), torch.full((12, 30), 7.0, dtype=dtype)
    softmax(x, whole.T[3:17:2, 2:10:2].T)
    assert_near(whole[2:10:2, 3:17:2], np.exp(true_log_softmax(x, -1)), 8)
    whole[2:10:2, 3:17:2] = 7
    assert (whole == 7).all()


def test_in_place_and_of_a_leaf():
    x = numbers(4, 7).requires_grad_()
    truth = torch.softmax(x.detach().double(), -1)
    assert_near(softmax(x, x), truth, 3)


def test_rows_that_are_one_row():
    x = numbers(1, 7).expand(5, 7)
    assert_near(softmax(x, torch.empty(5, 7)), torch.softmax(x.double(), -1), 3)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_targets_of_every_integer_dtype(dtype):
    x, y = numbers(6, 5), torch.tensor([0, 4, 2, 1, 4, 3])
    truth = torch.nn.functional.cross_entropy(x.double(), y, reduction="none")
    losses = torch.empty(6)
    assert cross_entropy(x, y.to(dtype), losses=losses) == 0.0
    assert_near(losses, truth, 3)
    assert cross_entropy(x, y.to(dtype), scale=0.5) == pytest.approx(float(truth.sum()) / 2, rel=1e-6)
    assert core_calls.target_totals(y.to(dtype), 4) == (1, 0.0)
    assert core_calls.target_totals(y.to(dtype), 5, ignore_index=4) == (-1, 4.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dense", [False, True], ids=["index", "dense"])
def test_gradients_and_weights(dtype, dense):
    x = numbers(6, 5, dtype=dtype)
    y = torch.softmax(numbers(6, 5, seed=1), -1).to(dtype) if dense else torch.tensor([0, 4, 2, 1, 4, 3])
    each, rows = torch.rand(5, dtype=torch.float64) + 0.5, torch.rand(6, dtype=torch.float64)
    wide = x.double().clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(wide, y.double() if dense else y, each, reduction="none")
    (loss * rows).sum().backward()
    target = (y.double() if dense else torch.eye(5, dtype=torch.float64)[y]) * each * rows[:, None]
    expected = -(target.numpy() * true_log_softmax(x, -1)).sum(-1)
    grad, losses = torch.empty_like(x), torch.empty(6, dtype=torch.promote_types(dtype, torch.float32))
    cross_entropy(x, y, kind=1, losses=losses, grad=grad, weights=(each, rows))
    assert_near(losses, expected, 8)
    step = torch.finfo(dtype).eps
    assert torch.allclose(grad.double(), wide.grad, rtol=4 * step, atol=4 * step)
    if not dense:
        expected = float((each[y] * rows).sum())
        assert core_calls.target_totals(y, 5, class_weight=each, sample_weight=rows)[1] == pytest.approx(
            expected, rel=1e-15
        )


def test_row_statistics():
    x, y = numbers(6, 5), torch.tensor([0, 4, 2, 1, 4, 3])
    into = {"lse": torch.empty(6), "nll": torch.empty(6), "argmax": torch.empty(6, dtype=torch.int64)}
    into |= {"top_label": torch.empty(6, 2, dtype=torch.int64), "top_probability": torch.empty(6, 2)}
    row_stats(x, into, y, 2)
    truth = x.double()
    assert_near(into["lse"], torch.logsumexp(truth, -1), 3)
    assert_near(into["nll"], torch.nn.functional.cross_entropy(truth, y, reduction="none"), 3)
    assert torch.equal(into["argmax"], x.argmax(-1))
    best = torch.softmax(truth, -1).topk(2)
    assert torch.equal(into["top_label"], best.indices)
    assert_near(into["top_probability"], best.values, 3)


def test_excluded_classes():
    x, mask = numbers(6, 5), torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[:, 2] = True
    truth = torch.softmax(x.double().masked_fill(~mask, -torch.inf), -1)
    assert_near(softmax(x, torch.empty(6, 5), where=mask), truth, 3)


@pytest.mark.parametrize("log", [False, True], ids=["softmax", "log_softmax"])
def test_backward(log):
    wide = numbers(6, 5, dtype=torch.float64).requires_grad_()
    y, dy = (
        (torch.log_softmax if log else torch.softmax)(wide, -1),
        numbers(6, 5, dtype=torch.float64, seed=1),
    )
    y.backward(dy)
    dx = torch.empty(6, 5, dtype=torch.float64)
    core_calls.softmax_backward(dy, y, 1, dx, log=log)
    assert torch.allclose(dx, wide.grad, rtol=1e-14, atol=1e-14)


def test_tensors_and_arrays_together():
    x, y = numbers(6, 5, dtype=torch.bfloat16), np.array([0, 4, 2, 1, 4, 3])
    bits, losses = np.empty((6, 5), np.uint16), np.empty(6, np.float32)
    cross_entropy(x, y, kind=1, losses=losses, grad=bits)
    grad = torch.empty_like(x)
    cross_entropy(x, torch.from_numpy(y), kind=1, losses=torch.empty(6), grad=grad)
    assert torch.equal(torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16), grad)
    assert_near(
        torch.from_numpy(losses),
        torch.nn.functional.cross_entropy(x.double(), torch.from_numpy(y), reduction="none"),
        3,
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 2), (2, 0)])
def test_no_rows(shape):
    x = torch.empty(shape)
    softmax(x, torch.empty(shape), axis=len(shape) - 1) if shape[-1] else None
    assert cross_entropy(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)) == 0.0


def test_strides_that_are_not_used_may_be_anything():
    x = torch.tensor([5.0]).as_strided((1, 1), (2**61, 2**62))
    assert softmax(x, torch.empty(1, 1)).item() == 1.0
    empty = torch.empty(0).as_strided((0, 3, 4), (2**61, 2**61, 2**61))
    softmax(empty, torch.empty(0, 3, 4))


def test_as_many_axes_as_the_core_has():
    x = torch.arange(4.0).view(2, *(1,) * 62, 2)
    assert_near(softmax(x, torch.empty_like(x)), torch.softmax(x.double(), -1), 1)
    with pytest.raises(ValueError) as error:
        softmax(x[None], x[None].clone())
    assert str(error.value) == "scores: too many axes"


def test_no_reference_is_kept():
    x, out, y = numbers(4, 3), torch.empty(4, 3), torch.zeros(4, dtype=torch.int64)
    before = [sys.getrefcount(t) for t in (x, out, y)]
    for _ in range(100):
        softmax(x, out)
        cross_entropy(x, y, kind=1, grad=out)
        with pytest.raises(ValueError):
            softmax(x, out[:3])
    assert [sys.getrefcount(t) for t in (x, out, y)] == before


def test_a_subclass_that_changes_itself_when_asked():
    """Its shape is taken after its code has run."""
    x = torch.zeros(4, 3).as_subclass(Answering)
    with pytest.raises(ValueError) as error:
        softmax(x, torch.empty(4, 3), axis=1)
    assert str(error.value) == "out: not the scores' shape"


def test_a_result_that_leaves_the_dict_when_asked():
    """It is held until the end of the call."""
    x, into, shapes = numbers(4, 3), {}, []

    class Leaving(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            if function is torch.Tensor.is_neg:
                shapes.append(tuple(arguments[0].shape))
                into.clear()
                return False
            return super().__torch_function__(function, types, arguments, keywords or {})

    memory = torch.zeros(4)
    into["lse"] = memory.view(4).as_subclass(Leaving)
    assert row_stats(x, into) == {}
    assert shapes == [(4,)]
    assert_near(memory, torch.logsumexp(x.double(), -1), 3)


# --- memory that begins at any byte -------------------------------------------------------------------------


def misaligned(x, offset=1):
    """A copy of ``x``, of the same layout, whose elements lie ``offset`` bytes off their own alignment."""
    size = x.element_size()
    memory = bytearray(x.numel() * size + offset)
    copy = torch.frombuffer(memory, dtype=x.dtype, offset=offset).as_strided(x.shape, x.stride())
    copy.copy_(x)
    assert size == 1 or copy.data_ptr() % size
    return copy


def of_every_entry(place, x, axis):
    """Every result of the core for the scores ``x``, all its arguments in memory that ``place`` chooses."""
    rows, classes, wide = x.numel() // x.shape[axis], x.shape[axis], x.dtype == torch.float64
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(classes, (rows,), generator=generator)
    q, dy = (
        torch.softmax(numbers(*x.shape, seed=2).to(x.dtype), axis),
        numbers(*x.shape, dtype=x.dtype, seed=3),
    )
    mask = torch.rand(x.shape, generator=generator) < 0.9
    weights = [torch.rand(n, generator=generator, dtype=torch.float64) for n in (classes, rows)]
    narrow = torch.float64 if wide else torch.float32

    def new(shape, dtype):
        return place(torch.zeros(shape, dtype=dtype))

    places = [place(t) for t in (x, y, q, dy, mask, *weights)]
    x, y, q, dy, mask, class_weight, sample_weight = places
    found = [place(torch.zeros_like(torch.as_tensor(x))) for _ in range(7)]
    for out, log in zip(found[:2], (False, True), strict=True):
        core_calls.softmax(x, axis, out, log=log, where=mask, threads=2)
    for out, log in zip(found[2:4], (False, True), strict=True):
        core_calls.softmax_backward(dy, x, axis, out, log=log, threads=2)
    into = {name: new(rows, torch.float64) for name in ("rest", "gap", "mass", "spread", "square")}
    into |= {name: new(rows, narrow) for name in ("nll", "lse", "peak", "confidence")}
    into |= {name: new(rows, torch.int64) for name in ("argmax", "rank")}
    into |= {"top_label": new((rows, 3), torch.int64), "top_probability": new((rows, 3), narrow)}
    core_calls.row_stats(
        x,
        axis,
        targets=y,
        into=into,
        k=3,
        threads=2,
        class_weight=class_weight,
        sample_weight=sample_weight,
        on=0.9,
        off=0.01,
    )
    losses, peak, rest = new(rows, narrow), new(rows, narrow), new(rows, torch.float64)
    totals = [core_calls.target_totals(y, classes, class_weight=class_weight, sample_weight=sample_weight)]
    for kind, out, target in ((0, None, y), (1, found[4], y), (1, found[5], q), (2, None, q)):
        totals.append(
            core_calls.cross_entropy(
                x,
                axis,
                targets=target,
                dense=target is q,
                class_weight=class_weight,
                sample_weight=sample_weight,
                on=0.9,
                off=0.01,
                scale=0.5,
                kind=kind,
                grad=out,
                threads=2,
            )
        )
    for kind, out, each in ((0, None, losses), (1, found[6], None)):  # peak and rest: found, then known
        core_calls.cross_entropy(
            x,
            axis,
            targets=y,
            sample_weight=sample_weight,
            kind=kind,
            losses=each,
            grad=out,
            threads=2,
            peak=peak,
            rest=rest,
        )
    return [torch.as_tensor(t) for t in (*found, losses, peak, rest, *into.values())], totals


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 130), 1), ((300, 10), 1), ((7, 90), 0), ((3, 70000), 1)], ids=str
)
def test_memory_that_begins_at_any_byte(dtype, shape, axis):
    x = numbers(*shape, dtype=dtype)
    expected, totals = of_every_entry(lambda t: t.clone(), x, axis)
    placements = {"tensors": misaligned, "arrays": lambda t: misaligned(t).numpy()}
    if dtype == torch.bfloat16:  # NumPy has no name for it
        del placements["arrays"]
    for name, place in placements.items():
        found, sums = of_every_entry(place, x, axis)
        assert sums == totals, name
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)), name


@pytest.mark.parametrize(
    ("shape", "axis"), [((20, 70000), 1), ((10500, 100), 1), ((110000, 10), 1), ((10, 110000), 0)], ids=str
)
def test_large_results_in_memory_that_begins_at_any_byte(shape, axis):
    """Results of this size bypass the cache, by stores that need alignment."""
    x = numbers(*shape)
    out, plain = misaligned(torch.zeros(shape)), torch.empty(shape)
    assert torch.equal(softmax(x, out, axis), softmax(x, plain, axis))
    y = torch.zeros(x.numel() // shape[axis], dtype=torch.int64)
    for grad in (out, plain):
        core_calls.cross_entropy(x, axis, targets=y, kind=1, grad=grad)
    assert torch.equal(out, plain)
    assert torch.equal(ll.softmax(x, axis, out=out), ll.softmax(x, axis))


def test_records_whose_fields_lie_at_odd_strides():
    kind = np.dtype([("flag", np.int8), ("x", np.float64, (100,)), ("y", np.int64)])
    records = np.zeros(50, kind)
    records["x"] = numbers(50, 100, dtype=torch.float64).numpy()
    x, plain = records["x"], records["x"].copy()
    for axis in (0, 1):
        assert_same_bits(softmax(x, np.empty_like(plain), axis), softmax(plain, np.empty_like(plain), axis))
    softmax(plain, records["x"])
    assert_same_bits(records["x"].copy(), softmax(plain, np.empty_like(plain)))
    assert not records["flag"].any()
    assert not records["y"].any()


# --- what is refused ----------------------------------------------------------------------------------------


def shrunk():
    x = torch.zeros(4, 3)
    x.untyped_storage().resize_(0)
    return x


HIDDEN = "a tensor whose memory cannot be read from here"
NO_MEMORY = "a tensor without memory"
REFUSED = {
    "complex": (
        lambda: torch.zeros(4, 3, dtype=torch.complex64),
        "a tensor of unsupported dtype; DLPack calls it code 5 of 64 bits, 1 lanes",
    ),
    "float8": (
        lambda: torch.zeros(4, 3).to(torch.float8_e4m3fn),
        "a tensor of unsupported dtype; DLPack calls it code 10 of 8 bits, 1 lanes",
    ),
    "bits": (lambda: torch.empty(4, 3, dtype=torch.bits8), HIDDEN),
    "quantized": (lambda: torch.ops.aten._empty_affine_quantized([4, 3], dtype=torch.qint8), HIDDEN),
    "negative": (
        lambda: torch.zeros(4, 3, dtype=torch.complex64).conj().imag,
        "a tensor whose negation is still to be done; expected tensor.resolve_neg()",
    ),
    "sparse": (lambda: torch.eye(3).to_sparse(), HIDDEN),
    "meta": (lambda: torch.zeros(4, 3, device="meta"), HIDDEN),
    "zero": (lambda: torch._efficientzerotensor(4, 3), NO_MEMORY),
    "resized to nothing": (shrunk, NO_MEMORY),
    "wrapper": (lambda: Wrapper((4, 3)), NO_MEMORY),
    "list": (lambda: [[1.0, 2.0]], "list is neither an array nor a tensor of PyTorch 2.10 or later"),
    "none": (lambda: {}, "dict is neither an array nor a tensor of PyTorch 2.10 or later"),
    "type": (
        lambda: torch.Tensor,
        "torch._C._TensorMeta is neither an array nor a tensor of PyTorch 2.10 or later",
    ),
}


@pytest.mark.parametrize("which", REFUSED)
def test_what_has_no_memory_to_read(which):
    make, message = REFUSED[which]
    with pytest.raises(TypeError) as error:
        core_calls.softmax(make(), 1, torch.empty(4, 3))
    assert str(error.value).endswith(f"scores: {message}")
    out = torch.empty(4, 3)
    with pytest.raises(TypeError) as error:
        core_calls.softmax(out, 1, make())
    assert str(error.value) == f"out: {message}"
    with pytest.raises(TypeError) as error:
        row_stats(torch.zeros(4, 3), {"lse": make()})
    assert str(error.value) == f"lse: {message}"


def test_inside_of_a_transformation():
    """The tensors of vmap and grad stand for others."""

    def f(x):
        with pytest.raises(TypeError) as error:
            softmax(x, torch.empty(3))
        assert str(error.value) == f"scores: {HIDDEN}"
        assert "storage" in str(error.value.__cause__)
        return x.sum()

    torch.vmap(f)(torch.zeros(4, 3))
    torch.func.grad(f)(torch.zeros(3))


def test_the_checks_of_arrays_hold_for_tensors():
    x, out, y = torch.zeros(4, 3), torch.full((4, 3), 7.0), torch.zeros(4, dtype=torch.int64)
    for wrong, message in (
        ((x, 2, out), "axis: out of range"),
        ((x, -1, out), "axis: out of range"),
        ((x, 1, out[:3]), "out: not the scores' shape"),
        ((x, 1, out.T), "out: not the scores' shape"),
        ((x, 1, out.double()), "out: not the scores' dtype"),
        ((x.int(), 1, out), "scores: not floating point"),
        ((x[:, :0], 1, out[:, :0]), "scores: no classes"),
        ((torch.tensor(1.0), 0, out), "axis: out of range"),
    ):
        with pytest.raises(ValueError) as error:
            core_calls.softmax(*wrong)
        assert str(error.value) == message
    for mask, message in ((x > 0)[:3], "where: not the scores' shape"), (x.int(), "where: not boolean"):
        with pytest.raises(ValueError) as error:
            softmax(x, out, where=mask)
        assert str(error.value) == message
    for target in (y[:3], y.repeat(2)[::2], y.float()):
        with pytest.raises(ValueError) as error:
            cross_entropy(x, target, kind=1, grad=out)
        assert str(error.value) == "targets: not one contiguous integer a row"
    for losses in (torch.empty(3), torch.empty(4).double(), torch.empty(8)[::2]):
        with pytest.raises(ValueError) as error:
            cross_entropy(x, y, losses=losses)
        assert str(error.value) == "losses: wrong dtype, shape or layout"
    for weight in (torch.ones(3), torch.ones(4).double(), torch.ones(6).double()[::2]):
        with pytest.raises(ValueError) as error:
            cross_entropy(x, y, weights=(weight, None))
        assert str(error.value) == "class_weight: not contiguous float64 of the right length"
    assert (out == 7).all()


def run(code):
    environment = {**os.environ, "PYTHONPATH": SOURCE, "LASTLAYER_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_classes_that_pretend_to_be_tensors():
    """No function of a capsule is called on an object of another kind; nothing found wrong is remembered."""
    lines = run(
        """
        import datetime, sys, types
        import numpy as np
        from lastlayer import _core

        def attempt(x):
            try:
                _core.exp_f32(x, np.empty(3, np.float32))
            except TypeError as error:
                return str(error)

        def pretend(capsule):
            class Tensor:
                __dlpack_c_exchange_api__ = capsule
                def is_neg(self):
                    return False
            return Tensor

        found = []
        for capsule in (None, "text", 2**70, object(), datetime.datetime_CAPI):
            sys.modules["torch"] = types.SimpleNamespace(Tensor=pretend(capsule))
            found.append(attempt(sys.modules["torch"].Tensor()))
        for module in (None, types.SimpleNamespace(), types.SimpleNamespace(Tensor=7)):
            sys.modules["torch"] = module
            found.append(attempt(pretend(None)()))
        del sys.modules["torch"]
        print(set(found))

        import torch
        genuine = torch.Tensor.__dlpack_c_exchange_api__
        print(attempt(pretend(genuine)()))

        class Sub(torch.Tensor):
            __dlpack_c_exchange_api__ = datetime.datetime_CAPI
        print(attempt(torch.zeros(3).as_subclass(Sub)), attempt(torch.zeros(3)))

        sys.modules["torch"] = types.SimpleNamespace(Tensor=pretend("text"))
        print(attempt(torch.zeros(3)))
        """
    )
    message = "x: Tensor is neither an array nor a tensor of PyTorch 2.10 or later"
    assert lines == [str({message}), message, "None None", "None"]


def test_a_capsule_of_torch_on_a_class_that_is_no_tensor():
    """Even where such a class takes the place of torch.Tensor, torch's own function refuses its objects."""
    lines = run(
        """
        import sys, types
        import numpy as np, torch
        from lastlayer import _core

        class Tensor:
            __dlpack_c_exchange_api__ = torch.Tensor.__dlpack_c_exchange_api__
            is_neg = untyped_storage = storage_offset = lambda self: False

        sys.modules["torch"] = types.SimpleNamespace(Tensor=Tensor, UntypedStorage=torch.UntypedStorage)
        try:
            _core.exp_f32(Tensor(), np.empty(3, np.float32))
        except TypeError as error:
            print(error)
        """
    )
    assert lines == [f"x: {HIDDEN}"]


# A stand-in for torch.Tensor, whose exchange functions are written in Python: what torch itself never says.
PRODUCER = """
    import ctypes as c, sys, types
    import numpy as np
    from lastlayer import _core

    class View(c.Structure):
        _fields_ = [("data", c.c_void_p), ("device", c.c_int32), ("id", c.c_int32), ("axes", c.c_int32),
                    ("code", c.c_uint8), ("bits", c.c_uint8), ("lanes", c.c_uint16),
                    ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64)),
                    ("offset", c.c_uint64)]

    class Exchange(c.Structure):
        _fields_ = [("major", c.c_uint32), ("minor", c.c_uint32), ("older", c.c_void_p),
                    ("functions", c.c_void_p * 5)]

    numbers = (c.c_float * 8)(*range(8))
    kept = []

    def lengths(values):
        kept.append((c.c_int64 * max(len(values), 1))(*values))
        return kept[-1]

    @c.PYFUNCTYPE(c.c_int, c.py_object, c.POINTER(View))
    def view(tensor, out):
        out[0] = View(c.addressof(numbers), 1, 0, 1, 2, 32, 1, lengths([3]), lengths([1]), 0)
        for field, value in tensor.says.items():
            setattr(out[0], field, value)
        return 0

    new_capsule = c.pythonapi.PyCapsule_New
    new_capsule.restype, new_capsule.argtypes = c.py_object, [c.c_void_p, c.c_char_p, c.c_void_p]

    def capsule(exchange):
        kept.append(exchange)
        return new_capsule(c.addressof(exchange), b"dlpack_exchange_api", None)

    def exchange(major, function, older=None):
        address = c.cast(function, c.c_void_p).value if function else None
        return Exchange(major, 3, older and c.addressof(older), (None, None, None, address, None))

    class Tensor:
        def __init__(self, **says):
            self.says = says

        def is_neg(self):
            return False

        def storage_offset(self):
            return self.says.get("offset", 0) // 4

        def untyped_storage(self):
            return Storage()

    class Storage:
        def nbytes(self):
            return Tensor.bytes

    Tensor.bytes = 2**50
    sys.modules["torch"] = types.SimpleNamespace(Tensor=Tensor, UntypedStorage=Storage)

    def attempt(**says):
        out = np.zeros(3, np.float32)
        try:
            _core.softmax(Tensor(**says), 0, out, True, None, 1.0, 0.0, False)
        except (TypeError, ValueError) as error:
            return str(error)
        return [round(float(step), 4) for step in np.diff(out)]
"""


def test_what_another_producer_may_say():
    lines = run(
        PRODUCER
        + """
    Tensor.__dlpack_c_exchange_api__ = capsule(exchange(2, view))
    print(attempt())
    Tensor.__dlpack_c_exchange_api__ = capsule(exchange(1, None))
    print(attempt())
    old = exchange(1, view)
    kept.append(old)
    Tensor.__dlpack_c_exchange_api__ = capsule(exchange(2, None, old))
    print(attempt())
    print(attempt(offset=4, strides=lengths([2])))
    print(attempt(data=c.addressof(numbers) + 28, strides=lengths([-3])))
    print(attempt(strides=None))
    print(attempt(axes=2, shape=lengths([3, 1]), strides=None))
    print(attempt(device=2))
    print(attempt(lanes=2))
    print(attempt(axes=-1))
    print(attempt(axes=65))
    print(attempt(shape=lengths([-3])))
    print(attempt(axes=3, shape=lengths([2**40, 2**40, 2]), strides=lengths([0, 0, 0])))
    print(attempt(axes=3, shape=lengths([2**40, 2**40, 0]), strides=lengths([2**62, 2**62, 2**62])))
    print(attempt(data=None, offset=4))
    Tensor.bytes = 20
    print(attempt(offset=8), attempt(strides=lengths([2])), attempt(shape=lengths([0]), offset=40))
    print(attempt(offset=12))
    print(attempt(strides=lengths([3])))
    """
    )
    refused = "scores: Tensor is neither an array nor a tensor of PyTorch 2.10 or later"
    assert lines == [
        refused,
        refused,
        "[1.0, 1.0]",
        "[2.0, 2.0]",
        "[-3.0, -3.0]",
        "[1.0, 1.0]",
        "out: not the scores' shape",
        "scores: a tensor on DLPack device 2; expected one on the CPU",
        "scores: a tensor of unsupported dtype; DLPack calls it code 2 of 32 bits, 2 lanes",
        "scores: too many axes",
        "scores: too many axes",
        "scores: a negative length",
        "scores: too many elements",
        "out: not the scores' shape",
        "scores: a tensor without memory",
        "[1.0, 1.0] [2.0, 2.0] scores: no classes",
        "scores: a tensor whose storage was freed, or made smaller than it",
        "scores: a tensor whose storage was freed, or made smaller than it",
    ]


def test_torch_may_come_later_or_never():
    lines = run(
        """
        import sys
        import numpy as np
        from lastlayer import _core
        x = np.zeros((1, 3), np.float32)
        _core.softmax(x, 1, x, False, None, 1.0, 0.0, False)
        print("torch" in sys.modules)
        import torch
        x = torch.tensor([[0.0, 0.0]])
        _core.softmax(x, 1, x, False, None, 1.0, 0.0, False)
        print(x.tolist())
        """
    )
    assert lines == ["False", "[[0.5, 0.5]]"]


# --- threads ------------------------------------------------------------------------------------------------


def test_threads_of_one_call():
    """The same bits for any number, and the process's own number stays."""
    x, y = numbers(4000, 50), torch.arange(4000) % 50
    before = _core.get_num_threads()
    found = []
    for n in (0, 1, 2, 3, 64):
        grad = torch.empty_like(x)
        total = cross_entropy(x, y, kind=1, grad=grad, threads=n)
        found.append((total, grad.numpy(), softmax(x, torch.empty_like(x), threads=n).numpy()))
    for total, *arrays in found[1:]:
        assert total == found[0][0]
        for one, other in zip(arrays, found[0][1:], strict=True):
            assert_same_bits(one, other)
    assert _core.get_num_threads() == before


def test_a_negative_number_of_threads():
    x, y = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    for call in (
        lambda: softmax(x, torch.empty(4, 3), threads=-1),
        lambda: cross_entropy(x, y, threads=-1),
        lambda: core_calls.softmax_backward(x, x, 1, torch.empty(4, 3), threads=-1),
        lambda: core_calls.row_stats(x, 1, into={}, threads=-1),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == "threads: is negative"


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="this system does not list a process's threads"
)
def test_a_call_has_the_threads_that_it_asks_for():
    lines = run(
        """
        import os
        import numpy as np
        from lastlayer import _core
        x = np.zeros((4000, 100), np.float32)
        for threads in (0, 1, 3, 2):
            before = len(os.listdir("/proc/self/task"))
            _core.softmax(x, 1, x, False, None, 1.0, 0.0, False, threads)
            print(len(os.listdir("/proc/self/task")) - before)
        """
    )
    assert lines == ["0", "0", "2", "0"]


def test_many_callers_at_once():
    x, y = numbers(2000, 30, dtype=torch.bfloat16), torch.arange(2000) % 30
    expected = cross_entropy(x, y)
    wrong = []

    def caller():
        for _ in range(20):
            grad = torch.empty_like(x)
            if cross_entropy(x, y, kind=1, grad=grad, threads=2) != expected:
                wrong.append(grad)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


FREED = {
    "nothing is left": (lambda: torch.zeros(4, 3), 0, 48),
    "one byte is missing": (lambda: torch.zeros(4, 3), 47, 48),
    "of a view": (lambda: torch.zeros(9, 3)[5:], 107, 108),
    "of a transposed view": (lambda: torch.zeros(6, 8).mT[2:5, :4].mT, 115, 116),
    "of repeated rows": (lambda: torch.zeros(3).expand(4, 3), 11, 12),
}


@pytest.mark.parametrize("which", FREED)
def test_a_storage_that_is_smaller_than_its_tensor(which):
    """An error on every way to the memory; the core never reads behind the end of it."""
    make, left, needed = FREED[which]
    x, z, y = make(), torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    before = ll.softmax(x)
    x.untyped_storage().resize_(needed)
    assert ll.softmax(x).shape == before.shape  # just large enough
    x.untyped_storage().resize_(left)
    message = f"a tensor of shape (4, 3) has a storage of {left} bytes; expected at least {needed}; "
    uses = [
        lambda: ll.softmax(x),
        lambda: ll.logsumexp(x),
        lambda: ll.cross_entropy(x, y),
        lambda: ll.cross_entropy_grad(x, y)[1],
        lambda: ll.cross_entropy(z, x),
        lambda: ll.row_stats(x, y),
        lambda: ll.top_k(x, 2),
        lambda: ll.nll_loss(x, y),
        lambda: ll.linear_cross_entropy(x, z[:, :3], y),
        lambda: ll.linear_cross_entropy(z, x, y),
    ]
    uses += [] if which == "of repeated rows" else [lambda: ll.softmax(z, out=x)]
    for use in uses:
        with pytest.raises(ll.BackendError) as error:
            use()
        assert message in str(error.value)


def test_targets_whose_storage_was_freed():
    y = torch.zeros(4, dtype=torch.long)
    y.untyped_storage().resize_(8)
    for use in (
        lambda: ll.cross_entropy(torch.zeros(4, 3), y),
        lambda: ll.linear_cross_entropy(torch.zeros(4, 2), torch.zeros(3, 2), y),
    ):
        with pytest.raises(ll.BackendError, match="has a storage of 8 bytes; expected at least 32"):
            use()

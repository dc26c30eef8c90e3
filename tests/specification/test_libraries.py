"""Arrays of other libraries come back as their own kind, with the same numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from assertions import assert_ulp, raises
from backends import on

import lastlayer as ll


def _torch():
    return pytest.importorskip("torch").asarray


def _strict():
    return pytest.importorskip("array_api_strict").asarray


def _dask():
    array = pytest.importorskip("dask.array")
    return lambda x, **_: array.from_array(np.asarray(x), chunks=2)


LIBRARIES = {"torch": _torch, "array_api_strict": _strict, "dask": _dask}

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(4, 5, 3)) * 4).astype(np.float32)
Y = RNG.integers(0, 5, (4, 3))
SOFT = ll.softmax(RNG.normal(size=X.shape), 1).astype(np.float32)
EVERYTHING = {
    "axis": 1,
    "class_weight": np.asarray([1, 2, 0.5, 1, 0.25], np.float32),
    "sample_weight": np.ones((4, 3), np.float32) / 2,
    "label_smoothing": 0.1,
    "temperature": 1.5,
    "softcap": 10.0,
    "z_loss": 1e-3,
}


@pytest.fixture(params=LIBRARIES, scope="module")
def library(request):
    pytest.importorskip("array_api_compat")
    return LIBRARIES[request.param]()


def same(found, expected, like):
    assert type(found) is type(like)
    found = np.asarray(found)
    assert found.dtype == expected.dtype
    if found.dtype.kind in "bi":
        assert (found == expected).all()
    else:
        assert_ulp(found, expected, 6, scale=np.maximum(np.abs(expected), 1e-3))


def test_losses(library):
    x, y, soft = library(X), library(Y), library(SOFT)
    for targets, ours in ((y, Y), (soft, SOFT)):
        for reduction in ("mean", "sum", "none"):
            options = EVERYTHING | {"reduction": reduction}
            theirs = options | {k: library(options[k]) for k in ("class_weight", "sample_weight")}
            for found, expected in zip(
                ll.cross_entropy_grad(x, targets, **theirs),
                ll.cross_entropy_grad(X, ours, **options),
                strict=True,
            ):
                same(found, expected, x)
            same(ll.cross_entropy(x, targets, **theirs), ll.cross_entropy(X, ours, **options), x)
    same(ll.log_loss(soft, y, axis=1), ll.log_loss(SOFT, Y, axis=1), x)
    same(ll.nll_loss(x, y, axis=1), ll.nll_loss(X, Y, axis=1), x)
    same(ll.cross_entropy(x, Y, axis=1), ll.cross_entropy(X, Y, axis=1), x)  # targets may be NumPy's


@pytest.mark.filterwarnings(
    "ignore:invalid value:RuntimeWarning"
)  # dask computes later, in threads of its own
def test_softmax_family(library):
    x, where = library(X), X > -2
    mask = library(where)
    for axis in (-1, 0, (0, 2), None):
        for function in (ll.softmax, ll.log_softmax):
            same(function(x, axis, where=mask), function(X, axis, where=where), x)
        same(ll.logsumexp(x, axis, where=mask), ll.logsumexp(X, axis, where=where), x)
        same(ll.logsumexp(x, axis, keepdims=True), ll.logsumexp(X, axis, keepdims=True), x)


def test_rows(library):
    x, y = library(X), library(Y)
    found, expected = ll.row_stats(x, y, axis=1), ll.row_stats(X, Y, axis=1)
    for name in ("lse", "nll", "entropy", "confidence", "sum_p2", "correct", "rank", "argmax"):
        same(getattr(found, name), getattr(expected, name), x)
    for found, expected in (
        (ll.top_k(x, 3, axis=1), ll.top_k(X, 3, axis=1)),
        (ll.predict(x, axis=1), ll.predict(X, axis=1)),
    ):
        for a, b in zip(found, expected, strict=True):
            same(a, b, x)


def test_wrong_calls_are_as_loud(library):
    with raises(
        ll.TargetError,
        "cross_entropy: targets[0, 0] is 5; expected a class in [0, 5) or ignore_index=-100; "
        "labels start at 1? subtract 1",
    ):
        ll.cross_entropy(library(X), library(np.full((4, 3), 5)), axis=1)
    soft = library(SOFT)
    remedy = "write targets.long()" if type(soft).__module__ == "torch" else "convert them to int64"
    with raises(
        ll.DtypeError,
        f"cross_entropy: targets is of dtype {soft.dtype}; expected integers as class indices; {remedy}",
    ):
        ll.cross_entropy(library(X), library(SOFT[:, 0]), axis=1)
    with raises(
        ll.OptionError, "cross_entropy: class_weight[1] is -1.0; expected a finite weight, 0 or more"
    ):
        ll.cross_entropy(library(X), library(Y), axis=1, class_weight=[0, -1, 0, 0, 0])
    with raises(ll.OptionError, "cross_entropy: temperature is 0.0; expected a finite number above 0"):
        ll.cross_entropy(library(X), library(Y), axis=1, temperature=0.0)


def test_integer_logits_become_the_default_float(library):
    x = library(np.asarray([[1, 2, 3]]))
    assert ll.softmax(x).dtype == library([0.5]).dtype


def test_bfloat16_of_torch():
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.bfloat16)
    assert ll.softmax(x).dtype == torch.bfloat16
    loss, gradient = ll.cross_entropy_grad(x, torch.tensor([2]))
    assert (loss.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert_ulp(loss.numpy(), ll.cross_entropy([[1.0, 2.0, 4.0]], [2]), 1)


def test_mixed_libraries():
    torch = pytest.importorskip("torch")
    strict = pytest.importorskip("array_api_strict")
    text = "cross_entropy: targets is a array_api_strict array; expected a torch array, as logits is"
    with raises(ll.DtypeError, text):
        ll.cross_entropy(torch.zeros(2, 3), strict.asarray([0, 1]))


def test_without_array_api_compat(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    text = (
        "softmax: an argument is a torch.Tensor; expected a NumPy array, or array-api-compat to be installed "
        "(pip install array-api-compat)"
    )
    with raises(ll.BackendError, text), on("reference"):
        ll.softmax(torch.zeros(3))
    assert ll.softmax(torch.zeros(2)).tolist() == [0.5, 0.5]  # the core reads tensors without it


class OnlyDLPack:
    """An array that nothing but DLPack can read."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_objects_that_offer_only_dlpack():
    z, y, w = np.arange(6.0).reshape(2, 3), np.array([1, 0]), np.array([1.0, 2.0, 3.0])
    given = OnlyDLPack(z), OnlyDLPack(y)
    expected = ll.cross_entropy(z, y, class_weight=w)
    assert ll.cross_entropy(*given, class_weight=OnlyDLPack(w)) == expected
    assert ll.softmax(given[0]).tolist() == ll.softmax(z).tolist()
    x = ll.linear_cross_entropy(given[0], OnlyDLPack(z), OnlyDLPack(y))
    assert x == ll.linear_cross_entropy(z, z, y)
    assert ll.check(*given) == ll.check(z, y)


def test_tensors_among_arrays_say_what_to_write():
    torch = pytest.importorskip("torch")
    z, half, learned = np.zeros((2, 2)), torch.zeros(2).bfloat16(), torch.zeros(2, 2, requires_grad=True)
    for call, text in (
        (lambda: ll.cross_entropy(z, learned), "is a tensor that requires grad; {}; write targets.detach()"),
        (
            lambda: ll.cross_entropy(z, half),
            "is a tensor of torch.bfloat16 on cpu; {}; write targets.float()",
        ),
        (lambda: ll.cross_entropy(z, [half, half]), "is a list of tensors; {}; write torch.stack(targets)"),
        (
            lambda: ll.cross_entropy(torch.zeros(2, 2), [half] * 2),
            "is a list of tensors; {}; write torch.stack(targets)",
        ),
    ):
        with pytest.raises(ll.DtypeError) as caught:
            call()
        assert str(caught.value) == "cross_entropy: targets " + text.format("expected an array of numbers")


def test_floats_of_8_bits_are_named():
    torch = pytest.importorskip("torch")
    x = torch.zeros(2, 3).to(torch.float8_e4m3fn)
    rule = "is of dtype torch.float8_e4m3fn; expected float16, bfloat16, float32"
    for call in (lambda: ll.softmax(x), lambda: ll.row_stats(x), lambda: ll.linear_row_stats(x, x)):
        with pytest.raises(ll.DtypeError, match=rule):
            call()


def test_integers_take_the_default_float_of_their_library():
    torch = pytest.importorskip("torch")
    assert ll.softmax(np.array([1, 2])).dtype == np.float64
    assert ll.softmax(torch.tensor([1, 2])).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert ll.logsumexp(torch.tensor([True, False])).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)

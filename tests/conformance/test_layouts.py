"""Where arrays lie in memory, on every backend: strides, axes, alignment, byte order, out= with guards."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
from assertions import assert_same_bits, assert_ulp, near, unchanged
from cases import DTYPES, INDEX_DTYPES, LAYOUTS, guarded, loss_dtype

import lastlayer as ll

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)

# Class axis first, in the middle, last; few classes and more than a vector.
SHAPES = [
    ((5,), 0),
    ((4, 3), 1),
    ((3, 4), 0),
    ((19, 10), -1),
    ((10, 19), 0),
    ((2, 3, 5), 1),
    ((2, 21, 3, 7), 1),
    ((2, 3, 33), 2),
    ((70, 2), 1),
    ((2, 70), 0),
    ((6, 1), 1),
    ((1, 300), 1),
    ((3, 130, 17), 1),
]
each_shape = pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)


def rows_of(shape, axis):
    return tuple(n for i, n in enumerate(shape) if i != axis % len(shape))


def problem(shape, axis, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 4).astype(dtype)
    return x, np.asarray(rng.integers(0, shape[axis], rows_of(shape, axis)))


def everything(x, y, axis, soft):
    """What each function says of a problem."""
    stats = ll.row_stats(x, y, axis=axis)
    p = ll.softmax(x, axis)
    return {
        "softmax": p,
        "log_softmax": ll.log_softmax(x, axis),
        "logsumexp": ll.logsumexp(x, axis),
        "losses": ll.cross_entropy(x, y, axis=axis, reduction="none"),
        "gradient": ll.cross_entropy_grad(x, y, axis=axis)[1],
        "soft losses": ll.cross_entropy(x, soft, axis=axis, reduction="none"),
        "soft gradient": ll.cross_entropy_grad(x, soft, axis=axis)[1],
        "log_loss": ll.log_loss(soft, y, axis=axis, reduction="none"),
        "nll_loss": ll.nll_loss(soft, soft, axis=axis, reduction="none"),
        "nll": stats.nll,
        "rank": stats.rank,
        "argmax": stats.argmax,
        "confidence": stats.confidence,
        "labels": ll.top_k(x, 1, axis=axis)[0],
    }


@each_shape
@each_dtype
def test_every_layout_gives_the_same(backend, shape, axis, dtype):
    """And inputs are not written to; the plain, contiguous case is checked against the oracle."""
    x, y = problem(shape, axis, dtype)
    soft = ll.softmax((np.random.default_rng(1).normal(size=shape)).astype(dtype), axis)
    plain = everything(x, y, axis, soft)
    true = oracle.truth(x, y, axis=axis, exact=False)
    wide = loss_dtype(dtype)
    near(backend, plain["softmax"], true.softmax, 3, what="softmax")
    near(backend, plain["log_softmax"], true.log_softmax, 3, what="log_softmax")
    near(backend, plain["logsumexp"], true.lse, 1 if wide == np.float32 else 2, scale=true.peak, what="lse")
    near(backend, plain["losses"], true.losses, 3, what="losses")
    near(backend, plain["gradient"], true.gradient, 3, scale=true.gradient_size, what="gradient")
    assert (plain["argmax"] == x.astype(np.float64).argmax(axis)).all()
    for name, arrange in LAYOUTS.items():
        ours = arrange(x), arrange(y), arrange(soft)
        with unchanged(*ours):
            found = everything(ours[0], ours[1], axis, ours[2])
        for key, value in found.items():
            if value.dtype.kind == "i":
                assert (value == plain[key]).all(), (name, key)
            else:
                other = plain[key].astype(np.longdouble)  # each is within 3 or 4 of the truth
                assert_ulp(value, other, 8, what=f"{name} {key}", scale=size_of(plain, key))


def size_of(plain, key):
    """What the error of a result is measured against, where that is not itself."""
    if "gradient" in key:
        return plain["softmax"].astype(np.longdouble) / max(1, plain["losses"].size)
    return np.abs(plain[key].astype(np.longdouble)) + 1 if key == "logsumexp" else None


@each_shape
@pytest.mark.parametrize("function", [ll.softmax, ll.log_softmax])
@pytest.mark.parametrize("dtype", [np.float32, DTYPES[1], np.float64], ids=str)
def test_out(backend, shape, axis, function, dtype):
    x, _ = problem(shape, axis, dtype)
    expected = function(x, axis)
    for steps in itertools.chain(
        [[1] * len(shape)], ([2 if j == i else 1 for j in range(len(shape))] for i in range(len(shape)))
    ):
        buffer = guarded(shape, x.dtype, steps)
        with unchanged(x):
            assert function(x, axis, out=buffer.view) is buffer.view
        buffer.check()
        assert_ulp(buffer.view, expected.astype(np.longdouble), 3)
    place = x.copy()
    assert function(place, axis, out=place) is place
    assert_ulp(place, expected.astype(np.longdouble), 3)
    buffer = guarded(shape, x.dtype, [2] * len(shape))
    buffer.view[...] = x
    assert function(buffer.view, axis, out=buffer.view) is buffer.view
    buffer.check()
    assert_ulp(buffer.view, expected.astype(np.longdouble), 3)
    turned = np.asfortranarray(np.zeros(shape, x.dtype))
    function(x, axis, out=turned)
    assert_ulp(turned, expected.astype(np.longdouble), 3)


@pytest.mark.parametrize("shift", [1, 2, 7, 40])
def test_out_may_overlap_the_input(backend, shift):
    for forward in (True, False):
        buffer = np.random.default_rng(0).normal(size=400 + shift).astype(np.float32)
        x, out = buffer[:400].reshape(40, 10), buffer[shift:].reshape(40, 10)
        if not forward:
            x, out = out, x
        expected = ll.softmax(x.copy())
        ll.softmax(x, out=out)
        assert_same_bits(out.copy(), expected)
    square = np.random.default_rng(0).normal(size=(12, 12))
    expected = ll.softmax(square.copy())
    ll.softmax(square, out=square.T)
    assert_ulp(square.T, expected, 3)


def test_out_in_foreign_byte_order_or_misaligned(backend):
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    expected = ll.softmax(x)
    for arrange in (LAYOUTS["byte-swapped"], LAYOUTS["misaligned"]):
        out = arrange(np.zeros_like(x))
        assert ll.softmax(x, out=out) is out
        assert_same_bits(out.astype(np.float32), expected)
        place = arrange(x)
        ll.softmax(place, out=place)
        assert_same_bits(place.astype(np.float32), expected)


@pytest.mark.parametrize("dtype", INDEX_DTYPES, ids=str)
def test_every_integer_dtype_of_targets(backend, dtype):
    x, y = problem((7, 3, 9), 1, np.float32)
    y[2, 5] = 2
    weight = np.asarray([0.5, 1, 2], np.float32)
    for arrange in LAYOUTS.values():
        targets = arrange(y.astype(dtype))
        found = ll.cross_entropy_grad(x, targets, axis=1)
        truth = oracle.truth(x, y, axis=1, exact=False)
        assert_ulp(found[1], truth.gradient, 3, scale=truth.gradient_size)
        assert_ulp(ll.cross_entropy(x, targets, axis=1), truth.loss, 3)
        weighted = oracle.truth(x, y, axis=1, class_weight=weight, ignore_index=2, exact=False)
        found = ll.cross_entropy(x, targets, axis=1, class_weight=weight, ignore_index=2)
        assert_ulp(found, weighted.loss, 3)


@pytest.mark.parametrize("dtype", INDEX_DTYPES, ids=str)
def test_an_index_out_of_range_is_found_in_every_dtype(backend, dtype):
    info = np.iinfo(dtype)
    x = np.zeros((3, 2, 5), np.float32)
    for bad in {3, info.max, info.min if info.min < 0 else 3, -1 if info.min < 0 else info.max - 99}:
        targets = np.ones((2, 5), dtype)
        targets[1, 2] = bad
        for arranged in (arrange(targets) for arrange in LAYOUTS.values()):
            with pytest.raises(
                ll.TargetError,
                match=rf"^cross_entropy: targets\[1, 2\] is {bad}; expected a class in \[0, 3\)",
            ):
                ll.cross_entropy(x, arranged, axis=0)
        if bad >= 2**63:
            continue
        assert ll.cross_entropy(x, targets, axis=0, ignore_index=bad) == ll.cross_entropy(
            x, targets * 0, axis=0
        )


def test_an_unsigned_index_is_never_taken_for_a_negative_one(backend):
    targets = np.asarray([0, 2**64 - 100], np.uint64)
    with pytest.raises(ll.TargetError, match=rf"targets\[1\] is {2**64 - 100};"):
        ll.cross_entropy(np.zeros((2, 3)), targets)


@pytest.mark.parametrize(
    "kind", [bool, np.int8, np.int32, np.uint64, np.float16, DTYPES[1], np.float32, np.float64]
)
def test_every_dtype_of_dense_targets(backend, kind):
    for shape, axis in (((6, 4), 1), ((4, 6), 0), ((2, 40, 3), 1), ((3, 1000), 1)):
        x, y = problem(shape, axis, np.float32)
        hot = np.moveaxis(np.eye(shape[axis])[y], -1, axis).astype(kind)
        plain = oracle.truth(x, y, axis=axis, exact=False)
        for arrange in LAYOUTS.values():
            loss, gradient = ll.cross_entropy_grad(x, arrange(hot), axis=axis)
            assert_ulp(loss, plain.loss, 3)
            assert_ulp(gradient, plain.gradient, 3, scale=plain.gradient_size)
            assert_ulp(ll.cross_entropy(x, arrange(hot), axis=axis, reduction="none"), plain.losses, 3)


@pytest.mark.parametrize("axis", [None, (0, 1), (1, 2), (-1, 0), (2,), 1, (2, 1, 0)])
def test_several_class_axes(backend, axis):
    x = (np.random.default_rng(0).normal(size=(3, 4, 5)) * 3).astype(np.float32)
    where = np.random.default_rng(1).random((4, 5)) < 0.7
    axes = tuple(range(3)) if axis is None else axis
    for mask in (None, where):
        e = np.exp(x.astype(np.longdouble)) * (1 if mask is None else mask)
        total = e.sum(axes, keepdims=True)
        p = e / total
        assert_ulp(ll.softmax(x, axis, where=mask), p, 3)
        with np.errstate(divide="ignore"):
            assert_ulp(ll.log_softmax(x, axis, where=mask), np.log(p), 3)
        kept = ll.logsumexp(x, axis, where=mask, keepdims=True)
        assert_ulp(kept, np.log(total), 3)
        assert_same_bits(ll.logsumexp(x, axis, where=mask), np.squeeze(kept, axes)[()])
        buffer = guarded(x.shape, x.dtype)
        assert ll.softmax(x, axis, where=mask, out=buffer.view) is buffer.view
        buffer.check()
        assert_ulp(buffer.view, p, 3)


@pytest.mark.parametrize(("shape", "axis"), [((0, 3), 1), ((3, 0), 0), ((2, 0, 4), 2), ((0, 5, 0), 1)])
def test_no_rows(backend, shape, axis):
    x = np.empty(shape, np.float32)
    rows = rows_of(shape, axis)
    assert ll.softmax(x, axis).shape == shape
    assert ll.log_softmax(x, axis).shape == shape
    assert ll.logsumexp(x, axis).shape == rows
    loss, gradient = ll.cross_entropy_grad(x, np.empty(rows, np.int64), axis=axis)
    assert (float(loss), gradient.shape) == (0.0, shape)
    assert ll.cross_entropy(x, np.empty(rows, np.int8), axis=axis, reduction="none").shape == rows
    assert ll.row_stats(x, axis=axis).lse.shape == rows
    assert ll.top_k(x, 2, axis=axis)[0].shape == (*rows, 2)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.int64])
def test_integer_logits(backend, kind):
    x = np.asarray([[0, 1, 1], [1, 0, 1]]).astype(kind)
    assert_same_bits(ll.softmax(x), ll.softmax(x.astype(np.float64)))
    assert ll.cross_entropy(x, [0, 1]).dtype == np.float64


def test_a_broadcast_view(backend):
    row = np.asarray([0.5, 2, 1], np.float32)
    x, y = np.broadcast_to(row, (9, 3)), np.broadcast_to(np.asarray(1), 9)
    assert_ulp(ll.softmax(x), np.tile(ll.softmax(row), (9, 1)), 0)
    weight = np.broadcast_to(np.float32(2), (9,))
    assert_ulp(ll.cross_entropy(x, y, sample_weight=weight), ll.cross_entropy(row, 1), 1)
    assert_ulp(ll.cross_entropy(x, y, class_weight=np.broadcast_to(2.0, 3)), ll.cross_entropy(row, 1), 1)


@pytest.mark.parametrize(("rows", "classes", "k"), [(3, 2000, 2000), (2, 70, 66), (40, 12, 12), (2, 3000, 7)])
def test_top_k_of_any_size_is_a_stable_sort(backend, rows, classes, k):
    scores = np.random.default_rng(k).integers(-40, 40, (rows, classes)).astype(np.float32)  # many ties
    labels, probabilities = ll.top_k(scores, k)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(labels, order)
    assert_ulp(probabilities, np.take_along_axis(ll.softmax(scores.astype(np.float64)), order, 1), 3)


@pytest.mark.parametrize("k", [1, 2, 16, 17, 33, 100, 254])
@pytest.mark.parametrize("classes", [255, 1023, 1024, 1087, 4099])
def test_top_k_of_long_rows(backend, classes, k):
    """Ascending rows, where each class is the best so far; descending ones; few possible classes; ties."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(9, classes)).astype(np.float32)
    x[0], x[1] = np.arange(classes), -np.arange(classes)
    x[2], x[3] = -np.inf, 1
    x[4, 7:] = -np.inf
    x[5, ::3] = 5
    x[6, rng.integers(0, classes, 40)] = np.nan
    x[7] = -np.inf
    x[7, -1] = 3
    labels, _ = ll.top_k(x, k)
    x[6] = np.nan
    order = np.argsort(-x, axis=1, kind="stable")[:, :k]
    order[6] = -1
    np.testing.assert_array_equal(labels, order)


SHARED = {
    "a stride of 0": lambda: np.lib.stride_tricks.as_strided(np.zeros(3), (4, 3), (0, 8)),
    "windows": lambda: np.lib.stride_tricks.as_strided(np.zeros(6), (4, 3), (8, 8)),
    "part of an element": lambda: np.lib.stride_tricks.as_strided(np.zeros(12), (4, 3), (20, 4)),
    "backwards": lambda: np.lib.stride_tricks.as_strided(np.zeros(9)[8:], (4, 3), (-8, -16)),
}


@pytest.mark.parametrize("which", SHARED)
@pytest.mark.parametrize("axis", [1, (0, 1)])
def test_out_whose_elements_share_memory(which, axis):
    out = SHARED[which]()
    for x in (out, np.ones((4, 3))):
        with pytest.raises(
            ll.OptionError, match="so some of its elements share memory; expected a place for"
        ):
            ll.softmax(x, axis, out=out)
    assert not out.any()


def test_out_with_strides_that_interleave():
    """No two elements share memory, though no axis spans the others."""
    out = np.lib.stride_tricks.as_strided(np.zeros(12), (2, 3), (24, 16))
    x = np.random.default_rng(0).normal(size=(2, 3))
    assert_same_bits(ll.softmax(x, out=out), ll.softmax(x))


@pytest.mark.parametrize(
    ("shape", "axis", "rows"), [((2, 0), 1, (2,)), ((0, 3), 0, (3,)), ((2, 0), None, ()), ((0, 0), 1, (0,))]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_classes(backend, shape, axis, rows, dtype):
    """Softmax of no class is empty, and the sum of no exponentials 0; what predicts a class is an error."""
    x = np.empty(shape, dtype)
    for p in (ll.softmax(x, axis), ll.log_softmax(x, axis, temperature=2.0)):
        assert (p.shape, p.dtype) == (shape, dtype)
    lse = ll.logsumexp(x, axis)
    assert (lse.shape, lse.dtype) == (rows, dtype)
    assert (lse == -np.inf).all()
    assert ll.softmax(x, axis, out=x) is x
    if axis is not None and x.shape[axis] == 0:
        for call in (ll.predict, ll.row_stats, lambda x, axis: ll.top_k(x, 1, axis=axis)):
            with pytest.raises(ll.ShapeError, match="expected at least one class"):
                call(x, axis=axis)


def test_a_number_with_all_its_axes(backend):
    """One class, as in SciPy."""
    assert ll.softmax(3.0, None) == 1.0
    assert ll.log_softmax(3.0, None) == 0.0
    assert ll.logsumexp(3.0, None) == ll.logsumexp(np.float64(3.0), None, keepdims=True) == 3.0
    assert ll.softmax(np.float32(3.0), None).dtype == np.float32
    assert ll.softmax(3.0, None, where=False) == 0.0


def test_out_in_a_memory_map(backend, tmp_path):
    x = np.arange(6.0).reshape(2, 3)
    out = np.memmap(tmp_path / "out", x.dtype, "w+", shape=x.shape)
    expected = ll.softmax(x)
    assert ll.softmax(x, out=out) is out
    assert (np.fromfile(tmp_path / "out").reshape(2, 3) == expected).all()
    out[:] = x
    assert ll.softmax(out, out=out) is out
    assert (out == expected).all()
    assert ll.log_softmax(x, None, out=out) is out
    assert (out == ll.log_softmax(x, None)).all()

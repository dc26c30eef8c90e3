"""The drop-ins take what PyTorch takes, by its signatures, and give its results; their own options work."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")

import lastlayer.torch as ours  # noqa: E402

F = torch.nn.functional
nan, inf = math.nan, math.inf
DOUBLE = {"rtol": 1e-12, "atol": 1e-13}
SHAPES = [(5,), (7, 5), (3, 5, 4), (2, 5, 3, 2), (2, 5, 1, 2, 3)]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def logits(*shape, dtype=torch.float64):
    return (torch.randn(shape, dtype=torch.float64) * 3).to(dtype)


def classes(shape, count=5):
    return torch.randint(0, count, shape[:1] * (len(shape) > 1) + shape[2:])


# --- signatures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy", "nll_loss"])
def test_the_signature_is_pytorchs_and_more_by_keyword(name):
    theirs = list(inspect.signature(getattr(F, name)).parameters.values())
    mine = list(inspect.signature(getattr(ours, name)).parameters.values())
    for a, b in zip(theirs, mine[: len(theirs)], strict=True):
        assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in mine[len(theirs) :])


# --- losses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_combination_of_pytorchs_options(shape, kind, reduction):
    x, weight = logits(*shape), torch.rand(5, dtype=torch.float64)
    target = classes(shape) if kind == "indices" else logits(*shape).softmax(1 if len(shape) > 1 else 0)
    ignored = (-100, 2) if kind == "indices" and len(shape) > 1 else (-100, -7)
    for w, e, i in itertools.product((None, weight), (0.0, 0.1), ignored):
        options = {"weight": w, "ignore_index": i, "reduction": reduction}
        found = ours.cross_entropy(x, target, label_smoothing=e, **options)
        torch.testing.assert_close(found, F.cross_entropy(x, target, label_smoothing=e, **options), **DOUBLE)
        if kind == "indices":
            log_p = x.log_softmax(1 if len(shape) > 1 else 0)
            found = ours.nll_loss(log_p, target, **options)
            torch.testing.assert_close(found, F.nll_loss(log_p, target, **options), **DOUBLE)


def test_arguments_by_position():
    x, y, w = logits(4, 5), classes((4, 5)), torch.rand(5, dtype=torch.float64)
    torch.testing.assert_close(
        ours.cross_entropy(x, y, w, None, 1, None, "sum", 0.2),
        F.cross_entropy(x, y, w, None, 1, None, "sum", 0.2),
        **DOUBLE,
    )
    torch.testing.assert_close(
        ours.nll_loss(x, y, w, None, 1, None, "sum"), F.nll_loss(x, y, w, None, 1, None, "sum"), **DOUBLE
    )


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_the_deprecated_names_of_reductions(size_average, reduce):
    x, y = logits(4, 5), classes((4, 5))
    if size_average is None and reduce is None:
        options = {"reduction": "elementwise_mean"}
    else:
        options = {"size_average": size_average, "reduce": reduce, "reduction": "ignored"}
    for name in ("cross_entropy", "nll_loss"):
        with pytest.warns(UserWarning, match="deprecated"):
            expected = getattr(F, name)(x, y, **options)
        with pytest.warns(UserWarning, match="write reduction='") as warned:
            found = getattr(ours, name)(x, y, **options)
        assert [w.filename for w in warned] == [__file__]
        torch.testing.assert_close(found, expected, **DOUBLE)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_targets_of_any_integer_dtype(dtype):
    x, y = logits(4, 5), torch.tensor([0, 4, 2, 2])
    torch.testing.assert_close(ours.cross_entropy(x, y.to(dtype)), F.cross_entropy(x, y), **DOUBLE)


def test_one_hot_integers_are_probabilities():
    x, y = logits(4, 5), classes((4, 5))
    torch.testing.assert_close(
        ours.cross_entropy(x, F.one_hot(y, 5)), F.cross_entropy(x, F.one_hot(y, 5).double()), **DOUBLE
    )


def test_a_lone_row_takes_a_target_of_length_one():
    x, y = logits(5), torch.tensor([3])
    torch.testing.assert_close(ours.cross_entropy(x, y), F.cross_entropy(x, y), **DOUBLE)
    torch.testing.assert_close(ours.nll_loss(x, y), F.nll_loss(x, y), **DOUBLE)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_negative_weights_reward_as_in_pytorch(reduction, kind):
    x, w = logits(6, 5).requires_grad_(), torch.tensor([1.0, -2, 0.5, -0.25, 3], dtype=torch.float64)
    y = classes((6, 5)) if kind == "indices" else logits(6, 5).softmax(1)
    options = {"weight": w, "reduction": reduction, "label_smoothing": 0.1}
    options |= {"ignore_index": 1} if kind == "indices" else {}
    found, expected = ours.cross_entropy(x, y, **options), F.cross_entropy(x, y, **options)
    torch.testing.assert_close(found, expected, **DOUBLE)
    found, expected = (torch.autograd.grad(loss.sum(), x)[0] for loss in (found, expected))
    torch.testing.assert_close(found, expected, **DOUBLE)


def test_negative_weights_with_every_further_option():
    x, y, w = logits(6, 5), classes((6, 5)), torch.tensor([1.0, -2, 0.5, -0.25, 3], dtype=torch.float64)
    s = torch.rand(6, dtype=torch.float64)
    options = {"sample_weight": s, "z_loss": 0.1, "temperature": 2.0}
    lse = torch.logsumexp(x / 2, 1)
    rows = s * F.cross_entropy(x / 2, y, w, reduction="none") + 0.1 * s * lse**2
    torch.testing.assert_close(ours.cross_entropy(x, y, w, reduction="none", **options), rows, **DOUBLE)
    found = ours.cross_entropy(x, y, w, **options)
    torch.testing.assert_close(found, rows.sum() / (s * w[y]).sum(), **DOUBLE)
    found = ours.cross_entropy(x, y, w, denominator=7, **options)
    torch.testing.assert_close(found, rows.sum() / 7, **DOUBLE)
    for other in (y.byte(), y.tolist()):
        torch.testing.assert_close(ours.cross_entropy(x, other, w), F.cross_entropy(x, y, w), **DOUBLE)
    torch.testing.assert_close(
        ours.cross_entropy(x, y, w, ignore_index=None), F.cross_entropy(x, y, w), **DOUBLE
    )


def test_negative_weights_have_gradients_where_they_are_zero():
    x, y = logits(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    w = torch.tensor([1.0, 0, -2], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(ours.cross_entropy(x, y, w, reduction="sum"), w)[0]
    rows = F.cross_entropy(x, y, reduction="none")
    torch.testing.assert_close(found, rows.reshape(3, 2).sum(1), **DOUBLE)


def test_further_options():
    x, y, s = logits(6, 5), classes((6, 5)), torch.rand(6, dtype=torch.float64)
    z = 4 * torch.tanh(x / 4) / 2
    rows = s * (F.cross_entropy(z, y, reduction="none") + 0.1 * torch.logsumexp(z, 1) ** 2)
    options = {"sample_weight": s, "softcap": 4.0, "temperature": 2.0, "z_loss": 0.1}
    torch.testing.assert_close(ours.cross_entropy(x, y, reduction="none", **options), rows, **DOUBLE)
    torch.testing.assert_close(ours.cross_entropy(x, y, **options), rows.sum() / s.sum(), **DOUBLE)
    found = ours.cross_entropy(x, y, denominator=3.0, **options)
    torch.testing.assert_close(found, rows.sum() / 3, **DOUBLE)
    log_p = x.log_softmax(1)
    torch.testing.assert_close(
        ours.nll_loss(log_p, y, sample_weight=s, label_smoothing=0.2, denominator=3.0),
        (s * F.cross_entropy(x, y, reduction="none", label_smoothing=0.2)).sum() / 3,
        **DOUBLE,
    )


# --- where it differs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "ignored"), [(3, True), (0, False)], ids=["all ignored", "no rows"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_a_mean_over_no_targets_is_zero_with_zero_gradient(name, rows, ignored):
    x = logits(rows, 5).log_softmax(1).requires_grad_()
    y = torch.full((rows,), -100)
    assert getattr(F, name)(x, y).isnan()
    loss = getattr(ours, name)(x, y)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_an_ignored_row_keeps_its_nan_to_itself():
    x = torch.tensor([[nan, 0.0], [0.0, 0.0]], requires_grad=True)
    ours.cross_entropy(x, torch.tensor([-100, 1])).backward()
    assert x.grad.tolist() == [[0, 0], [0.5, -0.5]]


def test_nothing_expected_of_an_impossible_class_costs_nothing():
    x, y = torch.tensor([[0.0, -inf, 0.0]]), torch.tensor([[0.5, 0.0, 0.5]])
    assert F.cross_entropy(x, y).isnan()
    assert ours.cross_entropy(x, y).item() == pytest.approx(math.log(2))
    log_p, weight = torch.tensor([[0.0, -inf]]), torch.tensor([1.0, 0.0])
    assert F.nll_loss(log_p, torch.tensor([1]), weight, reduction="sum").isnan()
    assert ours.nll_loss(log_p, torch.tensor([1]), weight, reduction="sum").item() == 0


def test_a_confident_row_keeps_its_digits():
    x, y = torch.tensor([[20.0, 0.0, 0.0]]), torch.tensor([0])
    assert F.cross_entropy(x, y).item() == 0
    assert ours.cross_entropy(x, y).item() == pytest.approx(2 * math.exp(-20), rel=1e-6)


def test_what_pytorch_refuses_and_these_take():
    x, y = logits(4, 5), classes((4, 5))
    log_p, q = x.log_softmax(1), logits(4, 5).softmax(1)
    torch.testing.assert_close(ours.nll_loss(log_p, q), -(q * log_p).sum(1).mean(), **DOUBLE)
    found = ours.cross_entropy(x, y.tolist(), [1.0, 2.0, 0.5, 1.0, 1.0])
    expected = F.cross_entropy(x, y, torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(found, expected, **DOUBLE)
    torch.testing.assert_close(ours.softmax(x, (0, 1)), x.flatten().softmax(0).reshape(4, 5), **DOUBLE)


def test_subclasses_and_parameters_give_plain_tensors():
    class Named(torch.Tensor):
        pass

    x, y = logits(4, 5), classes((4, 5))
    for given in (x.as_subclass(Named), torch.nn.Parameter(x)):
        for found in (ours.cross_entropy(given, y), ours.softmax(given, 1)):
            assert type(found) is torch.Tensor
        torch.testing.assert_close(ours.cross_entropy(given, y).detach(), F.cross_entropy(x, y), **DOUBLE)


# --- softmax and its kin ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(), (5,), (4, 5), (3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_softmax_in_every_dimension_and_in_none(name, shape):
    x, mine, theirs = logits(*shape), getattr(ours, name), getattr(F, name)
    for dim in range(-max(x.ndim, 1), max(x.ndim, 1)):
        torch.testing.assert_close(mine(x, dim), theirs(x, dim), **DOUBLE)
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        expected = theirs(x)
    with pytest.warns(UserWarning, match=f"{name}: dim is None; .* write dim=[01]$") as warned:
        found = mine(x)
    assert [w.filename for w in warned] == [__file__]
    torch.testing.assert_close(found, expected, **DOUBLE)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_another_dtype(name):
    mine, theirs = getattr(ours, name), getattr(F, name)
    for x, dtype in (
        (torch.tensor([[1, 2, 3]]), torch.float32),
        (torch.tensor([[True, False]]), torch.float64),
        (logits(2, 3, dtype=torch.bfloat16), torch.float32),
        (logits(2, 3), torch.float32),
    ):
        found, expected = mine(x, 1, dtype=dtype), theirs(x, 1, dtype=dtype)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (2, 0, 3)])
def test_no_class_at_all(way, shape):
    """Values and gradients, of the common functions too, and of numbers without a dimension."""
    x, dim = torch.empty(shape, dtype=torch.float64, requires_grad=True), shape.index(0)
    for module in (ours, ll):
        for name in ("softmax", "log_softmax"):
            found = getattr(module, name)(x, dim)
            torch.testing.assert_close(found, getattr(torch, name)(x, dim))
            assert torch.autograd.grad(found.sum(), x)[0].shape == shape
        found = module.logsumexp(x, dim)
        torch.testing.assert_close(found, torch.logsumexp(x, dim))
        assert torch.autograd.grad(found.sum(), x)[0].shape == shape
    with pytest.raises(ll.ShapeError, match="expected at least one class"):
        ll.predict(x, axis=dim)


def test_all_axes_of_a_number(way):
    x = torch.tensor(3.0, requires_grad=True)
    total = ll.softmax(x, None) + ll.log_softmax(x, None) + ll.logsumexp(x, None, keepdims=True)
    total.backward()
    assert (total.item(), x.grad.item(), total.shape) == (4.0, 1.0, ())


def test_logsumexp_of_integers_and_several_dimensions():
    x = torch.randint(-3, 3, (3, 4, 2))
    torch.testing.assert_close(ours.logsumexp(x, (0, -1), True), torch.logsumexp(x, (0, -1), True))
    torch.testing.assert_close(ours.logsumexp(x, 1), torch.logsumexp(x, 1))
    assert ours.logsumexp(logits(2, 3, dtype=torch.bfloat16), 1).dtype == torch.bfloat16


def test_masked_and_tempered_softmax():
    x, mask = logits(4, 5), torch.rand(4, 5) > 0.3
    expected = (x / 2).masked_fill(~mask, -inf)
    for name in ("softmax", "log_softmax"):
        found = getattr(ours, name)(x, 1, where=mask, temperature=2.0)
        torch.testing.assert_close(found, getattr(F, name)(expected, 1), **DOUBLE)


# --- dtypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bits_have_pytorchs_dtype_with_and_without_autocast(dtype):
    x, y = logits(4, 5, dtype=dtype), classes((4, 5))
    for name in ("cross_entropy", "nll_loss"):
        mine, theirs = getattr(ours, name), getattr(F, name)
        for reduction in ("mean", "none"):
            assert mine(x, y, reduction=reduction).dtype == theirs(x, y, reduction=reduction).dtype == dtype
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found, expected = (f(x, y, reduction=reduction) for f in (mine, theirs))
            assert found.dtype == expected.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-2)
    assert ll.cross_entropy(x, y, axis=1).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_has_pytorchs_dtype_with_and_without_autocast(dtype):
    x = logits(4, 5, dtype=dtype)
    for name in ("softmax", "log_softmax", "logsumexp"):
        mine, theirs = getattr(ours, name), getattr(torch, name)
        assert mine(x, 1).dtype == theirs(x, 1).dtype == dtype
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert mine(x, 1).dtype == theirs(x, 1).dtype


def test_weights_of_another_float_dtype():
    x, y, w = logits(4, 5), classes((4, 5)), torch.rand(5, dtype=torch.float32)
    torch.testing.assert_close(ours.cross_entropy(x, y, w), F.cross_entropy(x, y, w.double()), **DOUBLE)


# --- transforms ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, in forward mode
def test_transforms_see_through_the_drop_ins():
    x, y, w = logits(3, 4, 5), torch.randint(0, 5, (3, 4)), torch.rand(5, dtype=torch.float64)
    for name in ("cross_entropy", "nll_loss"):
        mine, theirs = getattr(ours, name), getattr(F, name)
        for transform in (
            lambda f: torch.func.vmap(f, in_dims=(0, 0, None))(x, y, w),
            lambda f: torch.func.vmap(torch.func.grad(f), in_dims=(0, 0, None))(x, y, w),
            lambda f: torch.func.hessian(f)(x[0], y[0], w),
        ):
            torch.testing.assert_close(transform(mine), transform(theirs), **DOUBLE)
    for name in ("softmax", "log_softmax"):
        mine, theirs = getattr(ours, name), getattr(F, name)
        for transform in (
            lambda f: torch.func.vmap(lambda row: f(row, 0))(x[0]),
            lambda f: torch.func.jacrev(lambda row: f(row, 0))(x[0, 0]),
            lambda f: torch.func.jacfwd(lambda row: f(row, 0))(x[0, 0]),
        ):
            torch.testing.assert_close(transform(mine), transform(theirs), **DOUBLE)


def test_tensors_without_numbers_have_the_shapes_and_dtypes_of_pytorchs_results():
    x, y = torch.empty(4, 5, 2, dtype=torch.bfloat16, device="meta"), torch.empty(4, 2, device="meta").long()
    for name, arguments in {
        "cross_entropy": (x, y),
        "nll_loss": (x, y),
        "softmax": (x, 1),
        "log_softmax": (x, 1),
    }.items():
        found, expected = getattr(ours, name)(*arguments), getattr(F, name)(*arguments)
        assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)

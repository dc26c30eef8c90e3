"""The rows of the linear head on tensors: shifted targets, statistics, losses of each row."""

from __future__ import annotations

import pytest
from assertions import raises

import lastlayer as ll

torch = pytest.importorskip("torch")
F = torch.nn.functional
from linear_tensors import D, V  # noqa: E402
from random_arrays import tensor  # noqa: E402
from torch.autograd import gradcheck  # noqa: E402

B, L = 2, 5
SOFT = torch.softmax(tensor(B, L, V, seed=5), -1)
INDEX = torch.tensor([[0, 18, -100, 7, 7], [16, 3, 2, 1, 18]])


def sequences(*, grad=True):
    made = tensor(B, L, D), tensor(V, D, seed=1), tensor(V, seed=2)
    return tuple(t.requires_grad_(grad) for t in made)


def test_the_confidence_of_sequences(each):
    (x, w, b), theirs = sequences(), sequences()
    found = torch.autograd.grad((ll.linear_row_stats(x, w, bias=b).confidence * WEIGHT).sum(), [x, w, b])
    expected = (F.linear(*theirs).softmax(-1).amax(-1) * WEIGHT).sum()
    torch.testing.assert_close(found, torch.autograd.grad(expected, theirs), rtol=1e-9, atol=1e-12)


# --- shifted targets ----------------------------------------------------------------------------------------

WEIGHT = torch.linspace(0, 2, B * L, dtype=torch.float64).reshape(B, L)
SHIFTED = {
    "plain": (INDEX, {}),
    "sum": (INDEX, {"reduction": "sum", "label_smoothing": 0.1}),
    "none": (INDEX, {"reduction": "none"}),
    "soft": (SOFT, {}),
    "weights": (INDEX, {"sample_weight": WEIGHT}),
}


@pytest.mark.parametrize("name", SHIFTED)
@pytest.mark.parametrize("shift", [1, 3, 8])
def test_shifted_targets_are_those_of_later_positions(each, name, shift):
    y, options = SHIFTED[name]
    ours, theirs = sequences(), sequences()
    loss = ll.linear_cross_entropy(ours[0], ours[1], y, bias=ours[2], shift=shift, **options)
    later = {k: v[:, shift:] if k == "sample_weight" else v for k, v in options.items()}
    logits = F.linear(theirs[0][:, :-shift], *theirs[1:])
    expected = ll.cross_entropy(logits, y[:, shift:], **later)
    if name == "none":
        expected = F.pad(expected, (0, min(shift, L)))
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-14)
    height = tensor(*loss.shape, seed=9)
    got = torch.autograd.grad(loss, ours, height)
    torch.testing.assert_close(got, torch.autograd.grad(expected, theirs, height), rtol=1e-12, atol=1e-14)
    x, w, b = sequences(grad=False)
    alone, found = ll.linear_cross_entropy_grad(x, w, y, bias=b, shift=shift, **options)
    torch.testing.assert_close(alone, loss.detach(), rtol=1e-13, atol=1e-14)
    if name != "none":
        theirs = torch.autograd.grad(
            ll.linear_cross_entropy(*ours[:2], y, bias=ours[2], shift=shift, **options), ours
        )
        torch.testing.assert_close(found, theirs, rtol=1e-12, atol=1e-14)


def test_shifted_weights_and_targets_can_learn(each):
    x, w, b = sequences(grad=False)

    def function(q, s):
        return ll.linear_cross_entropy(x, w, q, bias=b, sample_weight=s, shift=1)

    assert gradcheck(function, [SOFT.clone().requires_grad_(), (WEIGHT + 1).requires_grad_()])


def test_shifted_statistics(each):
    x, w, b = sequences()
    stats = ll.linear_row_stats(x, w, INDEX, bias=b, shift=2)
    whole = ll.row_stats(F.linear(x, w, b)[:, :-2], INDEX[:, 2:])
    torch.testing.assert_close(stats.nll, F.pad(whole.nll, (0, 2)), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(stats.lse[:, :-2], whole.lse, rtol=1e-13, atol=1e-14)


def test_a_shift_in_a_compiled_program():
    args = sequences()
    compiled = torch.compile(
        lambda x, w, b: ll.linear_cross_entropy(x, w, INDEX, bias=b, shift=1),
        backend="aot_eager",
        fullgraph=True,
    )
    expected = ll.linear_cross_entropy(args[0][:, :-1], args[1], INDEX[:, 1:], bias=args[2])
    torch.testing.assert_close(compiled(*args), expected, rtol=1e-13, atol=1e-14)


def test_a_wrong_shift_says_what_is_wrong(each):
    x, w, _ = sequences()
    with raises(ll.OptionError, "linear_cross_entropy: shift is -1; expected an int of 0 or more"):
        ll.linear_cross_entropy(x, w, INDEX, shift=-1)
    with raises(
        ll.ShapeError, "linear_cross_entropy: shift is 1; expected 0 for a single row, which has no position"
    ):
        ll.linear_cross_entropy(x[0, 0], w, 3, shift=1)
    with raises(
        ll.ShapeError,
        "linear_cross_entropy: targets is of shape (2, 4); expected (2, 5) for class indices "
        "or (2, 5, 19) for dense targets",
    ):
        ll.linear_cross_entropy(x, w, INDEX[:, 1:], shift=1)
    if each != "logits":  # nobody looks at numbers on a device
        for reduction in ("mean", "none"):
            with raises(
                ll.TargetError,
                "linear_cross_entropy: targets[1, 4] is 19; expected a class in [0, 19) or ignore_index=-100",
            ):
                ll.linear_cross_entropy(
                    x, w, INDEX + (INDEX == 18) * (WEIGHT == 2), shift=1, reduction=reduction
                )


def test_few_ignored_rows_may_hold_anything(each):
    """They stay where they are, unless they hold what times 0 is not 0."""
    for value in (0.0, float("nan"), float("inf")):
        x, y = tensor(40, D), torch.arange(40) % V
        x[7], y[7] = value, -100
        w = tensor(V, D, seed=1)
        clean = [t.clone().requires_grad_() for t in (x[y >= 0], w)]
        args = [t.clone().requires_grad_() for t in (x, w)]
        expected = torch.autograd.grad(ll.linear_cross_entropy(*clean, y[y >= 0]), clean)
        dx, dw = torch.autograd.grad(ll.linear_cross_entropy(*args, y), args)
        torch.testing.assert_close((dx[y >= 0], dw), expected, rtol=1e-12, atol=1e-14)
        assert (dx[7] == 0).all()


# --- the best classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [1, 11, V])
def test_top_k(each, dtype, k):
    x, w, b = (t.to(dtype) for t in sequences())
    labels, p = ll.linear_top_k(x, w, k, bias=b, softcap=9.0)
    z = 9.0 * torch.tanh(F.linear(x.double(), w.double(), b.double()) / 9.0)
    assert not p.requires_grad
    assert p.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    rounding = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(p.double(), torch.softmax(z, -1).gather(-1, labels), rtol=rounding, atol=0)
    best = z.gather(-1, labels)
    torch.testing.assert_close(best, z.topk(k).values, rtol=rounding, atol=rounding)
    if dtype.itemsize > 2:
        assert torch.equal(labels, z.topk(k).indices)


def test_top_k_in_a_compiled_program():
    x, w, b = sequences()
    compiled = torch.compile(
        lambda x, w, b: ll.linear_top_k(x, w, 3, bias=b), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(x, w, b), ll.linear_top_k(x, w, 3, bias=b), rtol=1e-13, atol=1e-14)

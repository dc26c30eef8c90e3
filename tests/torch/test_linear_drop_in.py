"""PyTorch's linear_cross_entropy and LinearCrossEntropyLoss by name: several heads, options, errors.

What PyTorch's own samples of them give is in test_parity.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import pytest
from random_arrays import tensor

import lastlayer as ll
from lastlayer.linear import run

torch = pytest.importorskip("torch")


import lastlayer.torch as ours  # noqa: E402

F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
N, C, D = 7, 5, 4
HEADS = (2, 3)
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def arguments(heads=HEADS):
    made = tensor(N, D), tensor(C, *heads, D, seed=1), tensor(C, *heads, seed=2)
    return [t.requires_grad_() for t in made]


def indices(heads=HEADS, ignored=-100):
    y = torch.randint(0, C, (N, *heads), generator=torch.Generator().manual_seed(3))
    y[1] = ignored
    return y


WEIGHT = torch.linspace(0.5, 2, C, dtype=torch.float64)
SAMPLE = torch.rand((N, *HEADS), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
SOFT = torch.softmax(tensor(N, C, *HEADS, seed=5), 1)


def logits(x, w, b):
    return torch.tensordot(x, w, ([-1], [-1])) + b


# --- several heads ------------------------------------------------------------------------------------------

SEVERAL = {
    "mean": (indices(), {}),
    "weights": (indices(), {"weight": WEIGHT, "label_smoothing": 0.1}),
    "sum": (indices(), {"reduction": "sum"}),
    "none": (indices(), {"reduction": "none"}),
    "ignored": (indices(ignored=2), {"ignore_index": 2}),
    "probabilities": (SOFT, {"weight": WEIGHT, "label_smoothing": 0.2}),
    "sample weights": (indices(), {"weight": WEIGHT, "sample_weight": SAMPLE}),
    "weights of rows": (SOFT, {"sample_weight": SAMPLE[:, :1, :1], "reduction": "none"}),
    "more": (indices(), {"temperature": 0.5, "softcap": 3.0, "z_loss": 0.1, "denominator": 11.0}),
    "negative weights": (indices(), {"weight": WEIGHT - 1.0}),
}


LISTED = (
    torch.stack([torch.randperm(C, generator=torch.Generator().manual_seed(i))[:3] for i in range(N * 6)]),
    torch.softmax(tensor(N * 6, 4, seed=6), 1)[:, :3],
)
LISTED = tuple(t.reshape(N, *HEADS, 3) for t in LISTED)
SEVERAL["listed"] = (LISTED, {"label_smoothing": 0.1})
SEVERAL["listed, with a rest"] = ((*LISTED, SAMPLE[:, :1] / 9), {"weight": WEIGHT, "sample_weight": SAMPLE})


@pytest.mark.parametrize("name", SEVERAL)
def test_several_heads_are_a_cross_entropy_with_dimensions(name):
    """The drop-in of logits is the measure: PyTorch's lacks half of the options."""
    y, options = SEVERAL[name]
    args = arguments()
    found = ours.linear_cross_entropy(*args[:2], y, linear_bias=args[2], **options)
    if y is not SOFT:
        options = {"ignore_index": -100, **options}
    expected = ours.cross_entropy(logits(*args), y, **options)
    torch.testing.assert_close(found, expected, **CLOSE)
    height = tensor(*found.shape, seed=9)
    got = torch.autograd.grad(found, args, height)
    torch.testing.assert_close(got, torch.autograd.grad(expected, args, height), **CLOSE)


@pytest.mark.parametrize("heads", [(), HEADS])
def test_where_no_target_counts(heads):
    args = arguments(heads)
    loss = ours.linear_cross_entropy(*args[:2], torch.full((N, *heads), -100), linear_bias=args[2])
    loss.backward()
    assert loss.item() == 0.0
    assert all((t.grad == 0).all() for t in args)


def test_derivatives_in_the_weights_of_classes_reach_the_mean():
    args = [t.detach() for t in arguments()]

    def function(weight, s):
        return ours.linear_cross_entropy(args[0], args[1], indices(), weight=weight, sample_weight=s)

    assert torch.autograd.gradcheck(
        function, (WEIGHT.clone().requires_grad_(), SAMPLE.clone().requires_grad_())
    )


def test_transforms_of_several_heads():
    x, w, b = (t.detach() for t in arguments())
    y = indices()

    def mine(x, w):
        return ours.linear_cross_entropy(x, w, y, linear_bias=b, weight=WEIGHT)

    def theirs(x, w):
        return F.cross_entropy(logits(x, w, b), y, WEIGHT)

    for transform in (torch.func.grad, torch.func.hessian):
        found, expected = (transform(function)(x, w) for function in (mine, theirs))
        torch.testing.assert_close(found, expected, **CLOSE)


def test_no_head_and_no_row():
    x = tensor(N, D).requires_grad_()
    loss = ours.linear_cross_entropy(x, torch.empty(C, 0, D, dtype=torch.float64), torch.empty(N, 0).long())
    loss.backward()
    assert loss.item() == 0.0
    assert (x.grad == 0).all()
    w = tensor(C, *HEADS, D).requires_grad_()
    loss = ours.linear_cross_entropy(x[:0], w, torch.empty(0, *HEADS).long())
    loss.backward()
    assert loss.item() == 0.0
    assert (w.grad == 0).all()


def test_the_loop_computes_each_head(loop, monkeypatch):
    """The logits of all heads never exist, nor those of one."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    loop()
    shapes = []
    usual = run.loss_and_gradients

    def watched(head, *rest, **options):
        shapes.append(tuple(head.weight.shape))
        return usual(head, *rest, **options)

    monkeypatch.setattr(run, "loss_and_gradients", watched)
    args = arguments()
    ours.linear_cross_entropy(*args[:2], indices(), linear_bias=args[2]).backward()
    assert shapes == [(C, D)] * 6


def test_listed_targets_of_one_head():
    x, w, b = arguments(())
    y = tuple(t[:, 0, 0] for t in LISTED)
    found = ours.linear_cross_entropy(x, w, y, linear_bias=b)
    torch.testing.assert_close(found, ours.cross_entropy(F.linear(x, w, b), y), **CLOSE)


# --- what PyTorch passes ------------------------------------------------------------------------------------


def test_the_signature_is_pytorchs_and_more_by_keyword():
    for mine, theirs in (
        (ours.linear_cross_entropy, F.linear_cross_entropy),
        (ours.LinearCrossEntropyLoss, torch.nn.LinearCrossEntropyLoss),
    ):
        expected = list(inspect.signature(theirs).parameters.values())
        found = list(inspect.signature(mine).parameters.values())
        for a, b in zip(expected, found[: len(expected)], strict=True):
            assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in found[len(expected) :])


def test_dtypes_are_pytorchs():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x, w, y = tensor(N, D).to(dtype), tensor(C, D).to(dtype), indices(())
        assert ours.linear_cross_entropy(x, w, y).dtype is F.linear_cross_entropy(x, w, y).dtype is dtype
    for dtype in (torch.bfloat16, torch.float32):
        x, w = tensor(N, D).to(dtype), tensor(C, D).to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            mine, theirs = (f(x, w, y) for f in (ours.linear_cross_entropy, F.linear_cross_entropy))
        assert mine.dtype is theirs.dtype is torch.float32


def test_options_are_heeded_where_they_mean_something(loop, monkeypatch):
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    loop()
    given = []
    usual = run.loss_and_gradients

    def watched(head, *rest, **options):
        given.append(head.memory)
        return usual(head, *rest, **options)

    monkeypatch.setattr(run, "loss_and_gradients", watched)
    x, w, y = tensor(N, D), tensor(C, D), indices(())
    expected = ours.linear_cross_entropy(x, w, y)
    kind = torch.nn.LinearCrossEntropyOptions
    for options in (
        kind(),
        kind(batch_chunk_size=2, chunking_method=None),
        kind(allow_retain_graph=True, acc_policy="accurate"),
    ):
        assert torch.equal(ours.linear_cross_entropy(x, w, y, options=options), expected)
    ours.linear_cross_entropy(x, w, y, options=kind(batch_chunk_size=2, chunking_method=None), max_memory=1e6)
    many = torch.empty(1 << 20, 1, dtype=torch.bfloat16).expand(1 << 20, D)
    from lastlayer.torch.linear_functional import _memory_of

    chunk = _memory_of(kind(batch_chunk_size=4096, chunking_method=None), many, (1 << 20, 128256))
    assert given == [None, None, (64 << 20) + N * (16 * D + 1024), None, 1_000_000]
    assert chunk == 4096 * 128256 * 2 + (1 << 20) * (16 * D + 1024)


def test_a_second_backward_needs_no_option():
    x, w = (t.requires_grad_() for t in (tensor(N, D), tensor(C, D)))
    loss = ours.linear_cross_entropy(x, w, indices(()), options=torch.nn.LinearCrossEntropyOptions())
    first = torch.autograd.grad(loss, (x, w), retain_graph=True)
    again = torch.autograd.grad(loss, (x, w))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


# --- the module ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"out_features": HEADS, "bias": True, "weight": WEIGHT.float()}])
def test_the_module_is_pytorchs(options):
    made = []
    for kind in (ours.LinearCrossEntropyLoss, torch.nn.LinearCrossEntropyLoss):
        torch.manual_seed(0)
        made.append(kind(D, C, label_smoothing=0.1, **options))
    mine, theirs = made
    assert isinstance(mine, torch.nn.LinearCrossEntropyLoss)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    x, y = tensor(N, D).float(), indices(options.get("out_features", ()))
    expected = theirs(x, y)
    torch.testing.assert_close(mine(x, y), expected)
    fresh = ours.LinearCrossEntropyLoss(D, C, label_smoothing=0.1, **options)
    fresh.load_state_dict(theirs.state_dict())
    for other in (fresh, copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        torch.testing.assert_close(other(x, y), expected)
    assert mine.to(torch.float64)(x.double(), y).dtype is torch.float64


def test_the_module_passes_every_option_on():
    own = {"temperature": 2.0, "softcap": 5.0, "z_loss": 0.01, "max_memory": 1e6, "reduction": "sum"}
    module = ours.LinearCrossEntropyLoss(D, C, dtype=torch.float64, **own)
    x, y, s = tensor(N, D), indices(()), SAMPLE[:, 0, 0]
    expected = ours.linear_cross_entropy(x, module.linear.weight, y, sample_weight=s, **own)
    assert torch.equal(module(x, y, sample_weight=s), expected)
    module.reduction = "mean"
    expected = ours.linear_cross_entropy(
        x, module.linear.weight, y, **own | {"reduction": "mean"}, denominator=3.0
    )
    assert torch.equal(module(x, y, denominator=3.0), expected)
    assert (
        repr(module)
        .splitlines()[1]
        .endswith("options=None, temperature=2.0, softcap=5.0, z_loss=0.01, max_memory=1000000.0")
    )
    assert repr(ours.LinearCrossEntropyLoss(D, C)) == repr(torch.nn.LinearCrossEntropyLoss(D, C))


def test_where_pytorch_has_no_such_module():
    code = (
        "import torch\n"
        "for name in ('LinearCrossEntropyLoss', 'LinearCrossEntropyOptions'): delattr(torch.nn, name)\n"
        "del torch.nn.functional.linear_cross_entropy\n"
        "import lastlayer.torch as F\n"
        "module = F.LinearCrossEntropyLoss(4, 5, out_features=(2,), weight=torch.ones(5))\n"
        "module(torch.randn(3, 4), torch.tensor([[1, 4]] * 3)).backward()\n"
        "print(list(module.state_dict()), tuple(module.linear.weight.grad.shape))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['weight', 'linear.weight'] (10, 4)"


# --- errors -------------------------------------------------------------------------------------------------

X, W, Y = torch.zeros(2, 4), torch.zeros(5, 4), torch.tensor([1, 2])
W3 = torch.zeros(5, 3, 4)
Y3 = torch.zeros(2, 3).long()


def call(*args, **options):
    return lambda: ours.linear_cross_entropy(*args, **options)


# name: (call, the common kind of error, PyTorch's kind, text after the function's name)
WRONG = {
    "no tensor": (
        call([[0.0] * 4], W, Y),
        ll.DtypeError,
        RuntimeError,
        "input is a list; expected a torch.Tensor; write torch.as_tensor(input), or call "
        "lastlayer.linear_cross_entropy",
    ),
    "no weight": (
        call(X, None, Y),
        ll.DtypeError,
        RuntimeError,
        "linear_weight is a NoneType; expected a torch.Tensor",
    ),
    "a batch of sequences": (
        call(torch.zeros(2, 3, 4), W, Y3),
        ll.ShapeError,
        RuntimeError,
        "input is of shape (2, 3, 4); expected (D,) or (N, D); "
        "write input.flatten(0, -2) and target.flatten()",
    ),
    "a turned weight": (
        call(X, W.T, Y),
        ll.ShapeError,
        RuntimeError,
        "linear_weight is of shape (4, 5); expected (C, 4) or (C, d1, ..., 4), for input of shape (2, 4); "
        "use linear_weight.T",
    ),
    "a vector of weights": (
        call(X, torch.zeros(4), Y),
        ll.ShapeError,
        RuntimeError,
        "linear_weight is of shape (4,); expected (C, 4) or (C, d1, ..., 4), for input of shape (2, 4)",
    ),
    "another bias": (
        call(X, W, Y, linear_bias=torch.zeros(4)),
        ll.ShapeError,
        RuntimeError,
        "linear_bias is of shape (4,); expected (5,), for linear_weight of shape (5, 4)",
    ),
    "one row for several heads": (
        call(X[0], W3, Y3[0]),
        ll.ShapeError,
        RuntimeError,
        "input is of shape (4,); expected (N, 4), for linear_weight of shape (5, 3, 4), which has several "
        "heads; write input[None]",
    ),
    "another dtype": (
        call(X, W.double(), Y),
        ll.DtypeError,
        RuntimeError,
        "linear_weight is of dtype torch.float64; expected torch.float32, as input is",
    ),
    "another dtype of the bias": (
        call(X, W, Y, linear_bias=torch.zeros(5).double()),
        ll.DtypeError,
        RuntimeError,
        "linear_bias is of dtype torch.float64; expected torch.float32, as input is",
    ),
    "out of range": (
        call(X, W, torch.tensor([1, 7])),
        ll.TargetError,
        IndexError,
        "target[1] is 7; expected a class in [0, 5) or ignore_index=-100",
    ),
    "out of range in a head": (
        call(X, W3, torch.tensor([[0, 0, 0], [0, 9, 0]])),
        ll.TargetError,
        IndexError,
        "target[1, 1] is 9; expected a class in [0, 5) or ignore_index=-100",
    ),
    "another length": (
        call(X, W, torch.tensor([1, 2, 3])),
        ll.ShapeError,
        ValueError,
        "target is of shape (3,); expected (2,) for class indices or (2, 5) for probabilities",
    ),
    "another number of heads": (
        call(X, W3, Y3[:, :2]),
        ll.ShapeError,
        RuntimeError,
        "target is of shape (2, 2); expected (2, 3) for class indices or (2, 5, 3) for probabilities",
    ),
    "float indices": (
        call(X, W, Y.float()),
        ll.DtypeError,
        RuntimeError,
        "target is of dtype torch.float32 with shape (2,); expected class indices of an integer dtype; "
        "write target.long()",
    ),
    "an ignored class among probabilities": (
        call(X, W, torch.full((2, 5), 0.2), ignore_index=0),
        ll.OptionError,
        RuntimeError,
        "ignore_index is 0; expected None with probabilities; leave rows out with sample_weight=0",
    ),
    "weights": (
        call(X, W, Y, weight=torch.ones(4)),
        ll.ShapeError,
        RuntimeError,
        "weight is of shape (4,); expected (5,), one weight for each class",
    ),
    "an infinite weight": (
        call(X, W3, Y3, weight=torch.tensor([1, 1, float("inf"), 1, 1])),
        ll.OptionError,
        RuntimeError,
        "weight[2] is inf; expected a finite weight",
    ),
    "reduction": (
        call(X, W, Y, reduction="avg"),
        ll.OptionError,
        ValueError,
        "reduction is 'avg'; expected 'mean', 'sum' or 'none'; did you mean 'mean'?",
    ),
    "a denominator for a sum": (
        call(X, W3, Y3, reduction="sum", denominator=3.0),
        ll.OptionError,
        RuntimeError,
        "denominator is 3.0; expected None with reduction='sum'",
    ),
    "options": (
        call(X, W, Y, options={"batch_chunk_size": 2}),
        ll.OptionError,
        RuntimeError,
        "options is a dict; expected a torch.nn.LinearCrossEntropyOptions or None",
    ),
    "memory": (
        call(X, W, Y, max_memory=-1),
        ll.OptionError,
        RuntimeError,
        "max_memory is -1; expected a finite number above 0",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_says_what_is_wrong_in_pytorchs_terms(name):
    function, kind, theirs, text = WRONG[name]
    with pytest.raises(kind) as caught:
        function()
    assert str(caught.value) == f"linear_cross_entropy: {text}"
    assert isinstance(caught.value, theirs)


def test_a_wrong_module_says_what_is_wrong():
    with pytest.raises(RuntimeError) as caught:
        ours.LinearCrossEntropyLoss(4, 5, weight=torch.ones(4))
    assert str(caught.value) == (
        "LinearCrossEntropyLoss: weight is of shape (4,); expected (5,), one weight for each class"
    )
    with pytest.raises(RuntimeError) as caught:
        ours.LinearCrossEntropyLoss(4, 5, label_smoothing=2)
    assert (
        str(caught.value)
        == "LinearCrossEntropyLoss: label_smoothing is 2; expected a finite number in [0, 1]"
    )

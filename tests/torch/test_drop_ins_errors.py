"""A wrong call of a drop-in says what is wrong and what to write, in PyTorch's terms and kinds."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")

import lastlayer.torch as ours  # noqa: E402

X, Y = torch.zeros(2, 4), torch.tensor([1, 2])
IMAGE = torch.zeros(2, 4, 5, 6)


def ce(*args, **options):
    return lambda: ours.cross_entropy(*args, **options)


# name: (call, the common kind of error, PyTorch's kind, text)
WRONG = {
    "out of range": (
        ce(X, torch.tensor([1, 7])),
        ll.TargetError,
        IndexError,
        "cross_entropy: target[1] is 7; expected a class in [0, 4) or ignore_index=-100",
    ),
    "labels from 1": (
        ce(X, torch.tensor([1, 4])),
        ll.TargetError,
        IndexError,
        "cross_entropy: target[1] is 4; expected a class in [0, 4) or ignore_index=-100; "
        "labels start at 1? subtract 1",
    ),
    "out of range in an image": (
        ce(IMAGE, torch.full((2, 5, 6), 9)),
        ll.TargetError,
        IndexError,
        "cross_entropy: target[0, 0, 0] is 9; expected a class in [0, 4) or ignore_index=-100",
    ),
    "binary": (
        ce(torch.zeros(2, 1), torch.tensor([0, 1])),
        ll.TargetError,
        IndexError,
        "cross_entropy: target[1] is 1; expected a class in [0, 1) or ignore_index=-100; "
        "two classes need two columns of input: [0, x]",
    ),
    "binary labels beside as many scores": (
        ce(torch.zeros(3), torch.tensor([0, 1, 1])),
        ll.TargetError,
        RuntimeError,
        "cross_entropy: target is 1 for 2 classes; expected a one-hot row, since target is of dtype int64 "
        "and of the shape of input; two classes need two columns of input: [0, x]",
    ),
    "float indices": (
        ce(X, Y.float()),
        ll.DtypeError,
        RuntimeError,
        "cross_entropy: target is of dtype torch.float32 with shape (2,); "
        "expected class indices of an integer dtype; write target.long()",
    ),
    "bool indices": (
        lambda: ours.nll_loss(X, Y.bool()),
        ll.DtypeError,
        RuntimeError,
        "nll_loss: target is of dtype torch.bool with shape (2,); "
        "expected class indices of an integer dtype; write target.long()",
    ),
    "another length": (
        ce(X, torch.tensor([1, 2, 3])),
        ll.ShapeError,
        ValueError,
        "cross_entropy: target is of shape (3,); expected (2,) for class indices or (2, 4) for probabilities",
    ),
    "a column": (
        ce(X, Y[:, None]),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: target is of shape (2, 1); expected (2,) for class indices or (2, 4) for "
        "probabilities; drop the last axis: target[..., 0]",
    ),
    "classes last": (
        ce(torch.zeros(8, 2, 50), torch.zeros(8, 2).long()),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: target is of shape (8, 2); expected (8, 50) for class indices or (8, 2, 50) for "
        "probabilities; are its classes last? write input.movedim(2, 1)",
    ),
    "fewer probabilities": (
        ce(X, torch.zeros(2, 3)),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: target is of shape (2, 3); expected (2,) for class indices or (2, 4) for "
        "probabilities; input has 4 classes, target has 3",
    ),
    "a number alone": (
        ce(torch.tensor(1.0), torch.tensor(0)),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: input is a single number; expected at least one axis, of classes",
    ),
    "no class": (
        ce(torch.zeros(2, 0), Y),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: input is of shape (2, 0); expected at least one class in dimension 1",
    ),
    "integer logits": (
        ce(X.long(), Y),
        ll.DtypeError,
        RuntimeError,
        "cross_entropy: input is of dtype torch.int64; expected a floating one; write input.float()",
    ),
    "complex logits": (
        ce(X.to(torch.complex64), Y),
        ll.DtypeError,
        RuntimeError,
        "cross_entropy: input is of dtype torch.complex64; expected a floating one; "
        "write input.abs() or input.real",
    ),
    "an array": (
        ce(np.zeros((2, 4)), Y),
        ll.DtypeError,
        TypeError,
        "cross_entropy: input is a numpy.ndarray; expected a torch.Tensor; "
        "write torch.as_tensor(input), or call lastlayer.cross_entropy",
    ),
    "nothing": (
        ce(None, Y),
        ll.DtypeError,
        TypeError,
        "cross_entropy: input is a NoneType; expected a torch.Tensor",
    ),
    "fewer weights": (
        ce(X, Y, torch.ones(3)),
        ll.ShapeError,
        RuntimeError,
        "cross_entropy: weight is of shape (3,); expected (4,), one weight for each class",
    ),
    "weights by name": (
        ce(X, Y, {0: 1.0}),
        ll.DtypeError,
        TypeError,
        "cross_entropy: weight is a dict; expected an array, one weight for each class in order",
    ),
    "NaN among weights": (
        ce(X, Y, torch.tensor([1, 1, float("nan"), 1])),
        ll.OptionError,
        RuntimeError,
        "cross_entropy: weight[2] is nan; expected a finite weight",
    ),
    "smoothing": (
        ce(X, Y, label_smoothing=1.5),
        ll.OptionError,
        RuntimeError,
        "cross_entropy: label_smoothing is 1.5; expected a finite number in [0, 1]",
    ),
    "reduction": (
        lambda: ours.nll_loss(X, Y, reduction="avg"),
        ll.OptionError,
        ValueError,
        "nll_loss: reduction is 'avg'; expected 'mean', 'sum' or 'none'; did you mean 'mean'?",
    ),
    "ignored probabilities": (
        ce(X, torch.ones(2, 4), ignore_index=1),
        ll.OptionError,
        RuntimeError,
        "cross_entropy: ignore_index is 1; expected no such option with probabilities; "
        "leave rows out with sample_weight=0",
    ),
    "dimension": (
        lambda: ours.softmax(X, 2),
        ll.ShapeError,
        IndexError,
        "softmax: dim is 2; expected -2 <= dim < 2 for input of shape (2, 4)",
    ),
    "dimension of nothing": (
        lambda: ours.log_softmax(torch.zeros(2, 0), 3),
        ll.ShapeError,
        IndexError,
        "log_softmax: dim is 3; expected -2 <= dim < 2 for input of shape (2, 0)",
    ),
    "dimension by name": (
        lambda: ours.log_softmax(X, "classes"),
        ll.OptionError,
        RuntimeError,
        "log_softmax: dim is 'classes'; expected an int, a tuple of ints or None",
    ),
    "no float": (
        lambda: ours.softmax(X, 1, dtype=torch.int32),
        ll.DtypeError,
        RuntimeError,
        "softmax: dtype is torch.int32; expected a floating one, such as torch.float32",
    ),
    "softmax of integers": (
        lambda: ours.softmax(X.long(), 1),
        ll.DtypeError,
        RuntimeError,
        "softmax: input is of dtype torch.int64; expected a floating one; write input.float()",
    ),
    "logsumexp of an array": (
        lambda: ours.logsumexp(np.zeros(3), 0),
        ll.DtypeError,
        TypeError,
        "logsumexp: input is a numpy.ndarray; expected a torch.Tensor; "
        "write torch.as_tensor(input), or call lastlayer.logsumexp",
    ),
    "logsumexp of a dimension": (
        lambda: ours.logsumexp(X, -3),
        ll.ShapeError,
        IndexError,
        "logsumexp: dim is -3; expected -2 <= dim < 2 for input of shape (2, 4)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_says_what_to_write(name):
    call, kind, theirs, text = WRONG[name]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, theirs)
    assert str(caught.value) == text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_modules_say_the_same():
    with pytest.raises(ll.TargetError) as caught:
        ours.CrossEntropyLoss()(X, torch.tensor([1, 7]))
    assert str(caught.value) == WRONG["out of range"][3]


def test_parts_of_an_error():
    """A drop-in's error names its own arguments, in each part."""
    with pytest.raises(ll.ShapeError) as caught:
        ours.cross_entropy(torch.zeros(2, 0), Y)
    error = caught.value
    assert (error.function, error.argument, error.found) == ("cross_entropy", "input", "of shape (2, 0)")
    assert error.rule == "at least one class in dimension 1"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# --- values that look like names ----------------------------------------------------------------------------

NAMES = (
    "cross_entropy: axis is 3; expected 1 <= axis < 2 for logits, x is targets, log_probs, dense targets; "
    "class_weight; expected a finite weight, 0 or more; on axis 1; x @ weight.T, bias is, weight is"
)
ODD = {
    "text": NAMES,
    "an object": type("targets", (), {})(),
    "a record": np.zeros(2, [("class_weight", "f4"), ("logits", "f4")]),
    "a number of text": np.array("logits"),
}
OF_LOSSES = "target weight ignore_index reduction label_smoothing sample_weight denominator"
OPTIONS = {
    "softmax": (ours.softmax, (X, 1), "where temperature"),
    "log_softmax": (ours.log_softmax, (X, 1), "where temperature"),
    "cross_entropy": (ours.cross_entropy, (X, Y), f"{OF_LOSSES} temperature softcap z_loss"),
    "nll_loss": (ours.nll_loss, (X, Y), OF_LOSSES),
    "linear_cross_entropy": (
        ours.linear_cross_entropy,
        (X, torch.zeros(4, 4), Y),
        f"{OF_LOSSES} temperature softcap z_loss linear_bias max_memory",
    ),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", OPTIONS)
def test_no_value_is_translated(name, odd):
    """A message translates the names of arguments alone; what the user gave stays as it was."""
    function, arguments, options = OPTIONS[name]
    value = ODD[odd]
    shown = repr(value), f"a {type(value).__name__}", str(np.asarray(value).dtype), str(value)
    for option in options.split():
        if option not in inspect.signature(function).parameters or (
            option == "reduction" and odd == "a record"
        ):
            continue  # NumPy refuses to compare a record with a name
        given = arguments[:-1] if option == "target" else arguments
        with pytest.raises(ll.LastlayerError) as caught:
            function(*given, **{option: value})
        text = str(caught.value)
        start = f"{name}: {option} is "
        assert text.startswith(start), text
        assert any(text[len(start) :].removeprefix("of dtype ").startswith(s) for s in shown), text
        assert not set(text) & set("\x00\x02\x03")

"""Every wrong call raises a typed error of known text: ``function: argument is value; expected rule``."""

from __future__ import annotations

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

X = np.zeros((2, 4), np.float32)
IMAGE = np.zeros((2, 4, 5, 6), np.float32)


def ce(*args, **options):
    return lambda: ll.cross_entropy(*args, **options)


LABELS = "number the labels with pd.Categorical(targets).codes, and pass ignore_index=-1 for missing ones"
# name: (call, error, text after "cross_entropy: ")
WRONG = {
    # targets
    "out of range": (
        ce(X, [1, 7]),
        ll.TargetError,
        "targets[1] is 7; expected a class in [0, 4) or ignore_index=-100",
    ),
    "negative": (
        ce(X, [-3, 0]),
        ll.TargetError,
        "targets[0] is -3; expected a class in [0, 4) or ignore_index=-100",
    ),
    "minus one": (
        ce(X, [0, -1]),
        ll.TargetError,
        "targets[1] is -1; expected a class in [0, 4) or ignore_index=-100; "
        "to leave such rows out pass ignore_index=-1",
    ),
    "labels from 1": (
        ce(X, [1, 4]),
        ll.TargetError,
        "targets[1] is 4; expected a class in [0, 4) or ignore_index=-100; labels start at 1? subtract 1",
    ),
    "labels from 1, some ignored": (
        ce(np.zeros((3, 4)), [-100, 4, 2]),
        ll.TargetError,
        "targets[1] is 4; expected a class in [0, 4) or ignore_index=-100; labels start at 1? subtract 1",
    ),
    "one past the end, but not from 1": (
        ce(X, [0, 4]),
        ll.TargetError,
        "targets[1] is 4; expected a class in [0, 4) or ignore_index=-100",
    ),
    "nothing is ignored": (
        ce(X, [0, -100], ignore_index=None),
        ll.TargetError,
        "targets[1] is -100; expected a class in [0, 4)",
    ),
    "binary": (
        ce(np.zeros((2, 1)), [0, 1]),
        ll.TargetError,
        "targets[1] is 1; expected a class in [0, 1) or ignore_index=-100; "
        "two classes need two columns of logits: [0, x]",
    ),
    "binary labels beside as many scores": (
        ce(np.zeros(5), [0, 1, 1, 0, 1]),
        ll.TargetError,
        "targets is 1 for 3 classes; expected a one-hot row, since targets is of dtype int64 and of the "
        "shape of logits; two classes need two columns of logits: [0, x]",
    ),
    "a column of binary labels": (
        ce(np.zeros((2, 1)), [[True], [False]]),
        ll.TargetError,
        "targets[1] is 0 for all classes; expected a one-hot row, since targets is of dtype bool and of the "
        "shape of logits; two classes need two columns of logits: [0, x]",
    ),
    "multilabel": (
        ce(X, [[0, 1, 0, 0], [1, 0, 0, 1]]),
        ll.TargetError,
        "targets[1] is 1 for 2 classes; expected a one-hot row, since targets is of dtype int64 and of the "
        "shape of logits; for several labels in a row use a binary loss of each class",
    ),
    "counts": (
        ce(X, [[2, 0, 0, -1], [1, 0, 0, 1]]),
        ll.TargetError,
        "targets[0] holds 2; expected a one-hot row, since targets is of dtype int64 and of the "
        "shape of logits; class indices have one axis fewer, probabilities are floats",
    ),
    "a row of zeros in an image": (
        ce(IMAGE, np.zeros(IMAGE.shape, np.uint8), axis=1, sample_weight=np.arange(30).reshape(5, 6)),
        ll.TargetError,
        "targets[0, :, 0, 1] is 0 for all classes; expected a one-hot row, since targets is of dtype uint8 "
        "and of the shape of logits; to leave such rows out give them a sample_weight of 0",
    ),
    "swapped": (
        ce([[0, 1], [1, 0]], np.full((2, 2), 0.5)),
        ll.TargetError,
        "logits is one-hot rows of integers, and targets is of dtype float64; expected logits first, "
        "then targets; swapped? else pass logits as floats",
    ),
    "swapped labels": (
        ce([1, 0], np.full((2, 3), 0.5)),
        ll.ShapeError,
        "targets is of shape (2, 3); expected () for class indices or (2,) for dense targets; "
        "swapped? logits comes first",
    ),
    "one row": (
        ce([1.0, 2.0], 2),
        ll.TargetError,
        "targets is 2; expected a class in [0, 2) or ignore_index=-100; labels start at 1? subtract 1",
    ),
    "in an image": (
        ce(IMAGE, np.full((2, 5, 6), 9), axis=1),
        ll.TargetError,
        "targets[0, 0, 0] is 9; expected a class in [0, 4) or ignore_index=-100",
    ),
    "float indices": (
        ce(X, np.asarray([1.0, 2.0])),
        ll.DtypeError,
        "targets is of dtype float64; expected integers as class indices; use targets.astype(np.int64)",
    ),
    "bool indices": (
        ce(X, np.asarray([True, False])),
        ll.DtypeError,
        "targets is of dtype bool; expected integers as class indices; use targets.astype(np.int64)",
    ),
    "names": (
        ce(X, np.asarray(["cat", "dog"])),
        ll.DtypeError,
        f"targets is of dtype <U3; expected class indices or probabilities; {LABELS}",
    ),
    "names, and a missing one": (
        ce(X, ["cat", None]),
        ll.DtypeError,
        f"targets is of dtype object; expected class indices or probabilities; {LABELS}",
    ),
    "a missing number": (
        ce(X, [1, np.nan]),
        ll.DtypeError,
        "targets is of dtype float64 and holds NaN; expected integers as class indices; "
        "use np.where(np.isnan(targets), -100, targets).astype(np.int64)",
    ),
    "a generator": (
        ce(X, (i for i in (1, 2))),
        ll.DtypeError,
        "targets is a generator; expected an array of numbers; write list(targets)",
    ),
    "weights in a map": (
        ce(X, [1, 2], class_weight=map(float, range(4))),
        ll.DtypeError,
        "class_weight is a map; expected an array of numbers; write list(class_weight)",
    ),
    "an object": (
        ce(object(), [1, 2]),
        ll.DtypeError,
        "logits is a object; expected an array of numbers",
    ),
    "no targets": (ce(X, None), ll.DtypeError, "targets is None; expected an array of numbers"),
    "complex": (
        ce(X, X * 1j),
        ll.DtypeError,
        "targets is of dtype complex64; expected class indices or probabilities",
    ),
    "too few": (
        ce(X, [1]),
        ll.ShapeError,
        "targets is of shape (1,); expected (2,) for class indices or (2, 4) for dense targets",
    ),
    "a column": (
        ce(X, [[1], [2]]),
        ll.ShapeError,
        "targets is of shape (2, 1); expected (2,) for class indices or (2, 4) for dense targets; "
        "drop the last axis: targets[..., 0]",
    ),
    "one row in a list": (
        ce([0.0, 1.0, 2.0], [2]),
        ll.ShapeError,
        "targets is of shape (1,); expected () for class indices or (3,) for dense targets; "
        "pass the class alone: targets[0]",
    ),
    "one-hot of too few classes": (
        ce(X, np.eye(3)[[0, 1]]),
        ll.ShapeError,
        "targets is of shape (2, 3); expected (2,) for class indices or (2, 4) for dense targets; "
        "logits has 4 classes, targets has 3",
    ),
    "one-hot transposed": (
        ce(X, np.zeros((4, 2))),
        ll.ShapeError,
        "targets is of shape (4, 2); expected (2,) for class indices or (2, 4) for dense targets; "
        "are they transposed? the class axis of logits is 1",
    ),
    "logits transposed": (
        ce(X.T, [1, 2]),
        ll.ShapeError,
        "targets is of shape (2,); expected (4,) for class indices or (4, 2) for dense targets; "
        "they fit axis=0: is that the class axis of logits?",
    ),
    "classes in the middle": (
        ce(IMAGE, np.zeros((2, 5, 6), int)),
        ll.ShapeError,
        "targets is of shape (2, 5, 6); expected (2, 4, 5) for class indices "
        "or (2, 4, 5, 6) for dense targets; they fit axis=1: is that the class axis of logits?",
    ),
    "ragged": (
        ce(X, [[1], [1, 2]]),
        ll.ShapeError,
        "targets is a list that makes no array; expected rows of equal length",
    ),
    # logits
    "a number": (
        ce(3.0, 0),
        ll.ShapeError,
        "logits is a single number; expected at least one axis, of classes",
    ),
    "no classes": (
        ce(np.zeros((2, 0)), [0, 0]),
        ll.ShapeError,
        "logits is of shape (2, 0); expected at least one class on axis 1",
    ),
    "complex logits": (
        ce(X + 1j, [0, 0]),
        ll.DtypeError,
        "logits is of dtype complex64; expected float16, bfloat16, float32, float64, integers or bools; "
        "use logits.real or abs(logits)",
    ),
    "objects": (
        ce(X.astype(object), [0, 0]),
        ll.DtypeError,
        "logits is of dtype object; expected float16, bfloat16, float32, float64, integers or bools; "
        "use logits.astype(np.float64)",
    ),
    "strings": (
        ce(X.astype("U1"), [0, 0]),
        ll.DtypeError,
        "logits is of dtype <U1; expected float16, bfloat16, float32, float64, integers or bools",
    ),
    "masked": (
        ce(np.ma.masked_array(X, X > 1), [0, 0]),
        ll.DtypeError,
        "logits is a masked array; expected a plain one: logits.data, "
        "with its mask in where= or sample_weight=",
    ),
    # options
    "axis beyond": (
        ce(X, [0, 0], axis=2),
        ll.ShapeError,
        "axis is 2; expected -2 <= axis < 2 for logits of shape (2, 4)",
    ),
    "axis of a loss is one": (ce(X, [0, 0], axis=(0, 1)), ll.OptionError, "axis is (0, 1); expected an int"),
    "axis of a loss is not all": (ce(X, [0, 0], axis=None), ll.OptionError, "axis is None; expected an int"),
    "Mean": (
        ce(X, [0, 0], reduction="Mean"),
        ll.OptionError,
        "reduction is 'Mean'; expected 'mean', 'sum' or 'none'; did you mean 'mean'?",
    ),
    "average": (
        ce(X, [0, 0], reduction="average"),
        ll.OptionError,
        "reduction is 'average'; expected 'mean', 'sum' or 'none'; did you mean 'mean'?",
    ),
    "reduction None": (
        ce(X, [0, 0], reduction=None),
        ll.OptionError,
        "reduction is None; expected 'mean', 'sum' or 'none'; did you mean 'none'?",
    ),
    "reduction nonsense": (
        ce(X, [0, 0], reduction=3),
        ll.OptionError,
        "reduction is 3; expected 'mean', 'sum' or 'none'",
    ),
    "cold": (
        ce(X, [0, 0], temperature=0),
        ll.OptionError,
        "temperature is 0; expected a finite number above 0",
    ),
    "negative temperature": (
        ce(X, [0, 0], temperature=-1.0),
        ll.OptionError,
        "temperature is -1.0; expected a finite number above 0",
    ),
    "a temperature for each row": (
        ce(X, [0, 0], temperature=np.ones(2)),
        ll.OptionError,
        "temperature is a ndarray; expected a finite number above 0",
    ),
    "temperature nan": (
        ce(X, [0, 0], temperature=float("nan")),
        ll.OptionError,
        "temperature is nan; expected a finite number above 0",
    ),
    "temperature text": (
        ce(X, [0, 0], temperature="1"),
        ll.OptionError,
        "temperature is '1'; expected a finite number above 0",
    ),
    "softcap": (
        ce(X, [0, 0], softcap=0.0),
        ll.OptionError,
        "softcap is 0.0; expected a finite number above 0",
    ),
    "z_loss": (
        ce(X, [0, 0], z_loss=-1e-4),
        ll.OptionError,
        "z_loss is -0.0001; expected a finite number of 0 or more",
    ),
    "smoothing": (
        ce(X, [0, 0], label_smoothing=1.5),
        ll.OptionError,
        "label_smoothing is 1.5; expected a finite number in [0, 1]",
    ),
    "denominator": (
        ce(X, [0, 0], denominator=-2),
        ll.OptionError,
        "denominator is -2; expected a finite number of 0 or more",
    ),
    "denominator of a sum": (
        ce(X, [0, 0], denominator=2, reduction="sum"),
        ll.OptionError,
        "denominator is 2; expected None with reduction='sum'",
    ),
    "ignore_index": (
        ce(X, [0, 0], ignore_index=1.5),
        ll.OptionError,
        "ignore_index is 1.5; expected an int of 64 bits or None",
    ),
    "ignore_index of dense targets": (
        ce(X, X, ignore_index=0),
        ll.OptionError,
        "ignore_index is 0; expected no such option with dense targets; leave rows out with sample_weight=0",
    ),
    # weights
    "class weights of wrong length": (
        ce(X, [0, 0], class_weight=[1, 2]),
        ll.ShapeError,
        "class_weight is of shape (2,); expected (4,), one weight for each class",
    ),
    "class weights as sklearn takes them": (
        ce(X, [0, 0], class_weight={0: 1.0, 1: 2.0}),
        ll.DtypeError,
        "class_weight is a dict; expected an array, one weight for each class in order",
    ),
    "negative class weight": (
        ce(X, [0, 0], class_weight=[1, 2, -3, 0]),
        ll.OptionError,
        "class_weight[2] is -3.0; expected a finite weight, 0 or more",
    ),
    "class weight nan": (
        ce(X, [0, 0], class_weight=[1, 2, 3, np.nan]),
        ll.OptionError,
        "class_weight[3] is nan; expected a finite weight, 0 or more",
    ),
    "class weight text": (
        ce(X, [0, 0], class_weight="balanced"),
        ll.DtypeError,
        "class_weight is of dtype <U8; expected real numbers",
    ),
    "sample weights of wrong length": (
        ce(X, [0, 0], sample_weight=[1, 2, 3]),
        ll.ShapeError,
        "sample_weight is of shape (3,); expected (2,), one weight for each row",
    ),
    "infinite sample weight": (
        ce(X, [0, 0], sample_weight=[1, np.inf]),
        ll.OptionError,
        "sample_weight[1] is inf; expected a finite weight, 0 or more",
    ),
    "weight beyond float32": (
        ce(X, [0, 0], class_weight=[1.0, 1e308, 1.0, 1.0]),
        ll.OptionError,
        "class_weight[1] is 1e+308; expected a weight of at most 1e+18",
    ),
    "weights that add up to less than a float has": (
        ce(X, [0, 0], sample_weight=[1e-310, 0.0]),
        ll.OptionError,
        "class_weight and sample_weight add up to 1e-310; expected 0, or a finite sum of at least 1e-200",
    ),
    "denominator that nothing can be divided by": (
        ce(X, [0, 0], denominator=1e-320),
        ll.OptionError,
        "denominator is 1e-320; expected 0, or a finite number of at least 1e-200",
    ),
    "temperature that nothing can be divided by": (
        ce(X, [0, 0], temperature=1e-310),
        ll.OptionError,
        "temperature is 1e-310; expected a finite number of at least 1e-200",
    ),
    "softcap that nothing can be divided by": (
        ce(X, [0, 0], softcap=1e-310),
        ll.OptionError,
        "softcap is 1e-310; expected a finite number of at least 1e-200",
    ),
    "negative sample weight for all": (
        ce(X, [0, 0], sample_weight=-1),
        ll.OptionError,
        "sample_weight is -1.0; expected a finite weight, 0 or more",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), WRONG.values(), ids=WRONG)
def test_wrong_losses(call, error, text):
    with raises(error, f"cross_entropy: {text}"):
        call()


READ_ONLY = np.zeros((2, 4), np.float32)
READ_ONLY.flags.writeable = False

WRONG_SOFTMAX = {
    "axis": (
        lambda: ll.softmax(X, 1.5),
        ll.OptionError,
        "softmax: axis is 1.5; expected an int, a tuple of ints or None",
    ),
    "no axis": (
        lambda: ll.softmax(X, ()),
        ll.OptionError,
        "softmax: axis is (); expected one or more different axes",
    ),
    "axis twice": (
        lambda: ll.logsumexp(X, (1, -1)),
        ll.OptionError,
        "logsumexp: axis is (1, -1); expected one or more different axes",
    ),
    "axes beyond": (
        lambda: ll.log_softmax(X, (0, 2)),
        ll.ShapeError,
        "log_softmax: axis is 2; expected -2 <= axis < 2 for x of shape (2, 4)",
    ),
    "no axis of a number": (
        lambda: ll.softmax(2.0, ()),
        ll.ShapeError,
        "softmax: x is a single number; expected at least one axis, of classes",
    ),
    "where": (
        lambda: ll.softmax(X, where=X),
        ll.DtypeError,
        "softmax: where is of dtype float32; expected bools, True for possible classes",
    ),
    "where's shape": (
        lambda: ll.softmax(X, where=np.ones(3, bool)),
        ll.ShapeError,
        "softmax: where is of shape (3,); expected a shape that broadcasts to (2, 4)",
    ),
    "out's shape": (
        lambda: ll.softmax(X, out=np.zeros((4, 2), np.float32)),
        ll.ShapeError,
        "softmax: out is of shape (4, 2); expected the result's, (2, 4)",
    ),
    "out's dtype": (
        lambda: ll.log_softmax(X, out=np.zeros((2, 4))),
        ll.DtypeError,
        "log_softmax: out is of dtype float64; expected the result's, float32",
    ),
    "out read-only": (
        lambda: ll.softmax(X, out=READ_ONLY),
        ll.OptionError,
        "softmax: out is read-only; expected a writeable array",
    ),
    "out a list": (
        lambda: ll.softmax(X, out=[0] * 8),
        ll.DtypeError,
        "softmax: out is a list; expected an array",
    ),
    "nothing": (lambda: ll.softmax(None), ll.DtypeError, "softmax: x is None; expected an array of numbers"),
    "no class to predict": (
        lambda: ll.predict([]),
        ll.ShapeError,
        "predict: logits is of shape (0,); expected at least one class on axis 0",
    ),
    "long double": (
        lambda: ll.softmax(np.zeros(3, np.longdouble)),
        ll.DtypeError,
        f"softmax: x is of dtype {np.dtype(np.longdouble)}; expected float16, bfloat16, float32, float64, "
        "integers or bools; use x.astype(np.float64)",
    ),
    "k": (
        lambda: ll.top_k(X, 5),
        ll.OptionError,
        "top_k: k is 5; expected 1 <= k <= 4, the number of classes",
    ),
    "k of zero": (
        lambda: ll.top_k(X, 0),
        ll.OptionError,
        "top_k: k is 0; expected 1 <= k <= 4, the number of classes",
    ),
    "half a k": (lambda: ll.top_k(X, 0.5), ll.OptionError, "top_k: k is 0.5; expected an int in [1, 4]"),
    "names of arguments": (
        lambda: ll.log_loss(3.0, 0),
        ll.ShapeError,
        "log_loss: probs is a single number; expected at least one axis, of classes",
    ),
    "names of arguments again": (
        lambda: ll.nll_loss(X, [[1, 2]]),
        ll.ShapeError,
        "nll_loss: targets is of shape (1, 2); expected (2,) for class indices or (2, 4) for dense targets",
    ),
    "the function's own name": (
        lambda: ll.cross_entropy_grad(X, [9, 0]),
        ll.TargetError,
        "cross_entropy_grad: targets[0] is 9; expected a class in [0, 4) or ignore_index=-100",
    ),
    "of row statistics": (
        lambda: ll.row_stats(X, [9, 0]),
        ll.TargetError,
        "row_stats: targets[0] is 9; expected a class in [0, 4) or ignore_index=-100",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), WRONG_SOFTMAX.values(), ids=WRONG_SOFTMAX)
def test_wrong_calls(call, error, text):
    if np.dtype(np.longdouble) == np.float64 and "long" in text:
        pytest.skip("long double is float64 on this machine")
    with raises(error, text):
        call()


def test_errors_are_what_python_calls_them():
    assert issubclass(ll.ShapeError, ValueError)
    assert issubclass(ll.DtypeError, TypeError)
    assert issubclass(ll.TargetError, ValueError)
    assert issubclass(ll.OptionError, ValueError)
    assert issubclass(ll.BackendError, RuntimeError)
    for name in ("ShapeError", "DtypeError", "TargetError", "OptionError", "BackendError"):
        assert issubclass(getattr(ll, name), ll.LastlayerError)


@pytest.mark.parametrize(
    ("targets", "same"),
    [
        ([2, 0], [2, 0]),
        ((2, 0), [2, 0]),
        (np.asarray([2, 0], np.uint8), [2, 0]),
        ([[0, 0, 1, 0], [1, 0, 0, 0]], [2, 0]),
        (np.eye(4, dtype=bool)[[2, 0]], [2, 0]),
        (np.eye(4)[[2, 0]], [2, 0]),
        (np.eye(4, dtype=np.longdouble)[[2, 0]], [2, 0]),
    ],
)
def test_forms_of_targets(targets, same):
    logits = np.asarray([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    assert ll.cross_entropy(logits, targets) == ll.cross_entropy(logits, np.asarray(same))


def test_forms_of_logits():
    rows = [[1.0, 2.0, 4.0], [0.0, 1.0, 0.0]]
    expected = ll.softmax(np.asarray(rows))
    for form in (rows, tuple(map(tuple, rows)), [np.asarray(r) for r in rows], np.asarray(rows, int)):
        assert (ll.softmax(form) == expected).all()
    assert ll.cross_entropy([1.0, 2.0, 4.0], 2) == ll.cross_entropy([[1.0, 2.0, 4.0]], [2])


def test_other_numbers_as_options():
    logits, targets = np.asarray([[1, 2, 3, 4]], np.float32), np.asarray([1])
    plain = ll.cross_entropy(
        logits, targets, temperature=2.0, label_smoothing=0.5, z_loss=1.0, denominator=4.0
    )
    other = ll.cross_entropy(
        logits,
        targets,
        axis=np.int64(1),
        temperature=np.float32(2),
        label_smoothing=np.asarray(0.5),
        z_loss=True,
        denominator=np.int8(4),
        ignore_index=np.int16(-100),
    )
    assert plain == other


# --- errors as data -----------------------------------------------------------------------------------------


def error_of(call):
    with pytest.raises(ll.LastlayerError) as caught:
        call()
    return caught.value


def test_parts_of_an_error():
    error = error_of(ce(X, [1, -1], ignore_index=None))
    assert (error.function, error.argument, error.found) == ("cross_entropy", "targets[1]", "-1")
    assert error.rule == "a class in [0, 4)"
    assert error.remedy == "to leave such rows out pass ignore_index=-1"
    error = error_of(ce(X, np.ones((2, 3))))
    assert (error.argument, error.found) == ("targets", "of shape (2, 3)")
    assert error.rule == "(2,) for class indices or (2, 4) for dense targets"
    assert error.remedy == "logits has 4 classes, targets has 3"


@pytest.mark.parametrize("form", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_is_copied_whole(form):
    error = error_of(ce(X, np.ones((2, 3))))
    other = form(error)
    assert type(other) is type(error)
    assert vars(other) == vars(error)
    assert str(other) == str(error)
    assert repr(other) == repr(error) == f"ShapeError({str(error)!r})"


def test_an_error_of_one_text():
    error = ll.TargetError("nothing fits")
    assert (str(error), repr(error)) == ("nothing fits", "TargetError('nothing fits')")
    assert (error.function, error.argument, error.found, error.rule, error.remedy) == ("",) * 5
    assert str(ll.LastlayerError()) == ""


ERRORS = {n for n in ll.errors.__all__ if n.endswith("Error")}


def errors_made_in(folder):
    """(file, line, arguments) of every call of an error's class."""
    for path in (Path(ll.__file__).parent / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if called.removeprefix("DropIn") in ERRORS:
                yield path.name, node.lineno, node.args


@pytest.mark.parametrize("folder", ["backends/torch", "linear", "torch"])
def test_no_error_is_raised_beside_the_checks(folder):
    """Those of a user's call are raised in ``problem/`` and the few places that ``docs/design.md`` names."""
    assert not list(errors_made_in(folder))


@pytest.mark.parametrize("folder", [".", "backends/core", "checking", "problem", "sklearn"])
def test_every_error_is_made_of_parts(folder):
    assert not [(file, line) for file, line, parts in errors_made_in(folder) if len(parts) < 3]

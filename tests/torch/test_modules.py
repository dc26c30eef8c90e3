"""The modules are PyTorch's in everything but the computation: constructors, buffers, copies, pictures."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

torch = pytest.importorskip("torch")

import lastlayer.torch as ours  # noqa: E402

NAMES = ["Softmax", "LogSoftmax", "CrossEntropyLoss", "NLLLoss"]
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.25])
X, Y = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(3, 4), torch.tensor([0, 3, 1])


@pytest.mark.parametrize("name", NAMES)
def test_the_constructor_is_pytorchs_and_more_by_keyword(name):
    mine, theirs = getattr(ours, name), getattr(torch.nn, name)
    assert issubclass(mine, theirs)
    expected = list(inspect.signature(theirs).parameters.values())
    found = list(inspect.signature(mine).parameters.values())
    for a, b in zip(expected, found[: len(expected)], strict=True):
        assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in found[len(expected) :])


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_arguments_by_position_and_deprecated_names(name):
    mine, theirs = getattr(ours, name), getattr(torch.nn, name)
    found = mine(WEIGHT.double(), None, 3, None, "sum")(X, Y)
    torch.testing.assert_close(found, theirs(WEIGHT.double(), None, 3, None, "sum")(X, Y))
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert mine(size_average=False).reduction == "sum"


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_weights_are_a_buffer_that_state_dicts_hold(name):
    mine, theirs = getattr(ours, name)(WEIGHT), getattr(torch.nn, name)(WEIGHT)
    assert list(mine.state_dict()) == list(theirs.state_dict()) == ["weight"]
    fresh = getattr(ours, name)(torch.zeros(4))
    fresh.load_state_dict(theirs.state_dict())
    assert torch.equal(fresh.weight, WEIGHT)
    theirs.load_state_dict(mine.state_dict())
    assert mine.to(torch.float64).weight.dtype == torch.float64
    assert getattr(ours, name)().state_dict() == {}


def options_of(name):
    if "oftmax" in name:
        return {"dim": 1, "temperature": 2.0}
    options = {"weight": WEIGHT.double(), "ignore_index": 3, "reduction": "sum", "label_smoothing": 0.1}
    return options | ({"temperature": 2.0, "softcap": 5.0, "z_loss": 0.01} if "Cross" in name else {})


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_pickles_compute_the_same(name):
    module = getattr(ours, name)(**options_of(name))
    arguments = (X,) if "oftmax" in name else (X, Y)
    expected = module(*arguments)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(*arguments), expected)
        assert repr(other) == repr(module)


def test_modules_pass_every_option_on():
    options = options_of("CrossEntropyLoss")
    s = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    found = ours.CrossEntropyLoss(**options)(X, Y, sample_weight=s)
    assert torch.equal(found, ours.cross_entropy(X, Y, **options, sample_weight=s))
    found = ours.CrossEntropyLoss()(X, Y, denominator=5.0)
    torch.testing.assert_close(found, ours.cross_entropy(X, Y, reduction="sum") / 5)
    options = options_of("NLLLoss")
    found = ours.NLLLoss(**options)(X, Y, sample_weight=s)
    assert torch.equal(found, ours.nll_loss(X, Y, **options, sample_weight=s))
    for kind, function in ((ours.Softmax, ours.softmax), (ours.LogSoftmax, ours.log_softmax)):
        assert torch.equal(kind(0, temperature=3.0)(X), function(X, 0, temperature=3.0))


def test_what_a_module_shows():
    assert repr(ours.Softmax(1)) == repr(torch.nn.Softmax(1)) == "Softmax(dim=1)"
    assert repr(ours.LogSoftmax()) == "LogSoftmax(dim=None)"
    assert repr(ours.Softmax(-1, temperature=0.5)) == "Softmax(dim=-1, temperature=0.5)"
    assert repr(ours.CrossEntropyLoss()) == repr(torch.nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert repr(ours.CrossEntropyLoss(WEIGHT, ignore_index=0, z_loss=1e-4)) == (
        "CrossEntropyLoss(weight of 4 classes, ignore_index=0, z_loss=0.0001)"
    )
    assert repr(ours.NLLLoss(reduction="sum")) == "NLLLoss(reduction='sum')"


def test_an_implicit_dimension_warns_as_pytorchs_module_does():
    with pytest.warns(UserWarning, match="Implicit dimension") as theirs:
        torch.nn.Softmax()(X)
    with pytest.warns(UserWarning, match="write dim=1") as mine:
        ours.Softmax()(X)
    assert [w.filename for w in mine] == [w.filename for w in theirs]


def test_a_model_trains():
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    y = x.argmax(1)
    model, criterion = torch.nn.Linear(4, 4), ours.CrossEntropyLoss(label_smoothing=0.01)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).float().mean() > 0.95

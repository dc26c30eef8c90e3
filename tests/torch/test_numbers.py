"""Number options that are tensors or NumPy scalars: read where they can be, and differentiated."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
from torch.autograd import gradcheck  # noqa: E402

import lastlayer.torch as drop_ins  # noqa: E402

VALUES = {"label_smoothing": 0.1, "temperature": 1.7, "softcap": 3.0, "z_loss": 0.2, "denominator": 3.0}
CANON = ("temperature", "softcap")
TARGETS = ("label_smoothing", "denominator")
STATISTICS = ("label_smoothing", *CANON)


X, FEATURES, WEIGHT, Y = tensor(4, 5), tensor(4, 3, seed=1), tensor(5, 3, seed=2), torch.tensor([0, 4, 2, 1])
DENSE = torch.softmax(tensor(4, 5, seed=3), 1)
LISTED = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]]), torch.full((4, 2), 0.4, dtype=torch.float64), 0.2
# Each function with the number options that it has.
FUNCTIONS = {
    "cross_entropy": (lambda **o: ll.cross_entropy(X, Y, **o), tuple(VALUES)),
    "dense targets": (lambda **o: ll.cross_entropy(X, DENSE, **o), tuple(VALUES)),
    "top-k targets": (lambda **o: ll.cross_entropy(X, LISTED, **o), tuple(VALUES)),
    "gradient": (lambda **o: ll.cross_entropy_grad(X, Y, **o)[1], tuple(VALUES)),
    "nll_loss": (lambda **o: ll.nll_loss(X, Y, **o), TARGETS),
    "log_loss": (lambda **o: ll.log_loss(DENSE, Y, **o), TARGETS),
    "row_stats": (lambda **o: ll.row_stats(X, Y, **o).nll, STATISTICS),
    "sum_p2": (lambda **o: ll.row_stats(X, **o).sum_p2, CANON),
    "softmax": (lambda **o: ll.softmax(X, **o), ("temperature",)),
    "log_softmax": (lambda **o: ll.log_softmax(X, (0, 1), **o), ("temperature",)),
    "linear": (lambda **o: ll.linear_cross_entropy(FEATURES, WEIGHT, Y, **o), tuple(VALUES)),
    "linear gradient": (
        lambda **o: ll.linear_cross_entropy_grad(FEATURES, WEIGHT, Y, **o)[1][1],
        tuple(VALUES),
    ),
    "linear statistics": (lambda **o: ll.linear_row_stats(FEATURES, WEIGHT, Y, **o).entropy, STATISTICS),
    "drop-in": (lambda **o: drop_ins.cross_entropy(X, Y, **o), tuple(VALUES)),
    "linear drop-in": (
        lambda **o: drop_ins.linear_cross_entropy(
            FEATURES, WEIGHT.reshape(5, 1, 3).expand(5, 2, 3), Y[:, None].expand(4, 2), **o
        ),
        tuple(VALUES),
    ),
    "predict": (lambda **o: ll.predict(X, **o)[1], CANON),
    "top_k": (lambda **o: ll.top_k(X, 2, **o)[1], ("temperature",)),
    "linear_top_k": (lambda **o: ll.linear_top_k(FEATURES, WEIGHT, 2, **o)[1], CANON),
}
CONSTANT = ("predict", "top_k", "linear_top_k")
KINDS = {
    "NumPy's": np.float64,
    "array": np.array,
    "tensor": lambda v: torch.tensor(v, dtype=torch.float64),
    "parameter": lambda v: torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)),
}
each_function = pytest.mark.parametrize("name", FUNCTIONS)


@each_function
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number(name, kind):
    function, names = FUNCTIONS[name]
    found = function(**{n: KINDS[kind](VALUES[n]) for n in names})
    torch.testing.assert_close(found, function(**{n: VALUES[n] for n in names}), rtol=1e-12, atol=1e-12)
    assert found.requires_grad == (kind == "parameter" and name not in CONSTANT)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in CONSTANT])
def test_gradients(name):
    function, names = FUNCTIONS[name]
    inputs = [torch.tensor(VALUES[n], dtype=torch.float64, requires_grad=True) for n in names]
    assert gradcheck(lambda *v: function(**dict(zip(names, v, strict=True))), inputs, fast_mode=True)


@each_function
def test_many_at_once(name):
    function, names = FUNCTIONS[name]
    inputs = [VALUES[n] * torch.tensor([1.0, 1.3], dtype=torch.float64) for n in names]
    found = torch.vmap(lambda *v: function(**dict(zip(names, v, strict=True))))(*inputs)
    for i in range(2):
        alone = function(**{n: float(v[i]) for n, v in zip(names, inputs, strict=True)})
        torch.testing.assert_close(found[i], alone)


def test_compiled():
    torch._dynamo.reset()

    def several(values):
        chosen = (FUNCTIONS[name] for name in ("cross_entropy", "softmax", "linear"))
        return [function(**{n: values[n] for n in names}) for function, names in chosen]

    found = torch.compile(several, backend="eager", fullgraph=True)(
        {n: KINDS["NumPy's" if n == "temperature" else "tensor"](value) for n, value in VALUES.items()}
    )
    for a, b in zip(found, several(VALUES), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_compiled_training_step_with_a_denominator():
    """The number of tokens of a larger batch, as a tensor: still one operation, which checks the targets."""

    def step(x, y, n):
        return ll.linear_cross_entropy(x, WEIGHT, y, denominator=n) + ll.cross_entropy(X, y, denominator=n)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    x, n = FEATURES.clone().requires_grad_(), torch.tensor(7)
    found, expected = compiled(x, Y, n), step(x, Y, 7.0)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, x), torch.autograd.grad(expected, x), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ll.TargetError, match=r"targets\[0\] is 7; expected a class in \[0, 5\)"):
        compiled(x, Y + 7, n)


def test_no_denominator_left_is_a_mean_over_nothing():
    nothing = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for name in ("cross_entropy", "gradient", "linear", "linear gradient", "linear drop-in"):
        found = FUNCTIONS[name][0](denominator=nothing)
        assert torch.equal(found, torch.zeros_like(found))
        assert torch.autograd.grad(found.sum(), nothing)[0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("softcap", -1.0),
        ("z_loss", -0.1),
        ("label_smoothing", 1.1),
        ("denominator", -1.0),
    ],
)
def test_numbers_out_of_range(name, value):
    function = FUNCTIONS["linear" if name == "softcap" else "cross_entropy"][0]
    message = f"{name} is {torch.tensor(value)}; expected a finite number"
    with pytest.raises(ll.OptionError, match=message.replace("(", r"\(").replace(")", r"\)")):
        function(**{name: torch.tensor(value)})
    assert function(**{name: torch.tensor(value, requires_grad=True)}).isnan()  # nobody looks at it


def test_deferred_logits():
    head, x, y = drop_ins.LinearHead(3, 5), torch.randn(300, 3), torch.randint(0, 5, (300,))
    plain = torch.nn.functional.linear(x, head.weight, head.bias)
    for name, value in VALUES.items():
        numbers = [torch.tensor(value, requires_grad=True) for _ in range(2)]
        losses = [ll.cross_entropy(z, y, **{name: n}) for z, n in zip((head(x), plain), numbers, strict=True)]
        found, expected = (torch.autograd.grad(loss, n)[0] for loss, n in zip(losses, numbers, strict=True))
        torch.testing.assert_close(found, expected)
    temperature = torch.tensor(2.0, requires_grad=True)
    assert not ll.predict(head(x), temperature=temperature)[1].requires_grad
    assert not ll.top_k(head(x), 2, temperature=temperature)[1].requires_grad


def test_a_device_is_not_waited_for():
    """A meta tensor has no value: whoever looks at it fails."""
    x, y = torch.zeros(4, 5, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    weight = torch.zeros(3, 5, device="meta")
    number = torch.ones((), device="meta")
    for targets in (y, x):
        assert ll.cross_entropy(x, targets, **dict.fromkeys(VALUES, number)).is_meta
        assert ll.cross_entropy_grad(x, targets, **dict.fromkeys(VALUES, number))[1].is_meta
        assert ll.row_stats(x, targets, **dict.fromkeys(STATISTICS, number)).nll.is_meta
    assert ll.softmax(x, temperature=number).is_meta
    assert ll.predict(x, temperature=number, softcap=number)[1].is_meta
    assert ll.top_k(x, 2, temperature=number)[1].is_meta
    assert ll.linear_cross_entropy(x, weight, y, **dict.fromkeys(VALUES, number)).is_meta
    with raises(
        ll.DtypeError,
        "softmax: temperature is on device meta; expected cpu, as the scores are; "
        "write temperature.to('cpu')",
    ):
        ll.softmax(X, temperature=number)
    for name, function in (
        ("ignore_index", lambda n: ll.cross_entropy(x, y, ignore_index=n)),
        ("max_memory", lambda n: ll.linear_cross_entropy(x, weight, y, max_memory=n)),
    ):
        with pytest.raises(ll.OptionError, match=f"{name} is a tensor whose value is not at hand"):
            function(number)


def test_integers_in_tensors():
    for ignored in (torch.tensor(4), np.int64(4), torch.tensor([4], dtype=torch.uint8)):
        found = ll.cross_entropy(X, Y, ignore_index=ignored)
        assert torch.equal(found, ll.cross_entropy(X, Y, ignore_index=4))
        found = ll.linear_cross_entropy(
            FEATURES, WEIGHT, Y, ignore_index=ignored, max_memory=torch.tensor(1e9)
        )
        expected = ll.linear_cross_entropy(FEATURES, WEIGHT, Y, ignore_index=4, max_memory=1e9)
        assert torch.equal(found, expected)
    with raises(ll.OptionError, "cross_entropy: temperature is a Tensor; expected a finite number above 0"):
        ll.cross_entropy(X, Y, temperature=torch.ones(2))


def test_a_gradient_that_would_be_lost_is_an_error():
    temperature = torch.tensor(2.0, requires_grad=True)
    message = (
        "softmax: temperature is a tensor that requires a gradient; expected a number; "
        "write temperature.detach()"
    )
    with raises(ll.OptionError, message):
        ll.softmax(X.numpy(), temperature=temperature)
    with raises(ll.OptionError, message):
        ll.softmax(X.tolist(), temperature=temperature)
    with raises(
        ll.OptionError,
        "softmax: out is given while gradients are recorded; expected None, or torch.no_grad()",
    ):
        ll.softmax(X, temperature=temperature, out=torch.empty_like(X))
    assert not ll.softmax(X, temperature=temperature.detach()).requires_grad
    with torch.no_grad():
        assert torch.equal(ll.softmax(X, temperature=temperature), ll.softmax(X, temperature=2.0))

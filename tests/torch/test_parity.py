"""Every sample input of PyTorch's own test data gives what PyTorch gives: values, gradients, second
gradients, forward-mode derivatives, dtypes and shapes.

The truth is PyTorch's result in float64 for the same numbers; shape and dtype are those of its result in the
sample's dtype. Where this package deliberately does otherwise, the test says so, and docs/semantics.md.
"""

from __future__ import annotations

import random

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # what torch's test data imports

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

import lastlayer.torch as ours  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script:DeprecationWarning"  # torch's forward mode compiles its own rules at first use
)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def chunkless(*arguments, options=None, **keywords):
    """PyTorch's function without its options, with which it has neither second nor forward derivatives."""
    return torch.nn.functional.linear_cross_entropy(*arguments, **keywords)


FUNCTIONS = {
    "softmax": (ours.softmax, torch.nn.functional.softmax),
    "log_softmax": (ours.log_softmax, torch.nn.functional.log_softmax),
    "logsumexp": (ours.logsumexp, torch.logsumexp),
    "nn.functional.cross_entropy": (ours.cross_entropy, torch.nn.functional.cross_entropy),
    "nn.functional.nll_loss": (ours.nll_loss, torch.nn.functional.nll_loss),
    "nn.functional.linear_cross_entropy": (ours.linear_cross_entropy, chunkless),
}
OPERATORS = {
    f"{op.name}{'-' * bool(op.variant_test_name)}{op.variant_test_name}": op
    for op in op_db
    if op.name in FUNCTIONS
}
MODULES = {
    info.module_cls.__name__: info
    for info in module_db
    if info.module_cls.__module__.startswith("torch.nn") and info.module_cls.__name__ in ours.__all__
}

every_operator = pytest.mark.parametrize("name", OPERATORS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def samples(name, dtype):
    """The sample inputs of an operator, each as a list of all its arguments."""
    torch.manual_seed(0)
    random.seed(0)
    found = list(OPERATORS[name].sample_inputs("cpu", dtype))
    assert len(found) >= 5
    return [(sample.input, *sample.args, sample.kwargs) for sample in thinned(found)]


def thinned(found):
    """About forty of them, where every shape is there with each of many options."""
    return found[:: len(found) // 40 | 1]


def is_floating(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def leaves(arguments, dtype=None):
    """Fresh copies of the arguments, and those to differentiate in: the input, dense targets."""
    *positional, options = arguments
    copies = [x.detach().to(dtype or x.dtype).clone() if is_floating(x) else x for x in positional]
    options = {k: x.to(dtype or x.dtype) if is_floating(x) else x for k, x in options.items()}
    variables = [x.requires_grad_() for x in copies if is_floating(x)]
    return copies, options, variables


def like(x, seed):
    """Numbers of the shape and dtype of ``x``, the same in every dtype but for a rounding to bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, generator=generator, dtype=torch.float64).bfloat16().to(x.dtype)


def gradients(outputs, variables, seed, **keywords):
    """Gradients of the outputs weighted with random numbers; 0 where a variable is not used."""
    outputs = [y for y in outputs if y.requires_grad]
    if not outputs:
        return [torch.zeros_like(x) for x in variables]
    weights = [like(y, seed + i) for i, y in enumerate(outputs)]
    found = torch.autograd.grad(outputs, variables, weights, allow_unused=True, **keywords)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, variables, strict=True)]


def value(function, copies, options, variables):
    return [function(*copies, **options).detach()]


def gradient(function, copies, options, variables):
    return gradients([function(*copies, **options)], variables, 1)


def second_gradient(function, copies, options, variables):
    first = gradients([function(*copies, **options)], variables, 1, create_graph=True)
    return gradients(first, variables, 2)


def forward_derivative(function, copies, options, variables):
    tangents = tuple(like(x, 3 + i) for i, x in enumerate(variables))
    places = [i for i, x in enumerate(copies) if is_floating(x)]

    def of_variables(*values):
        arguments = list(copies)
        for place, x in zip(places, values, strict=True):
            arguments[place] = x
        return function(*arguments, **options)

    return [torch.func.jvp(of_variables, tuple(x.detach() for x in variables), tangents)[1].detach()]


QUANTITIES = [value, gradient, second_gradient, forward_derivative]


@every_operator
@every_dtype
@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.__name__)
def test_samples_give_what_pytorch_gives(name, dtype, quantity):
    mine, theirs = FUNCTIONS[name.partition("-")[0]]
    for number, arguments in enumerate(samples(name, dtype)):
        found = quantity(mine, *leaves(arguments))
        expected = quantity(theirs, *leaves(arguments))
        truth = quantity(theirs, *leaves(arguments, torch.float64))
        for i, (f, e, t) in enumerate(zip(found, expected, truth, strict=True)):
            what = f"sample {number}, {describe(arguments)}, result {i}"
            assert (f.dtype, f.shape) == (e.dtype, e.shape), what
            assert_close(f, t, e.dtype, what, of=rounded(name, arguments, e.dtype))


@every_operator
@pytest.mark.filterwarnings(  # torch's own
    "ignore:Casting complex values to real:UserWarning", "ignore:ComplexHalf support:UserWarning"
)
def test_samples_of_other_dtypes_give_what_pytorch_gives_or_are_refused(name):
    mine, theirs = FUNCTIONS[name.partition("-")[0]]
    for dtype in sorted(OPERATORS[name].supported_dtypes("cpu") - set(DTYPES), key=str):
        for number, arguments in enumerate(samples(name, dtype)):
            *positional, options = arguments
            if dtype.is_complex and "dtype" not in options:
                with pytest.raises(ll.DtypeError):
                    mine(*positional, **options)
                continue
            found, expected = (f(*positional, **options) for f in (mine, theirs))
            what = f"{dtype} sample {number}, {describe(arguments)}"
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
            assert_close(found, expected, found.dtype, what)


def rounded(name, arguments, dtype):
    """What has been rounded before: the truth rounds differences of inputs, and a head its logits."""
    if "linear" in name and dtype in (torch.float64, torch.float32):
        x, weight = (a.detach().double() for a in arguments[:2])
        return torch.tensordot(x, weight, ([-1], [-1]))
    return arguments[0] if dtype == torch.float64 else None


def assert_close(found, truth, dtype, what, of=None):
    """Within so many roundings of the result's largest number; NaN and infinite just where the truth is."""
    roundings = 16 if dtype == torch.float64 else 4  # in float64 the truth has some of its own
    eps = torch.finfo(dtype).eps
    finite = truth[truth.isfinite()].abs()
    size = max(1.0, finite.max().item() if finite.numel() else 0.0)
    if of is not None and of.numel():
        size = max(size, of.abs().max().item())
    torch.testing.assert_close(
        found.double(),
        truth.double(),
        rtol=roundings * eps,
        atol=roundings * eps * size,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )


def describe(arguments):
    shown = [tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in arguments[:-1]]
    return f"{shown} {arguments[-1]}"


# --- modules ------------------------------------------------------------------------------------------------


def module_inputs(name, dtype):
    torch.manual_seed(0)
    info = MODULES[name]
    return thinned(info.module_inputs_func(info, "cpu", dtype, requires_grad=True, training=True))


def means_nothing(sample):
    """Whether it is a mean over no targets: 0 with a gradient of 0, PyTorch's is NaN."""
    options, target = sample.constructor_input.kwargs, sample.forward_input.args[-1]
    mean = options.get("reduction", "mean") == "mean" and not is_floating(target)
    index = options.get("ignore_index")
    return mean and bool((target == (-100 if index is None else index)).all())


@pytest.mark.parametrize("name", MODULES)
@every_dtype
def test_modules_give_what_pytorch_gives(name, dtype):
    def run(kind, sample, dtype):
        given = sample.constructor_input
        options = {k: x.to(dtype) if is_floating(x) else x for k, x in given.kwargs.items()}
        if "dtype" in options:
            options["dtype"] = dtype
        if kind is MODULES[name].module_cls:
            options.pop("options", None)  # PyTorch warns where it does not heed them
        module = kind(*given.args, **options)
        own = list(module.parameters())
        with torch.no_grad():
            for i, parameter in enumerate(own):
                parameter.copy_(like(parameter, 7 + i))
        copies, options, variables = leaves([*sample.forward_input.args, sample.forward_input.kwargs], dtype)
        result = module(*copies, **options)
        return [result.detach(), *gradients([result], [*variables, *own], 1)]

    found = module_inputs(name, dtype)
    assert len(found) >= 3
    for sample in found:
        mine = run(getattr(ours, name), sample, dtype)
        theirs = run(MODULES[name].module_cls, sample, dtype)
        truth = run(MODULES[name].module_cls, sample, torch.float64)
        if means_nothing(sample):
            truth = [torch.zeros_like(t) for t in truth]
        for i, (f, e, t) in enumerate(zip(mine, theirs, truth, strict=True)):
            what = f"{name} {sample.desc}, result {i}"
            assert (f.dtype, f.shape) == (e.dtype, e.shape), what
            assert_close(f, t, dtype, what)


def test_there_are_samples_of_every_drop_in():
    assert {name.partition("-")[0] for name in OPERATORS} == set(FUNCTIONS)
    assert set(MODULES) == {name for name in ours.__all__ if name[0].isupper() and hasattr(torch.nn, name)}
    assert {f.__name__ for f, _ in FUNCTIONS.values()} == {name for name in ours.__all__ if name[0].islower()}


@pytest.mark.parametrize("name", [name for name, info in MODULES.items() if info.module_error_inputs_func])
def test_what_pytorch_refuses_is_refused_with_an_error_of_its_kind(name):
    info = MODULES[name]
    for wrong in info.module_error_inputs_func(info, "cpu", torch.float32, requires_grad=True, training=True):
        given, passed = wrong.module_error_input.constructor_input, wrong.module_error_input.forward_input
        with pytest.raises(wrong.error_type) as caught:
            getattr(ours, name)(*given.args, **given.kwargs)(*passed.args, **passed.kwargs)
        assert isinstance(caught.value, ll.LastlayerError)

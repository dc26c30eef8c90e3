"""When logits are deferred, what a later write does, and what of the memory behind them anyone can reach."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
F = torch.nn.functional
from linear_heads import D, V, Y, causal, parts, waiting  # noqa: E402

from lastlayer.torch import LinearHead  # noqa: E402
from lastlayer.torch.deferred import Logits  # noqa: E402
from lastlayer.torch.transformers import without_logits  # noqa: E402

ROWS = 256


def flat(z, **options):
    return F.cross_entropy(z.view(-1, z.shape[-1]), Y.view(-1), **options)


# --- when they are deferred ---------------------------------------------------------------------------------


def test_the_default_is_for_training():
    classes = 2**18 // ROWS + 1
    x, linear = torch.randn(ROWS, D), torch.nn.Linear(D, classes)
    head = LinearHead.of(linear)
    assert type(LinearHead(D, classes - 1)(x)) is torch.Tensor  # fewer logits
    assert type(head(x)) is Logits
    assert type(head(x.view(2, 128, D))) is Logits
    assert type(head(x[1:])) is torch.Tensor  # fewer rows
    with torch.no_grad():
        assert type(head(x)) is torch.Tensor
    with torch.inference_mode():
        assert type(head(x)) is torch.Tensor
    head.requires_grad_(False)
    assert type(head(x)) is torch.Tensor
    assert type(head(x.clone().requires_grad_())) is Logits
    head.requires_grad_().weight.data = head.weight.data.share_memory_()
    assert type(head(x)) is torch.Tensor  # other processes write there


def test_always_and_never():
    x, linear = torch.randn(ROWS, D), torch.nn.Linear(D, V)
    always, never = LinearHead.of(linear, defer="always"), LinearHead(D, V, defer="never")
    assert type(always(x[0])) is type(always(x)) is Logits
    with torch.no_grad():
        z = always(x)
    assert type(z) is Logits
    assert not z.requires_grad
    with torch.inference_mode():
        assert type(always(x)) is torch.Tensor
    assert type(never(x)) is torch.Tensor
    assert repr(always) == f"LinearHead(in_features={D}, out_features={V}, bias=True, defer='always')"
    always.weight.data = always.weight.data.share_memory_()
    assert type(always(x)) is torch.Tensor


MAKERS = {
    "LinearHead": lambda **o: LinearHead(2, 3, **o),
    "LinearHead.of": lambda **o: LinearHead.of(torch.nn.Linear(2, 3), **o),
    "without_logits": lambda **o: without_logits(torch.nn.Linear(2, 3), **o),
}


@pytest.mark.parametrize("name", MAKERS)
def test_another_word(name):
    rule = "expected 'training' (only where a graph is recorded), 'always' or 'never'"
    with raises(ll.OptionError, f"{name}: defer is 'sometimes'; {rule}"):
        MAKERS[name](defer="sometimes")


def test_without_the_private_parts_of_torch_it_is_a_linear_layer(monkeypatch):
    from lastlayer.torch import deferred

    def older(*_, **options):
        raise TypeError(f"unexpected keyword arguments: {list(options)}")

    x, linear = parts()
    for change in (
        lambda: monkeypatch.delattr(torch._C, "_set_throw_on_mutable_data_ptr"),
        lambda: monkeypatch.setattr(torch._C, "_set_throw_on_mutable_data_ptr", lambda _: None),
        lambda: monkeypatch.setattr(torch.Tensor, "_make_wrapper_subclass", older),
    ):
        change()
        deferred.is_possible.cache_clear()
        try:
            assert type(waiting(linear)(x)) is torch.Tensor
        finally:
            monkeypatch.undo()
            deferred.is_possible.cache_clear()
    assert type(waiting(linear)(x)) is Logits


# --- writes -------------------------------------------------------------------------------------------------

NUMBERS = np.ones((V, D), np.float32)
WRITES = {
    "add_": lambda w: w.detach().add_(1e-3),
    "data": lambda w: w.data.sub_(1e-3),
    "negated": lambda w: w.data.neg_(),
    "negated and swapped signs": lambda w: w.data[:2].neg_(),
    "rows swapped": lambda w: w.data.__setitem__([0, 1], w.data[[1, 0]]),
    "one number": lambda w: w.data[0, 0].add_(1e-6),
    "NumPy": lambda w: w.detach().numpy().__iadd__(1),
    "shared": lambda w: w.detach().share_memory_().zero_(),
    "a storage": lambda w: w.untyped_storage().fill_(0),
    "an optimizer": lambda w: torch.optim.SGD([w], 0.1).step(),
    "foreign memory": lambda _: NUMBERS.__iadd__(1),
}
USES = {
    "loss": flat,
    "argmax": lambda z: z.argmax(-1),
    "sum of a view": lambda z: z[:, 1].sum(),
    "row_stats": ll.row_stats,
}


def writable_head(write):
    w = torch.from_numpy(NUMBERS) if write == "foreign memory" else torch.randn(V, D)
    linear = torch.nn.Linear(D, V, bias=False)
    linear.weight = torch.nn.Parameter(w)
    linear.weight.grad = torch.ones(V, D)
    return waiting(linear), torch.randn(2, 4, D)


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_noticed(write):
    for use in USES.values():
        for recorded in (True, False):
            head, x = writable_head(write)
            with torch.set_grad_enabled(recorded):
                z = head(x)
            WRITES[write](head.weight)
            with raises(
                ll.BackendError,
                "Logits: weight has been written to since; expected it as it was when the logits were asked "
                "for; write logits.clone() before",
            ):
                use(z)


@pytest.mark.parametrize("write", WRITES)
def test_the_gradient_is_that_of_the_loss(write):
    """A write that torch sees is its error, as for plain logits; any other changes nothing."""
    for way in ("usual", "each row", "looked at"):
        head, x = writable_head(write)
        x.requires_grad_()
        expected = torch.autograd.grad(flat(F.linear(x, head.weight)), [x, head.weight])
        z = head(x)
        if way == "looked at":
            z.grad_fn.register_prehook(lambda gs: tuple(g * 1 for g in gs))
        loss = flat(z, reduction="none").sum() / 7 if way == "each row" else flat(z)
        WRITES[write](head.weight)
        try:
            found = torch.autograd.grad(loss, [x, head.weight])
        except RuntimeError as error:
            seen = write in ("add_", "an optimizer", "shared") and "modified by an inplace operation" in str(
                error
            )
            assert seen or (way != "usual" and "weight has been written to since" in str(error))  # noqa: PT017
        else:
            assert way == "usual"
            torch.testing.assert_close(found, expected)


def test_the_remedy():
    x, linear = parts()
    z, expected = waiting(linear)(x).clone(), linear(x)
    linear.weight.data.zero_()
    assert z.equal(expected)


def test_a_buffer_of_features_that_is_used_again():
    buffer, linear = np.zeros((3, 4), np.float32), torch.nn.Linear(4, 5)
    heads = LinearHead.of(linear), LinearHead.of(linear, defer="always")
    for head in heads:
        found, expected, errors = [], [], 0
        for k in range(3):
            buffer[:] = k
            with torch.no_grad():
                found.append(head(torch.from_numpy(buffer)))
                expected.append(linear(torch.from_numpy(buffer)).clone())
        for z, e in zip(found, expected, strict=True):
            try:
                assert z.equal(e)
            except ll.BackendError as error:
                errors += "x has been written to since" in str(error)
        assert errors == (0 if head.defer == "training" else 2)


def test_a_step_by_hand():
    x, linear = parts()
    head = waiting(linear)
    z = head(x)
    flat(z).backward()
    for p in head.parameters():
        p.data -= 10 * p.grad
    with pytest.raises(ll.BackendError, match="weight has been written to since"):
        z.argmax(-1)


def test_other_tensors_in_the_parameters_leave_logits_as_they_were():
    x, linear = parts()
    expected, head = flat(linear(x)), waiting(linear)
    z = head(x)
    vector = torch.zeros(sum(p.numel() for p in head.parameters()), dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(vector, head.parameters())
    torch.testing.assert_close(flat(z), expected)
    x, linear = parts()
    head = waiting(linear)
    z, expected = head(x), linear(x)
    head.to(torch.bfloat16)
    torch.testing.assert_close(z.detach(), expected.detach())
    torch.testing.assert_close(flat(z), flat(expected))


def test_freed_weights():
    x, linear = parts()
    z = waiting(linear)(x)
    linear.weight.untyped_storage().resize_(0)
    with raises(
        ll.BackendError,
        "Logits: weight has been freed since; expected it to stay until a loss is taken; "
        "write fully_shard(head, reshard_after_forward=False)",
    ):
        causal(z)


def test_results_do_not_alias_their_base():
    z = waiting(torch.nn.Linear(4, 5))(torch.ones(3, 4)).detach()
    b = z / 2
    expected = b.clone() * 1
    z.numpy()[:] = 7
    assert b.equal(expected)
    assert z.eq(7).all()


def test_a_write_after_a_loss_of_logits_that_were_looked_at():
    """The loss has saved their numbers, as it saves other logits: the write is counted."""
    for write in (lambda z: z.mul_(2), lambda z: z.view(-1)[0].fill_(1), lambda z: z.detach().add_(1)):
        x, linear = parts()
        z = waiting(linear)(x)
        z.argmax(-1)
        loss = ll.cross_entropy(z, Y)
        with torch.no_grad():
            write(z)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("name", ["t_", "resize_", "unsqueeze_", "as_strided_"])
def test_what_changes_their_shape_in_place_is_refused(name):
    arguments = {"resize_": ((2, 4),), "unsqueeze_": (0,), "as_strided_": ((2, 2), (1, 1))}.get(name, ())
    z = waiting(torch.nn.Linear(4, 5))(torch.ones(3, 4)).detach()
    with raises(
        ll.BackendError,
        f"Logits: {name} changes them in place; expected an operation that returns others; "
        "write logits.clone() before",
    ):
        getattr(z, name)(*arguments)


def test_data_that_is_set():
    z = waiting(torch.nn.Linear(4, 5))(torch.ones(3, 4))
    with raises(
        ll.BackendError,
        "Logits: data is set; expected it as it is; write logits.copy_(data) under torch.no_grad(), or "
        "logits.clone() before",
    ):
        z.data = torch.zeros(3, 5)
    assert z.sum() != 0


def test_statistics_read_after_a_write():
    x, linear = parts()
    z = waiting(linear)(x)
    stats = ll.row_stats(z, Y)
    expected = ll.row_stats(linear(x), Y)
    linear.weight.data.zero_()
    torch.testing.assert_close(stats.nll, expected.nll)
    with pytest.raises(ll.BackendError, match="weight has been written to since"):
        stats.sum_p2  # noqa: B018
    with pytest.raises(ll.BackendError, match="weight has been written to since"):
        stats.entropy.sum().backward()


# --- what keeps what alive ----------------------------------------------------------------------------------

LOSSES = {
    "flat": flat,
    "causal": causal,
    "capped": lambda z: flat(1.5 * torch.tanh(z / 3.0)),
    "with another": lambda z: causal(z) + z.pow(2).mean(),
    "each row": lambda z: flat(z, reduction="none").sum(),
    "statistics": lambda z: ll.row_stats(z, Y).nll.sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_outlives_its_last_name(name):
    """Without the garbage collector, with and without a backward pass."""
    LOSSES[name](waiting(parts()[1])(parts()[0]))  # the first import of some modules keeps frames
    gc.disable()
    try:
        for backward in (True, False):
            x, linear = parts()
            x = x * 1
            seen = weakref.ref(x), weakref.ref(linear.weight)
            z = waiting(linear)(x)
            loss = LOSSES[name](z)
            if backward:
                loss.backward()
            del x, linear, z, loss
            assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_is_kept_keeps_no_features(name):
    x, linear = parts()
    x = x * 1
    storage = weakref.ref(x.untyped_storage())
    z = waiting(linear)(x)
    loss = LOSSES[name](z)
    loss.backward()
    del x, z
    gc.collect()
    assert storage() is None
    assert loss.grad_fn is not None


# --- storage ------------------------------------------------------------------------------------------------

# program: what it ends with, numbers (None) or an error; of z = head(ones(2, 4)), with a graph and without
STORAGE = {
    "t = torch.zeros(2, 3); t.data = z; t + 1": "incompatible tensor type",
    "m = torch.nn.Linear(3, 2); m.weight.data = z; m(torch.ones(3))": "incompatible tensor type",
    "m = torch.nn.Linear(3, 2); m.weight.data = z.data; m(torch.ones(3))": "incompatible tensor type",
    "same(z.share_memory_())": None,
    "torch.utils.dlpack.to_dlpack(z.detach())": "Cannot access data pointer",
    "same(torch.from_dlpack(z.detach()))": None,
    "same(torch.from_numpy(np.array(np.from_dlpack(z.detach()))))": None,
    "same(torch.nn.Parameter(z.detach()))": None,
    "m = torch.nn.Module(); m.register_buffer('z', z.detach()); m.double(); same(m.z.float())": None,
    "m = torch.nn.Module(); m.register_buffer('z', z.detach()); same(copy.deepcopy(m).z)": None,
    "torch.zeros(2, 3).map_(z.detach(), lambda a, b: b)": "map_",
    "z.detach().map_(torch.ones(2, 3), lambda a, b: b)": "map_",
    "z.detach().apply_(lambda a: a)": "Cannot access data pointer",
    "same(z.as_subclass(Tensor))": None,
    "same(torch.zeros(2, 3).set_(z.detach()))": None,
    "torch.utils.swap_tensors(torch.zeros(2, 3), z.detach())": None,
    "z.data_ptr() and 1": None,
    "off(lambda: z.data_ptr())": "Cannot access data pointer",
    "off(lambda: z.untyped_storage())[0]": "meta",
    "off(lambda: z.detach().numpy())": "not supported for tensor subclasses",
    "torch.save(z.detach(), f := io.BytesIO()); f.seek(0); same(torch.load(f))": None,
    "reduce_tensor(z.detach())": None,
    "same(torch.from_numpy(np.asarray(z.detach()).copy()))": None,
    "same(torch.tensor(z.tolist()))": None,
    "same(torch.as_tensor(z))": None,
    "b = bytearray(z.detach().untyped_storage()); same(torch.frombuffer(b, dtype=x.dtype).view(2, 3))": None,
    "torch.zeros(2, 3).untyped_storage().copy_(off(lambda: z.untyped_storage()))": "meta",
    "z.pin_memory() if torch.cuda.is_available() else None": None,
    "same(torch.zeros(2, 3).copy_(z))": None,
    "t = torch.zeros(2, 3); t.grad = z.detach(); same(t.grad)": None,
    "z.grad_fn.register_prehook(gs.append); F.cross_entropy(z, Y).backward(); "
    "torch.zeros(2, 3).data = gs[0][0]": "incompatible tensor type|no attribute 'register_prehook'",
}  # fmt: skip
SETUP = """
import copy, io, sys, warnings
import numpy as np, torch
from torch import Tensor
import torch.nn.functional as F, torch.utils.dlpack
from torch.multiprocessing.reductions import reduce_tensor
from lastlayer.torch import LinearHead
warnings.simplefilter("ignore")
def off(f):
    with torch._C.DisableTorchFunctionSubclass():
        return f()
def same(t):
    assert t.detach().equal(expected), t
Y, gs = torch.tensor([0, 1]), []
torch.manual_seed(0)
head = LinearHead(4, 3, defer="always")
x = torch.randn(2, 4)
expected = F.linear(x, head.weight, head.bias).detach()
for program in PROGRAMS:
    for recorded in (True, False):
        print(flush=True)
        with torch.set_grad_enabled(recorded):
            z = head(x)
        try:
            exec(program)
            print("fine", end="", flush=True)
        except Exception as e:
            print(type(e).__name__, *str(e).split(), end="", flush=True)
"""


def test_everything_that_reads_storage_finds_it_or_is_refused():
    """In another process: what is not found out there is a segmentation fault."""
    code = f"PROGRAMS = {list(STORAGE)!r}\n{SETUP}"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    lines = run.stdout.split("\n")[1:]
    for i, (program, ending) in enumerate(STORAGE.items()):
        for found in lines[2 * i : 2 * i + 2]:
            assert found, (program, run.returncode, run.stderr[-300:])
            allowed = ["fine"] if ending is None else ending.split("|")
            assert any(word in found for word in allowed), (program, found)
    assert run.returncode == 0


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [[1, 2], 3, None, "12"])
def test_targets_that_are_no_tensor(targets):
    x, linear = torch.randn(2, 4), torch.nn.Linear(4, 5)
    with pytest.raises(TypeError) as theirs:
        F.cross_entropy(linear(x), targets)
    with pytest.raises(TypeError) as ours:
        F.cross_entropy(waiting(linear)(x), targets)
    assert str(ours.value) == str(theirs.value)


def test_a_head_that_has_an_adapter():
    class Linear(torch.nn.Module):  # as parameter-efficient training calls its own
        def __init__(self):
            super().__init__()
            self.base_layer = torch.nn.Linear(2, 3)

    class Model(torch.nn.Module):
        def get_output_embeddings(self):
            return Linear()

    with raises(
        ll.DtypeError,
        f"without_logits: the head of Model is a {__name__}.Linear; expected a torch.nn.Linear; "
        "call without_logits before get_peft_model",
    ):
        without_logits(Model())

"""How often the composed way reads and writes the logits, and how much memory it takes, counted on the CPU.

A pass is one operation over tensors of the logits' size, whether it reads them, writes them or both: on a GPU
it is one kernel, limited by memory. Views, memory that is not written, and entries picked by an index are no
passes. PyTorch's own cross-entropy takes one pass forward (log_softmax) and three both ways (the zeros around
the targets' gradients, the gradient of log_softmax), and keeps all log-probabilities for them.

Traffic is the bytes of these tensors, memory the bytes of all tensors alive at once beyond the arguments,
both in units of the logits.
"""

from __future__ import annotations

import backends
import pytest
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from lastlayer.backends.torch import entry, number_options, row_blocks, undifferentiated  # noqa: E402

ROWS, CLASSES = 64, 1024
BY_INDEX = {"gather", "scatter_", "scatter_add_", "nll_loss_forward", "nll_loss_backward"}  # write only zeros
NEW = {"empty", "empty_like", "new_empty"}


class Counted(TorchDispatchMode):
    """Counts passes, traffic and memory of the operations inside."""

    def __init__(self, *given, blocks=1):
        super().__init__()
        x = given[0]
        self.size, self.bytes, self.least = x.numel(), x.numel() * x.element_size(), x.numel() // (2 * blocks)
        self.given = {t.untyped_storage()._cdata for t in given}
        self.passes = self.traffic = self.memory = 0.0
        self.alive = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        name, results = function.overloadpacket.__name__, self._tensors(found)
        self._hold(results)
        if name == "nll_loss_backward" or name.startswith(("new_", "zeros", "ones", "full")):
            self._count(results if name not in NEW else [])
        elif not function.is_view and name not in BY_INDEX | NEW | {"detach", "alias"}:
            self._count(self._tensors((args, kwargs)) + results)
        return found

    @staticmethod
    def _tensors(tree):
        return [t for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]

    def _count(self, tensors):
        large = {id(t): t.numel() for t in tensors if t.numel() >= self.least}
        self.passes += max(large.values(), default=0) / self.size
        self.traffic += sum(t.numel() * t.element_size() for t in tensors if id(t) in large) / self.bytes

    def _hold(self, results):
        for storage in (t.untyped_storage() for t in results):
            if storage._cdata not in self.given:
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
        self.memory = max(self.memory, sum(size for _, size in self.alive.values()) / self.bytes)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Compute by PyTorch's operations, and not as in a graph although a mode watches."""
    for module in (entry, number_options):
        monkeypatch.setattr(module, "is_watched", lambda _: False)
    with backends.composed():
        yield


Y = torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(0))
Y[1] = -100
W, S = tensor(CLASSES, dtype=torch.float32).abs(), tensor(ROWS, dtype=torch.float32).abs()
LISTED = torch.topk(tensor(ROWS, CLASSES, dtype=torch.float32), 4)[1], torch.full((ROWS, 4), 0.2), 0.2

# The call; passes forward and both ways in float32; passes both ways in 16 bit; memory in float32 and 16 bit.
CALLS = {
    "cross_entropy": (lambda x: ll.cross_entropy(x, Y), 3, 6, 7, 2, 4),
    "losses of rows": (lambda x: ll.cross_entropy(x, Y, reduction="none"), 3, 6, 7, 2, 4),
    "weights": (lambda x: ll.cross_entropy(x, Y, class_weight=W, sample_weight=S), 3, 6, 7, 2, 4),
    "z_loss": (lambda x: ll.cross_entropy(x, Y, z_loss=0.1), 3, 6, 7, 2, 4),
    "label_smoothing": (lambda x: ll.cross_entropy(x, Y, label_smoothing=0.1), 6, 9, 10, 2, 4),
    "temperature": (lambda x: ll.cross_entropy(x, Y, temperature=2.0), 4, 8, 9, 2, 4),
    "top-k": (lambda x: ll.cross_entropy(x, LISTED), 6, 10, 11, 2, 4),
    "weights and smoothing": (
        lambda x: ll.cross_entropy(x, Y, class_weight=W, label_smoothing=0.1), 7, 11, 12, 2, 4,
    ),
    "dense": (lambda x: ll.cross_entropy(x, x.detach()), 9, 14, 18, 3, 7),
    "softcap": (lambda x: ll.cross_entropy(x, Y, softcap=5.0), 6, 17, 18, 2, 5),
    "softmax": (ll.softmax, 1, 2, 2, 2, 2),
    "log_softmax": (ll.log_softmax, 4, 5, 6, 2, 3),
    "logsumexp": (ll.logsumexp, 3, 5, 7, 1, 4),
    "predict": (lambda x: ll.predict(x)[1], 2, 2, 3, 1, 4),
    "cross_entropy_grad": (lambda x: ll.cross_entropy_grad(x.detach(), Y)[1], 5, 5, 5, 2, 4),
}  # fmt: skip


def counted(function, x, blocks=1):
    """The counts of a call, forward and both ways."""
    x = x.requires_grad_()
    with Counted(x, blocks=blocks) as forward:
        y = function(x)
    if not y.requires_grad:
        return forward, forward
    grad = torch.ones_like(y)
    del y
    x = x.detach().requires_grad_()
    with Counted(x, grad, blocks=blocks) as both:
        function(x).backward(grad)
    return forward, both


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_passes_and_memory(as_on_a_gpu, name, dtype):
    function, there, both_ways, both_ways_16, memory, memory_16 = CALLS[name]
    half = dtype is not torch.float32
    forward, both = counted(function, tensor(ROWS, CLASSES, dtype=dtype))
    assert forward.passes <= there + (both_ways_16 - both_ways if half else 0)
    assert both.passes <= (both_ways_16 if half else both_ways)
    assert both.memory <= 1.05 * (memory_16 if half else memory)


def test_the_usual_call_is_within_what_was_asked():
    """At most 4 passes forward and 7 both ways, and 2 (16 bit: 4) times the memory of the logits."""
    for name in ("cross_entropy", "losses of rows", "weights", "z_loss"):
        _, there, both_ways, both_ways_16, memory, memory_16 = CALLS[name]
        assert there + both_ways_16 - both_ways <= 4
        assert both_ways_16 <= 7
        assert (memory, memory_16) <= (2, 4)


def test_what_is_counted():
    forward, both = counted(
        lambda x: torch.nn.functional.cross_entropy(x, Y), tensor(ROWS, CLASSES, dtype=torch.float32)
    )
    assert (forward.passes, forward.traffic, forward.memory) == (1, 2, pytest.approx(1, abs=0.01))
    assert (both.passes, both.traffic, both.memory) == (3, 6, pytest.approx(3, abs=0.01))


# --- blocks of rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_large_call_keeps_little(as_on_a_gpu, monkeypatch, dtype):
    """Beyond the gradient: two blocks in float32, at any class axis."""
    monkeypatch.setattr(row_blocks, "SCORES", ROWS * CLASSES // 8)
    part = 4 / dtype.itemsize / 8
    for axis in (0, 1):
        x = tensor(ROWS, CLASSES, dtype=dtype)
        x = x if axis else x.t().contiguous()
        for function, results in (
            (lambda x, axis=axis: ll.cross_entropy(x, Y, axis=axis), 1),
            (lambda x, axis=axis: ll.cross_entropy(x, x.detach(), axis=axis), 1 + part),
            (lambda x, axis=axis: ll.logsumexp(x, axis), 1),
            (lambda x, axis=axis: ll.cross_entropy_grad(x.detach(), Y, axis=axis)[1], 1),
        ):
            _, both = counted(function, x, blocks=8)
            assert both.memory <= results + 2 * part + 0.05


HALF, FULL = torch.float16, torch.float32
SHAPES = [
    ((12, 7), 1, FULL), ((7, 12), 0, HALF), ((2, 7, 3, 4), 1, FULL),
    ((1, 7, 6, 5), 1, HALF), ((3, 4, 7), -1, HALF), ((1, 7), 1, FULL),
]  # fmt: skip
OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "weighted": {"class_weight": torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0, 3.0, 1.0]), "label_smoothing": 0.2},
    "rows": {"reduction": "none", "z_loss": 0.1},
    "capped": {"softcap": 3.0, "temperature": 2.0, "denominator": 7.0},
}


@pytest.mark.parametrize(("shape", "axis", "dtype"), SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["index", "dense", "top-k"])
def test_blocks_change_nothing(monkeypatch, shape, axis, dtype, kind):
    x = 4 * tensor(*shape, dtype=dtype)
    rows = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    y = torch.randint(-1, 7, rows, generator=torch.Generator().manual_seed(1))
    s = tensor(*rows[1:], dtype=torch.float32).abs()  # broadcast
    if kind == "dense":
        y = torch.softmax(tensor(*shape, seed=2), axis).to(dtype)
    elif kind == "top-k":
        y = torch.stack([y, y], -1), torch.full((*rows, 2), 0.3), torch.full(rows, 0.4)

    ignored = {} if kind == "dense" else {"ignore_index": -1}

    def found():
        results = [ll.softmax(x, axis), ll.log_softmax(x, axis, temperature=2.0), ll.log_softmax(x, axis)]
        results += [ll.logsumexp(x, axis), *ll.predict(x, axis=axis), *ll.top_k(x, 3, axis=axis)]
        stats = ll.row_stats(x, y, axis=axis, sample_weight=s, softcap=5.0, **ignored)
        results += [stats.argmax, stats.nll, stats.confidence, stats.entropy, stats.sum_p2]
        for options in OPTIONS.values():
            z = x.clone().requires_grad_()
            options = {"axis": axis, "sample_weight": s, **options, **ignored}
            loss = ll.cross_entropy(z, y, **options)
            results += [
                loss,
                *torch.autograd.grad(loss.sum() * 2, z),
                *ll.cross_entropy_grad(x, y, **options),
            ]
        return results

    with backends.composed():
        whole = found()
        monkeypatch.setattr(row_blocks, "SCORES", -(-x.numel() // 3))
        same(found(), whole, 4, 1e-7)
        monkeypatch.setattr(undifferentiated, "_mixes", lambda _: False)  # dtypes in one operation, as on MPS
        same(found(), whole, 4, 1e-7)
    same(found(), whole, 16, 2e-6)  # by the core


def same(found, expected, roundings, least):
    for a, b in zip(found, expected, strict=True):
        if a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=roundings * torch.finfo(a.dtype).eps, atol=least)
        else:
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_odd_rows(dtype, options):
    """Rows with infinite scores and NaN, active, ignored and without weight: as by the core."""
    inf, nan = torch.inf, torch.nan
    odd = [[0.0, 1, 2], [nan, 0, 1], [inf, 0, 1], [-inf, 0, 1], [-inf] * 3, [inf, inf, -inf], [80, 0, -30]]
    x = torch.tensor(odd * 3, dtype=dtype)
    y = torch.tensor([1] * 7 + [-100] * 7 + [0] * 7)
    s = torch.tensor([1.0] * 14 + [0.0] * 7)
    options = {k: v[:3] if k == "class_weight" else v for k, v in options.items() if k != "denominator"}
    options["reduction"] = "none"

    def found():
        z = x.clone().requires_grad_()
        loss = ll.cross_entropy(z, y, sample_weight=s, **options)
        (slope,) = torch.autograd.grad(loss.sum(), z)
        return loss, slope, *ll.cross_entropy_grad(x, y, sample_weight=s, **options)

    expected = found()
    with backends.composed():
        for a, b in zip(found(), expected, strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("differentiable", [False, True])
def test_one_class_that_is_nan(way, differentiable):
    """Its gradient is NaN too, by either formula."""
    x, y = torch.tensor([[torch.nan], [1.0]], requires_grad=True), torch.tensor([0, 0])
    (slope,) = torch.autograd.grad(ll.cross_entropy(x, y), x, create_graph=differentiable)
    assert slope.isnan().tolist() == [[True], [False]]
    assert ll.cross_entropy_grad(x.detach(), y)[1].isnan().tolist() == [[True], [False]]


def test_smoothing_over_the_least_float_does_not_overflow(way):
    x = torch.full((1, 8), torch.finfo(torch.float32).min)
    x[0, 3] = 0.0
    assert ll.cross_entropy(x, torch.tensor([3]), label_smoothing=0.1).isfinite()

"""What a backward pass of the linear head reads again, autograd keeps: a write in between is an error."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")
from linear_tensors import D, N, V, Y  # noqa: E402
from random_arrays import tensor  # noqa: E402

WAYS = ["first", "second", "copied", "differentiated again", "batched"]
TARGETS = {
    "index": {"y": Y},
    "weights": {"y": Y, "class_weight": torch.linspace(0.5, 2, V), "sample_weight": torch.ones(N)},
    "dense": {"y": torch.softmax(tensor(N, V, seed=5), 1)},
    "top-k": {
        "y": torch.arange(2 * N).reshape(N, 2),
        "probabilities": torch.full((N, 2), 0.3),
        "rest": torch.full((N,), 0.4),
    },
}


def value(of, x, w, kept, reduction):
    known = dict(kept)
    y = known.pop("y")
    if "rest" in known:
        y = y, known.pop("probabilities"), known.pop("rest")
    if of == "loss":
        return ll.linear_cross_entropy(x, w, y, reduction=reduction, **known).sum()
    return getattr(ll.linear_row_stats(x, w, y, **known), of).sum()


def gradients(of, kind, way, reduction="mean", dtype=torch.float32, written=None):
    """Of x and weight; in the second of the ways hooks keep copies, which nobody writes to."""
    leaves = [
        tensor(*shape, seed=i, dtype=dtype).requires_grad_() for i, shape in enumerate(((N, D), (V, D)))
    ]
    named = dict(zip("xw", (t * 1.0 for t in leaves), strict=True))
    kept = {name: t.clone() for name, t in TARGETS[kind].items()}
    hooks = torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda t: t)
    with hooks if way == "copied" else nullcontext():
        found = value(of, *named.values(), kept, reduction)
    if way == "second":
        torch.autograd.grad(found, leaves, retain_graph=True)
    if written is not None:
        with torch.no_grad():
            (named | kept)[written].mul_(0)
    if way == "batched":
        return torch.autograd.grad(found, leaves, torch.ones(2), is_grads_batched=True)
    return torch.autograd.grad(found, leaves, create_graph=way == "differentiated again")


def check(of, kind, way, *rest):
    expected = gradients(of, kind, way, *rest)
    for name in ["x", "w", *TARGETS[kind]]:
        try:
            found = gradients(of, kind, way, *rest, written=name)
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017 - or it was not read again
        else:
            assert all(map(torch.equal, found, expected)), f"{name} was read after it had been written to"


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("way", WAYS)
def test_a_loss_is_differentiated_at_its_own_numbers(each, way, kind):
    check("loss", kind, way, "mean")
    check("loss", kind, way, "none")
    if way == "first":
        check("loss", kind, way, "mean", torch.float16)


@pytest.mark.parametrize("of", ["nll", "lse", "entropy", "confidence", "sum_p2"])
@pytest.mark.parametrize("way", ["first", "copied"])
def test_statistics_are_differentiated_at_their_own_numbers(each, way, of):
    check(of, "weights", way)


@pytest.mark.parametrize("name", ["lse", "confidence", "sum_p2", "nll"])
def test_statistics_read_after_a_write_are_not_differentiated(each, name):
    """Those of a head, and those of logits."""
    x, w = tensor(N, D), tensor(V, D, seed=1).requires_grad_()
    for stats in (ll.linear_row_stats(x, w, Y), ll.row_stats(x @ w.T * 1, Y)):
        before = getattr(stats, name).detach().clone()
        with torch.no_grad():
            (stats.call.x if hasattr(stats, "call") else stats.source[0]).mul_(2)
        try:
            after = getattr(stats, name)
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017 - or made before
            continue
        assert torch.equal(after, before)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            after.sum().backward()


def test_what_is_written_into_statistics_reaches_no_gradient(each):
    x, w = tensor(N, D), tensor(V, D, seed=1).requires_grad_()
    expected = torch.autograd.grad(ll.linear_row_stats(x, w).lse.sum(), w)
    stats = ll.linear_row_stats(x, w)
    lse = stats.lse
    stats.peak.zero_()
    assert all(map(torch.equal, torch.autograd.grad(lse.sum(), w), expected))

"""Statistics of tensors, and their gradients: of all rows, of shards of the classes, of blocks of rows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from assertions import raises
from random_arrays import tensor

import lastlayer as ll

N, V = 6, 11
CUTS = (0, 4, 5, V)
Y = torch.tensor([0, 3, 10, -100, 7, 5])
EXACT = ("argmax", "correct", "counted")
READ = ("lse", "nll", "entropy", "confidence", "sum_p2", "mean_nll", "accuracy")


def weights():
    return tensor(V, seed=1).abs(), torch.tensor([1.0, 2, 3, 4, 0, 1], dtype=torch.float64)


def logits():
    z = (tensor(N, V) * 2).round() / 2
    z[1, 5:] = -torch.inf  # all of a shard
    return z


def assert_same(found, expected, inputs=(), skip=()):
    """The same numbers, and the same gradients of their weighted sums."""
    for name in EXACT:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in READ:
        if name in skip:
            continue
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        assert a.requires_grad == b.requires_grad, name
        if a.requires_grad:
            g = torch.arange(1.0, 1 + a.numel(), dtype=torch.float64).reshape(a.shape)
            grads = [
                torch.autograd.grad((t * g).sum(), inputs, retain_graph=True, materialize_grads=True)
                for t in (a, b)
            ]
            for ours, theirs in zip(*grads, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11, msg=name)


@pytest.mark.parametrize("learned", ["nothing", "logits", "weights too"])
def test_shards_in_any_order(way, learned):
    z, (w, s) = logits(), weights()
    if learned != "nothing":
        z = tensor(N, V).requires_grad_()  # a softmax of -inf throughout has no gradient
    inputs = [z, w.requires_grad_(), s.requires_grad_()] if learned == "weights too" else [z]
    own = z.detach().gather(1, Y.clamp(0)[:, None])[:, 0]
    options = {"temperature": 0.7, "softcap": 3.0, "sample_weight": s}
    whole = ll.row_stats(z, Y, class_weight=w, **options)
    parts = [
        ll.row_stats(z[:, a:b], Y, class_offset=a, class_weight=w[a:b], target_logits=own, **options)
        for a, b in pairwise(CUTS)
    ]
    for first, second, third in (parts, parts[::-1], (parts[1], *parts[::2])):
        merged = first.merge(second.merge(third))
        assert torch.equal(merged.rank, whole.rank)
        assert_same(merged, whole, inputs)
    with torch.no_grad():
        assert not merged.nll.requires_grad
    assert torch.isnan(parts[0].nll).tolist() == [False, False, True, False, False, True]


def test_shards_of_a_linear_head(each):
    x, weight = tensor(N, 5).requires_grad_(), tensor(V, 5, seed=2).requires_grad_()
    w, s = weights()
    whole = ll.linear_row_stats(x, weight, Y, class_weight=w, sample_weight=s, shift=1)
    parts = [
        ll.linear_row_stats(x, weight[a:b], Y, class_weight=w[a:b], sample_weight=s, class_offset=a, shift=1)
        for a, b in pairwise(CUTS)
    ]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.rank is None
    assert_same(merged, whole, (x, weight))


def test_blocks_of_rows(way):
    z, (w, s) = tensor(N, V).requires_grad_(), weights()
    whole = ll.row_stats(z, Y, class_weight=w, sample_weight=s)
    blocks = [
        ll.row_stats(z[a:b], Y[a:b], class_weight=w, sample_weight=s[a:b])
        for a, b in ((0, 2), (2, 2), (2, N))
    ]
    joined = ll.RowStats.concat(blocks)
    assert torch.equal(joined.rank, whole.rank)
    assert_same(joined, whole, (z,))


@pytest.mark.parametrize("kind", ["index", "dense", "listed"])
@pytest.mark.parametrize("learned", [False, True])
def test_the_mean_is_that_of_the_loss(way, kind, learned):
    """Its value and its gradients, in weights too, and in a row of weight 0."""
    z, (w, s) = tensor(N, V).requires_grad_(), weights()
    inputs = [z, w.requires_grad_(), s.requires_grad_()] if learned else [z]
    targets = Y
    if kind == "dense":
        targets = tensor(N, V, seed=3).softmax(-1)
    elif kind == "listed":
        targets = torch.arange(2 * N).reshape(N, 2) % V, torch.full((N, 2), 0.4), torch.tensor(0.2)
    options = {"class_weight": w, "sample_weight": s, "label_smoothing": 0.1}
    found = ll.row_stats(z, targets, **options).mean_nll
    loss = ll.cross_entropy(z, targets, **options)
    torch.testing.assert_close(found, loss, rtol=1e-14, atol=0)
    for ours, theirs in zip(*(torch.autograd.grad(t, inputs) for t in (found, loss)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_of_narrow_logits(way, dtype):
    z = tensor(N, V).to(dtype)
    stats, loss = ll.row_stats(z, Y), ll.cross_entropy(z, Y)
    assert stats.mean_nll.dtype is stats.accuracy.dtype is torch.float32
    torch.testing.assert_close(stats.mean_nll, loss, rtol=2e-7, atol=0)


def test_the_mean_of_a_linear_head(each):
    x, weight = tensor(2, 3, 5).requires_grad_(), tensor(V, 5, seed=2)
    y, options = Y.reshape(2, 3), {"class_weight": weights()[0], "shift": 1}
    loss = ll.linear_cross_entropy(x, weight, y, **options)
    stats = ll.linear_row_stats(x, weight, y, **options)
    torch.testing.assert_close(stats.mean_nll, loss, rtol=1e-12, atol=0)
    grads = [torch.autograd.grad(t, x)[0] for t in (stats.mean_nll, loss)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)
    assert stats.counted.tolist() == [[True, True, False], [True, True, False]]
    again, other = ll.linear_cross_entropy(x, weight, y, z_loss=1.0, return_stats=True, **options)
    assert again > loss
    torch.testing.assert_close(other.mean_nll, loss.detach(), rtol=1e-12, atol=0)


def test_of_no_rows_the_mean_is_0_and_the_accuracy_nan(way):
    stats = ll.row_stats(tensor(2, V).requires_grad_(), torch.tensor([-100, -100]))
    assert stats.mean_nll == 0
    assert torch.isnan(stats.accuracy)


def test_second_derivatives_of_merged_losses():
    z = tensor(2, 5).requires_grad_()

    def merged(z):
        y = torch.tensor([1, 4])
        a, b = (ll.row_stats(part, y, class_offset=i) for i, part in ((0, z[:, :2]), (2, z[:, 2:])))
        return a.merge(b).mean_nll

    assert torch.autograd.gradgradcheck(merged, (z,))


def test_deferred_logits_of_a_shard():
    from lastlayer.torch import LinearHead

    head, x = LinearHead(5, 4).double(), tensor(N, 5)
    expected = ll.row_stats((x @ head.weight.T + head.bias).detach(), Y, class_offset=4)
    torch.testing.assert_close(ll.row_stats(head(x), Y, class_offset=4).nll, expected.nll, equal_nan=True)


def test_what_is_wrong_with_a_shard_of_tensors():
    z = tensor(N, V)
    with raises(
        ll.TargetError, "row_stats: targets[3] is -1; expected a class of 0 or more or ignore_index=-100"
    ):
        ll.row_stats(z, Y.where(Y >= 0, -1), class_offset=3)
    with raises(
        ll.ShapeError, "row_stats: target_logits is of shape (2,); expected (6,), one logit for each row"
    ):
        ll.row_stats(z, Y, class_offset=3, target_logits=[0.0, 1.0])
    arrays = ll.row_stats(z.numpy(), Y.numpy(), class_offset=V)
    with raises(
        ll.DtypeError,
        "RowStats.merge: one of them has arrays of torch, another of numpy; expected one library",
    ):
        ll.row_stats(z, Y, class_offset=0).merge(arrays)


def test_a_negative_target_of_a_shard_is_nan_where_nobody_looks():
    def nll(z, y):
        return ll.row_stats(z, y, class_offset=0).nll

    z, y = tensor(N, V), Y.where(Y >= 0, -1)
    found = torch.vmap(nll)(z[None], y[None])[0]
    assert torch.isnan(found).tolist() == (y < 0).tolist()
    torch.testing.assert_close(torch.vmap(nll)(z[None], Y[None])[0], ll.row_stats(z, Y).nll)


def test_in_a_compiled_graph():
    def of_shards(left, right, y):
        merged = ll.row_stats(left, y, class_offset=0).merge(ll.row_stats(right, y, class_offset=4))
        return merged.mean_nll, merged.accuracy

    z = tensor(N, V)
    whole = ll.row_stats(z, Y)
    found = torch.compile(of_shards, backend="eager", fullgraph=True)(z[:, :4], z[:, 4:], Y)
    torch.testing.assert_close(found, (whole.mean_nll, whole.accuracy))

"""What NumPy arrays, lists and numbers give."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack, assert_type

import lastlayer as ll
from lastlayer.typing import CrossEntropyOptions, Reduction

logits = np.array([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], dtype=np.float32)
unknown: NDArray[Any] = np.asarray(logits)
whole = np.array([[1, 2, 3], [3, 2, 1]])
y = np.array([2, 0])
weight = np.ones((3, 4))
x = np.ones((2, 4))

assert_type(ll.softmax(logits), NDArray[np.float32])
assert_type(ll.softmax(unknown), NDArray[Any])
assert_type(ll.softmax(whole, axis=(0, 1)), NDArray[Any])
assert_type(ll.softmax([0.1, 0.9, 4.0]), NDArray[Any])
assert_type(ll.softmax(logits, out=np.empty_like(logits)), NDArray[np.float32])
assert_type(ll.log_softmax(logits, 0, where=[True, True, False], temperature=2), NDArray[np.float32])
assert_type(ll.logsumexp(logits, keepdims=True), NDArray[np.floating[Any]])

loss = ll.cross_entropy(logits, y)
assert_type(loss, np.floating[Any])
assert_type(ll.cross_entropy(unknown, y), np.floating[Any])
assert_type(ll.cross_entropy([[1.0, 2.0]], [1], reduction="sum"), np.floating[Any])
assert_type(ll.cross_entropy(logits, y, reduction="none"), NDArray[np.floating[Any]])
assert_type(ll.cross_entropy(logits, ([[2], [0]], [[0.9], [0.8]], 0.1)), np.floating[Any])
assert_type(ll.nll_loss(logits, y, denominator=np.int64(4)), np.floating[Any])
assert_type(ll.log_loss(ll.softmax(logits), y, reduction="none"), NDArray[np.floating[Any]])
assert_type(ll.cross_entropy_grad(logits, y), tuple[np.floating[Any], NDArray[Any]])
print(float(loss), loss.round(4))

stats = ll.row_stats(logits, y)
assert_type(stats, ll.RowStats[NDArray[Any]])
assert_type(stats.nll, NDArray[Any])
assert_type(stats.merge(stats) if stats.classes else stats, ll.RowStats[NDArray[Any]])
print(stats.rank.tolist(), float(stats.mean_nll), ll.RowStats.concat([stats, stats]).nll.round(2))
assert_type(ll.predict(logits), tuple[NDArray[np.int64], NDArray[np.floating[Any]]])
assert_type(ll.top_k(logits, 2), tuple[NDArray[np.int64], NDArray[np.floating[Any]]])

assert_type(ll.linear_cross_entropy(x, weight, y, bias=None), np.floating[Any])
assert_type(ll.linear_cross_entropy(x, weight, y, reduction="none"), NDArray[np.floating[Any]])
both = ll.linear_cross_entropy(x, weight, y, return_stats=True)
assert_type(both, tuple[np.floating[Any], ll.RowStats[NDArray[Any]]])
loss, (dx, dweight, dbias) = ll.linear_cross_entropy_grad(x, weight, y, bias=np.zeros(3), max_memory=1e6)
print(dx.shape, dweight.shape, dbias.shape)
assert_type(ll.linear_row_stats(x, weight, y), ll.RowStats[NDArray[Any]])
assert_type(ll.linear_top_k(x, weight, 2), tuple[NDArray[np.int64], NDArray[np.floating[Any]]])

for finding in ll.check(logits, y, kind="logits"):
    print(finding.severity, finding.code)
print([backend.name for backend in ll.show_backends()], ll.get_num_threads())


def mean_of(features: NDArray[np.float64], statistics: ll.RowStats) -> float:
    """``RowStats`` without a parameter is that of any arrays."""
    return float(features.mean()) + float(statistics.nll.mean())


def my_loss(reduction: Reduction, **options: Unpack[CrossEntropyOptions]) -> Any:
    """A function of the user's own, with the options of `cross_entropy`."""
    return ll.cross_entropy(logits, y, reduction=reduction, **options)


print(mean_of(x, stats), my_loss("none", softcap=30.0))

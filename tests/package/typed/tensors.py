"""What tensors and arrays of other libraries give."""

import array_api_strict as xp
import torch
from torch import Tensor
from typing_extensions import assert_type

import lastlayer as ll
import lastlayer.torch as lt

logits = torch.zeros(2, 3, requires_grad=True)
y = torch.tensor([2, 0])
x = torch.ones(2, 4)
layer = torch.nn.Linear(4, 3)

assert_type(ll.softmax(logits), Tensor)
assert_type(ll.log_softmax(torch.nn.Parameter(logits.detach()), 0), Tensor)
assert_type(ll.logsumexp(logits, axis=None), Tensor)
assert_type(ll.cross_entropy(logits, y, temperature=torch.tensor(2.0, requires_grad=True)), Tensor)
assert_type(ll.cross_entropy(logits, y, reduction="none"), Tensor)
assert_type(ll.cross_entropy_grad(logits, y), tuple[Tensor, Tensor])
assert_type(ll.nll_loss(ll.log_softmax(logits), y), Tensor)
assert_type(ll.row_stats(logits, y), ll.RowStats[Tensor])
assert_type(ll.row_stats(logits, y).nll, Tensor)
assert_type(ll.top_k(logits, 2), tuple[Tensor, Tensor])
assert_type(ll.linear_cross_entropy(x, layer.weight, y, bias=layer.bias), Tensor)
loss, stats = ll.linear_cross_entropy(x, layer.weight, y, return_stats=True)
assert_type(stats.entropy, Tensor)

assert_type(lt.cross_entropy(logits, y, reduction="sum"), Tensor)
assert_type(lt.linear_cross_entropy(x, layer.weight, y), Tensor)
head = lt.LinearHead.of(layer, defer="always")
criterion = lt.CrossEntropyLoss(label_smoothing=0.1)
print(loss, criterion(head(x), y))

strict = xp.asarray([[0.0, 1.0], [2.0, 3.0]])
same = strict
same = ll.softmax(strict)
loss_of_strict = strict
loss_of_strict = ll.cross_entropy(strict, xp.asarray([0, 1]))
print(same, loss_of_strict)

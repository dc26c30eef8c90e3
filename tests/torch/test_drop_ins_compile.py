"""Compiled and exported programs may use the drop-ins: one graph, dynamic shapes, PyTorch's results."""

from __future__ import annotations

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")

import lastlayer.torch as ours  # noqa: E402

F = torch.nn.functional
DOUBLE = {"rtol": 1e-12, "atol": 1e-13}


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "reduction": "sum"}], ids=["plain", "more"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_a_loss_and_its_gradient_in_one_graph(name, options):
    weight = torch.rand(5, dtype=torch.float64)
    if name == "nll_loss":
        options = {k: v for k, v in options.items() if k != "label_smoothing"}
    mine = compiled(lambda x, y: getattr(ours, name)(x, y, weight, **options))
    for rows in (3, 7, 12):
        x = torch.randn(rows, 5, 2, dtype=torch.float64).log_softmax(1).requires_grad_()
        y = torch.randint(0, 5, (rows, 2))
        found, expected = mine(x, y), getattr(F, name)(x, y, weight, **options)
        torch.testing.assert_close(found, expected, **DOUBLE)
        torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (found, expected)), **DOUBLE)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_in_one_graph(name):
    mine = compiled(lambda x: getattr(ours, name)(x, 1))
    for rows in (3, 7):
        x = torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
        found, expected = mine(x), getattr(F, name)(x, 1)
        torch.testing.assert_close(found, expected, **DOUBLE)
        weights = torch.randn_like(x)
        torch.testing.assert_close(
            *(torch.autograd.grad(y, x, weights)[0] for y in (found, expected)), **DOUBLE
        )


def test_a_compiled_model_trains_as_the_eager_one():
    x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
    model = torch.nn.Linear(4, 3)
    criterion = ours.CrossEntropyLoss(label_smoothing=0.1)
    loss = criterion(model(x), y)
    expected = torch.autograd.grad(loss, model.parameters())
    again = compiled(lambda x, y: criterion(model(x), y))(x, y)
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(torch.autograd.grad(again, model.parameters()), expected)


def test_a_target_out_of_range_is_an_error_of_the_compiled_program_too():
    with pytest.raises(ll.TargetError, match="is 9; expected a class in"):
        compiled(ours.cross_entropy)(torch.zeros(2, 3), torch.tensor([0, 9]))


def test_a_module_exports():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(4, 3)
            self.softmax = ours.Softmax(dim=1)
            self.criterion = ours.CrossEntropyLoss()

        def forward(self, x, y):
            logits = self.head(x)
            return self.softmax(logits), self.criterion(logits, y)

    model, arguments = Model(), (torch.randn(6, 4), torch.randint(0, 3, (6,)))
    exported = torch.export.export(model, arguments)
    torch.testing.assert_close(exported.module()(*arguments), model(*arguments))


def test_negative_weights_are_an_error_of_the_compiled_program():
    mine = compiled(lambda x, y, w: ours.cross_entropy(x, y, w))
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    torch.testing.assert_close(mine(x, y, torch.ones(3)), F.cross_entropy(x, y))
    with pytest.raises(ll.OptionError, match="expected a finite weight"):
        mine(x, y, torch.tensor([1.0, -1.0, 1.0]))

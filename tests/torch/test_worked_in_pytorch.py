"""The numbers of the worked page's PyTorch half, with PyTorch itself as the peer."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lastlayer as ll  # noqa: E402
import lastlayer.torch as F  # noqa: E402, N812

GOOD = [[1.0, 1.1, 2.5], [1.0, 3.1, 0.5], [2.1, 0.1, 0.5]]
BAD = [[3.2, 0.2, 0.9], [3.2, 0.2, 0.9], [0.2, 3.2, 0.1]]
ULPS = 4 * torch.finfo(torch.float32).eps  # relative: a few units in the last place


def by_pytorch(logits, target, **options):
    """The loss and its gradient by torch.nn.CrossEntropyLoss."""
    x = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.CrossEntropyLoss(**options)(x, torch.tensor(target))
    loss.backward()
    return loss.item(), x.grad.tolist()


def by_drop_in(logits, target, **options):
    x = torch.tensor(logits, requires_grad=True)
    loss = F.CrossEntropyLoss(**options)(x, torch.tensor(target))
    loss.backward()
    return loss.item(), x.grad.tolist()


def by_common_function(logits, target):
    x = torch.tensor(logits, requires_grad=True)
    loss = ll.cross_entropy(x, torch.tensor(target))
    loss.backward()
    return loss.item(), x.grad.tolist()


def by_numpy(logits, target):
    loss, gradient = ll.cross_entropy_grad(np.array(logits, dtype=np.float32), target)
    return float(loss), gradient.tolist()


WAYS = [by_pytorch, by_drop_in, by_common_function, by_numpy]


@pytest.mark.parametrize("softmax", [torch.softmax, torch.nn.functional.softmax, F.softmax])
def test_softmax_along_dim_0(softmax):
    probabilities = softmax(torch.tensor([2.0, 1.0, 0.1]), dim=0)
    assert [round(p, 4) for p in probabilities.tolist()] == [0.6590, 0.2424, 0.0986]
    np.testing.assert_allclose(probabilities, ll.softmax([2.0, 1.0, 0.1]), rtol=ULPS)


def test_softmax_along_the_wrong_dimension_is_found():
    batch = torch.tensor(GOOD)
    np.testing.assert_allclose(F.softmax(batch, dim=0), torch.softmax(batch, dim=0), rtol=ULPS)
    findings = ll.check(torch.softmax(batch, dim=0), kind="probabilities")
    assert findings.codes == ("class-axis",)
    assert "axis=0" in str(findings)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("logits", "target", "loss"),
    [
        (GOOD, [2, 1, 0], 0.28509045),
        (BAD, [2, 1, 0], 2.8900697),
        ([1.0, 1.1, 2.5], 2, 0.3850768),
        ([3.2, 0.2, 0.9], 2, 2.4398019),
        ([[1.0, 1.1, 2.5]], [2], 0.3850768),
        ([[3.2, 0.2, 0.9]], [2], 2.4398019),
    ],
)
def test_loss_and_gradient_are_the_same_by_every_way(logits, target, loss, way):
    value, gradient = way(logits, target)
    expected_value, expected_gradient = by_pytorch(logits, target)
    assert value == pytest.approx(loss, rel=ULPS)
    assert value == pytest.approx(expected_value, rel=ULPS)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=ULPS)


@pytest.mark.parametrize(("logits", "labels"), [(GOOD, [2, 1, 0]), (BAD, [0, 0, 1])])
def test_predictions_by_argmax(logits, labels):
    batch = torch.tensor(logits)
    assert batch.argmax(dim=1).tolist() == labels
    assert torch.softmax(batch, dim=1).argmax(dim=1).tolist() == labels
    assert ll.predict(batch)[0].tolist() == labels
    assert ll.predict(logits)[0].tolist() == labels


@pytest.mark.parametrize(("logits", "wrong"), [(GOOD, 0.725460), (BAD, 1.454517)])
def test_softmax_first_is_wrong_and_found(logits, wrong):
    batch, y = torch.tensor(logits), torch.tensor([2, 1, 0])
    probabilities = torch.softmax(batch, dim=1)
    assert torch.nn.CrossEntropyLoss()(probabilities, y).item() == pytest.approx(wrong, abs=1e-6)
    assert F.CrossEntropyLoss()(probabilities, y).item() == pytest.approx(wrong, abs=1e-6)
    assert "probabilities-as-logits" in ll.check(probabilities, y).codes
    assert "probabilities-as-logits" not in ll.check(batch, y).codes


def test_softmax_first_stays_above_its_floor():
    perfect = torch.softmax(torch.tensor([[100.0, 0.0, 0.0]]), dim=1)
    loss = torch.nn.CrossEntropyLoss()(perfect, torch.tensor([0])).item()
    assert loss == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)
    assert f"{loss:.4f}" == "0.5514"


def test_one_hot_targets_go_wrong_with_class_weights_and_are_found():
    batch, y = torch.tensor(GOOD), torch.tensor([2, 1, 0])
    one_hot = torch.nn.functional.one_hot(y)
    with pytest.raises(RuntimeError, match="floating point"):
        torch.nn.CrossEntropyLoss()(batch, one_hot)
    for module in (torch.nn.CrossEntropyLoss, F.CrossEntropyLoss):
        weighted = module(weight=torch.tensor([1.0, 1.0, 3.0]))
        assert module()(batch, one_hot.float()).item() == pytest.approx(0.28509045, rel=ULPS)
        assert weighted(batch, one_hot.float()).item() == pytest.approx(0.541808, abs=1e-6)
        assert weighted(batch, y).item() == pytest.approx(0.325085, abs=1e-6)
    assert F.CrossEntropyLoss()(batch, one_hot).item() == pytest.approx(0.28509045, rel=ULPS)
    for given in (one_hot, one_hot.float()):
        assert ll.check(batch, given).codes == ("one-hot-targets",)


def test_the_one_hot_row_of_a_single_sample_is_found_in_a_batch():
    batch, row = torch.tensor(GOOD), torch.tensor([0, 0, 1])
    assert torch.nn.CrossEntropyLoss()(batch, row).item() == pytest.approx(2.151757, abs=1e-6)
    assert "worse-than-uniform" in ll.check(batch, row).codes


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_is_p_minus_t(way):
    logits = [0.1, 0.9, 4.0]
    expected = torch.softmax(torch.tensor(logits), dim=0) - torch.tensor([0.0, 1.0, 0.0])
    np.testing.assert_allclose(way(logits, 1)[1], expected, rtol=0, atol=ULPS)
    np.testing.assert_allclose(way(logits, 1)[1], [0.0190013, 0.04228816 - 1, 0.93871054], atol=ULPS)

"""The numbers of an evaluation against those of torchmetrics and netcal, from the same float64 probabilities.

What they share is equal to 1e-12. What differs:

- torchmetrics divides counts in float32 whatever it is given: ours, rounded to float32, is the same number.
- Its means over classes and its calibration errors sum float32 numbers: they agree within that rounding.
- Both put a confidence that is an edge of two bins into the upper one; here, as in scikit-learn, it is in the
  lower one. No other confidence is counted elsewhere.
- A class without support is 0 in torchmetrics; here it is NaN, and left out of the macro mean, as there.
"""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll

N, V, BINS = 2000, 7, 15


def close(found, expected, rtol=1e-12):
    found = found.value if isinstance(found, ll.Estimate) else found
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@pytest.fixture(scope="module")
def case():
    r = np.random.default_rng(0)
    z, y = r.normal(size=(N, V)) * 2, r.integers(0, V, N)
    z[np.arange(N), y] += 1.5
    return z, y, ll.softmax(z), ll.evaluate(z, y, top_k=(1, 3), classwise=True)


# --- netcal -------------------------------------------------------------------------------------------------

_LARGE = "installed by make bench alone: it comes with GPyTorch, Pyro and TensorBoard"


def netcal():
    return pytest.importorskip("netcal.metrics", reason=_LARGE)


@pytest.mark.parametrize("bins", [1, 10, 15, 100])
def test_calibration_errors_of_netcal(case, bins):
    z, y, p, _ = case
    metrics, found = netcal(), ll.evaluate(z, y, bins=bins)
    close(found.ece, metrics.ECE(bins).measure(p, y))
    close(found.mce, metrics.MCE(bins).measure(p, y))


def test_an_edge_of_two_bins():
    """0.5, of two bins: our lower one, netcal's upper one."""
    p = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.2, 0.6, 0.2]])
    y = np.array([0, 0, 2, 1])
    found = ll.evaluate(p, y, kind="probabilities", bins=2)
    assert found.calibration.weight.tolist() == [2, 2]
    close(found.ece, (2 * (1 - 0.5) + abs(1 - 1.5)) / 4)
    close(found.mce, 1 - 0.5)
    close(netcal().ECE(2).measure(p, y), abs(3 - 2.5) / 4)
    close(netcal().MCE(2).measure(p, y), abs(3 - 2.5) / 4)


# --- torchmetrics -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors(case):
    torch = pytest.importorskip("torch")
    _, y, p, found = case
    return (
        pytest.importorskip("torchmetrics.functional.classification"),
        torch.tensor(p),
        torch.tensor(y),
        found,
    )


def test_counts_of_torchmetrics(tensors):
    metrics, p, y, found = tensors
    assert (found.confusion == metrics.multiclass_confusion_matrix(p, y, V).numpy()).all()
    for name, expected in (
        ("accuracy", metrics.multiclass_accuracy(p, y, V, average="micro")),
        ("top 3", metrics.multiclass_accuracy(p, y, V, average="micro", top_k=3)),
    ):
        value = found.top_k_accuracy[3] if name == "top 3" else found.accuracy
        assert np.float32(value.value) == expected.numpy()
    for name in ("precision", "recall", "f1"):
        of = {"f1": "f1_score"}.get(name, name)
        expected = getattr(metrics, f"multiclass_{of}")(p, y, V, average=None).numpy()
        assert (getattr(found.by_class, name).astype(np.float32) == expected).all(), name
        macro = getattr(metrics, f"multiclass_{of}")(p, y, V, average="macro").item()
        close(getattr(found.by_class, f"macro_{name}"), macro, 2e-7)
    close(found.balanced_accuracy, metrics.multiclass_accuracy(p, y, V, average="macro").item(), 2e-7)
    close(found.matthews, metrics.multiclass_matthews_corrcoef(p, y, V).item(), 2e-7)


def test_calibration_errors_of_torchmetrics(tensors):
    metrics, p, y, found = tensors
    for name, norm in (("ece", "l1"), ("mce", "max")):
        close(getattr(found, name), metrics.multiclass_calibration_error(p, y, V, BINS, norm).item(), 5e-7)


def test_perplexity_of_torchmetrics(case):
    """It is a mean of float64 losses there too."""
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.functional.text")
    z, y, _, found = case
    expected = metrics.perplexity(torch.tensor(z)[None], torch.tensor(y)[None])
    close(found.perplexity, expected.item())


def test_areas_of_torchmetrics(tensors, case):
    metrics, p, y, found = tensors
    x = case[0][:, 0]
    binary = ll.evaluate(x, case[1] == 0, binary=True)
    import torch

    scores, is_first = torch.tensor(x).sigmoid(), torch.tensor(case[1] == 0).long()
    close(binary.roc_auc, metrics.binary_auroc(scores, is_first).item(), 2e-7)
    close(binary.average_precision, metrics.binary_average_precision(scores, is_first).item(), 2e-7)
    close(found.roc_auc, metrics.multiclass_auroc(p, y, V).item(), 2e-7)
    close(found.average_precision, metrics.multiclass_average_precision(p, y, V).item(), 2e-7)


def test_a_class_without_support(tensors):
    metrics, p, y, _ = tensors
    y = y.clone()
    y[y == 3] = 2
    found = ll.evaluate(p.log(), y)
    expected = metrics.multiclass_recall(p, y, V, average=None).numpy()
    there = np.arange(V) != 3
    assert np.isnan(found.by_class.recall[3])
    assert expected[3] == 0
    assert (found.by_class.recall[there].astype(np.float32) == expected[there]).all()

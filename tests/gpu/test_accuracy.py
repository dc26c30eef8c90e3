"""The declared accuracy on a GPU, in ULP, against float64."""

import numpy as np
import pytest
import torch
from declared import KERNEL_BOUNDS
from gpu_data import DEVICE, DTYPES
from precision import SCALES, Truth, largest, sample

import lastlayer as ll


def tensor(array):
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 4099, 50257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_are_within_the_bounds(dtype, classes):
    for scale in SCALES:
        check(dtype, classes, scale)


def check(dtype, classes, scale):
    logits, targets = sample(scale, classes, dtype, 1 << 17)
    x, y = tensor(logits).to(DEVICE), torch.from_numpy(targets).to(DEVICE)
    found = {
        "softmax": ll.softmax(x),
        "log_softmax": ll.log_softmax(x),
        "loss": ll.cross_entropy(x, y, reduction="none"),
        "gradient": ll.cross_entropy_grad(x, y, reduction="sum")[1],
        "logsumexp": ll.logsumexp(x),
    }
    arrays = {name: t.float().cpu().numpy() for name, t in found.items()}
    errors = largest(Truth(logits, targets), arrays, float(np.finfo(np.float32).tiny))
    assert all(errors[name] <= most for name, most in KERNEL_BOUNDS[dtype].items()), (scale, errors)

"""The fast kernels read and write nothing but the memory of their tensors, wherever a row starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lastlayer.backends.torch.composed import Form
from lastlayer.backends.torch.targets import Target

calls = pytest.importorskip("lastlayer.backends.triton.calls")


@pytest.fixture
def watched(monkeypatch):
    """Let each access outside the tensors of a launch fail. Value: the number of accesses."""
    from triton.runtime import interpreter

    from lastlayer.backends.triton import fast

    builder = interpreter.InterpreterBuilder
    launched, accesses, ranges = fast.launch, [0], []

    def launch(kernel, grid, arguments, constants, warps):
        tensors = [x for x in arguments if isinstance(x, torch.Tensor)]
        ranges[:] = [(x.data_ptr(), x.data_ptr() + _bytes(x)) for x in tensors]
        launched(kernel, grid, arguments, constants, warps)

    def check(pointers, mask):
        wanted = np.broadcast_to(mask.data.astype(bool), pointers.data.shape)
        at = pointers.data.reshape(-1)[wanted.reshape(-1)]
        accesses[0] += at.size
        size = max(1, pointers.dtype.element_ty.primitive_bitwidth // 8)
        inside = np.zeros(at.shape, dtype=bool)
        for low, high in ranges:
            inside |= (at >= low) & (at + np.uint64(size) <= high)
        assert inside.all(), f"{(~inside).sum()} accesses outside of all tensors"

    def checked(method):
        original = getattr(builder, method)

        def access(self, pointers, *rest):
            check(pointers, rest[0 if method.endswith("load") else 1])
            return original(self, pointers, *rest)

        monkeypatch.setattr(builder, method, access)

    monkeypatch.setattr(fast, "launch", launch)
    checked("create_masked_load")
    checked("create_masked_store")
    return accesses


def _bytes(x):
    """The bytes from the first number to the end of the last one."""
    if x.numel() == 0:
        return 0
    return (sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) + 1) * x.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 3, 10, 77, 1001, pytest.param(16389, marks=pytest.mark.soak)])
def test_only_the_tensors_are_touched(watched, classes, dtype):
    n = 2 if classes > 10000 else 5
    z, y = torch.randn(n, classes).to(dtype), torch.randint(0, classes, (n,))
    y[-1] = classes - 1
    calls.softmax(z, None, -1, 1.0, False)
    calls.logsumexp(z, Form())
    calls.cross_entropy(z, Target(y), Form(ignore_index=-100))
    calls.cross_entropy_and_gradient(z, Target(y), Form(ignore_index=-100))
    none = Form(ignore_index=-100, reduction="none")
    kept = calls.cross_entropy_and_statistics(z, Target(y), none)[1]
    calls.gradient(torch.ones(n), z, Target(y), none, kept)
    assert watched[0] >= 5 * z.numel()

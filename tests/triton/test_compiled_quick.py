"""A call of a kind that was seen launches exactly what the first call of the kind launched, without a GPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is made for Linux")

from lastlayer.backends.torch.composed import Form  # noqa: E402 - needs torch
from lastlayer.backends.torch.targets import Target  # noqa: E402 - needs torch


@pytest.fixture
def runs(monkeypatch):
    """What is launched: the arguments of the launcher, with the names of tensors instead of addresses."""
    from lastlayer.backends.triton import calls, fast, launching, quick

    found = []

    class Compiled:
        function = 7

        def __init__(self, name, warps):
            self.packed_metadata = warps, 1, 0
            self.run = lambda *arguments: found.append((name, arguments))

    class Kernel:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, grid):
            def first(*arguments, num_warps):
                numbers = [x.data_ptr() if isinstance(x, torch.Tensor) else x for x in arguments]
                found.append((self.name, (*grid, 1, 1, 5, 7, (num_warps, 1, 0), None, None, None, *numbers)))
                return Compiled(self.name, num_warps)

            return first

    for name in ("few", "tile"):
        monkeypatch.setattr(fast, name, Kernel(name))
    for module in (fast, launching):
        monkeypatch.setattr(module, "processors", lambda _: 132)
    for name, value in {
        "_cuda_getDevice": 0, "_cuda_getCurrentRawStream": 5, "_cuda_isCurrentStreamCapturing": False
    }.items():  # fmt: skip
        monkeypatch.setattr(torch._C, name, lambda *_, value=value: value, raising=False)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(quick, "_device", lambda: 0)
    monkeypatch.setattr(torch.Tensor, "get_device", lambda _: 0)
    for name in ("_kinds", "_numbers"):
        monkeypatch.setattr(quick, name, {})
    for name in ("_handles", "_workspaces"):
        monkeypatch.setattr(launching, name, {})
    return calls, quick, found


def without_results(name, arguments, *tensors):
    """The arguments, with those addresses left out that are of results."""
    kept = {t.data_ptr() for t in tensors}
    return name, [x if not isinstance(x, int) or x < 1 << 32 or x in kept else "result" for x in arguments]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("classes", [3, 10, 100, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_second_call_launches_the_same(runs, dtype, classes, reduction):
    calls, quick, found = runs
    z, y = torch.zeros(32, classes, dtype=dtype), torch.zeros(32, dtype=torch.int64)
    form, target = Form(1, ignore_index=-100, reduction=reduction), Target(y)
    for what in (
        lambda: calls.cross_entropy(z, target, form),
        lambda: calls.cross_entropy_and_gradient(z, target, form),
        lambda: calls.softmax(z, None, -1, 1.0, False),
        lambda: calls.softmax(z, None, -1, 1.0, True),
    ):
        found.clear()
        first, second = what(), what()
        assert len(found) == 2
        (kernel, one), (same, two) = (without_results(*run, z, y) for run in found)
        assert kernel == same
        assert [(i, a, b) for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b] == []
        for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (first, second)), strict=True):
            assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())
    assert sum(kind is not None and bool(kind[1]) for kind in quick._kinds.values()) == 4


def test_other_calls_are_not_taken_for_the_same(runs):
    calls, quick, found = runs
    z, y = torch.zeros(32, 10), torch.zeros(32, dtype=torch.int64)
    form = Form(1, ignore_index=-100)
    calls.cross_entropy(z, Target(y), form)
    for other in (z[1:], z.T.contiguous().T, z.bfloat16(), torch.zeros(33, 10)):
        assert quick.loss(other, y[: len(other)], form) is None
    assert quick.loss(z, y.int(), form) is None
    assert quick.loss(z, torch.zeros(64, dtype=torch.int64)[::2], form) is None
    assert quick.loss(z, y, Form(1, ignore_index=0)) is None
    assert quick.loss(z, y, form) is not None
    assert found

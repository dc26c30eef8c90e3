"""The two ways to compute a tensor: by the core, and by PyTorch's own operations as on a GPU."""

from __future__ import annotations

from contextlib import nullcontext

import backends
import pytest

torch = pytest.importorskip("torch")

WAYS = ["core", "composed"]


@pytest.fixture(params=WAYS)
def way(request):
    """Compute all tensors in this way. Value: its name."""
    with backends.composed() if request.param == "composed" else nullcontext():
        yield request.param


@pytest.fixture(params=["small", "loop", "small tiles", "logits"])
def each(request, loop, cut):
    """Compute the linear head as a small problem, by the loop, by small tiles, or from logits."""
    if request.param != "logits":
        pytest.importorskip("lastlayer._core", reason="the native core is not built")
    if request.param == "loop":
        loop()
    if request.param == "small tiles":
        cut(rows=4, classes=8)
    with backends.composed() if request.param == "logits" else nullcontext():
        yield request.param


@pytest.fixture
def made(monkeypatch):
    """The shapes of all deferred logits, and of their gradients, that are materialized during a test."""
    from lastlayer.backends.torch.lazy import Values
    from lastlayer.torch.deferred import is_possible

    assert is_possible()  # before recording, since it materializes a tensor itself
    shapes, get = [], Values.get

    def record(values):
        if values.numbers is None:
            shapes.append(tuple(get(values).shape))
        return get(values)

    monkeypatch.setattr(Values, "get", record)
    return shapes

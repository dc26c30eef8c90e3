"""Both ways that a tensor can be computed: by the core, and in PyTorch's own operations as on a device."""

from __future__ import annotations

from contextlib import nullcontext

import backends
import pytest

torch = pytest.importorskip("torch")

WAYS = ["core", "composed"]


@pytest.fixture(params=WAYS)
def way(request):
    """Compute every tensor in this way; its name."""
    with backends.composed() if request.param == "composed" else nullcontext():
        yield request.param


@pytest.fixture(params=["small", "loop", "small tiles", "logits"])
def each(request, loop, cut):
    """Compute as small problems are, by the loop as planned, by one of small tiles, and as on a device."""
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
    """What is materialized though `LinearHead` deferred it, logits and gradients in them: its shapes."""
    from lastlayer.backends.torch.lazy import Values
    from lastlayer.torch.deferred import is_possible

    assert is_possible()  # which materializes a tensor once, to see whether it can
    shapes, get = [], Values.get

    def record(values):
        if values.numbers is None:
            shapes.append(tuple(get(values).shape))
        return get(values)

    monkeypatch.setattr(Values, "get", record)
    return shapes

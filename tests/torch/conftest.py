"""Both ways that a tensor can be computed: by the core, and in PyTorch's own operations as on a device."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

WAYS = ["core", "composed"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Compute every tensor in this way; its name."""
    if request.param == "composed":
        from lastlayer.torch import kernels, usual

        monkeypatch.setattr(kernels, "on_core", lambda _: False)
        monkeypatch.setattr(usual, "_core", None)
    return request.param


@pytest.fixture(params=["small", "loop", "small tiles", "logits"])
def each(request, monkeypatch):
    """Compute as small problems are, by the loop as planned, by one of small tiles, and as on a device."""
    if request.param == "logits":
        from lastlayer.torch import kernels, usual

        monkeypatch.setattr(kernels, "on_core", lambda _: False)
        monkeypatch.setattr(usual, "_core", None)
    else:
        pytest.importorskip("lastlayer._core", reason="the native core is not built")
    if request.param == "loop":
        from linear_tensors import loop

        loop(monkeypatch)
    if request.param == "small tiles":
        from linear_tensors import cut

        cut(monkeypatch, rows=4, classes=8)
    return request.param


@pytest.fixture
def made(monkeypatch):
    """What is materialized though `LinearHead` deferred it, logits and gradients in them: its shapes."""
    from lastlayer.torch.deferred import is_possible
    from lastlayer.torch.lazy import Values

    assert is_possible()  # which materializes a tensor once, to see whether it can
    shapes, get = [], Values.get

    def record(values):
        if values.numbers is None:
            shapes.append(tuple(get(values).shape))
        return get(values)

    monkeypatch.setattr(Values, "get", record)
    return shapes

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
    """The logits that are made though `LinearHead` left them unmade: their shapes."""
    from lastlayer.torch.deferred import Logits

    shapes, whole = [], Logits.whole

    def record(z):
        shapes.append(tuple(z.shape))
        return whole(z)

    monkeypatch.setattr(Logits, "whole", record)
    return shapes

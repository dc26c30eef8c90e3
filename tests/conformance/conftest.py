"""One suite for all backends: a test asks for ``backend``, and runs on the reference and every native ISA."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from linear_cases import fixed_plan

from lastlayer import linear, select
from lastlayer import plan as plans

try:
    from lastlayer import native
except ImportError:
    native = None

BACKENDS = ["reference"] + ([] if native is None else [f"native:{isa}" for isa in native.isas()])


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request):
    """Run everything on one backend; its name."""
    name, _, isa = request.param.partition(":")
    with ExitStack() as stack:
        stack.enter_context(select.use(name))
        if isa:
            stack.enter_context(native.use_isa(isa))
        yield request.param


@pytest.fixture
def cut(monkeypatch):
    """Cut the next calls into tiles of given rows and classes, with so many kept."""

    def cut(rows, classes, kept, lent=False):
        monkeypatch.setattr(plans, "is_small", lambda *_: False)
        monkeypatch.setattr(linear, "plan", fixed_plan(rows, classes, kept, lent))

    return cut


@pytest.fixture
def core():
    """Compute by the loop: without the core the logits are made as a whole."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    with select.use("native"):
        yield

"""One suite for all backends: a test asks for ``backend``, and runs on the reference and every native ISA."""

from __future__ import annotations

import backends
import pytest
from backends import BACKENDS
from linear_cases import PLANS, fixed_plan

from lastlayer import linear, select
from lastlayer import plan as plans


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request):
    """Run everything on one backend; its name."""
    with backends.on(request.param):
        yield request.param


@pytest.fixture
def cut(monkeypatch):
    """Cut the next calls into tiles of given rows and classes, with so many kept."""

    def cut(rows, classes, kept, lent=False):
        monkeypatch.setattr(plans, "is_small", lambda *_: False)
        monkeypatch.setattr(linear, "plan", fixed_plan(rows, classes, kept, lent))

    return cut


@pytest.fixture
def plan(request, cut):
    """Cut the next calls into tiles by a plan of this name, as `in_every_plan` asks for."""
    cut(**PLANS[request.param])
    return request.param


@pytest.fixture
def core():
    """Compute by the loop: without the core the logits are made as a whole."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    with select.use("native"):
        yield

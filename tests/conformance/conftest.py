"""One suite for all backends: a test asks for ``backend``, and runs on the reference and every native ISA."""

from __future__ import annotations

import backends
import pytest
from backends import BACKENDS
from linear_cases import PLANS


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request):
    """Run everything on one backend; its name."""
    with backends.on(request.param):
        yield request.param


@pytest.fixture
def plan(request, cut):
    """Cut the next calls into tiles by a plan of this name, as `in_every_plan` asks for."""
    cut(**PLANS[request.param])
    return request.param


@pytest.fixture
def core():
    """Compute by the loop: without the core the logits are made as a whole."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    with backends.on("native"):
        yield

"""One suite for all backends: a test asks for ``backend``, and runs on the reference and every native ISA."""

from __future__ import annotations

import backends
import pytest
from backends import BACKENDS
from linear_cases import PLANS


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request):
    """Run everything on one backend. Value: its name."""
    with backends.on(request.param):
        yield request.param


@pytest.fixture
def plan(request, cut):
    """Compute the linear head by the plan of this name; see `in_every_plan`."""
    cut(**PLANS[request.param])
    return request.param


@pytest.fixture
def core():
    """Run on the core, which computes the linear head in tiles; without it the logits are materialized."""
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    with backends.on("native"):
        yield

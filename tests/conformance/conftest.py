"""One suite for all backends: a test asks for ``backend``, and runs on the reference and every native ISA."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from lastlayer import select

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

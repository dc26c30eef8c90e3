"""The backends that the conformance suite runs on: their names, and how a test runs on one of them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

from lastlayer import select

try:
    from lastlayer import native
except ImportError:
    native = None

BACKENDS = ["reference"] + ([] if native is None else [f"native:{isa}" for isa in native.isas()])


@contextmanager
def on(name):
    """Run everything on one backend inside a ``with`` block."""
    backend, _, isa = name.partition(":")
    with select.use(backend), native.use_isa(isa) if isa else nullcontext():
        yield

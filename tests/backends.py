"""Choose how tests compute: the backend, the loop over tiles, and its plan. Only this module patches these.

Every function is a context manager and restores the setting at the end of its block.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import tensors_of_arrays
from interpreter import INTERPRETED

from lastlayer import selection
from lastlayer.backends.core import core, native
from lastlayer.linear import plan as plans
from lastlayer.linear.plan import Plan, most_aliased

BACKENDS = ["reference"] + ([] if not core.BUILT else [f"native:{isa}" for isa in native.isas()])
if INTERPRETED:
    BACKENDS = ["triton"]
    tensors_of_arrays.install()


@contextmanager
def on(name):
    """Run everything on "reference", "native", or "native:" and an instruction set; None changes nothing.

    On "triton", arrays are computed as tensors, by Triton's interpreter.
    """
    if name == "triton":
        with tensors_of_arrays.by_kernels():
            yield
        return
    backend, _, isa = (name or "").partition(":")
    with selection.use(backend or None), native.use_isa(isa) if isa else nullcontext():
        yield


def composed():
    """Compute tensors by PyTorch's own operations, as on a GPU."""
    return selection.use("composed")


def without_core():
    """Compute tensors as if the core were not built."""
    return selection.use("composed")


def in_loop():
    """Compute the linear head by the loop over tiles, even for few logits."""
    return plans.use(plans.planner._replace(is_small=lambda *_: False))


def in_tiles(rows, classes, kept, aliased=False):
    """Use tiles of this size for the linear head, and keep so many of them; not for small problems."""

    def plan(n, v, number, threads, memory, costs, *, keep=True, wide=0):
        r, c = min(rows, n), min(classes, v)
        chunks = -(-n // r)
        count = chunks * -(-v // c)
        k = max(1, min(kept, count)) if keep else 1
        room = costs.aliasable * c if aliased else 0
        shared = min(k - 1, most_aliased(count, chunks, r * c * number, room)) if aliased else 0
        return Plan(n, v, r, c, k, count - k, 0, shared)

    return plans.use(plans.planner._replace(plan=plan))


@contextmanager
def recorded_plans():
    """Record the plans of the linear head in a list."""
    usual, said = plans.planner, []

    def record(*sizes, **options):
        said.append(usual.plan(*sizes, **options))
        return said[-1]

    with plans.use(usual._replace(plan=record)):
        yield said

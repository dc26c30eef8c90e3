"""The backward pass of a loss whose gradient is already there: multiply it by grad_output, if that is not 1.

    1 read + 1 write of the gradient; nothing where it is multiplied in place by 1, the usual case

grad_output is read on the device: to ask for it on the host would wait for the GPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["scale"]


@triton.jit(do_not_specialize=["tiles", "last"], do_not_specialize_on_alignment=["grad_ptr"])
def scale(x_ptr, out_ptr, grad_ptr, tiles, last, IN_PLACE: tl.constexpr, BLOCK: tl.constexpr):
    """out = x grad. ``tiles`` of BLOCK numbers, of which the last one has ``last``."""
    grad = tl.load(grad_ptr).to(tl.float32)
    if (grad != 1.0) | (not IN_PLACE):
        for t in range(tl.program_id(0), tiles, tl.num_programs(0)):
            i = tl.arange(0, BLOCK)
            start = tl.cast(t, tl.int64) * BLOCK
            inside = (t < tiles - 1) | (i < last)
            x = tl.load(x_ptr + start + i, inside, other=0.0).to(tl.float32)
            tl.store(out_ptr + start + i, (x * grad).to(out_ptr.dtype.element_ty), inside)

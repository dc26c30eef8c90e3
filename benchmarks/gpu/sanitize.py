"""Every function once on small tensors, for compute-sanitizer: row starts of every alignment, every plan.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python benchmarks/gpu/sanitize.py

Without the cache every tensor is an allocation of its own, beyond whose end every access is an error.
"""

from __future__ import annotations

import torch
from contenders import FUNCTIONS, ours
from shapes import DTYPES, Shape

import lastlayer as ll

SHAPES = [
    Shape((1000, 10), "10"),
    Shape((333, 100), "100"),
    Shape((65, 1003), "1000"),
    Shape((3, 50257), "50257"),
    Shape((1, 262145), "262144"),
    Shape((2, 21, 33, 35), "images", 1),
]


def every_function(shape: Shape, device: torch.device) -> None:
    for dtype in DTYPES.values():
        z, y = shape.data(dtype, device)
        for name in FUNCTIONS:
            ours(name, shape, z, y)()
        if shape.axis == -1:
            ll.softmax(z, out=z.clone())
            assert ll.row_stats(z, y).entropy.shape == y.shape
            ll.top_k(z, 5)
            ll.cross_entropy(z, y, reduction="none", label_smoothing=0.1, softcap=30.0, z_loss=1e-3)


def main() -> None:
    device = torch.device("cuda", 0)
    for shape in SHAPES:
        every_function(shape, device)
    torch.cuda.synchronize()
    print("every function ran")


if __name__ == "__main__":
    main()

"""The shapes of the benchmark. In: a name. Out: logits and class indices on a device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DTYPES", "SHAPES", "TINY", "Shape", "selected"]

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class Shape(NamedTuple):
    """Logits of a shape with the classes on ``axis``; ``column`` names their column in `bars`."""

    dims: tuple[int, ...]
    column: str
    axis: int = -1

    @property
    def name(self) -> str:
        return "x".join(map(str, self.dims))

    @property
    def classes(self) -> int:
        return self.dims[self.axis]

    @property
    def rows(self) -> int:
        return self.numbers // self.classes

    @property
    def numbers(self) -> int:
        return torch.Size(self.dims).numel()

    def data(self, dtype: torch.dtype, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Normal logits of scale 3, and targets; never zeros, on which some hardware is faster."""
        generator = torch.Generator(device).manual_seed(seed)
        z = torch.empty(self.dims, dtype=dtype, device=device).normal_(0, 3, generator=generator)
        of_rows = [n for i, n in enumerate(self.dims) if i != self.axis % len(self.dims)]
        y = torch.randint(0, self.classes, of_rows, device=device, generator=generator)
        return z, y


SHAPES = [
    Shape((1048576, 10), "10"),
    Shape((131072, 100), "100"),
    Shape((32768, 1000), "1000"),
    Shape((16384, 4096), "4096"),
    Shape((8192, 16384), "16k-32k"),
    Shape((8192, 32000), "16k-32k"),
    Shape((4096, 50257), "50257"),
    Shape((4096, 50304), "50304"),
    Shape((4096, 128256), "128256"),
    Shape((2048, 262144), "262144"),
    Shape((8, 21, 512, 512), "images", 1),
]

# For a dry run on the CPU, where Triton's interpreter takes milliseconds for each program.
TINY = [
    Shape((6, 10), "10"),
    Shape((3, 100), "100"),
    Shape((2, 257), "1000"),
    Shape((1, 3, 2, 4), "images", 1),
]


def selected(shapes: list[Shape], words: list[str] | None) -> list[Shape]:
    """The shapes whose name or column is among the words; all without words."""
    return [s for s in shapes if not words or s.name in words or s.column in words]

"""Random numbers for all tests, the same on every run. In: a shape and a seed. Out: normal numbers."""

from __future__ import annotations

import numpy as np


def numbers(*shape, seed=0):
    """A NumPy array, float64."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def tensor(*shape, seed=0, dtype=None, scale=1.0):
    """A PyTorch tensor, float64 unless a dtype is given: the numbers of `numbers`, rounded."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    return found if dtype is None else found.to(dtype)

"""Pictures of evaluations and comparisons, one class each, by the conventions of scikit-learn's Displays.

They need matplotlib: the extra ``lastlayer[plot]``. ``import lastlayer`` does not import this package, and
importing this package does not import matplotlib.
"""

from __future__ import annotations

from .confusion import ConfusionDisplay
from .reliability import ReliabilityDisplay

__all__ = [
    "ConfusionDisplay",
    "ReliabilityDisplay",
]

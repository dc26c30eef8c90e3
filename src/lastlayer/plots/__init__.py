"""Figures of evaluations and comparisons, one class each, with the conventions of scikit-learn's Displays.

They need matplotlib: the extra ``lastlayer[plot]``. ``import lastlayer`` does not import this package, and
importing this package does not import matplotlib.
"""

from __future__ import annotations

from .comparison import ComparisonDisplay
from .confidence import ConfidenceDisplay
from .confusion import ConfusionDisplay
from .explanation import ExplanationDisplay
from .group import GroupDisplay
from .loss_by_class import LossByClassDisplay
from .position import PositionDisplay
from .rank import RankDisplay
from .reliability import ReliabilityDisplay
from .top_k import TopKDisplay

__all__ = [
    "ComparisonDisplay",
    "ConfidenceDisplay",
    "ConfusionDisplay",
    "ExplanationDisplay",
    "GroupDisplay",
    "LossByClassDisplay",
    "PositionDisplay",
    "RankDisplay",
    "ReliabilityDisplay",
    "TopKDisplay",
]

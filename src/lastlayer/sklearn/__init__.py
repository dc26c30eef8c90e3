"""Estimators for scikit-learn: softmax regression, and the calibration of classifiers.

They need scikit-learn: the extra ``lastlayer[sklearn]``. ``import lastlayer`` does not import this package.
"""

from __future__ import annotations

from .classifier import SoftmaxClassifier
from .temperature_scaling import TemperatureScaling

__all__ = ["SoftmaxClassifier", "TemperatureScaling"]

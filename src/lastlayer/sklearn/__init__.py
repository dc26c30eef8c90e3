"""Estimators for scikit-learn: softmax regression, also with a search for C, and calibration.

They need scikit-learn: the extra ``lastlayer[sklearn]``. ``import lastlayer`` does not import this package.
"""

from __future__ import annotations

from .classifier import SoftmaxClassifier
from .classifier_cv import SoftmaxClassifierCV
from .temperature_scaling import TemperatureScaling

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV", "TemperatureScaling"]

"""Estimators for scikit-learn: softmax regression, also with a search for C, and calibration.

They need scikit-learn: the extra ``lastlayer[sklearn]``. ``import lastlayer`` does not import this package.
"""

from __future__ import annotations

try:
    import scipy as _scipy  # noqa: F401 - imported to say what to install without it, as the next two
    import sklearn as _sklearn  # noqa: F401
    import threadpoolctl as _threadpoolctl  # noqa: F401
except ModuleNotFoundError as _error:
    _text = (
        f"lastlayer.sklearn requires {_error.name}. You can install it with `pip install lastlayer[sklearn]`"
    )
    raise ModuleNotFoundError(_text, name=_error.name) from _error

from .classifier import SoftmaxClassifier
from .classifier_cv import SoftmaxClassifierCV
from .temperature_scaling import TemperatureScaling

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV", "TemperatureScaling"]

"""Temperature scaling for scikit-learn. In: a classifier, and data. Out: calibrated probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.utils import get_tags, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, has_fit_parameter

from lastlayer import functional
from lastlayer.errors import DtypeError, ShapeError, TargetError, errors_of
from lastlayer.evaluation.calibration import fit_temperature

__all__ = ["TemperatureScaling"]

_EPSILON = float(np.finfo(np.float64).eps)


class TemperatureScaling(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose logits are divided by the temperature that gives the smallest log-loss.

    ::

        predict_proba(X) = softmax(logits / T)        predict: as the classifier

    It wraps a classifier, as `sklearn.calibration.CalibratedClassifierCV` does, and can replace it in a
    pipeline, a search or `cross_val_score`. For logits that are already computed use
    `lastlayer.fit_temperature`.

    Parameters
    ----------
    estimator : classifier, optional
        With ``decision_function`` or ``predict_proba``; a logistic regression by default. It is fitted to all
        data. T is fitted to the logits of each fold, computed by a copy that was fitted to the other folds.
        Pass ``FrozenEstimator(classifier)`` to keep a fitted classifier: T is then fitted to all of ``X``,
        which should be data to which the classifier was not fitted.
    cv : int, or a splitter of scikit-learn
        The folds.

    Attributes
    ----------
    estimator_ : the fitted classifier
    temperature_ : lastlayer.Temperature
        With interval, log-loss and calibration error before and after; ``float(temperature_)`` is T.
    classes_ : array (V,)

    Notes
    -----
    The logits are the values of ``decision_function``. For two classes it gives one number x for each row,
    and the logits are (0, x). scikit-learn's calibration uses (-x, x), so its ``beta_`` is 1 / (2 T); for
    more classes it is 1 / T. For a classifier without ``decision_function`` the logits are the logarithms of
    ``predict_proba``, where 0 is replaced by 2.2e-16: a probability of 0 for the true class would make the
    loss infinite at every temperature.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from lastlayer.sklearn import TemperatureScaling
    >>> X, y = make_classification(600, n_redundant=10, random_state=0)  # naive Bayes is overconfident
    >>> classifier = GaussianNB().fit(X[:300], y[:300])
    >>> calibrated = TemperatureScaling(FrozenEstimator(classifier)).fit(X[300:], y[300:])
    >>> t = calibrated.temperature_
    >>> t.low > 1, t.ece_after < t.ece_before, calibrated.predict_proba(X[:2]).shape
    (True, True, (2, 2))
    """

    def __init__(self, estimator: Any = None, *, cv: Any = 5) -> None:
        self.estimator = estimator
        self.cv = cv

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TemperatureScaling:  # noqa: N803
        """Fit the classifier, unless it is frozen, and the temperature.

        Parameters
        ----------
        X : what the classifier takes
        y : array (N,)
            The classes.
        sample_weight : array (N,), optional
            For the temperature, and for the classifier if its ``fit`` takes it.
        """
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        X, y = indexable(X, y)  # noqa: N806
        check_classification_targets(y)
        labels = np.asarray(y).reshape(len(y), -1)
        if labels.shape[1] != 1:
            raise ShapeError("TemperatureScaling.fit", "y", f"of shape {np.shape(y)}", "(N,)")
        self.classes_, indices = np.unique(labels, return_inverse=True)
        indices = indices.reshape(-1)
        params = {}
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if has_fit_parameter(estimator, "sample_weight"):
                params["sample_weight"] = sample_weight
        if isinstance(estimator, FrozenEstimator):
            check_is_fitted(estimator)
            self.estimator_ = estimator
            indices = self._of_classifier(estimator, labels[:, 0])
            scores = self._logits(X)
        else:
            counts = np.bincount(indices)
            if counts.min() < 2:
                once = self.classes_[counts.argmin()]
                rule = "2 of each class or more: one to learn from, one to calibrate"
                raise TargetError("TemperatureScaling.fit", "y", f"with 1 sample of class {once!s}", rule)
            self.estimator_ = clone(estimator).fit(X, y, **params)
            scores = cross_val_predict(
                clone(estimator), X, indices, cv=self.cv, method=_method(estimator), params=params or None
            )
            scores = self._as_logits(scores, _method(estimator))
        names = {"scores": _method(estimator), "targets": "y"}
        with errors_of("TemperatureScaling.fit", names=names):
            self.temperature_ = fit_temperature(
                scores, indices, sample_weight=sample_weight, ignore_index=None
            )
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def _of_classifier(self, estimator: Any, labels: Any) -> Any:
        """The place of each label among the classes of a fitted classifier, which are those of the result."""
        self.classes_ = np.asarray(estimator.classes_)
        places = {label: i for i, label in enumerate(self.classes_.tolist())}
        for i, label in enumerate(labels.tolist()):
            if label not in places:
                rule = "a class of the fitted classifier"
                raise TargetError("TemperatureScaling.fit", f"y[{i}]", repr(label), rule)
        return np.array([places[label] for label in labels.tolist()])

    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """The logits divided by T: (N, V), for two classes (N,)."""
        check_is_fitted(self)
        z = self._logits(X) / float(self.temperature_)
        return z[:, 1] - z[:, 0] if len(self.classes_) == 2 else z

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """The calibrated probabilities: (N, V)."""
        check_is_fitted(self)
        return functional.softmax(self._logits(X), temperature=float(self.temperature_))

    def predict(self, X: Any) -> Any:  # noqa: N803
        """The class of the largest logit."""
        check_is_fitted(self)
        return self.classes_[self._logits(X).argmax(axis=1)]

    def _logits(self, X: Any) -> Any:  # noqa: N803
        method = _method(self.estimator_)
        return self._as_logits(getattr(self.estimator_, method)(X), method)

    def _as_logits(self, scores: Any, method: str) -> Any:
        """The scores of a classifier as logits (N, V)."""
        scores = np.asarray(scores, np.float64)
        if method == "predict_proba":
            scores = np.log(np.maximum(scores, _EPSILON))
        elif scores.ndim == 1 or scores.shape[1] == 1:
            x = scores.reshape(-1)
            scores = np.stack([np.zeros_like(x), x], axis=1)
        if scores.shape[1] != len(self.classes_):
            found, rule = f"of {scores.shape[1]} columns", f"{len(self.classes_)}, one for each class"
            raise ShapeError("TemperatureScaling", method, found, rule)
        return scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        else:
            tags.input_tags.sparse = True
        return tags


def _method(estimator: Any) -> str:
    """Where the logits of a classifier come from."""
    for name in ("decision_function", "predict_proba"):
        if hasattr(estimator, name):
            return name
    found = f"a {type(estimator).__name__}"
    raise DtypeError("TemperatureScaling", "estimator", found, "one with decision_function or predict_proba")

"""The predictions of fitted softmax classifiers. In: fitted weights, and features. Out: predictions."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from lastlayer.errors import ShapeError, TargetError, errors_of
from lastlayer.evaluation.calibration import fit_temperature
from lastlayer.fitting.fit import Fit
from lastlayer.fitting.rows import Floats

from .dask_arrays import maps_blocks
from .head import Head
from .model_file import made_again, read_model, write_model
from .solving import moved_start
from .training_data import TrainingData, features_of

__all__ = ["LinearClassifier"]


class LinearClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The predictions of a classifier whose logits are ``X @ coef_.T + intercept_``."""

    @maps_blocks
    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """The logits.

        Parameters
        ----------
        X : array or CSR matrix (N, D)

        Returns
        -------
        array (N, V), for two classes (N,)
            In the dtype of X: float32 for float32 and float16, else float64. `calibrate` does not change it.
        """
        return self._head("decision_function", X).decision()

    @maps_blocks
    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """The softmax of the logits; after `calibrate`, of the logits divided by T.

        Parameters
        ----------
        X : array or CSR matrix (N, D)

        Returns
        -------
        array (N, V)
            The columns are those of ``classes_``.
        """
        return self._head("predict_proba", X).probabilities(self._temperature())

    @maps_blocks
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """The logarithm of `predict_proba`, accurate where the probability itself would be 0.

        Parameters
        ----------
        X : array or CSR matrix (N, D)

        Returns
        -------
        array (N, V)
        """
        return self._head("predict_log_proba", X).probabilities(self._temperature(), log=True)

    @maps_blocks
    def predict(self, X: Any) -> Any:  # noqa: N803
        """The most probable class of each row; with many classes the logits are not materialized.

        Parameters
        ----------
        X : array or CSR matrix (N, D)

        Returns
        -------
        array (N,) of labels
        """
        indices = self._head("predict", X).labels()
        return self.classes_[indices]

    def predict_top_k(self, X: Any, k: int) -> tuple[Any, Any]:  # noqa: N803
        """The k most probable classes of each row, without the matrix of probabilities.

        Parameters
        ----------
        X : array or CSR matrix (N, D)
        k : int in [1, V]

        Returns
        -------
        labels : array (N, k)
            The most probable first.
        probabilities : array (N, k)
            As in `predict_proba`.
        """
        head = self._head("predict_top_k", X)
        with errors_of(f"{type(self).__name__}.predict_top_k"):
            indices, probabilities = head.top_k(k, self._temperature())
        return self.classes_[indices], probabilities

    def calibrate(self, X: Any, y: Any) -> Any:  # noqa: N803
        """Find the temperature T with the smallest log-loss on data to which the classifier was not fitted.

        From then on `predict_proba`, `predict_log_proba` and `predict_top_k` divide the logits by T;
        `decision_function` and `predict` do not change. `fit` removes T again.

        Parameters
        ----------
        X : array or CSR matrix (N, D)
        y : array (N,)
            Labels, each of them one of ``classes_``.

        Returns
        -------
        self : with ``temperature_``, a `lastlayer.Temperature`
        """
        function = f"{type(self).__name__}.calibrate"
        head = self._head("calibrate", X)
        indices = self._indices(function, y)
        coef, intercept = head.coef, head.intercept
        if len(self.classes_) == 2:
            coef = np.concatenate([np.zeros_like(coef), coef])
            intercept = np.append(np.zeros_like(intercept), intercept)
        with errors_of(function, names={"scores": "X", "targets": "y"}):
            if isinstance(head.x, np.ndarray):
                found = fit_temperature(head.x, indices, weight=coef, bias=intercept, ignore_index=None)
            else:
                z = head.decision()
                z = np.stack([np.zeros_like(z), z], axis=1) if z.ndim == 1 else z
                found = fit_temperature(z, indices, ignore_index=None)
        self.temperature_ = found
        return self

    def save(self, path: Any) -> None:
        """Write the fitted classifier to a safetensors file, which `load` reads.

        The file has the tensors ``coef``, ``intercept`` and ``classes`` (names are in the metadata), and as
        metadata the options, the names of the features and the temperature: no pickle. An existing file
        stays until the new one is complete.

        Parameters
        ----------
        path : path
            A name that ends in ``.safetensors``.

        Raises
        ------
        lastlayer.OptionError
            If the file cannot be written, or an option is an object: a splitter, a function, a generator
            of random numbers.
        """
        check_is_fitted(self)
        with errors_of(f"{type(self).__name__}.save"):
            write_model(path, self)

    @classmethod
    def load(cls, path: Any) -> Any:
        """Read a classifier that `save` wrote; its predictions are bitwise equal.

        Parameters
        ----------
        path : path

        Returns
        -------
        an estimator of this class

        Raises
        ------
        lastlayer.OptionError
            If the file is not one of this class, is damaged, or was written by a newer version.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from sklearn.datasets import load_iris
        >>> from lastlayer.sklearn import SoftmaxClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "iris.safetensors"
        >>> model = SoftmaxClassifier(C=10).fit(X, y)
        >>> model.save(path)
        >>> again = SoftmaxClassifier.load(path)
        >>> again.C, bool((again.predict_proba(X) == model.predict_proba(X)).all())
        (10, True)
        """
        function = f"{cls.__name__}.load"
        with errors_of(function):
            return made_again(cls, os.fspath(path), read_model(path))

    def _head(self, method: str, X: Any) -> Head:  # noqa: N803
        check_is_fitted(self)
        return Head(features_of(self, method, X), self.coef_, self.intercept_)

    def _temperature(self) -> float:
        return float(getattr(self, "temperature_", 1.0))

    def _indices(self, function: str, y: Any) -> Any:
        """The place of each label among the classes."""
        labels = column_or_1d(y)
        places = {label: i for i, label in enumerate(self.classes_.tolist())}
        found = labels.tolist()
        for i, label in enumerate(found):
            if label not in places:
                raise TargetError(function, f"y[{i}]", repr(label), "a class of the fitted classifier")
        return np.array([places[label] for label in found], np.int64)

    def _warm_start(self, data: TrainingData) -> Any:
        """Where a warm start begins: (K, D + 1); or None."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        d = data.x.shape[1]
        if self.coef_.shape[1] != d:
            rule = f"(N, {self.coef_.shape[1]}), as in the last fit, since warm_start is True"
            raise ShapeError(f"{type(self).__name__}.fit", "X", f"of shape {data.x.shape}", rule)
        start = moved_start(self._parameters, self.classes_, data.classes)
        if not self.fit_intercept:
            start[:, -1] = 0
        return start

    def _keep(self, found: Fit, classes: Any) -> None:
        """Set the attributes of a fit."""
        self.__dict__.pop("temperature_", None)
        self.classes_ = classes
        self.coef_ = np.ascontiguousarray(found.parameters[:, :-1])
        self.intercept_ = found.parameters[:, -1].copy()
        self.n_iter_ = found.iterations
        self.loss_ = found.loss
        self.gradient_norm_ = found.norm

    @property
    def _parameters(self) -> Floats:
        """Weights and intercepts as the solvers have them: (K, D + 1)."""
        return np.concatenate([self.coef_, self.intercept_[:, None]], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

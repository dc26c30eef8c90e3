"""Softmax regression as a scikit-learn estimator. In: features and labels. Out: a fitted classifier."""

from __future__ import annotations

from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from lastlayer.fitting.rows import Rows

from .dask_arrays import is_dask
from .dask_data import partitioned_data
from .linear_classifier import LinearClassifier
from .solving import Settings, checkpoint_of, solve, warn_if_separable, warn_unless_converged
from .training_data import rows_of, training_data

__all__ = ["COMMON_CONSTRAINTS", "SoftmaxClassifier"]

COMMON_CONSTRAINTS = {
    "fit_intercept": ["boolean"],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    "solver": [StrOptions({"auto", "lbfgs", "newton-cg"})],
    "tol": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 0, None, closed="left")],
    "max_memory": [Interval(Real, 0, None, closed="neither"), None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class SoftmaxClassifier(LinearClassifier):
    """Softmax regression, or multinomial logistic regression, with the objective of scikit-learn's.

    ::

        F(W, b) = (1 / s) sum_n s_n cross_entropy(W x_n + b, y_n) + |W|^2 / (2 C s)      s = sum_n s_n

    is minimized until no entry of its gradient is larger than ``tol``. It is the objective of
    `sklearn.linear_model.LogisticRegression`, with the same ``C``: s_n are the sample weights, times those
    of the classes, and the intercepts b are not penalized.

    Parameters
    ----------
    C : float
        The inverse of the penalty's strength; ``numpy.inf`` for no penalty.
    fit_intercept : bool
    class_weight : dict, "balanced" or None
        A factor for the weight of the rows of each class; "balanced" gives all classes the same total weight.
        Classes that are missing from a dict have the factor 1.
    label_smoothing : float in [0, 1)
        The part of a row's target that is spread evenly over all classes.
    solver : {"auto", "lbfgs", "newton-cg"}
        Preconditioned L-BFGS, or Newton's method with conjugate gradients; "auto" chooses by the size of X.
    tol : float
        A fit ends when no entry of F's gradient exceeds it in absolute value.
    max_iter : int
        The largest number of steps.
    warm_start : bool
        Start from the weights of the last fit. New classes start from zero; classes that are no longer among
        the labels are left out. A dense X with far more features than rows (N < 0.7 D) is fitted in other
        coordinates, from the start.
    max_memory : float, optional
        Bytes that a fit may use in addition to X, the weights and the steps that L-BFGS stores; by default
        256 MiB.
    random_state : int, RandomState or None
        The seed for choosing samples of rows. The result depends on it only within ``tol``.
    verbose : int
        1 prints a line for each step, with the loss and the gradient norm. 2 shows them in a progress bar if
        stderr is a terminal (extra ``[cli]``), and otherwise prints the lines.
    checkpoint : str or path, optional
        A file to which the weights are written every few seconds and at the end; it is always complete. If it
        exists, `fit` continues from it. So an interrupted fit loses no more than these seconds; it reaches
        the same ``tol``, by different steps. The file must be of the same problem: shape of X, labels, sum of
        weights, ``C`` and the other options that the minimum depends on. ``n_iter_`` and ``max_iter`` count
        all steps. Remove the file to start again.

    Attributes
    ----------
    coef_ : float64 array (V, D), for two classes (1, D)
    intercept_ : float64 array (V,), for two classes (1,)
    classes_ : array (V,)
        The sorted labels; 0 to V - 1 if ``y`` was probabilities.
    n_iter_ : int
        Steps over all rows.
    loss_ : float
        F at the end, with the penalty.
    gradient_norm_ : float
        The largest absolute entry of F's gradient at the end.
    n_features_in_ : int
    feature_names_in_ : array (D,)
        If X has names of type str.
    temperature_ : lastlayer.Temperature
        After `calibrate`.

    See Also
    --------
    SoftmaxClassifierCV : chooses C by cross-validation.
    lastlayer.linear_cross_entropy : loss and gradients alone, for loops of your own.

    Notes
    -----
    X is neither copied nor standardized. It is read in blocks of rows, in float32 or float64 as it is given
    and float16 in float32; sums and weights are float64. So a memory map (``numpy.load(..., mmap_mode="r")``)
    may be larger than memory. Integers and other dtypes are converted to float64 as a whole.

    Small problems (N D V at most 65 536) with a finite C are fitted until the gradient is as small as its
    rounding error, which takes little time. So the result does not depend on the order of the rows, or on
    whether a row is repeated or has a weight.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from lastlayer.sklearn import SoftmaxClassifier
    >>> X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> model = SoftmaxClassifier(C=0.01).fit(X, y)
    >>> round(model.score(X_test, y_test), 3), model.gradient_norm_ <= 1e-4
    (0.964, True)
    >>> labels, probabilities = model.predict_top_k(X_test[:1], 2)
    >>> labels.tolist()
    [[2, 3]]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "C": [Interval(Real, 0, None, closed="right")],
        **COMMON_CONSTRAINTS,
        "warm_start": ["boolean"],
        "checkpoint": [str, PathLike, None],
    }

    def __init__(
        self,
        C: float = 1.0,  # noqa: N803
        *,
        fit_intercept: bool = True,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        warm_start: bool = False,
        max_memory: float | None = None,
        random_state: Any = None,
        verbose: int = 0,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.max_memory = max_memory
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftmaxClassifier:  # noqa: N803
        """Fit the weights.

        Parameters
        ----------
        X : array or CSR matrix (N, D)
            Arrays in memory or mapped files of float16, float32 or float64 are not copied. Or a Dask array
            (extra ``[dask]``) in chunks of rows: sums over its chunks are computed where the chunks are, and
            with a client of ``dask.distributed`` the workers keep the chunks in memory until the fit ends.
        y : array (N,), or float array (N, V)
            Labels; or the probabilities of the classes 0 to V - 1, with a sum of 1 in each row.
        sample_weight : array (N,), optional
            0 or more; a row of weight 2 counts as two rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            `lastlayer.OptionError`, `lastlayer.ShapeError`, `lastlayer.TargetError` and
            `lastlayer.DtypeError` are subclasses of these. They are raised for NaN or infinity in X (with the
            row and the column), for targets that are not labels or probabilities, and for a single class.

        Warns
        -----
        ConvergenceWarning
            If the gradient did not fall to ``tol``; and if C is inf and the classes are separable, so that
            the minimum is at infinity.
        """
        settings = Settings.of(self)
        if is_dask(X):
            data = partitioned_data(self, X, y, sample_weight, self.class_weight)
            rows: Rows = data.x.rows(self.label_smoothing)
        else:
            data = training_data(self, X, y, sample_weight).with_class_weight(self.class_weight)
            rows = rows_of(data, self.label_smoothing, settings.max_memory)
        start = self._warm_start(data)
        options: dict[str, Any] = {
            "checkpoint": checkpoint_of(self, data, rows),
            "to_rounding": start is None,
        }
        found = solve(rows, self.C, settings, start, **options)
        warn_unless_converged(found, self.C, settings)
        if found.converged and np.isinf(self.C):
            warn_if_separable(data, self.label_smoothing, found, settings)
        self._keep(found, data.classes)
        return self

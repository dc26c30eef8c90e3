"""Softmax regression whose penalty is chosen by cross-validation. In: features, labels. Out: a classifier.

The rows that a fold holds out have the weight 0, so no fold copies the features. A pass costs as much as one
over all rows: with five folds a path took 1.1 to 1.5 times as long as over a copy of the other rows, and half
as long as over rows that are gathered block by block.
"""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_method_params, check_is_fitted

from lastlayer.errors import OptionError
from lastlayer.fitting.fit import Fit
from lastlayer.fitting.rows import Floats

from .classifier import COMMON_CONSTRAINTS, SoftmaxClassifier
from .head import Head
from .linear_classifier import LinearClassifier
from .path_display import PathDisplay
from .solving import Settings, solve, warn_if_separable, warn_unless_converged
from .training_data import TrainingData, reweighted, rows_of, training_data

__all__ = ["SoftmaxClassifierCV"]


class _Fold(NamedTuple):
    """Rows to learn from, and rows to score."""

    train: Any
    test: Any
    score_params: Any  # of the scorer, for the rows that are scored


class _Best(NamedTuple):
    """The best C so far."""

    score: float
    c: float
    parameters: Floats  # the mean over folds


class SoftmaxClassifierCV(LinearClassifier):
    """A `SoftmaxClassifier` whose C is chosen by cross-validation.

    Each fold is fitted along the path of C, from a strong penalty to a weak one, and every fit starts from
    the weights of the previous one. Then all rows are fitted with the best C.

    Parameters
    ----------
    Cs : int, or array of floats
        The number of values between 1e-4 and 1e4, evenly spaced on a logarithmic scale; or the values.
    cv : int, or a splitter of scikit-learn
        The folds; an int means `sklearn.model_selection.StratifiedKFold`, for probabilities as targets
        `KFold`.
    scoring : str, callable or None
        A scorer of scikit-learn; None for the negative log-loss, weighted by ``sample_weight``. Other scorers
        get a copy of the rows that a fold holds out.
    fit_intercept, class_weight, label_smoothing, solver, tol, max_iter, warm_start, max_memory, random_state
        As in `SoftmaxClassifier`. "balanced" class weights are those of all rows. With a warm start each fold
        starts from the last fit's weights.
    verbose : int
        1 prints a line for each C, 2 also one for each step.

    Attributes
    ----------
    scores_ : array (n_folds, n_Cs)
        The score of each fold for each C; larger is better.
    Cs_ : array (n_Cs,)
        In ascending order: from the strongest penalty to the weakest.
    C_ : float
        The C with the best mean score; the smallest one if several are equal.
    coef_, intercept_, classes_, n_iter_, loss_, gradient_norm_, n_features_in_, feature_names_in_
        As in `SoftmaxClassifier`, for the fit to all rows.

    See Also
    --------
    sklearn.linear_model.LogisticRegressionCV : its ``scoring=None`` is the accuracy.

    Notes
    -----
    A class that is absent from the training rows of a fold keeps its column, with probabilities close to 0.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from lastlayer.sklearn import SoftmaxClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifierCV(Cs=[0.1, 1.0, 10.0, 100.0]).fit(X, y)
    >>> model.C_, model.scores_.shape, round(float(model.scores_.mean(axis=0).max()), 3)
    (100.0, (5, 4), -0.055)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        **COMMON_CONSTRAINTS,
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        Cs: Any = 10,  # noqa: N803
        cv: Any = 5,
        scoring: Any = None,
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
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
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

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> SoftmaxClassifierCV:  # noqa: N803
        """Choose C, and fit to all rows with it.

        Parameters
        ----------
        X, y, sample_weight
            As in `SoftmaxClassifier.fit`.
        **params
            For the splitter and the scorer, with scikit-learn's metadata routing: ``groups``, for example.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            As in `SoftmaxClassifier.fit`; and one warning for all fits of folds that did not reach ``tol``.
        """
        split_params, score_params = self._routed(sample_weight, params)
        data = training_data(self, X, y, sample_weight)
        folds = self._folds(data, split_params, score_params)
        weighted = data.with_class_weight(self.class_weight)
        settings = Settings.of(self)
        rows = rows_of(weighted, self.label_smoothing, settings.max_memory)
        cs = self._path()
        best = self._search(data, weighted, rows, folds, cs)
        found = solve(rows, best.c, settings._replace(verbose=self.verbose > 1), best.parameters)
        warn_unless_converged(found, best.c, settings)
        if found.converged and np.isinf(best.c):
            warn_if_separable(weighted, self.label_smoothing, found, settings)
        self._keep(found, data.classes)
        self.Cs_, self.C_ = cs, best.c
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """The score of the predictions by ``scoring``; by default the negative log-loss.

        Parameters
        ----------
        X : array or CSR matrix (N, D)
        y : array (N,), or float array (N, V)
        sample_weight : array (N,), optional

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if self.scoring is not None:
            params = {} if sample_weight is None else {"sample_weight": sample_weight}
            return float(get_scorer(self.scoring)(self, X, y, **params))
        head = self._head("score", X)
        soft = np.ndim(y) == 2 and np.shape(y)[1] > 1
        targets = np.asarray(y) if soft else self._indices("SoftmaxClassifierCV.score", y)
        return -float(np.average(head.losses(targets, self._temperature()), weights=sample_weight))

    def plot_path(self, ax: Any = None) -> PathDisplay:
        """Plot the scores of the folds and their mean against C.

        Parameters
        ----------
        ax : axes of matplotlib, optional
            By default a new figure is made.

        Returns
        -------
        PathDisplay
            It has ``ax_``, ``figure_``, ``lines_`` (one for each fold) and ``line_`` (their mean).
        """
        check_is_fitted(self)
        name = "-log-loss" if self.scoring is None else str(getattr(self.scoring, "__name__", self.scoring))
        return PathDisplay(cs=self.Cs_, scores=self.scores_, best=self.C_, score_name=name).plot(ax)

    def get_metadata_routing(self) -> Any:
        """Where `fit` sends its parameters: to the splitter and the scorer."""
        fit_split = MethodMapping().add(caller="fit", callee="split")
        router = (
            MetadataRouter(owner=self).add_self_request(self).add(splitter=self.cv, method_mapping=fit_split)
        )
        if self.scoring is not None:
            fit_score = MethodMapping().add(caller="fit", callee="score")
            router.add(scorer=get_scorer(self.scoring), method_mapping=fit_score)
        return router

    def _routed(self, sample_weight: Any, params: Any) -> tuple[Any, Any]:
        """The parameters of the splitter, and those of the scorer."""
        if _routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            return routed.splitter.split, {} if self.scoring is None else routed.scorer.score
        _raise_for_params(params, self, "fit")
        return {}, {} if sample_weight is None else {"sample_weight": sample_weight}

    def _path(self) -> Floats:
        if isinstance(self.Cs, Integral):
            return np.logspace(-4, 4, int(self.Cs))
        cs = np.unique(np.asarray(self.Cs, np.float64))
        if cs.size == 0 or not cs[0] > 0:
            raise OptionError("SoftmaxClassifierCV.fit", "Cs", repr(self.Cs), "numbers above 0")
        return cs

    def _folds(self, data: TrainingData, split_params: Any, score_params: Any) -> list[_Fold]:
        labels = data.classes[data.targets] if data.targets.ndim == 1 else None
        splitter = check_cv(self.cv, labels, classifier=True)
        y = data.targets if labels is None else labels
        folds = []
        for i, (train, test) in enumerate(splitter.split(data.x, y, **split_params)):
            for part in (train, test):
                if data.weight is not None and not data.weight[part].any():
                    found = (
                        f"zero in all {len(part)} rows that fold {i} {'fits' if part is train else 'scores'}"
                    )
                    raise OptionError(
                        "SoftmaxClassifierCV.fit", "sample_weight", found, "a weight in each fold"
                    )
            folds.append(_Fold(train, test, _check_method_params(data.x, score_params, indices=test)))
        return folds

    def _search(
        self, data: TrainingData, weighted: TrainingData, rows: Any, folds: list[_Fold], cs: Floats
    ) -> _Best:
        """Fit all folds for one C after the other, and keep the best."""
        settings = Settings.of(self)._replace(verbose=self.verbose > 1)
        base = np.ones(rows.count) if weighted.weight is None else weighted.weight
        starts = [self._warm_start(data)] * len(folds)
        self.scores_ = np.empty((len(folds), len(cs)))
        best, late = None, []
        for j, c in enumerate(cs.tolist()):
            for i, fold in enumerate(folds):
                weight: Floats = base * np.bincount(fold.train, minlength=rows.count)
                found = solve(reweighted(rows, weight), c, settings, starts[i], to_rounding=False)
                late += [] if found.converged else [(found.norm, c)]
                starts[i] = found.parameters
                self.scores_[i, j] = self._score_of_fold(data, found, fold)
            score = float(self.scores_[:, j].mean())
            if self.verbose:
                print(f"[SoftmaxClassifierCV] C = {c:.4g}: score {score:.6g}")
            if best is None or score > best.score:
                best = _Best(score, c, np.mean(starts, axis=0))
        if late:
            norm, c = max(late)
            warnings.warn(
                f"SoftmaxClassifierCV: {len(late)} of {self.scores_.size} fits of folds stopped above "
                f"tol={self.tol:g}, with a gradient norm of up to {norm:.3g} (C = {c:.3g}). What may help: "
                "more iterations (max_iter); features of similar scale "
                "(sklearn.preprocessing.StandardScaler); smaller Cs.",
                ConvergenceWarning,
                stacklevel=4,
            )
        assert best is not None
        return best

    def _score_of_fold(self, data: TrainingData, found: Fit, fold: _Fold) -> float:
        test = fold.test
        if self.scoring is None:
            head = Head(_Selected(data.x, test), found.parameters[:, :-1], found.parameters[:, -1])
            weight = None if data.weight is None else data.weight[test]
            return -float(np.average(head.losses(data.targets[test], 1.0), weights=weight))
        model = SoftmaxClassifier()
        model._keep(found, data.classes)
        model.n_features_in_ = data.x.shape[1]
        y = data.targets[test] if data.targets.ndim == 2 else data.classes[data.targets[test]]
        return float(get_scorer(self.scoring)(model, data.x[test], y, **fold.score_params))


class _Selected:
    """Some rows of an array, read when they are sliced."""

    def __init__(self, x: Any, rows: Any) -> None:
        self.x, self.rows = x, rows
        self.shape, self.dtype = (len(rows), x.shape[1]), x.dtype

    def __getitem__(self, cut: slice) -> Any:
        return self.x[self.rows[cut]]

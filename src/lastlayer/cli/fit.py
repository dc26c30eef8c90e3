"""``lastlayer fit``: a classifier fitted to features and labels in files."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from lastlayer.errors import LastlayerError, errors_of

from .data import Ignore, columns_of
from .features import WORDS, Training, training_of
from .usage import UsageError

if TYPE_CHECKING:
    from lastlayer.sklearn.linear_classifier import LinearClassifier

__all__ = ["Data", "Features", "Label", "Targets", "check_output", "estimators", "fit"]

_DATA = "A file of .parquet, .csv, .npy, .npz or .safetensors, a folder of them, or a pattern in quotes."
_FEATURES = "The columns of the features, with commas; or the one column of lists, or the array of a file."
Data = Annotated[Path, typer.Argument(metavar="DATA", help=_DATA)]
Targets = Annotated[
    Path | None, typer.Argument(metavar="TARGETS", help="The file of the labels, if DATA does not hold them.")
]
Features = Annotated[str | None, typer.Option(help=_FEATURES)]
Label = Annotated[
    str | None,
    typer.Option(help="The column (or array) of the labels; default: label.", show_default=False),
]


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="The file of the classifier: .safetensors.")],
    targets: Targets = None,
    label: Label = None,
    features: Features = None,
    weight: Annotated[str | None, typer.Option(help="The column of the sample weights.")] = None,
    ignore_index: Ignore = -100,
    c: Annotated[
        float | None,
        typer.Option("--C", help="The inverse of the penalty's strength; inf for none; default: 1."),
    ] = None,
    cv: Annotated[int | None, typer.Option(help="Choose C by cross-validation of so many folds.")] = None,
    cs: Annotated[
        str | None,
        typer.Option("--Cs", help="With --cv: how many C between 1e-4 and 1e4, or with commas which."),
    ] = None,
    tol: Annotated[float, typer.Option(help="The largest entry of the gradient at the end.")] = 1e-4,
    max_iter: Annotated[int, typer.Option(help="The largest number of steps.")] = 1000,
    class_weight: Annotated[
        Literal["balanced"] | None, typer.Option(help="The same weight for all classes, in sum.")
    ] = None,
    label_smoothing: Annotated[
        float, typer.Option(help="The part of the targets spread over all classes.")
    ] = 0.0,
    intercept: Annotated[bool, typer.Option(help="Fit intercepts.")] = True,
    solver: Annotated[Literal["auto", "lbfgs", "newton-cg"], typer.Option(help="The solver.")] = "auto",
    max_memory: Annotated[float, typer.Option(help="MiB beyond the data and the weights.")] = 256,
    seed: Annotated[int, typer.Option(help="For the rows of samples.")] = 0,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="A line for each step, in place of the bar.")
    ] = False,
) -> None:
    """Fit a softmax classifier to features and labels, and write it to a file for predict.

    \b
    Examples:
      lastlayer fit train.parquet --label answer --out model.safetensors
      lastlayer fit train.csv --features width,height --cv 5 --out model.safetensors
      lastlayer fit x.npy y.npy --C 0.1 --out model.safetensors

    Features of .npy may be larger than memory. Rows without a label are left out.
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    check_output(out, (".safetensors",), {"DATA": data, "TARGETS": targets})
    options: dict[str, Any] = {
        "tol": tol, "max_iter": max_iter, "class_weight": class_weight, "label_smoothing": label_smoothing,
        "fit_intercept": intercept, "solver": solver, "max_memory": max_memory * 2**20,
        "random_state": seed, "verbose": 1 if verbose else 2 * (cv is None and sys.stderr.isatty()),
    }  # fmt: skip
    model = _model(c, cv, cs, options)
    with errors_of("fit", names=WORDS):
        training = training_of(data, targets, label, columns_of(features), weight, ignore_index)
    caught = _fitted(model, training)
    if training.names is not None:
        model.feature_names_in_ = np.array(training.names, dtype=object)
    model.set_params(verbose=int(verbose))  # the file does not depend on the terminal
    with errors_of("fit", names={"path": "--out"}):
        model.save(out)
    _say(model, training, out)
    for text in caught:
        print(f"lastlayer: warning: {text}", file=sys.stderr)


def estimators() -> Any:
    """The module of estimators, or an error that says what to install."""
    try:
        import lastlayer.sklearn as found
    except ImportError as error:
        name = str(error.name).partition(".")[0]
        raise UsageError(f"this needs the package {name}; run: pip install 'lastlayer[sklearn]'") from None
    return found


def check_output(out: Path, endings: tuple[str, ...], inputs: dict[str, Path | None]) -> None:
    """Raise before the long fit for an output that cannot be written, or that would replace an input."""
    if out.suffix.lower() not in endings:
        raise UsageError(f"--out is {str(out)!r}; expected a name that ends in {' or '.join(endings)}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out is {str(out)!r}; expected a file in a folder that exists")
    for name, path in inputs.items():
        if path is not None and os.path.realpath(path) == os.path.realpath(out):
            raise UsageError(f"--out is {str(out)!r}; expected another file than {name}")


def _model(c: float | None, cv: int | None, cs: str | None, options: dict[str, Any]) -> LinearClassifier:
    """The estimator with the options of the command."""
    found = estimators()
    if cv is None:
        if cs is not None:
            raise UsageError("--Cs is given without --cv; expected both, or --C")
        return found.SoftmaxClassifier(1.0 if c is None else c, **options)  # type: ignore[no-any-return]
    if c is not None:
        raise UsageError("--C is given with --cv, which chooses it; expected one of the two")
    return found.SoftmaxClassifierCV(_numbers(cs), cv, **options)  # type: ignore[no-any-return]


def _numbers(text: str | None) -> Any:
    """A number of values, or the values themselves."""
    if text is None:
        return 10
    try:
        return int(text) if text.isdecimal() else [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--Cs is {text!r}; expected numbers between commas, or how many") from None


def _fitted(model: Any, training: Training) -> list[str]:
    """Fit, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(training.x, training.y, sample_weight=training.weight)
        except LastlayerError:
            raise
        except ValueError as error:  # a warning of scikit-learn about its arguments
            raise UsageError(f"fit: {error}") from error
    return [str(one.message) for one in caught]


def _say(model: Any, training: Training, out: Path) -> None:
    """Print a summary of the fit."""
    left_out = f", {training.left_out:,} without a label left out" if training.left_out else ""
    shape = f"{model.n_features_in_:,} features, {len(model.classes_):,} classes"
    print(f"{training.rows:,} rows{left_out}, {shape}")
    if hasattr(model, "scores_"):
        best = model.scores_.mean(axis=0).max()
        print(f"C = {model.C_:.6g} of {len(model.Cs_)}, with the score {best:.6g}")
    norm = f"gradient norm {model.gradient_norm_:.2g}"
    print(f"{model.n_iter_:,} steps: loss {model.loss_:.6g} with the penalty, {norm}")
    print(f"wrote {out}")

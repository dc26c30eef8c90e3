"""The last layer of a classifier or language model: softmax, cross-entropy and their gradients.

>>> import lastlayer as ll
>>> ll.softmax([0.1, 0.9, 4.0]).round(4).tolist()
[0.019, 0.0423, 0.9387]
>>> float(ll.cross_entropy([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], [2, 0]).round(4))
0.2624
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dispatch import show_backends
from .errors import BackendError, DtypeError, LastlayerError, OptionError, ShapeError, TargetError
from .functional import (
    cross_entropy,
    cross_entropy_grad,
    log_loss,
    log_softmax,
    logsumexp,
    nll_loss,
    predict,
    row_stats,
    softmax,
    top_k,
)
from .linear_functional import (
    linear_cross_entropy,
    linear_cross_entropy_grad,
    linear_row_stats,
    linear_top_k,
)
from .row_statistics import RowStats
from .threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from .checking.check import check
    from .evaluation.calibration import Temperature, fit_temperature
    from .evaluation.compare import ComparisonInterrupted, compare
    from .evaluation.comparison import Comparison
    from .evaluation.estimates import Estimate
    from .evaluation.evaluate import evaluate
    from .evaluation.numbers import Evaluation
    from .evaluation.paired_tally import PairedTally
    from .evaluation.stream import EvaluationInterrupted
    from .evaluation.tally import Tally
    from .explaining.explain import explain
    from .explaining.explanation import Explanation

    __version__: str

__all__ = [
    "BackendError",
    "Comparison",
    "ComparisonInterrupted",
    "DtypeError",
    "Estimate",
    "Evaluation",
    "EvaluationInterrupted",
    "Explanation",
    "LastlayerError",
    "OptionError",
    "PairedTally",
    "RowStats",
    "ShapeError",
    "Tally",
    "TargetError",
    "Temperature",
    "__version__",
    "check",
    "compare",
    "cross_entropy",
    "cross_entropy_grad",
    "evaluate",
    "explain",
    "fit_temperature",
    "get_num_threads",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "linear_row_stats",
    "linear_top_k",
    "log_loss",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "predict",
    "row_stats",
    "set_num_threads",
    "show_backends",
    "softmax",
    "top_k",
]


_LATE = {
    "Comparison": ".evaluation.comparison",
    "ComparisonInterrupted": ".evaluation.compare",
    "Estimate": ".evaluation.estimates",
    "Evaluation": ".evaluation.numbers",
    "EvaluationInterrupted": ".evaluation.stream",
    "Explanation": ".explaining.explanation",
    "PairedTally": ".evaluation.paired_tally",
    "Tally": ".evaluation.tally",
    "Temperature": ".evaluation.calibration",
    "check": ".checking.check",
    "compare": ".evaluation.compare",
    "evaluate": ".evaluation.evaluate",
    "explain": ".explaining.explain",
    "fit_temperature": ".evaluation.calibration",
}

if not TYPE_CHECKING:  # or type checkers would take any name

    def __getattr__(name: str) -> Any:
        """What not every program needs, imported at first use."""
        if name in _LATE:
            from importlib import import_module

            found = globals()[name] = getattr(import_module(_LATE[name], __name__), name)
            return found
        if name == "__version__":
            from importlib.metadata import version

            return version("lastlayer")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

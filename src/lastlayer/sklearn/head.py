"""Predictions. In: features, weights. Out: logits, probabilities or classes, a block of rows at a time.

Products are in the dtype of the features (float16: in float32). The logits of all rows exist only where they
are the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from lastlayer import functional
from lastlayer.fitting.targets import pairs
from lastlayer.linear_functional import linear_top_k

__all__ = ["Head"]

_BLOCK_BYTES = 1 << 21  # of features: a block stays in cache between conversion and product
_LOGIT_BYTES = 1 << 25  # of a block's logits
_MANY = 1000  # classes from which the logits of a block are computed in tiles
_TILED_BYTES = 1 << 25  # of features, where the weights are read again for each block


class Head:
    """Rows of features, and weights (K, D) with intercepts (K,): of two classes K = 1."""

    def __init__(self, x: Any, coef: Any, intercept: Any) -> None:
        self.x = x
        self.dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        self.coef = coef.astype(self.dtype, copy=False)
        self.intercept = intercept.astype(self.dtype, copy=False)
        self.logits = len(coef)
        self.classes = 2 if self.logits == 1 else self.logits

    def decision(self) -> Any:
        """X W^T + b: (N, V), or (N,) of two classes."""
        out = np.empty((self.x.shape[0], self.logits), self.dtype)
        for cut, x in self._blocks():
            out[cut] = self._logits(x)
        return out[:, 0] if self.logits == 1 else out

    def probabilities(self, temperature: float, log: bool = False) -> Any:
        """The softmax of the logits over the temperature, or its logarithm: (N, V)."""
        out = np.empty((self.x.shape[0], self.classes), self.dtype)
        function = functional.log_softmax if log else functional.softmax
        for cut, x in self._blocks():
            out[cut] = function(pairs(self._logits(x)), temperature=temperature)
        if (
            log and self.dtype == np.float32
        ):  # what rounds to 1 as a probability: scikit-learn compares the two
            out[out > -(2.0**-25)] = 0
        return out

    def losses(self, targets: Any, temperature: float) -> Any:
        """The cross-entropy of each row (N,), for indices of classes or probabilities."""
        out = np.empty(self.x.shape[0])
        for cut, x in self._blocks():
            out[cut] = functional.cross_entropy(
                pairs(self._logits(x)),
                targets[cut],
                temperature=temperature,
                ignore_index=None,
                reduction="none",
            )
        return out

    def labels(self) -> Any:
        """The index of each row's most probable class; the lowest of equal ones."""
        out = np.empty(self.x.shape[0], np.intp)
        if self.classes > _MANY and not scipy.sparse.issparse(self.x):
            for cut, x in self._blocks(_TILED_BYTES):
                out[cut] = linear_top_k(x, self.coef, 1, bias=self.intercept)[0][:, 0]
        else:
            for cut, x in self._blocks():
                z = self._logits(x)
                out[cut] = z[:, 0] > 0 if self.logits == 1 else z.argmax(axis=1)
        return out

    def top_k(self, k: int, temperature: float) -> tuple[Any, Any]:
        """The indices and probabilities (N, k) of each row's k most probable classes."""
        labels, probabilities = [], []
        tiled = self.classes > _MANY and not scipy.sparse.issparse(self.x)
        for _, x in self._blocks(_TILED_BYTES if tiled else _BLOCK_BYTES):
            if tiled:
                found = linear_top_k(x, self.coef, k, bias=self.intercept, temperature=temperature)
            else:
                found = functional.top_k(pairs(self._logits(x)), k, temperature=temperature)
            labels.append(found[0])
            probabilities.append(found[1])
        return np.concatenate(labels), np.concatenate(probabilities)

    def _blocks(self, size: int = _BLOCK_BYTES) -> Iterator[tuple[slice, Any]]:
        """Some rows at a time, in the dtype of the products."""
        n, d = self.x.shape
        rows = max(64, min(size // (d * self.dtype.itemsize), 1 << 16))
        if size == _BLOCK_BYTES:
            rows = max(1, min(rows, _LOGIT_BYTES // (self.classes * self.dtype.itemsize)))
        for at in range(0, n, rows):
            cut = slice(at, min(at + rows, n))
            yield cut, self.x[cut].astype(self.dtype, copy=False)

    def _logits(self, x: Any) -> Any:
        z = np.asarray(x @ self.coef.T)
        z += self.intercept
        return z

"""Errors in PyTorch's terms. In: an error of a common function. Out: the same, with PyTorch's names.

Programs that catch PyTorch's exceptions keep working: each error is both one of lastlayer's and of the class
that PyTorch raises in the same case.
"""

from __future__ import annotations

from typing import NoReturn

from lastlayer.errors import (
    BackendError,
    DtypeError,
    LastlayerError,
    OptionError,
    ShapeError,
    TargetError,
    TensorClassError,
)

__all__ = [
    "DropInDimensionError",
    "DropInDtypeError",
    "DropInOptionError",
    "DropInShapeError",
    "DropInTargetError",
    "raise_in_torch_terms",
]


class DropInShapeError(ShapeError, RuntimeError):
    """A shape does not fit: a `lastlayer.ShapeError` that ``except RuntimeError`` catches too."""


class DropInDimensionError(ShapeError, IndexError):
    """A dimension that the tensor lacks: a `lastlayer.ShapeError` that ``except IndexError`` catches too."""


class DropInDtypeError(DtypeError, RuntimeError):
    """The wrong kind of number: a `lastlayer.DtypeError` that ``except RuntimeError`` catches too."""


class DropInTargetError(TargetError, IndexError, RuntimeError):
    """A wrong target: a `lastlayer.TargetError` that ``except IndexError`` catches too.

    PyTorch raises an IndexError for an index out of range, and a RuntimeError for integers of the input's
    shape.
    """


class DropInOptionError(OptionError, RuntimeError):
    """An invalid option: a `lastlayer.OptionError` that ``except RuntimeError`` catches too."""


_KINDS: dict[type[LastlayerError], type[LastlayerError]] = {
    ShapeError: DropInShapeError,
    DtypeError: DropInDtypeError,
    TargetError: DropInTargetError,
    OptionError: DropInOptionError,
    BackendError: BackendError,
    TensorClassError: TensorClassError,
}

# Words of the common functions -> words of PyTorch. Braces mark the parameters of a phrase.
_WORDS = {
    "x": "input",
    "logits": "input",
    "log_probs": "input",
    "targets": "target",
    "class_weight": "weight",
    "axis": "dim",
    "on axis {}": "in dimension {}",
    "they fit axis={}: is that the class axis of {}?": "are its classes last? write input.movedim({}, 1)",
    "dense targets": "probabilities",
    "no such option with dense targets": "no such option with probabilities",
    "integers as class indices": "class indices of an integer dtype",
    "of dtype {0}{2}": "of dtype {0} with shape {1}{2}",
    "a finite weight, 0 or more": "a finite weight",
}

# The same for the linear head, where ``weight`` is that of the layer.
_WORDS_OF_HEADS = _WORDS | {
    "x @ weight.T": "input @ linear_weight.T",
    "weight": "linear_weight",
    "bias": "linear_bias",
    "no such option with dense targets": "None with probabilities",
}


def raise_in_torch_terms(error: LastlayerError) -> NoReturn:
    """Raise the drop-in's error for an error of a common function.

    >>> raise_in_torch_terms(TargetError("cross_entropy", "targets[1]", "7", "a class in [0, 4)"))
    Traceback (most recent call last):
    lastlayer.torch.errors.DropInTargetError: cross_entropy: target[1] is 7; expected a class in [0, 4)
    """
    kind = _KINDS.get(type(error), type(error))
    if kind is DropInShapeError and error.argument == "axis":
        kind = DropInDimensionError
    words = _WORDS_OF_HEADS if error.function.startswith("linear") else _WORDS
    cause = error.__cause__ if isinstance(error, TensorClassError) else None
    raise error.as_kind(kind, words) from cause

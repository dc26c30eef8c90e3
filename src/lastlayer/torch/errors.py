"""Errors in PyTorch's terms. In: what a common function raises. Out: the same, naming a drop-in's arguments.

A program that catches what PyTorch raises keeps working: each error is both one of lastlayer's and of the
kind that PyTorch uses in its place.
"""

from __future__ import annotations

import re

from lastlayer.errors import (
    BackendError,
    DtypeError,
    LastlayerError,
    OptionError,
    ShapeError,
    TargetError,
    TensorClassError,
    reworded,
)

__all__ = [
    "DropInDimensionError",
    "DropInDtypeError",
    "DropInOptionError",
    "DropInShapeError",
    "DropInTargetError",
    "in_torch_terms",
]


class DropInShapeError(ShapeError, RuntimeError):
    """A shape does not fit: a `lastlayer.ShapeError` that ``except RuntimeError`` catches too."""


class DropInDimensionError(ShapeError, IndexError):
    """A dimension that the tensor lacks: a `lastlayer.ShapeError` that ``except IndexError`` catches too."""


class DropInDtypeError(DtypeError, RuntimeError):
    """The wrong kind of number: a `lastlayer.DtypeError` that ``except RuntimeError`` catches too."""


class DropInTargetError(TargetError, IndexError, RuntimeError):
    """A wrong target: a `lastlayer.TargetError` that ``except IndexError`` catches too.

    Out of range it is PyTorch's IndexError; its RuntimeError for integers of the input's shape.
    """


class DropInOptionError(OptionError, RuntimeError):
    """An option without meaning: a `lastlayer.OptionError` that ``except RuntimeError`` catches too."""


_KINDS: tuple[tuple[type[LastlayerError], type[LastlayerError]], ...] = (
    (ShapeError, DropInShapeError),
    (DtypeError, DropInDtypeError),
    (TargetError, DropInTargetError),
    (OptionError, DropInOptionError),
    (BackendError, BackendError),
    (TensorClassError, TensorClassError),
)

_CLASSES_LAST = r"are its classes last? write input.movedim(\1, 1)"

# What the common functions call it -> what PyTorch calls it; the first that matches at a place counts.
_WORDS = (
    (r"(?<=: )axis is (-?\d+); expected (-?\d+) <= axis <", r"dim is \1; expected \2 <= dim <"),
    (r"\baxis is\b", "dim is"),
    (r"they fit axis=(\d+): is that the class axis of \w+\?", _CLASSES_LAST),
    (r"\bon axis (\d+)", r"in dimension \1"),
    (r"\b(?:logits|log_probs)\b", "input"),
    (r"(?<=: )x(?= is )|(?<= for )x(?= of )|(?<=write )x(?=\.)", "input"),
    (r"\bdense targets\b", "probabilities"),
    (r"\btargets\b", "target"),
    (r"\bclass_weight(.*); expected a finite weight, 0 or more", r"weight\1; expected a finite weight"),
    (r"\bclass_weight\b", "weight"),
)

# The same for the linear head, where ``weight`` is another; first.
_WORDS_OF_HEADS = (
    (r"\bx @ weight\.T", "input @ linear_weight.T"),
    (r"(?<=: )weight(?= is )|(?<= and )weight(?= of )|\bweight(?=\.T)", "linear_weight"),
    (r"(?<=: )bias(?= is )", "linear_bias"),
    (r"(?<= as )x(?= is\b)", "input"),
)


def in_torch_terms(error: LastlayerError) -> LastlayerError:
    """The error to raise in place of one from a common function.

    >>> from lastlayer import TargetError
    >>> in_torch_terms(TargetError("cross_entropy: targets[1] is 7; expected a class in [0, 4)"))
    DropInTargetError('cross_entropy: target[1] is 7; expected a class in [0, 4)')
    """
    text = reworded(error, _in_torch_words)
    if "dim is" in text and isinstance(error, ShapeError):
        return DropInDimensionError(text)
    for common, kind in _KINDS:
        if type(error) is common:
            return kind(text)
    return error


def _in_torch_words(text: str) -> str:
    for word, ours in (*_WORDS_OF_HEADS, *_WORDS) if text.startswith("linear") else _WORDS:
        text = re.sub(word, ours, text)
    return text

"""What a wrong call raises. In: function, argument, what was found, rule, remedy. Out: an exception.

Its text reads ``function: argument is value; expected rule; remedy``. Two sets of functions may call the same
argument differently: ``targets`` of the common functions is ``target`` of PyTorch's. So `named` and `phrase`
mark such words where a message is written, and a table says what each is called. Nothing else is looked up,
so what the user gave always stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = [
    "BackendError",
    "DtypeError",
    "LastlayerError",
    "OptionError",
    "ShapeError",
    "TargetError",
    "TensorClassError",
    "Text",
    "errors_of",
    "named",
    "phrase",
]

Names = Mapping[str, str]  # a name or phrase of the common functions -> what others call it
_COMMON: Names = {}


class _Word(NamedTuple):
    """A name or a phrase that the table may have; ``values`` fill its braces."""

    key: str
    values: tuple[Any, ...]

    def render(self, names: Names) -> str:
        word = names.get(self.key, self.key)
        values = (v.render(names) if isinstance(v, Text) else v for v in self.values)
        return word.format(*values) if self.values else word


class Text(NamedTuple):
    """A part of a message: strings, and words that the table may have. ``+`` joins it to strings."""

    parts: tuple[str | _Word, ...]

    def __add__(self, other: str | Text) -> Text:  # type: ignore[override]
        return Text((*self.parts, *(other.parts if isinstance(other, Text) else (other,))))

    def __radd__(self, other: str) -> Text:
        return Text((other, *self.parts))

    def __str__(self) -> str:
        return self.render(_COMMON)

    def render(self, names: Names) -> str:
        """The text with the words of a table."""
        return "".join(p if isinstance(p, str) else p.render(names) for p in self.parts)


def named(name: str) -> Text:
    """The name of an argument, or of an element such as ``targets[1]``, within a message."""
    name, bracket, index = name.partition("[")
    return Text((_Word(name, ()), bracket + index))


def phrase(words: str, *values: Any) -> Text:
    """Words that read differently in another table, with braces for the values."""
    return Text((_Word(words, values),))


class LastlayerError(Exception):
    """The base of every error this package raises on purpose.

    An error of one string has this text. Otherwise the text is made of the parts, which are attributes too,
    each a string:

    Attributes
    ----------
    function : str
        The function that was called.
    argument : str
        The argument that is wrong, or its element: ``targets[1]``.
    found : str
        What it is: ``7``, ``of shape (3,)``.
    rule : str
        What was expected: ``a class in [0, 4)``.
    remedy : str
        What to write instead; "" where there is no advice.

    Examples
    --------
    >>> error = TargetError("cross_entropy", "targets[1]", "7", "a class in [0, 4)")
    >>> error
    TargetError('cross_entropy: targets[1] is 7; expected a class in [0, 4)')
    >>> error.argument
    'targets[1]'
    """

    def __init__(
        self,
        function: str = "",
        argument: str | Text = "",
        found: str | Text = "",
        rule: str | Text = "",
        remedy: str | Text = "",
        *,
        verb: str = "is",
        names: Names = _COMMON,
    ) -> None:
        self._parts = function, argument, found, rule, remedy
        self._verb, self._names = verb, names
        argument = named(argument) if isinstance(argument, str) else argument
        self.argument, self.found, self.rule, self.remedy = (
            part.render(names) if isinstance(part, Text) else part for part in (argument, found, rule, remedy)
        )
        self.function = function if self.argument else ""
        super().__init__(self._text() if self.argument else function)

    def _text(self) -> str:
        text = f"{self.argument} {self._verb} {self.found}"
        text = f"{self.function}: {text}" if self.function else text
        text += f"; expected {self.rule}" if self.rule else ""
        return f"{text}; {self.remedy}" if self.remedy else text

    def as_kind(self, kind: type[LastlayerError], names: Names) -> LastlayerError:
        """The same error of another kind, with the words of a table."""
        return kind(*self._parts, verb=self._verb, names=names)

    def of(self, function: str, names: Names = _COMMON) -> LastlayerError:
        """The same error of another function, with the words of a table besides its own."""
        words = {**self._names, **names}
        return type(self)(function, *self._parts[1:], verb=self._verb, names=words)


class ShapeError(LastlayerError, ValueError):
    """An array's shape, or an axis, does not fit the other arguments."""


class DtypeError(LastlayerError, TypeError):
    """An array holds the wrong kind of number."""


class TargetError(LastlayerError, ValueError):
    """A class index lies outside the classes, and is not ``ignore_index``."""


class OptionError(LastlayerError, ValueError):
    """An option has a value without meaning."""


class BackendError(LastlayerError, RuntimeError):
    """No installed backend can do what was asked."""


class TensorClassError(BackendError):
    """A tensor of a class or layout that lacks an operation of the call."""


@contextmanager
def errors_of(function: str, *inner: str, names: Names = _COMMON) -> Iterator[None]:
    """Inside of it, errors of the functions ``inner`` (of all, if none is named) become errors of this one.

    ``names``: what this function calls the arguments of the others.
    """
    try:
        yield
    except LastlayerError as error:
        if not error.function or error.function == function or (inner and error.function not in inner):
            raise
        raise error.of(function, names).with_traceback(error.__traceback__) from error.__cause__

"""The options of every command that reads scores. In: words of the command line. Out: arguments."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

import lastlayer as ll

from .usage import UsageError

__all__ = [
    "Columns",
    "Ignore",
    "Kind",
    "Label",
    "Labels",
    "Scores",
    "Targets",
    "Weight",
    "as_json",
    "columns_of",
    "labels_of",
    "temperature_of",
    "whole_numbers",
    "write",
]

_SCORES = "A file of .npy, .npz, .safetensors, .parquet or .csv, a folder of them, or a pattern."
Scores = Annotated[str, typer.Argument(metavar="SCORES", help=_SCORES)]
Targets = Annotated[
    str | None,
    typer.Argument(metavar="[TARGETS]", help="The file of the targets, if SCORES does not hold them."),
]
Kind = Annotated[str, typer.Option(help="logits, probabilities or log-probabilities; never guessed.")]
Label = Annotated[str | None, typer.Option(help="The column (or array) of the targets; default: label.")]
Columns = Annotated[
    str | None,
    typer.Option(help="The columns of the scores, with commas; default: those called logit:<class>."),
]
Labels = Annotated[str | None, typer.Option(help="The names of the classes, with commas.")]
Weight = Annotated[str | None, typer.Option(help="The column of the sample weights.")]
Ignore = Annotated[int, typer.Option(help="Rows with this class index are left out.")]


def labels_of(text: str | None) -> Any:
    """Names of classes."""
    return None if text is None else [name.strip() for name in text.split(",")]


def columns_of(text: str | None) -> Any:
    """Names of columns, or the one name."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    return names[0] if len(names) == 1 else names


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} is {text!r}; expected whole numbers between commas") from None


def temperature_of(text: str) -> Any:
    """A number, or a file that `calibrate` wrote."""
    try:
        return float(text)
    except ValueError:
        if not os.path.exists(text):
            raise UsageError(f"--temperature is {text!r}; expected a number or a saved calibration") from None
        return ll.Temperature.load(text)


def write(option: str, path: str, data: bytes) -> None:
    """Write a result to a file, whole or not at all; "-" is the standard output."""
    if path == "-":
        print(data.decode())
        return
    from lastlayer.evaluation.writing import write_whole

    write_whole(option, path, data)


def as_json(found: Any) -> bytes:
    """A result as JSON text."""
    return json.dumps(found, indent=2, allow_nan=False).encode()

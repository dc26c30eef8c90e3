"""The options of every command that reads scores. In: words of the command line. Out: arguments."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import lastlayer as ll

from .usage import UsageError

__all__ = [
    "Binary",
    "Columns",
    "Html",
    "Ignore",
    "JsonFile",
    "Kind",
    "Label",
    "Labels",
    "Progress",
    "Scores",
    "Targets",
    "Weight",
    "as_json",
    "check_outputs",
    "columns_of",
    "labels_of",
    "needs_report",
    "tally_of",
    "temperature_of",
    "whole_numbers",
    "write",
]

_SCORES = "A file of .npy, .npz, .safetensors, .parquet or .csv, a folder of them, or a pattern in quotes."
_LABELS = "The names of the classes: with commas, or a file with one a line (or a list in .json)."
Scores = Annotated[Path, typer.Argument(metavar="SCORES", help=_SCORES)]
Targets = Annotated[
    Path | None,
    typer.Argument(metavar="TARGETS", help="The file of the targets, if SCORES does not hold them."),
]
Kind = Annotated[
    Literal["logits", "probabilities", "log-probabilities"],
    typer.Option(help="What the scores are; never guessed."),
]
Label = Annotated[
    str | None,
    typer.Option(help="The column (or array) of the targets; default: label.", show_default=False),
]
Columns = Annotated[
    str | None,
    typer.Option(help="The columns of the scores, with commas; default: those called logit:<class>."),
]
Labels = Annotated[str | None, typer.Option(help=_LABELS)]
Weight = Annotated[str | None, typer.Option(help="The column of the sample weights.")]
Ignore = Annotated[int, typer.Option(help="Rows with this class index are left out.")]
Binary = Annotated[bool, typer.Option("--binary", help="The scores are one number a row, of class 1.")]
Progress = Annotated[bool, typer.Option(help="A bar, in a terminal.")]
Html = Annotated[Path | None, typer.Option(help="Write the report to this file: HTML, complete in itself.")]
JsonFile = Annotated[Path | None, typer.Option(help="Write the result to this file; - prints it instead.")]


def labels_of(text: str | None) -> list[str] | None:
    """Names of classes, separated by commas or from a file."""
    if text is None:
        return None
    if not os.path.isfile(text):
        return [name.strip() for name in text.split(",")]
    try:
        content = Path(text).read_text(encoding="utf-8")
        found = json.loads(content) if text.endswith(".json") else content.splitlines()
    except ValueError as error:
        raise UsageError(f"--labels is {text!r}; expected a file of names ({error})") from None
    if not (isinstance(found, list) and all(isinstance(name, (str, int)) for name in found)):
        raise UsageError(f"--labels is {text!r}; expected a list of names")
    return [str(name).strip() for name in found]


def columns_of(text: str | None) -> Any:
    """Names of columns, or a single name."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    return names[0] if len(names) == 1 else names


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Integers separated by commas."""
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


def tally_of(command: str, path: Path) -> ll.Tally | ll.PairedTally:
    """The tally in a file that `evaluate --tally` or `compare --tally` wrote."""
    from lastlayer.evaluation.saved_pairs import SCHEMA as PAIRED

    try:
        text = path.read_bytes()
        saved = json.loads(text)
        schema = saved.get("schema") if isinstance(saved, dict) else None
        kind: Any = ll.PairedTally if schema == PAIRED else ll.Tally
        return kind.from_bytes(text)  # type: ignore[no-any-return]
    except (ll.LastlayerError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{command}: TALLY is {str(path)!r}; expected a saved tally ({error})") from error


def needs_report(command: str, html: Path | None) -> None:
    """Raise before the long computation if the packages that write the report are missing."""
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if html is not None and missing:
        text = f"--html needs {' and '.join(missing)}; run: pip install 'lastlayer[report]'"
        raise UsageError(f"{command}: {text}")


def check_outputs(command: str, outputs: dict[str, Path | None], inputs: dict[str, Path | None]) -> None:
    """Raise before the long computation for files that cannot be written, or that would replace another."""
    places: dict[str, str] = {}
    for option, path in {**inputs, **outputs}.items():
        if path is None or str(path) == "-":
            continue
        other = places.setdefault(os.path.realpath(path), option)
        if other != option and option in outputs:
            raise UsageError(f"{command}: {option} is {str(path)!r}; expected another file than {other}")
    for option, path in outputs.items():
        if path is not None and str(path) != "-" and not path.absolute().parent.is_dir():
            text = f"{option} is {str(path)!r}; expected a file in a folder that exists"
            raise UsageError(f"{command}: {text}")
    if str(outputs.get("--json")) == "-" and str(outputs.get("--tally")) == "-":
        raise UsageError(f"{command}: --tally is '-'; expected a file, since --json is '-' too")
    if str(outputs.get("--html")) == "-":
        raise UsageError(f"{command}: --html is '-'; expected a file")


def write(option: str, path: Path, data: bytes) -> None:
    """Write a result to a file, completely or not at all; "-" is the standard output."""
    if str(path) == "-":
        print(data.decode())
        return
    from lastlayer.evaluation.writing import write_whole

    write_whole(option, str(path), data)


def as_json(found: Any) -> bytes:
    """A result as JSON text."""
    return json.dumps(found, indent=2, allow_nan=False).encode()

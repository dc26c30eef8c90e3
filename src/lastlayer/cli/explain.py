"""``lastlayer explain``: show step by step how one row of logits becomes probabilities, loss and gradient."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
import typer.core

import lastlayer as ll
from lastlayer.errors import LastlayerError

from .data import write
from .page import open_console
from .usage import UsageError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["WithNumbers", "explain"]

_OPTIONS = {  # the command's names of the arguments of `lastlayer.explain`
    "target": "--target",
    "labels": "--names",
    "temperature": "--temperature",
    "softcap": "--softcap",
    "label_smoothing": "--label-smoothing",
    "class_weight": "--class-weight",
}
_FORMATS = ("svg", "png", "pdf")
_LOOKS = {"": "", "step": "bold cyan", "strong": "bold", "note": "yellow"}


class WithNumbers(typer.core.TyperCommand):
    """A command that reads negative numbers as numbers, not as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add a leading space to -1e-5, -inf and -1,2, so that Typer reads them as arguments."""
        return super().parse_args(ctx, [f" {word}" if _is_number(word) else word for word in args])


def _is_number(word: str) -> bool:
    try:
        return bool([float(part) for part in word.replace(",", " ").split()])
    except ValueError:
        return False


def explain(
    logits: Annotated[
        list[str] | None, typer.Argument(metavar="LOGIT", help="One number per class, or a list of them.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="The true class: its number, or its name; or V probabilities, with commas."),
    ] = None,
    names: Annotated[str | None, typer.Option(help="Names of the classes, with commas.")] = None,
    temperature: Annotated[float, typer.Option(help="Divide the logits by this.")] = 1.0,
    softcap: Annotated[float | None, typer.Option(help="Limit the logits smoothly to this size.")] = None,
    label_smoothing: Annotated[float, typer.Option(help="Spread this share of the target evenly.")] = 0.0,
    class_weight: Annotated[str | None, typer.Option(help="Weight of each class, with commas.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The numbers are probabilities: explain their logs.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a picture to this file: .svg, .png or .pdf.")
    ] = None,
) -> None:
    """Show step by step how logits become probabilities, a loss and a gradient.

    \b
    Examples:
      lastlayer explain 0.1 0.9 4.0 --target 2 --names cat,dog,owl
      lastlayer explain "[0.1, 0.9, -4.0]" --temperature 2
      lastlayer explain 0.25,0.75 --probabilities --target 1
      lastlayer explain 0.1 0.9 4.0 --target 0.1,0.2,0.7 --softcap 30
      lastlayer explain 0.1 0.9 4.0 --target 2 --plot steps.svg
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    values = _numbers(logits or [])
    labels = None if names is None else [name.strip() for name in names.split(",")]
    console = open_console("explain")
    try:
        found = ll.explain(
            values,
            None if target is None else _target(target.strip(), labels),
            labels=labels,
            temperature=temperature,
            softcap=softcap,
            label_smoothing=label_smoothing,
            class_weight=None if class_weight is None else _weights(class_weight),
            kind="probabilities" if probabilities else "logits",
        )
    except LastlayerError as error:
        raise error.of("explain", _OPTIONS) from error.__cause__
    if plot is not None:
        _write(plot, found)
    _print(found, console)


def _numbers(words: list[str]) -> npt.NDArray[np.float64]:
    """Numbers from words: one per word, or several separated by commas, in brackets or not."""
    parts = [p for word in words for p in word.strip().strip("[]()").replace(",", " ").split()]
    if not parts:
        raise UsageError("explain: missing argument 'LOGIT'; try 'lastlayer explain --help'")
    found = []
    for part in parts:
        try:
            found.append(float(part))
        except ValueError:
            raise UsageError(f"explain: LOGIT is {part!r}; expected a number") from None
    return np.array(found)


def _target(word: str, labels: list[str] | None) -> str | int | list[float]:
    """A name, the number of a class, or a probability for each class."""
    if labels is not None and word in labels:
        return word
    try:
        return [float(part) for part in word.split(",")] if "," in word else int(word)
    except ValueError:
        return word


def _weights(words: str) -> list[float]:
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        rule = "expected numbers between commas"
        raise UsageError(f"explain: --class-weight is {words.strip()!r}; {rule}") from None


def _write(path: Path, found: ll.Explanation) -> None:
    """Write the picture, in the format given by the file's extension."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        text = "--plot needs matplotlib; run: pip install 'lastlayer[plot]'"
        raise UsageError(f"explain: {text}") from None
    from lastlayer.plots import colors

    kind = path.suffix[1:].lower()
    if kind not in _FORMATS:
        rule = f"a file that ends in {', '.join(f'.{one}' for one in _FORMATS)}"
        raise UsageError(f"explain: --plot is {str(path)!r}; expected {rule}")
    figure, buffer = Figure(), io.BytesIO()
    found.plot(ax=figure)
    with colors.style():
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write("--plot", path, buffer.getvalue())


def _print(found: ll.Explanation, console: Console) -> None:
    """Print the text, names of steps in colour; characters that the terminal lacks are printed as "?"."""
    from rich.text import Text

    encoding = console.encoding
    is_ascii = not encoding.lower().startswith("utf")
    console.print()
    for line in found.lines(console.width, is_ascii):
        pieces = (
            (piece.text.encode(encoding, "replace").decode(encoding), _LOOKS[piece.look]) for piece in line
        )
        console.print(Text.assemble(*pieces), soft_wrap=True)
    console.print()

"""The commands and their options, by Typer. In: words. Out: calls of one module for each command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

import lastlayer as ll
from lastlayer.errors import errors_of

from .backends import backends
from .calibrate import calibrate
from .check import check
from .compare import compare
from .evaluate import evaluate
from .explain import WithNumbers, explain
from .explore import explore
from .fit import fit
from .merge import merge
from .predict import predict
from .report import report
from .usage import UsageError

__all__ = ["app", "run"]

_HELP = """The last layer of a classifier: softmax, cross-entropy, evaluation, calibration.

\b
Examples:
  lastlayer evaluate logits.npy labels.npy
  lastlayer explain 0.1 0.9 4.0 --target 2

Exit status: 0 done, 1 check found an error, 2 wrong call or input, 3 fault of lastlayer, 130 Ctrl-C.
"""

app = typer.Typer(name="lastlayer", help=_HELP, rich_markup_mode=None, pretty_exceptions_enable=False)
for _command in (
    fit,
    predict,
    evaluate,
    compare,
    calibrate,
    merge,
    report,
    check,
    explain,
    explore,
    backends,
):
    _class = WithNumbers if _command is explain else None
    app.command(cls=_class)(errors_of(_command.__name__)(_command))  # errors name the user's command

# Typer's exceptions for wrong calls. Some versions of Typer define them, others import them from click.
_WrongCallError: type[Exception] = typer.BadParameter.__mro__[1]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"lastlayer {ll.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def run(words: Sequence[str]) -> int:
    """Run a command, and return the exit status; a wrong call raises `UsageError`."""
    try:
        found = typer.main.get_command(app).main(list(words), prog_name="lastlayer", standalone_mode=False)
    except _WrongCallError as error:
        raise UsageError(_of_typer(error, words)) from error
    except UsageError as error:
        command, text = _called(words), str(error)
        raise UsageError(text if text.startswith(f"{command}:") else f"{command}: {text}") from error
    except typer.Abort:  # Ctrl-C in some versions
        return 130
    return found if isinstance(found, int) else 0


def _called(words: Sequence[str]) -> str:
    """The name of the command that was called; "" without one."""
    names = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    return next((word for word in words[:1] if word in names), "")


def _of_typer(error: Exception, words: Sequence[str]) -> str:
    """Typer's message for a wrong call, in the form of the other errors."""
    command = _called(words)
    text = str(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "").rstrip(".")
    text = re.sub(r"Input should be (.*?)(, unable to .*)?$", r"expected \1", text)
    text = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", text)
    text = text[:1].lower() + text[1:]
    return f"{command}{command and ': '}{text}; try 'lastlayer{command and ' '}{command} --help'"

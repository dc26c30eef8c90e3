"""The commands and their options, by Typer. In: words. Out: calls of one module for each command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import lastlayer as ll

from .backends import backends
from .calibrate import calibrate
from .check import check
from .evaluate import evaluate
from .explain import explain
from .merge import merge

__all__ = ["app", "run"]

app = typer.Typer(
    name="lastlayer",
    help="The last layer of a classifier: softmax, cross-entropy, evaluation, calibration.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _command in (explain, evaluate, calibrate, check, merge, backends):
    app.command()(_command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"lastlayer {ll.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def run(words: Sequence[str]) -> int:
    """Run a command, and return the exit status; errors of the call are raised."""
    found = typer.main.get_command(app).main(list(words), prog_name="lastlayer", standalone_mode=False)
    return found if isinstance(found, int) else 0

"""The ``lastlayer`` command: arguments in, a page of text and an exit status out (2 for a wrong call)."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

import lastlayer as ll

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# In columns. Together with four numbers of at most eleven, a name and a bar fill eighty.
BAR, NAME = 14, 9
WIDEST = 88  # longer lines are hard to read


class _Options(NamedTuple):
    """What ``explain`` was asked, with everything checked."""

    logits: npt.NDArray[np.float64]  # (V,)
    names: list[str] | None
    target: int | None
    temperature: float
    label_smoothing: float
    class_weight: npt.NDArray[np.float64] | None  # (V,)

    @property
    def plain(self) -> bool:
        """Whether the loss is -log p of the target, and nothing else."""
        return not self.label_smoothing and self.class_weight is None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    argv
        The arguments after the command's name; those of the process when None.

    Returns
    -------
    int
        0, or 2 for a wrong call, which is explained on the standard error stream.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args([_shield(word) for word in (sys.argv[1:] if argv is None else argv)])
        if arguments.version:
            print(f"lastlayer {ll.__version__}")
        elif arguments.command == "explain":
            _explain(_options(arguments), _console())
        elif arguments.command == "backends":
            print(ll.show_backends())
        else:
            parser.print_help()
    except SystemExit as stop:  # argparse has said what was wrong, or printed the help
        return int(stop.code or 0)
    except (ll.LastlayerError, _UsageError) as error:
        print(f"lastlayer: {error}", file=sys.stderr)
        return 2
    return 0


class _UsageError(Exception):
    """A wrong argument of the command line, in words."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lastlayer",
        description="The last layer of a classifier: softmax, cross-entropy, their gradients.",
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command")

    explain = commands.add_parser(
        "explain",
        help="logits -> exponentials -> probabilities -> loss -> gradient, step by step",
        description="Show step by step how logits become probabilities, a loss and a gradient.",
        epilog="example: lastlayer explain 0.1 0.9 4.0 --target 2 --names cat,dog,owl",
    )
    explain.add_argument("logits", nargs="+", type=float, metavar="LOGIT", help="one number per class")
    explain.add_argument("--target", metavar="CLASS", help="the true class: its number, or its name")
    explain.add_argument("--names", metavar="A,B,C", help="names of the classes")
    explain.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="divide the logits by T (default 1)"
    )
    explain.add_argument(
        "--label-smoothing",
        type=float,
        default=0.0,
        metavar="E",
        help="spread the share E of the target evenly",
    )
    explain.add_argument("--class-weight", metavar="W,W,W", help="weight of each class in the loss")

    commands.add_parser("backends", help="which backend runs what, and why not otherwise")
    return parser


def _shield(word: str) -> str:
    """Keep argparse from taking a negative number (-1e-5, -inf) for an option: a leading space says value."""
    try:
        float(word)
    except ValueError:
        return word
    return " " + word


def _options(arguments: argparse.Namespace) -> _Options:
    logits = np.array(arguments.logits, dtype=np.float64)
    for position, value in enumerate(logits):
        if math.isnan(value) or value == math.inf:
            raise _UsageError(f"explain: logit {position} is {value}; expected a number below infinity")
    if logits.max() == -math.inf:
        raise _UsageError("explain: every logit is -inf; expected at least one possible class")

    names = None
    if arguments.names is not None:
        names = [name.strip() for name in arguments.names.split(",")]
        if len(names) != logits.size:
            raise _UsageError(
                f"explain: --names has {len(names)} names; expected {logits.size}, one per logit"
            )

    weight = None
    if arguments.class_weight is not None:
        try:
            weight = np.array([float(word) for word in arguments.class_weight.split(",")])
        except ValueError:
            given = arguments.class_weight.strip()
            raise _UsageError(
                f"explain: --class-weight is {given!r}; expected numbers between commas"
            ) from None
    target = None
    if arguments.target is not None:
        word = arguments.target.strip()
        if names is not None and word in names:
            target = names.index(word)
        else:
            try:
                target = int(word)
            except ValueError:
                expected = f"one of {', '.join(names)}" if names else f"a class in [0, {logits.size})"
                raise _UsageError(f"explain: --target is {word!r}; expected {expected}") from None
        if not 0 <= target < logits.size:
            raise _UsageError(f"explain: --target is {target}; expected a class in [0, {logits.size})")
    elif weight is not None or arguments.label_smoothing:
        raise _UsageError("explain: --class-weight and --label-smoothing change the loss; add --target")
    return _Options(logits, names, target, arguments.temperature, arguments.label_smoothing, weight)


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        raise _UsageError("explain: this needs the package rich; run: pip install 'lastlayer[cli]'") from None
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    return console


class _Page:
    """The page being printed, its steps numbered."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps = 0

    def step(self, name: str, text: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self.steps += 1
        line = Text.assemble((f"{self.steps}. {name}: ", "bold cyan"), text)
        self.console.print(Padding(line, (0, 2), expand=False))

    def line(self, text: str = "", style: str | None = None) -> None:
        self.console.print(f"  {text}" if text else "", style=style, markup=False)


def _explain(options: _Options, console: Console) -> None:
    """Print the steps; every number comes from the library, except the exponentials shown on the way."""
    probabilities = ll.softmax(options.logits, temperature=options.temperature)  # (V,)
    loss, gradient = _loss_and_gradient(options)
    scaled = options.logits / options.temperature  # (V,)
    winner = int(np.argmax(scaled))
    shifted = scaled - scaled[winner]  # (V,)
    exponentials = np.exp(shifted)  # (V,)
    labels = options.names or [str(number) for number in range(options.logits.size)]

    page = _Page(console)
    page.line()
    if options.temperature != 1.0:
        page.step("Temperature", f"each logit is divided by {options.temperature:g}.")
    page.step(
        "Shift",
        f"the largest, {_number(scaled[winner])}, is subtracted from each. No probability changes, since the"
        " shift cancels in the ratio; and nothing can overflow, since the largest is now 0.",
    )
    page.step("Exponentials", f"exp of each shifted logit: positive, {_number(exponentials.sum())} in sum.")
    page.step("Probabilities", "each exponential divided by that sum.")
    table = _table("class", "logit", "shifted", "exp", "probability")
    table.add_column("", no_wrap=True)
    for position, label in enumerate(labels):
        table.add_row(
            _label(label, position == options.target),
            _number(options.logits[position]),
            _number(shifted[position]),
            _number(exponentials[position]),
            _number(probabilities[position]),
            _bar(float(probabilities[position]), console),
            style="bold" if position == options.target else None,
        )
    console.print(table)
    prediction = f"The prediction is {labels[winner]}"
    if options.target is None:
        page.line(f"{prediction}. Add --target CLASS for the loss and its gradient.")
    else:
        gap, rest = -float(shifted[options.target]), float(np.delete(exponentials, winner).sum())
        effective = _effective_target(options, options.target)
        _explain_loss(options, loss, gap, rest, float(effective.sum()), page)
        _explain_gradient(options, labels, probabilities, effective, gradient, page)
        verdict = "right" if winner == options.target else f"wrong: the target is {labels[options.target]}"
        page.line(f"{prediction}, which is {verdict}.")
    page.line()


def _loss_and_gradient(options: _Options) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the loss and its gradient (V,); zeros without a target."""
    if options.target is None:
        return 0.0, np.zeros_like(options.logits)
    loss, gradient = ll.cross_entropy_grad(
        options.logits,
        options.target,
        temperature=options.temperature,
        label_smoothing=options.label_smoothing,
        class_weight=options.class_weight,
        reduction="sum",
    )
    return float(loss), gradient


def _explain_loss(options: _Options, loss: float, gap: float, rest: float, mass: float, page: _Page) -> None:
    if options.plain:
        page.step(
            "Loss",
            "-log p of the target, computed as (peak - its logit) + log(1 + rest), where"
            f" rest = {_number(rest)} is the sum of the exponentials beside the peak's own. Neither term is"
            " negative: nothing cancels.",
        )
        page.line(f"   {_number(gap)} + {_number(math.log1p(rest))} = {_number(loss)} nats", style="bold")
    else:
        page.step("Loss", "-log p of each class times its target (step below), added up.")
        page.line(f"   {_number(loss)} nats", style="bold")
    size = options.logits.size
    times = "" if options.plain else f"{mass:g} times "  # the sum of the targets
    page.line(f"   A uniform guess would cost {times}log {size} = {_number(mass * math.log(size))}.")
    page.line()


def _explain_gradient(
    options: _Options,
    labels: list[str],
    probabilities: npt.NDArray[np.float64],  # (V,)
    effective: npt.NDArray[np.float64],  # (V,)
    gradient: npt.NDArray[np.float64],  # (V,)
    page: _Page,
) -> None:
    formula = "p - t" if options.plain else "p times the sum of t, minus t"
    if options.temperature != 1.0:
        formula += f", divided by the temperature {options.temperature:g}"
    page.step(
        "Gradient",
        f"{formula}. A step downhill raises the logits with a negative gradient and lowers the others.",
    )
    table = _table("class", "probability p", "target t", "gradient")
    table.add_column("", no_wrap=True)
    for position, label in enumerate(labels):
        table.add_row(
            _label(label, position == options.target),
            _number(probabilities[position]),
            _number(effective[position]),
            _signed(gradient[position]),
            "raise" if gradient[position] < 0 else "lower" if gradient[position] > 0 else "",
            style="bold" if position == options.target else None,
        )
    page.console.print(table)


def _effective_target(options: _Options, target: int) -> npt.NDArray[np.float64]:
    """Return t (V,): the one-hot target with the smoothing and the class weights in it."""
    size = options.logits.size
    weight = np.ones(size) if options.class_weight is None else options.class_weight
    smooth = options.label_smoothing / size * weight
    smooth[target] += (1.0 - options.label_smoothing) * weight[target]
    return smooth


def _table(first: str, *rest: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _label(name: str, is_target: bool) -> str:
    from rich.cells import cell_len, set_cell_size
    from rich.markup import escape

    short = name if cell_len(name) <= NAME else set_cell_size(name, NAME - 1) + "…"
    return escape(short) + (" <" if is_target else "")


def _number(value: float) -> str:
    """Eleven characters at most: six decimals, or digits that say more."""
    value = float(value) + 0.0  # -0.0 is shown as 0
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.6f}" if abs(value) < 100 else f"{value:.7g}"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _number(value)


def _bar(share: float, console: Console) -> str:
    eighths = round(share * BAR * 8)
    if not console.encoding.lower().startswith("utf"):
        return "#" * round(share * BAR)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()

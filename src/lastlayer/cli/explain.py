"""``lastlayer explain``: show step by step how one row of logits becomes probabilities, loss and gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
import typer.core

import lastlayer as ll
from lastlayer.backends import reference
from lastlayer.options import Options
from lastlayer.problem import scores
from lastlayer.resolving import resolve

from .page import Page, bar_text, class_label, new_table, number_text, open_console, signed_text
from .usage import UsageError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["WithNumbers", "explain"]


class _Options(NamedTuple):
    """The checked arguments of ``explain``."""

    logits: npt.NDArray[np.float64]  # (V,)
    names: list[str] | None
    target: int | None
    temperature: float = 1.0
    label_smoothing: float = 0.0
    class_weight: npt.NDArray[np.float64] | None = None  # (V,)

    @property
    def plain(self) -> bool:
        """Whether the loss is just -log p of the target."""
        return not self.label_smoothing and self.class_weight is None


class WithNumbers(typer.core.TyperCommand):
    """A command whose negative numbers are numbers, not options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add a leading space to -1e-5, -inf and -1,2; Typer takes them for words then."""
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
    target: Annotated[str | None, typer.Option(help="The true class: its number, or its name.")] = None,
    names: Annotated[str | None, typer.Option(help="Names of the classes, with commas.")] = None,
    temperature: Annotated[float, typer.Option(help="Divide the logits by this.")] = 1.0,
    label_smoothing: Annotated[float, typer.Option(help="Spread this share of the target evenly.")] = 0.0,
    class_weight: Annotated[str | None, typer.Option(help="Weight of each class, with commas.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The numbers are probabilities: explain their logs.")
    ] = False,
) -> None:
    """Show step by step how logits become probabilities, a loss and a gradient.

    \b
    Examples:
      lastlayer explain 0.1 0.9 4.0 --target 2 --names cat,dog,owl
      lastlayer explain "[0.1, 0.9, -4.0]" --temperature 2
      lastlayer explain 0.25,0.75 --probabilities --target 1
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    values = _numbers(logits or [])
    if probabilities:
        values = _logits_of(values)
    options = _options(values, names, target, class_weight)
    options = options._replace(temperature=temperature, label_smoothing=label_smoothing)
    if target is None and (class_weight is not None or label_smoothing):
        raise UsageError("explain: --class-weight and --label-smoothing change the loss; add --target")
    console = open_console("explain")
    if not probabilities and len(values) > 1 and (values >= 0).all() and abs(values.sum() - 1) < 1e-6:
        console.print(
            "  These numbers sum to one. Are they probabilities? Then add --probabilities.", style="yellow"
        )
    _explain(options, console)


def _numbers(words: list[str]) -> npt.NDArray[np.float64]:
    """Numbers from words: one each, or several between commas, in brackets or not."""
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


def _logits_of(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logits whose softmax are these probabilities."""
    if not ((p >= 0) & (p <= 1)).all() or abs(p.sum() - 1) > 1e-3:
        raise UsageError(
            f"explain: --probabilities are {p.tolist()}; expected numbers in [0, 1] that sum to one"
        )
    with np.errstate(divide="ignore"):
        return np.log(p)


def _options(
    logits: npt.NDArray[np.float64],
    given_names: str | None,
    given_target: str | None,
    given_weight: str | None,
) -> _Options:
    """The arguments that are words, checked."""
    for position, value in enumerate(logits):
        if math.isnan(value) or value == math.inf:
            raise UsageError(f"explain: logit {position} is {value}; expected a number below infinity")
    if logits.max() == -math.inf:
        raise UsageError("explain: every logit is -inf; expected at least one possible class")

    names = None
    if given_names is not None:
        names = [name.strip() for name in given_names.split(",")]
        if len(names) != logits.size:
            raise UsageError(
                f"explain: --names has {len(names)} names; expected {logits.size}, one per logit"
            )

    weight = None
    if given_weight is not None:
        try:
            weight = np.array([float(word) for word in given_weight.split(",")])
        except ValueError:
            given = given_weight.strip()
            raise UsageError(
                f"explain: --class-weight is {given!r}; expected numbers between commas"
            ) from None
    target = None
    if given_target is not None:
        word = given_target.strip()
        if names is not None and word in names:
            target = names.index(word)
        else:
            try:
                target = int(word)
            except ValueError:
                expected = f"one of {', '.join(names)}" if names else f"a class in [0, {logits.size})"
                raise UsageError(f"explain: --target is {word!r}; expected {expected}") from None
        if not 0 <= target < logits.size:
            raise UsageError(f"explain: --target is {target}; expected a class in [0, {logits.size})")
    return _Options(logits, names, target, class_weight=weight)


def _explain(options: _Options, console: Console) -> None:
    """Print the steps; every number comes from the library, except the exponentials shown on the way."""
    probabilities = ll.softmax(options.logits, temperature=options.temperature)  # (V,)
    loss, gradient = _loss_and_gradient(options)
    scaled = options.logits / options.temperature  # (V,)
    winner = int(np.argmax(scaled))
    shifted = scaled - scaled[winner]  # (V,)
    exponentials = np.exp(shifted)  # (V,)
    labels = options.names or [str(number) for number in range(options.logits.size)]

    page = Page(console)
    page.line()
    if options.temperature != 1.0:
        page.step("Temperature", f"each logit is divided by {options.temperature:g}.")
    page.step(
        "Shift",
        f"the largest, {number_text(scaled[winner])}, is subtracted from each. No probability changes, since"
        " the shift cancels in the ratio; and nothing can overflow, since the largest is now 0.",
    )
    page.step(
        "Exponentials", f"exp of each shifted logit: positive, {number_text(exponentials.sum())} in sum."
    )
    page.step("Probabilities", "each exponential divided by that sum.")
    table = new_table("class", "logit", "shifted", "exp", "probability")
    table.add_column("", no_wrap=True)
    for position, label in enumerate(labels):
        table.add_row(
            class_label(label, position == options.target),
            number_text(options.logits[position]),
            number_text(shifted[position]),
            number_text(exponentials[position]),
            number_text(probabilities[position]),
            bar_text(float(probabilities[position]), console),
            style="bold" if position == options.target else None,
        )
    console.print(table)
    prediction = f"The prediction is {labels[winner]}"
    if options.target is None:
        page.line(f"{prediction}. Add --target CLASS for the loss and its gradient.")
    else:
        effective = _effective_target(options, options.target)
        _explain_loss(options, loss, page)
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


def _explain_loss(options: _Options, loss: float, page: Page) -> None:
    stats = ll.row_stats(
        options.logits,
        options.target,
        temperature=options.temperature,
        label_smoothing=options.label_smoothing,
        class_weight=options.class_weight,
    )
    gap, rest, mass = (float(np.asarray(value)) for value in (stats.gap, stats.rest, stats.mass))
    if options.plain:
        page.step(
            "Loss",
            "-log p of the target, computed as (peak - its logit) + log(1 + rest), where"
            f" rest = {number_text(rest)} is the sum of the exponentials beside the peak's own. Neither term"
            " is negative: nothing cancels.",
        )
        page.line(
            f"   {number_text(gap)} + {number_text(math.log1p(rest))} = {number_text(loss)} nats",
            style="bold",
        )
    else:
        page.step("Loss", "-log p of each class times its target (step below), added up.")
        page.line(f"   {number_text(loss)} nats", style="bold")
    size = options.logits.size
    times = "" if options.plain else f"{mass:g} times "  # the sum of the targets
    page.line(f"   A uniform guess would cost {times}log {size} = {number_text(mass * math.log(size))}.")
    page.line()


def _explain_gradient(
    options: _Options,
    labels: list[str],
    probabilities: npt.NDArray[np.float64],  # (V,)
    effective: npt.NDArray[np.float64],  # (V,)
    gradient: npt.NDArray[np.float64],  # (V,)
    page: Page,
) -> None:
    formula = "p - t" if options.plain else "p times the sum of t, minus t"
    if options.temperature != 1.0:
        formula += f", divided by the temperature {options.temperature:g}"
    page.step(
        "Gradient",
        f"{formula}. A step downhill raises the logits with a negative gradient and lowers the others.",
    )
    table = new_table("class", "probability p", "target t", "gradient")
    table.add_column("", no_wrap=True)
    for position, label in enumerate(labels):
        table.add_row(
            class_label(label, position == options.target),
            number_text(probabilities[position]),
            number_text(effective[position]),
            signed_text(gradient[position]),
            "raise" if gradient[position] < 0 else "lower" if gradient[position] > 0 else "",
            style="bold" if position == options.target else None,
        )
    page.console.print(table)


def _effective_target(options: _Options, target: int) -> npt.NDArray[np.float64]:
    """The effective target t, (V,): one-hot, with label smoothing and class weights applied."""
    losses = resolve(
        scores("explain", options.logits),
        reference,
        (target, options.class_weight, None),
        Options("explain", label_smoothing=options.label_smoothing),
    )
    effective, _ = reference.effective_targets(losses)
    return np.asarray(effective)

"""Draw the pictures of docs/reference.md. In: the tables that the benchmarks write. Out: SVG files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
OURS, TORCH, OTHER = "#3366aa", "#cc5522", "#777777"
MARKS = {"lastlayer": ("o", OURS), "torch": ("s", TORCH), "scipy": ("^", OTHER), "SciPy": ("^", OTHER)}

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "svg.hashsalt": "lastlayer",  # the same file on every run
    }
)


def table(page: str, heading: str, place: int = 0) -> list[dict[str, str]]:
    """The rows of a table below a heading of a page in docs/, by the names of the columns."""
    text = (HERE / page).read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text[re.search(rf"^#+ {re.escape(heading)}$", text, re.M).end() :])[0]
    lines = re.findall(r"(?:^\|.*\n?)+", section, re.M)[place].strip().split("\n")
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def number(cell: str) -> float:
    """The number of a cell, whose thousands may stand apart; a planned one in brackets is left out."""
    return float(cell.split("(")[0].replace(" ", ""))


def errors(classes: str = "1000") -> dict[str, dict[str, dict[float, float]]]:
    """Largest errors of float32: quantity, library, scale of the logits -> ULP."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for row in table("accuracy.md", "float32"):
        if row["classes"] == classes:
            for quantity in ("`softmax`", "loss of a row"):
                for name, cell in zip(("lastlayer", "torch", "SciPy"), row[quantity].split("/"), strict=True):
                    found.setdefault(quantity, {}).setdefault(name, {})[float(row["scale"])] = number(cell)
    return found


def times(heading: str, names: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """Times of one thread in float32: library, number of classes -> ns for each logit."""
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    for row in table("performance.md", heading):
        if row["threads"] == "1" and (shape := re.fullmatch(r"(\d+)x(\d+)", row["problem"])):
            n, v = map(int, shape.groups())
            for name in names:
                found[name][v] = number(row[name]) * 1e6 / (n * v)
    return found


def memory() -> dict[str, tuple[float, float]]:
    """MB beyond the gradients in bfloat16, by problem: logits in torch, and the linear head with 64 MiB."""
    rows = [row for row in table("performance-linear.md", "Memory") if row["problem"].endswith("bfloat16")]
    return {row["problem"]: (number(row["torch"]), number(row["lastlayer, 64 MiB"])) for row in rows}


def lines(axes: Axes, series: dict[str, dict[float, float]], form: str, above: float) -> None:
    """A line for each library; our last number stands so many points above it."""
    for name, points in series.items():
        mark, colour = MARKS[name]
        x, y = zip(*sorted(points.items()), strict=True)
        axes.plot(x, y, marker=mark, color=colour, label=name.replace("scipy", "SciPy"))
        if name == "lastlayer":
            axes.annotate(
                format(y[-1], form), (x[-1], y[-1]), (0, above), textcoords="offset points", ha="center"
            )
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.25)


def canvas() -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.0, 2.9), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, 2))


def error() -> Figure:
    figure, panels = canvas()
    for axes, (quantity, series) in zip(panels, errors().items(), strict=True):
        lines(axes, series, ".1f", 7)
        axes.set_title(f"largest error of a {quantity.strip('`').replace('loss of a row', 'loss')}, float32")
        axes.set(xlabel="scale of the logits", ylabel="ULP", xticks=(1, 5, 20), xticklabels=("1", "5", "20"))
        axes.set_ylim(bottom=0.4)
        axes.minorticks_off()
    panels[0].legend(frameon=False, loc="upper left")
    return figure


def speed() -> Figure:
    figure, panels = canvas()
    contents = (
        ("softmax", "softmax", ("lastlayer", "torch", "scipy")),
        ("cross_entropy_grad", "loss and gradient", ("lastlayer", "torch")),
    )
    for axes, (name, title, names) in zip(panels, contents, strict=True):
        lines(axes, times(f"`{name}`", names), ".2f", -13)
        axes.set_title(f"{title}, float32, one thread")
        axes.set(xlabel="number of classes V", ylabel="ns for each logit")
        axes.set_ylim(bottom=0.2)
    panels[0].legend(frameon=False, loc="upper right")
    return figure


def space() -> Figure:
    figure = Figure(figsize=(7.0, 2.4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    found = sorted(memory().items(), key=lambda item: int(item[0].split("-")[0].split("x")[2]))
    for k, (_, sizes) in enumerate(found):
        for shift, size, colour in zip((-0.2, 0.2), sizes, (TORCH, OURS), strict=True):
            bar = axes.barh(k + shift, size, 0.36, color=colour)
            axes.bar_label(bar, [f"{size:.0f} MB"], padding=3)
    names = ("{} rows, V = {}".format(*problem.split("-")[0].split("x")[::2]) for problem, _ in found)
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.legend(axes.containers[:2], ["torch: logits", "lastlayer: tiles of at most 64 MiB"], frameon=False)
    axes.set_title("memory of loss and gradients beyond the gradients, bfloat16")
    axes.set_xlim(0, 2900)
    return figure


PICTURES = {"error.svg": error, "speed.svg": speed, "memory.svg": space}


def main(folder: Path) -> None:
    """Draw every picture into the folder."""
    folder.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        draw().savefig(folder / name, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "pictures")

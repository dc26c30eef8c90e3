"""Every picture of every kind of evaluation: drawn and saved without an error or a warning."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pictures
import pytest

import lastlayer as ll
import lastlayer.plots
from lastlayer.plots import ComparisonDisplay, colors

DISPLAYS = [
    getattr(lastlayer.plots, name)
    for name in lastlayer.plots.__all__
    if name not in ("ComparisonDisplay", "ExplanationDisplay")
]
MADE = {}


def evaluation(name):
    if name not in MADE:
        MADE[name] = pictures.EVALUATIONS[name]()
    return MADE[name]


def check(display, ax=None):
    """What holds of every picture."""
    assert display.title
    assert display.description.endswith(".")
    assert len(display.shown_) <= 500
    for artist, text in display.shown_:
        assert artist.figure is display.figure_
        assert text
        assert text.isprintable()
    head, rows = display.table()
    assert all(len(row) == len(head) for row in rows)
    for row in rows:
        for value in row:
            assert value is None or isinstance(value, (str, int, float)), value
            assert not isinstance(value, np.generic)
    assert display.ax_.figure is display.figure_
    assert ax is None or display.ax_ is ax


@pytest.mark.parametrize("name", pictures.EVALUATIONS)
@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_a_new_figure(display, name):
    made = display.from_evaluation(evaluation(name))
    assert type(made) is display
    check(made)
    text = pictures.svg(made)
    ElementTree.fromstring(text)
    constants = {value for key, value in vars(colors).items() if key.isupper() and isinstance(value, str)}
    assert len(constants) == 8
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= constants


@pytest.mark.parametrize("name", ["plain", "one class", "1000 classes", "nothing", "undefined", "named"])
@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_axes_of_the_user(display, name):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    made = display.from_evaluation(evaluation(name), ax=ax)
    check(made, ax)
    assert plt.get_fignums() == [figure.number]
    assert len(figure.axes) == 1
    if name != "named":  # matplotlib's font lacks some of its characters
        figure.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_128_256_classes(display):
    if "large" not in MADE:
        MADE["large"] = pictures.large()
    made = display.from_evaluation(MADE["large"])
    check(made)
    assert len(pictures.svg(made)) < 300_000


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_names_are_text_and_nothing_else(display):
    made = display.from_evaluation(evaluation("named"))
    text = pictures.svg(made)
    assert "<script" not in text
    ElementTree.fromstring(text)
    assert not any(label.get_text().startswith("$\\") for label in made.figure_.findobj(_is_text))
    for label in made.figure_.findobj(_is_text):
        if "$x^2$" in label.get_text():
            assert not label.get_parse_math()
            assert "$x^2$ and $y$" in text


def _is_text(artist):
    from matplotlib.text import Text

    return isinstance(artist, Text)


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_the_style_is_left_as_it_was(display):
    import matplotlib

    before = dict(matplotlib.rcParams)
    display.from_evaluation(evaluation("plain"))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_without_matplotlib(display, monkeypatch):
    importing = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError) as caught:
        display.from_evaluation(evaluation("plain"))
    assert str(caught.value) == (
        f"{display.__name__}.plot requires matplotlib. You can install it with `pip install lastlayer[plot]`"
    )


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
def test_the_method_of_an_evaluation(display):
    import matplotlib.pyplot as plt

    name = re.sub(r"(?<!^)([A-Z])", r"_\1", display.__name__.removesuffix("Display")).lower()
    _, ax = plt.subplots()
    made = getattr(evaluation("plain"), f"plot_{name}")(ax=ax)
    assert type(made) is display
    assert made.ax_ is ax


COMPARISONS = {
    "plain": {},
    "groups of odd names": {"groups": np.array(pictures.NAMES, object)[np.arange(200) % 7]},
    "80 groups": {"groups": np.arange(200) % 80},
    "weights": {"sample_weight": np.linspace(0, 1, 200), "groups": np.arange(200) % 3},
    "nothing": {"sample_weight": np.zeros(200)},
}


@pytest.mark.parametrize("is_given", [False, True], ids=["new", "given"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, is_given):
    import matplotlib.pyplot as plt

    z, y = pictures.rows(200, 4)
    worse = z + np.random.default_rng(1).normal(size=z.shape)
    ax = plt.subplots()[1] if is_given else None
    made = ll.compare(z, worse, y, **COMPARISONS[name]).plot(ax)
    assert type(made) is ComparisonDisplay
    check(made, ax)
    text = pictures.svg(made)
    ElementTree.fromstring(text)
    assert "<script" not in text


def test_comparisons_of_rows_without_numbers():
    z = np.array([[np.nan, 0.0], [0.0, -np.inf], [1.0, 0.0]])
    made = ll.compare(z, z[:, ::-1], [0, 1, 1], groups=["a", "a", "b"]).plot()
    check(made)
    assert "all rows: log-loss, b - a: undefined" in {text for _, text in made.shown_}


def test_names_on_axes_that_had_ticks_before():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    figure.canvas.draw()
    made = evaluation("named").plot_group(ax=ax)
    labels = made.ax_.get_yticklabels()
    assert "$x^2$ and $y$" in [label.get_text() for label in labels]
    assert not any(label.get_parse_math() for label in labels)


def test_ticks_that_are_made_later_have_the_colours_too():
    import io

    made = evaluation("plain").plot_reliability()
    buffer = io.StringIO()
    made.figure_.savefig(buffer, format="svg")  # not in the style of the pictures
    assert {label.get_color() for label in made.ax_.get_yticklabels()} == {colors.MUTED}
    assert "#000000" not in buffer.getvalue()
